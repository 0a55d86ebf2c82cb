//! What stays as it is while a device object lives, read once for each object.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::dir::{Dir, last};
use super::root::{Root, is_absent};
use crate::model::pci::{Address, BridgePath, Hop, Ids};
use crate::model::snapshot::{Card, Fact};

/// A card and what goes with it.
#[derive(Debug)]
pub struct Read {
    /// The card.
    pub card: Card,
    /// How many VFs the function can have (`sriov_totalvfs`); none where it can have none.
    pub most_vfs: Option<u32>,
    /// The function that makes the bus it is on, where that is no bridge: Intel VMD.
    pub above: Option<Address>,
}

/// Reads the card at an address. None of these attributes takes the device's lock.
///
/// # Errors
/// What could not be read, with its path; `NotFound` when the device is gone.
pub fn read(root: &Root, devices: &Dir<'_>, address: Address, object: u64) -> io::Result<Read> {
    let attributes = Attributes { root, directory: devices.whole(&address.to_string()) };
    let class = attributes.number("class")?;
    let link = devices.link(&address.to_string());
    let link = link.map_err(|e| io::Error::new(e.kind(), format!("read link {}: {e}", attributes.directory)))?;
    let subsystem = match (attributes.optional("subsystem_vendor")?, attributes.optional("subsystem_device")?) {
        (Some(vendor), Some(device)) => Fact::Is(Ids { vendor: short(vendor)?, device: short(device)? }),
        _ => Fact::Absent,
    };
    let card = Card {
        object,
        ids: Ids { vendor: short(attributes.number("vendor")?)?, device: short(attributes.number("device")?)? },
        subsystem,
        class,
        serial: Fact::not_looked(),
        modalias: attributes.text("modalias")?.unwrap_or_default(),
        path: bridge_path(&link, address),
        bridge: is_bridge(class),
        // From 6.17 on the display that shows the boot may be named apart from VGA arbitration's.
        boot_vga: attributes.optional("boot_vga")? == Some(1) || attributes.optional("boot_display")? == Some(1),
        physfn: physfn(devices, address)?,
    };
    Ok(Read { card, most_vfs: attributes.optional("sriov_totalvfs")?, above: above(&link) })
}

/// A stand-in where something is there of which nothing can be told. What is in no doubt about it
/// is that it is not touched: every fact is unreadable.
#[must_use]
pub fn unknown(address: Address, object: u64, why: &str) -> Card {
    Card {
        object,
        ids: Ids { vendor: 0xffff, device: 0xffff },
        subsystem: Fact::Unreadable(why.to_owned()),
        class: 0,
        serial: Fact::Unreadable(why.to_owned()),
        modalias: String::new(),
        path: BridgePath { root: address, hops: Vec::new() },
        bridge: false,
        boot_vga: false,
        physfn: None,
    }
}

/// Bridges by class: `vfio` takes type 0 headers only, and the host and ISA bridges, which have
/// them, carry the machine. `0680` (other) is no bridge to us: NVSwitches are that, and are passed
/// through; nor is `060a` (InfiniBand to PCI).
#[must_use]
pub fn is_bridge(class: u32) -> bool {
    matches!(class >> 8, 0x0600..=0x0609)
}

/// The bridges above a function, by where its link in `/sys/bus/pci/devices` leads: the last run
/// of addresses in it. Behind Intel VMD an own domain begins below a function of the first.
#[must_use]
pub fn bridge_path(link: &OsStr, address: Address) -> BridgePath {
    let mut chain: Vec<Address> = Vec::new();
    for component in Path::new(link).components() {
        match component.as_os_str().to_str().and_then(|name| name.parse().ok()) {
            Some(step) => chain.push(step),
            None => chain.clear(),
        }
    }
    match chain.split_first() {
        Some((root, below)) if chain.last() == Some(&address) => BridgePath {
            root: *root,
            hops: below.iter().map(|step| Hop { device: step.device, function: step.function }).collect(),
        },
        _ => BridgePath { root: address, hops: Vec::new() },
    }
}

/// The function below which a function's domain begins, by where its link leads: the last address before
/// the last run of them. What leads on within a domain are bridges.
#[must_use]
pub fn above(link: &OsStr) -> Option<Address> {
    let (mut above, mut last) = (None, None);
    for component in Path::new(link).components() {
        match component.as_os_str().to_str().and_then(|name| name.parse::<Address>().ok()) {
            Some(step) => last = Some(step),
            None => above = last.take().or(above),
        }
    }
    above
}

fn physfn(devices: &Dir<'_>, address: Address) -> io::Result<Option<Address>> {
    let path = format!("{address}/physfn");
    match devices.link(&path) {
        Ok(target) => match last(&target).and_then(|name| name.parse().ok()) {
            Some(pf) => Ok(Some(pf)),
            None => Err(nonsense(&devices.whole(&path))),
        },
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(io::Error::new(e.kind(), format!("read link {}: {e}", devices.whole(&path)))),
    }
}

fn nonsense(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("read {path}: it makes no sense"))
}

fn short(number: u32) -> io::Result<u16> {
    u16::try_from(number).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an id has more than 16 bits"))
}

struct Attributes<'a> {
    root: &'a Root,
    directory: String,
}

impl Attributes<'_> {
    fn text(&self, name: &str) -> io::Result<Option<String>> {
        let path = format!("{}/{name}", self.directory);
        match self.root.read_text(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(io::Error::new(e.kind(), format!("read {path}: {e}"))),
        }
    }

    /// A number in sysfs' two spellings: `0x10de` and `1`.
    fn optional(&self, name: &str) -> io::Result<Option<u32>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.map(Some).map_err(|_| nonsense(&format!("{}/{name}", self.directory)))
    }

    fn number(&self, name: &str) -> io::Result<u32> {
        self.optional(name)?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("read {}/{name}: it is not there", self.directory))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridges_above_a_function_are_told_from_its_link() {
        for (link, address, expected) in [
            ("../../../devices/pci0000:00/0000:00:03.0", "0000:00:03.0", "0000:00:03.0"),
            ("../../../devices/pci0000:00/0000:00:1c.4/0000:02:00.0", "0000:02:00.0", "0000:00:1c.4/00.0"),
            (
                "../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0",
                "10000:e1:00.0",
                "10000:e0:06.0/00.0",
            ),
            ("/elsewhere", "0000:00:03.0", "0000:00:03.0"),
            ("", "0000:00:03.0", "0000:00:03.0"),
        ] {
            let path = bridge_path(OsStr::new(link), address.parse().unwrap());
            assert_eq!(path.to_string(), expected, "{link}");
        }
    }

    #[test]
    fn what_makes_a_domain_is_above_all_that_is_in_it() {
        for (link, expected) in [
            ("../../../devices/pci0000:00/0000:00:1c.4/0000:02:00.0", None),
            ("../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0", Some("0000:00:0e.0")),
            ("../../../devices/pci0000:00/0000:00:1d.0/0000:01:00.0/pci10000:e0/10000:e0:06.0", Some("0000:01:00.0")),
            ("", None),
        ] {
            let found = above(OsStr::new(link)).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{link}");
        }
    }

    #[test]
    fn host_isa_and_pci_bridges_are_bridges_and_an_nvswitch_is_none() {
        for (class, expected) in [
            (0x06_00_00, true),
            (0x06_01_00, true),
            (0x06_04_00, true),
            (0x06_07_00, true),
            (0x06_09_40, true),
            (0x06_80_00, false),
            (0x03_00_00, false),
            (0x02_00_00, false),
        ] {
            assert_eq!(is_bridge(class), expected, "{class:06x}");
        }
    }
}
