//! PCI addresses, ids, driver and module names: parsed once, shown one way.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};
use thiserror::Error;

/// A text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseError {
    /// The text as given.
    pub text: String,
    /// What was expected, with an example.
    pub expected: &'static str,
}

fn wrong(text: &str, expected: &'static str) -> ParseError {
    ParseError { text: text.to_owned(), expected }
}

const AN_ADDRESS: &str = "a PCI address such as 0000:01:00.0";
const A_SLOT: &str = "a PCI slot such as 0000:01:00";
const IDS: &str = "a vendor and device id such as 10de:2684";
const A_DRIVER: &str = "a driver's name such as vfio-pci";
const A_NAME: &str = "a kernel name (letters, digits, `_`, `-`, at most 55 of them)";

/// Parses hexadecimal digits without sign or prefix, `least` to `most` (8) of them.
fn hex(text: &[u8], least: usize, most: usize) -> Option<u32> {
    let mut digits = text.iter().map(|byte| char::from(*byte).to_digit(16));
    let fits = (least..=most).contains(&text.len());
    if fits { digits.try_fold(0, |number, digit| Some(number << 4 | digit?)) } else { None }
}

/// The address of a PCI function: `domain:bus:device.function`.
///
/// Read as `0000:01:00.0`, `01:00.0` (domain 0), or libvirt's `pci_0000_01_00_0`; always shown in
/// the first form. A domain has four digits or, behind Intel VMD, five and more (`10000:e1:00.0`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct Address {
    /// The domain (segment), up to 32 bits.
    pub domain: u32,
    /// The bus, 0–255.
    pub bus: u8,
    /// The device (slot) on the bus, 0–31.
    pub device: u8,
    /// The function in the slot, 0–7.
    pub function: u8,
}

impl Address {
    /// The slot that the function is in.
    #[must_use]
    pub fn slot(self) -> Slot {
        Slot { domain: self.domain, bus: self.bus, device: self.device }
    }

    /// The name libvirt gives the function: `pci_0000_01_00_0`.
    #[must_use]
    pub fn libvirt_name(self) -> String {
        format!("pci_{:04x}_{:02x}_{:02x}_{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { domain, bus, device, function } = *self;
        if domain > 0xffff {
            return write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}");
        }
        // Without the machinery of formatting: a pass shows hundreds of them, as names of files.
        let mut text = *b"0000:00:00.0";
        for (number, place) in [(domain, 0..4), (bus.into(), 5..7), (device.into(), 8..10), (function.into(), 11..12)] {
            put_hex(number, &mut text[place]);
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// Puts the last hexadecimal digits of a number, as many as there is place for.
fn put_hex(number: u32, place: &mut [u8]) {
    for (digit, byte) in place.iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[(number >> (4 * digit) & 0xf) as usize];
    }
}

impl FromStr for Address {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || wrong(text, AN_ADDRESS);
        let (slot, function) = match text.as_bytes() {
            [b'p', b'c', b'i', b'_', slot @ .., b'_', function] => (parse_slot(slot, b'_', false), function),
            [slot @ .., b'.', function] => (parse_slot(slot, b':', true), function),
            _ => return Err(bad()),
        };
        match function {
            b'0'..=b'7' => Ok(slot.ok_or_else(bad)?.function(function - b'0')),
            _ => Err(bad()),
        }
    }
}

fn parse_slot(text: &[u8], separator: u8, short: bool) -> Option<Slot> {
    let (rest, device) = text.split_last_chunk::<2>()?;
    let (rest, bus) = rest.strip_suffix(&[separator])?.split_last_chunk::<2>()?;
    let domain = match rest.strip_suffix(&[separator]) {
        Some(domain) => hex(domain, 4, 8)?,
        None if short && rest.is_empty() => 0,
        None => return None,
    };
    let device = hex(device, 2, 2).filter(|device| *device < 32)?;
    Some(Slot { domain, bus: u8::try_from(hex(bus, 2, 2)?).ok()?, device: u8::try_from(device).ok()? })
}

/// A slot: all functions of one card, `domain:bus:device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct Slot {
    /// The domain (segment), up to 32 bits.
    pub domain: u32,
    /// The bus, 0–255.
    pub bus: u8,
    /// The device on the bus, 0–31.
    pub device: u8,
}

impl Slot {
    /// One function of the slot.
    #[must_use]
    pub fn function(self, function: u8) -> Address {
        Address { domain: self.domain, bus: self.bus, device: self.device, function }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}", self.domain, self.bus, self.device)
    }
}

impl FromStr for Slot {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_slot(text.as_bytes(), b':', true).ok_or_else(|| wrong(text, A_SLOT))
    }
}

/// A place below one step of a bridge chain: device and function, without a bus number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// The device on its bus, 0–31.
    pub device: u8,
    /// The function in the slot, 0–7.
    pub function: u8,
}

/// Where a function sits by the bridges above it: `0000:00:1c.0/00.0`, as `lspci -PP` shows it but
/// for the bus numbers below the first, which change when another card is added.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct BridgePath {
    /// The function on the root bus.
    pub root: Address,
    /// One step per bridge below it, the function itself last.
    pub hops: Vec<Hop>,
}

const A_PATH: &str =
    "a bridge path such as 0000:00:1c.0/00.0 (the root port's address, then device.function of each step below)";

impl fmt::Display for BridgePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)?;
        self.hops.iter().try_for_each(|hop| write!(f, "/{:02x}.{:x}", hop.device, hop.function))
    }
}

impl FromStr for BridgePath {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || wrong(text, A_PATH);
        let mut steps = text.split('/');
        let root = steps.next().and_then(|root| root.parse().ok()).ok_or_else(bad)?;
        let hops = steps
            .map(|step| {
                let (device, function) = step.split_once('.')?;
                let device = hex(device.as_bytes(), 2, 2).filter(|d| *d < 32)?;
                let function = hex(function.as_bytes(), 1, 1).filter(|f| *f < 8)?;
                Some(Hop { device: u8::try_from(device).ok()?, function: u8::try_from(function).ok()? })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(bad)?;
        Ok(BridgePath { root, hops })
    }
}

/// A vendor and device id (or subsystem vendor and device): `10de:2684`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct Ids {
    /// The vendor, 16 bits.
    pub vendor: u16,
    /// The device, 16 bits.
    pub device: u16,
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl FromStr for Ids {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || wrong(text, IDS);
        let (vendor, device) = text.split_once(':').ok_or_else(bad)?;
        let half = |part: &str| hex(part.as_bytes(), 4, 4).and_then(|n| u16::try_from(n).ok()).ok_or_else(bad);
        Ok(Ids { vendor: half(vendor)?, device: half(device)? })
    }
}

/// Whether a text may name a driver or a module: nothing that could be a path, an option or a glob.
fn is_kernel_name(text: &str) -> bool {
    (1..=55).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A driver's name as its directory in `/sys/bus/pci/drivers` is called: `vfio-pci`.
///
/// The kernel keeps `-` and `_` apart in driver names, so equality is exact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct Driver(Arc<str>);

impl Driver {
    /// `vfio-pci`, the driver a device gets when nothing more special is known.
    #[must_use]
    pub fn vfio_pci() -> Driver {
        Driver(Arc::from("vfio-pci"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is one that a configuration may ask for: letters, digits, `_` and `-`.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        is_kernel_name(&self.0)
    }

    /// The module that most likely holds the driver: its name with `_` for `-`.
    #[must_use]
    pub fn module(&self) -> Module {
        Module(Arc::from(self.0.replace('-', "_")))
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Driver {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        // A driver may call itself anything that makes a directory; what is *written* is stricter, see `is_plain`.
        let shown = (1..=255).contains(&text.len()) && !text.contains(|c: char| c == '/' || c.is_control());
        if shown && text != "." && text != ".." { Ok(Driver(Arc::from(text))) } else { Err(wrong(text, A_DRIVER)) }
    }
}

/// A module's name as `/proc/modules` shows it: `vfio_pci`. `-` in the input becomes `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct Module(Arc<str>);

impl Module {
    /// The name, with `_`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Module {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if !is_kernel_name(text) {
            return Err(wrong(text, A_NAME));
        }
        Ok(Module(Arc::from(text.replace('-', "_"))))
    }
}

/// A device's serial number as lspci and the kernel show it, `00-1b-21-ff-ff-a2-b3-c4`: eight bytes, read
/// with `-`, `:` or nothing between them, with or without `0x`, in either case.
#[must_use]
pub fn serial(text: &str) -> Option<String> {
    let text = text.trim();
    let digits: String = match text.len() {
        23 => {
            let between = text.as_bytes()[2];
            let apart = text.bytes().skip(2).step_by(3).all(|byte| byte == between);
            let parted = apart && matches!(between, b'-' | b':');
            text.split(char::from(between)).filter(|part| parted && part.len() == 2).collect()
        }
        _ => text.strip_prefix("0x").unwrap_or(text).to_owned(),
    };
    let number = (digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)?;
    let bytes = u64::from_str_radix(&number, 16).ok()?.to_be_bytes();
    Some(bytes.map(|byte| format!("{byte:02x}")).join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_three_forms_and_shown_in_one() {
        for text in ["0000:01:00.0", "01:00.0", "pci_0000_01_00_0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), "0000:01:00.0", "{text}");
        }
    }

    #[test]
    fn a_domain_of_five_digits_is_kept() {
        let address: Address = "10000:e1:00.0".parse().unwrap();
        assert_eq!(address.domain, 0x10000);
        assert_eq!(address.to_string(), "10000:e1:00.0");
        assert_eq!(address.libvirt_name().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ".",
            "01:00",
            "1:00.0",
            "01:20.0",
            "01:00.8",
            "0000:01:00.0 ",
            "../01:00.0",
            "+1:00.0",
            "0000:0000:01:00.0",
            "pci_01_00_0",
            "é1:00.0",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_module_name_is_normalised_and_a_path_is_none() {
        assert_eq!("vfio-pci".parse::<Module>().unwrap().as_str(), "vfio_pci");
        for text in ["", "-r", "a/b", "..", "a b", "*"] {
            assert!(text.parse::<Module>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_serial_number_is_read_in_any_spelling_and_shown_in_one() {
        for text in [
            "00-1b-21-ff-ff-a2-b3-c4\n",
            "00-1B-21-FF-FF-A2-B3-C4",
            "00:1b:21:ff:ff:a2:b3:c4",
            "001b21ffffa2b3c4",
            "0x001B21FFFFA2B3C4",
        ] {
            assert_eq!(serial(text).as_deref(), Some("00-1b-21-ff-ff-a2-b3-c4"), "{text}");
        }
        for text in [
            "",
            "0x",
            "1b21ffffa2b3c4",
            "00-1b:21-ff-ff-a2-b3-c4",
            "001b21ffffa2b3c4f",
            "00-1b-21-ff-ff-a2-b3-g4",
            "+01b21ffffa2b3c4",
            "00a1ba21affaffaa2ab3ac4",
            "000-1-21-ff-ff-a2-b3-c4",
            "é0-1b-21-ff-ff-a2-b3-c",
        ] {
            assert_eq!(serial(text), None, "{text}");
        }
    }

    #[test]
    fn a_bridge_path_is_read_back_as_shown() {
        for text in ["0000:00:03.0", "0000:00:1c.0/00.0", "0000:00:1c.4/00.0/08.0/00.1"] {
            assert_eq!(text.parse::<BridgePath>().unwrap().to_string(), text);
        }
        assert!("0000:00:1c.0/".parse::<BridgePath>().is_err());
    }
}
