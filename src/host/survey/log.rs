//! The kernel's messages that bear on passing devices through, of both ages of the kernel.

use crate::model::pci::Address;
use crate::model::preflight::survey::{Meaning, Said};

/// A message's mark, and what it means.
const MARKS: [(&str, Meaning); 10] = [
    // Before 6.6, Intel's driver.
    ("Device is ineligible for IOMMU domain attach due to platform RMRR requirement", Meaning::ReservedRegion),
    // From 6.6 on, any driver.
    ("Firmware has requested this device have a 1:1 IOMMU mapping", Meaning::ReservedRegion),
    // The patch of Proxmox and others.
    ("assuming all RMRRs are relaxable", Meaning::RelaxedPatch),
    ("No interrupt remapping support", Meaning::NoInterruptRemapping),
    ("exists in vfio-pci device denylist", Meaning::Denylisted),
    ("can't reserve [mem", Meaning::BarTaken),
    ("can't reserve [io", Meaning::BarTaken),
    ("device inaccessible", Meaning::Dead),
    ("not ready after", Meaning::Dead),
    ("giving up", Meaning::Dead),
];

/// A longer message is cut.
const LONGEST: usize = 300;

/// What a line of the log means, if it bears on passing through: a record of /dev/kmsg or a line
/// of dmesg or the journal.
#[must_use]
pub fn recognise(line: &str) -> Option<Said> {
    let text = message(line);
    let (_, meaning) = MARKS.iter().find(|(mark, _)| text.contains(mark))?;
    let device = device(text);
    // `giving up` is said by many; only a device that is named counts.
    if matches!(meaning, Meaning::Dead | Meaning::BarTaken) && device.is_none() {
        return None;
    }
    let text = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(Said { meaning: *meaning, device, text })
}

/// The message of a record `6,1234,56789,-;message`; other lines are messages as a whole.
fn message(line: &str) -> &str {
    let line = line.trim_end();
    match line.split_once(';') {
        Some((head, message)) if head.starts_with(|c: char| c.is_ascii_digit()) && head.contains(',') => message,
        _ => line,
    }
}

/// The first whole PCI address in a message.
fn device(text: &str) -> Option<Address> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '(' | ')' | ','));
    words.map(|word| word.trim_end_matches(':')).filter(|word| word.len() >= 12).find_map(|word| word.parse().ok())
}

/// Each thing that was said, once, in the order it was said first.
#[must_use]
pub fn recognise_all<'t>(lines: impl IntoIterator<Item = &'t str>) -> Vec<Said> {
    let mut found: Vec<Said> = Vec::new();
    for said in lines.into_iter().filter_map(recognise) {
        if found.len() < 1000 && !found.iter().any(|known| (known.meaning, known.device) == (said.meaning, said.device))
        {
            found.push(said);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_both_kernels_are_recognised_with_their_device() {
        for (line, meaning, device) in [
            (
                "4,812,66201911,-;vfio-pci 0000:00:03.0: DMAR: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  Contact your platform vendor.",
                Meaning::ReservedRegion,
                Some("0000:00:03.0"),
            ),
            (
                "[   66.2] vfio-pci 0000:00:03.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. Contact your platform vendor.",
                Meaning::ReservedRegion,
                Some("0000:00:03.0"),
            ),
            (
                "Intel-IOMMU: assuming all RMRRs are relaxable. This can lead to instability or data loss",
                Meaning::RelaxedPatch,
                None,
            ),
            (
                "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param \"allow_unsafe_interrupts\" to enable VFIO IOMMU support on this platform",
                Meaning::NoInterruptRemapping,
                None,
            ),
            (
                "vfio-pci 0000:0b:00.0: BAR 1: can't reserve [mem 0xe0000000-0xefffffff 64bit pref]",
                Meaning::BarTaken,
                Some("0000:0b:00.0"),
            ),
            (
                "vfio-pci 0000:0b:00.0: 8086:37c8 exists in vfio-pci device denylist, driver probing disallowed.",
                Meaning::Denylisted,
                Some("0000:0b:00.0"),
            ),
            (
                "vfio-pci 10000:01:00.0: not ready 65535ms after bus reset; giving up",
                Meaning::Dead,
                Some("10000:01:00.0"),
            ),
        ] {
            let said = recognise(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((said.meaning, said.device.map(|a| a.to_string()).as_deref()), (meaning, device), "{line}");
            assert!(!said.text.starts_with('4'), "{}", said.text);
        }
    }

    #[test]
    fn other_messages_are_not() {
        for line in
            ["", "6,1,0,-;Linux version 6.1", "usb 1-1: giving up", " SUBSYSTEM=pci", "systemd: device inaccessible"]
        {
            assert_eq!(recognise(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in ".*") {
            let _ = recognise(&line);
        }
    }
}
