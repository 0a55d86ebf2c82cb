//! The kernel's messages that end what earlier ones have said: a device came back, a BAR got its place.

use std::ops::RangeInclusive;

use super::log::device;
use crate::model::pci::Address;
use crate::model::preflight::survey::{Meaning, Said};

/// The kernel's numbers of BARs, those of VFs among them; 6 is the ROM, which nothing needs.
pub(super) const BARS: RangeInclusive<u8> = 0..=12;
const ROM: u8 = 6;
/// The number of the first BAR of the VFs.
const OF_VFS: u8 = 7;

/// What is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The device was found anew: it answers, and its BARs are looked for again.
    Found(Address),
    /// The device answers.
    Answers(Address),
    /// A BAR has got an address.
    Placed(Address, u8),
}

impl End {
    /// What a message ends.
    pub fn of(text: &str) -> Option<End> {
        // `pci 0000:0a:00.0: [1002:731f] type 00 class 0x030000`.
        if text.contains("] type 0") && text.contains(" class 0x") {
            return device(text).map(End::Found);
        }
        // `BAR 1 [mem …]: assigned`, and before 6.8 `BAR 1: assigned [mem …]`.
        if text.contains("BAR ") && text.contains(": assigned") {
            return Some(End::Placed(device(text)?, bar(text)?));
        }
        // `pci_dev_wait` and `pci_enable_device`: a device that reads as nothing is never enabled so.
        let ready = text.contains(": ready ") && text.contains("ms after");
        (ready || text.contains(": enabling device (")).then(|| device(text).map(End::Answers)).flatten()
    }

    /// Whether it ends what was said.
    pub fn ends(self, said: &Said) -> bool {
        match self {
            End::Found(device) => match said.meaning {
                Meaning::Dead | Meaning::BarUnassigned | Meaning::BarTaken | Meaning::NoVfs => {
                    said.device == Some(device)
                }
                _ => false,
            },
            End::Answers(_) => said.meaning == Meaning::Dead && said.device.is_some_and(|dead| self.revives(dead)),
            End::Placed(device, bar) => {
                let unplaced = said.meaning == Meaning::BarUnassigned;
                unplaced && (said.device, said.bar) == (Some(device), Some(bar))
            }
        }
    }

    /// Whether it says that a device answers.
    pub fn revives(self, of: Address) -> bool {
        match self {
            End::Found(device) | End::Answers(device) => device == of,
            End::Placed(..) => false,
        }
    }
}

/// The number of the BAR that a message names: `BAR 1`, `VF BAR 0`. None for a ROM, which opening does
/// not need.
pub(super) fn bar(text: &str) -> Option<u8> {
    let (before, rest) = text.split_once("BAR ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number: u8 = rest.get(..digits)?.parse().ok()?;
    match before.ends_with("VF ") {
        true => (number < ROM).then_some(number + OF_VFS),
        false => (number != ROM).then_some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::recognise_all;

    fn stand(lines: &[&str]) -> Vec<String> {
        recognise_all(lines.iter().copied()).into_iter().map(|said| said.text).collect()
    }

    #[test]
    fn a_device_that_came_back_is_not_dead_and_one_that_died_again_is() {
        let dead = "vfio-pci 0000:0a:00.0: not ready 65535ms after bus reset; giving up";
        let found = "pci 0000:0a:00.0: [1002:731f] type 00 class 0x030000 PCIe Legacy Endpoint";
        assert_eq!(stand(&[found, dead]), [dead]);
        assert_eq!(stand(&[dead, found]), [""; 0]);
        assert_eq!(stand(&[dead, found, dead]), [dead]);
        assert_eq!(stand(&[dead, "vfio-pci 0000:0a:00.0: ready 4095ms after bus reset"]), [""; 0]);
        assert_eq!(stand(&[dead, "vfio-pci 0000:0a:00.0: enabling device (0000 -> 0003)"]), [""; 0]);
        // Another device, or no success.
        for other in [
            "vfio-pci 0000:0b:00.0: ready 4095ms after bus reset",
            "vfio-pci 0000:0a:00.0: not ready 1023ms after bus reset; waiting",
            "vfio-pci 0000:0a:00.0: reset done",
        ] {
            assert_eq!(stand(&[dead, other]), [dead], "{other}");
        }
    }

    #[test]
    fn a_bar_that_got_its_place_in_a_second_try_has_one() {
        let none = "pci 0000:03:00.0: BAR 1 [mem size 0x600000000 64bit pref]: can't assign; no space";
        let other = "pci 0000:03:00.0: BAR 3 [mem size 0x02000000 64bit pref]: can't assign; no space";
        let placed = "pci 0000:03:00.0: BAR 1 [mem 0x6000000000-0x65ffffffff 64bit pref]: assigned";
        assert_eq!(stand(&[none, other, placed]), [other]);
        assert_eq!(stand(&[placed, none]), [none]);
        let old = "pci 0000:03:00.0: BAR 1: assigned [mem 0x6000000000-0x65ffffffff 64bit pref]";
        assert_eq!(stand(&[none, old]), [""; 0]);
        let of_vfs = "pci 0000:03:00.0: VF BAR 1 [mem size 0x00100000 64bit pref]: can't assign; no space";
        assert_eq!(stand(&[of_vfs, placed]), [of_vfs]);
    }
}
