//! The kernel's messages that bear on passing devices through, of both ages of the kernel.

use super::log_ends::{BARS, End, bar};
use crate::model::pci::Address;
use crate::model::preflight::survey::{Meaning, Said};

/// What a message must hold, all of it, and what it means then.
const MARKS: [(&[&str], Meaning); 32] = [
    // Before 6.6, Intel's driver.
    (&["Device is ineligible for IOMMU domain attach due to platform RMRR requirement"], Meaning::ReservedRegion),
    // From 6.6 on, any driver.
    (&["Firmware has requested this device have a 1:1 IOMMU mapping"], Meaning::ReservedRegion),
    // The patch of Proxmox and others.
    (&["assuming all RMRRs are relaxable"], Meaning::RelaxedPatch),
    (&["PCIe ACS overrides enabled"], Meaning::AcsOverride),
    (&["No interrupt remapping support"], Meaning::NoInterruptRemapping),
    (&["exists in vfio-pci device denylist"], Meaning::Denylisted),
    // `pci_request_region`; only what vfio-pci says of it is about the device on VFIO.
    (&["vfio", "BAR ", "can't reserve"], Meaning::BarTaken),
    (&["Failed to setup Intel IGD regions"], Meaning::NoIgd),
    (&["VF token required to access device"], Meaning::NoToken),
    (&["Incorrect VF token provided for device"], Meaning::NoToken),
    // `sriov_enable`.
    (&["not enough MMIO resources for SR-IOV"], Meaning::NoVfs),
    (&["SR-IOV: IOV BARS not allocated"], Meaning::NoVfs),
    (&["SR-IOV: bus number out of range"], Meaning::NoVfs),
    (&["can't enable ", " VFs (bus ", "out of range"], Meaning::NoVfs),
    // `pci_assign_resource`, from 6.8 on: "BAR 1 [mem size …]: can't assign; no space"; before: "BAR 1: no
    // space for [mem size …]". `pci_enable_resources`: "can't enable device: BAR 1 [mem …] not assigned".
    (&["BAR ", "can't assign"], Meaning::BarUnassigned),
    (&["BAR ", "no space for"], Meaning::BarUnassigned),
    (&["BAR ", "failed to assign"], Meaning::BarUnassigned),
    (&["can't enable device: BAR ", " not assigned"], Meaning::BarUnassigned),
    (&["can't enable device: BAR ", " not claimed"], Meaning::BarUnassigned),
    // `pci_dev_wait`; each "waiting" before it may end well.
    (&["not ready ", "giving up"], Meaning::Dead),
    // `pci_power_up` from 6.0 on; before "can't change power state from D3hot to D0 (config space
    // inaccessible)", and "Refused to change power state, currently in D3".
    (&["Unable to change power state", "device inaccessible"], Meaning::Dead),
    (&["change power state", "config space inaccessible"], Meaning::Dead),
    (&["Refused to change power state, currently in D3"], Meaning::Dead),
    (&["Refused to change power state from D3"], Meaning::Dead),
    (&["device not accessible"], Meaning::Dead),
    (&["unknown header type 7f"], Meaning::Dead),
    (&["unknown header type ff"], Meaning::Dead),
    // NVIDIA's driver.
    (&["allen off the bus"], Meaning::Dead),
    (&["reset recovery - restoring"], Meaning::Dead),
    // The driver core, of the IOMMU's driver among others.
    (&["deferred probe timeout, ignoring dependency"], Meaning::ProbeTimedOut),
    // The SMMU's driver, behind a PCIe-to-PCI bridge: 7.3 and 6.12.
    (&["Aliasing StreamID"], Meaning::StreamShared),
    (&["already in tree from dev"], Meaning::StreamShared),
];

/// How often vfio-pci says that it restores BARs before it is no reset of the guest's any more: it
/// does so at each access to a device that reads as nothing.
const RESTORED: (&str, usize) = ("reset recovery - restoring", 5);

/// A longer message is cut.
const LONGEST: usize = 300;

/// What a line of the log means, if it bears on passing through: a record of /dev/kmsg or a line
/// of dmesg or the journal.
#[must_use]
pub fn recognise(line: &str) -> Option<Said> {
    let text = message(line);
    if let Some(text) = unknown_option(text) {
        return Some(Said { meaning: Meaning::AcsUnknown, device: None, bar: None, text });
    }
    let (_, meaning) = MARKS.iter().find(|(marks, _)| marks.iter().all(|mark| text.contains(mark)))?;
    let device = device(text);
    let bar = if *meaning == Meaning::BarUnassigned { bar(text) } else { None };
    // Other subsystems say some of it in their own ways; only a device that is named counts.
    let nameless = matches!(
        meaning,
        Meaning::Dead
            | Meaning::BarTaken
            | Meaning::NoVfs
            | Meaning::NoIgd
            | Meaning::NoToken
            | Meaning::BarUnassigned
            | Meaning::ProbeTimedOut
            | Meaning::StreamShared
    );
    if nameless && device.is_none() || *meaning == Meaning::BarUnassigned && !bar.is_some_and(|bar| BARS.contains(&bar))
    {
        return None;
    }
    let text = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(Said { meaning: *meaning, device, bar, text })
}

/// The kernel's word that it does not know `pcie_acs_override` (from 5.15 on), without the other
/// options that it names there.
fn unknown_option(text: &str) -> Option<String> {
    let (_, list) = text.split_once("Unknown kernel command line parameters")?;
    let word = list.split([' ', '"', ',']).find(|word| word.starts_with("pcie_acs_override"))?;
    let word: String = word.chars().take(100).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(format!("Unknown kernel command line parameters \"{word}\""))
}

/// The message of a record `6,1234,56789,-;message`; other lines are messages as a whole.
pub(super) fn message(line: &str) -> &str {
    let line = line.trim_end();
    match line.split_once(';') {
        Some((head, message)) if head.starts_with(|c: char| c.is_ascii_digit()) && head.contains(',') => message,
        _ => line,
    }
}

/// The first whole PCI address in a message; NVIDIA's driver writes `PCI:0000:01:00` as well.
pub(super) fn device(text: &str) -> Option<Address> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '(' | ')' | ','));
    let address = |word: &str| match word.strip_prefix("PCI:") {
        Some(slot) if !slot.contains('.') => format!("{slot}.0").parse().ok(),
        Some(slot) => slot.parse().ok(),
        None if word.len() >= 12 => word.parse().ok(),
        None => None,
    };
    words.map(|word| word.trim_end_matches(':')).find_map(address)
}

/// Each thing that was said and still stands, once, in the order it was said first: a device that has
/// come back is not dead, and a BAR that got its place is not without.
#[must_use]
pub fn recognise_all<'t>(lines: impl IntoIterator<Item = &'t str>) -> Vec<Said> {
    let mut found: Vec<Said> = Vec::new();
    let mut restored: Vec<Address> = Vec::new();
    for line in lines {
        if let Some(end) = End::of(message(line)) {
            found.retain(|said| !end.ends(said));
            restored.retain(|device| !end.revives(*device));
            continue;
        }
        let Some(said) = recognise(line) else { continue };
        if let Some(device) = said.device.filter(|_| said.text.contains(RESTORED.0)) {
            restored.push(device);
            let of_it = restored.iter().filter(|one| **one == device).count();
            if of_it < RESTORED.1 || restored.len() > 10_000 {
                continue;
            }
        }
        let same = |known: &Said| (known.meaning, known.device, known.bar) == (said.meaning, said.device, said.bar);
        if found.len() < 1000 && !found.iter().any(same) {
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
    fn what_kernels_of_each_age_say_of_dead_cards_is_recognised() {
        for text in [
            "vfio-pci 0000:0a:00.0: not ready 65535ms after bus reset; giving up",
            "vfio-pci 0000:0a:00.0: not ready 65535ms after FLR; giving up",
            "nvme 0000:0a:00.0: Unable to change power state from D3cold to D0, device inaccessible",
            "vfio-pci 0000:0a:00.0: Unable to change power state from D3hot to D0, device inaccessible",
            "vfio-pci 0000:0a:00.0: can't change power state from D3cold to D0 (config space inaccessible)",
            "vfio-pci 0000:0a:00.0: Refused to change power state, currently in D3",
            "vfio-pci 0000:0a:00.0: Refused to change power state from D3hot to D0",
            "vfio-pci 0000:0a:00.0: enable: device not accessible",
            "pci 0000:0a:00.0: unknown header type 7f, ignoring device",
            "NVRM: GPU 0000:0a:00.0: GPU has fallen off the bus.",
            "NVRM: Xid (PCI:0000:0a:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        ] {
            let said = recognise(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((said.meaning, said.device), (Meaning::Dead, "0a:00.0".parse().ok()), "{text}");
        }
        for text in [
            // Said at each reset by ports that do not tell of their link, as QEMU's on 6.1; the card below is well.
            "pcieport 0000:0a:00.0: Data Link Layer Link Active not set in 1000 msec",
            "vfio-pci 0000:0a:00.0: not ready 1023ms after bus reset; waiting",
            "e1000e 0000:0a:00.0: Refused to change power state, currently in D0",
            "e1000e 0000:0a:00.0: Refused to change power state from D0 to D3hot",
        ] {
            assert_eq!(recognise(text), None, "{text}");
        }
    }

    #[test]
    fn what_restores_bars_again_and_again_is_dead_and_once_it_is_a_reset() {
        let line = "vfio-pci 0000:0a:00.0: vfio_bar_restore: reset recovery - restoring BARs";
        assert_eq!(recognise_all([line; 2]), []);
        assert_eq!(recognise_all([line; 20]).len(), 1);
    }

    #[test]
    fn a_bar_without_room_is_told_in_both_wordings_with_its_number() {
        for (text, bar) in [
            ("pci 0000:03:00.0: BAR 1 [mem size 0x600000000 64bit pref]: can't assign; no space", 1),
            ("pci 0000:03:00.0: BAR 1 [mem size 0x600000000 64bit pref]: failed to assign", 1),
            ("pci 0000:03:00.0: BAR 1: no space for [mem size 0x600000000 64bit pref]", 1),
            ("pci 0000:03:00.0: BAR 1: failed to assign [mem size 0x600000000 64bit pref]", 1),
            ("vfio-pci 0000:03:00.0: can't enable device: BAR 5 [io  size 0x0080] not assigned", 5),
            ("pci 10000:e1:00.0: VF BAR 0 [mem size 0x00100000 64bit]: can't assign; no space", 7),
            ("pci 0000:03:00.0: BAR 7: no space for [mem size 0x00200000 64bit pref]", 7),
            ("pci 0000:03:00.0: VF BAR 4 [mem size 0x02000000 64bit pref]: can't assign; bogus alignment", 11),
        ] {
            let said = recognise(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((said.meaning, said.bar), (Meaning::BarUnassigned, Some(bar)), "{text}");
        }
        for text in [
            // A bridge's windows, in both wordings, and a ROM.
            "pci 0000:00:01.0: BAR 15: no space for [mem size 0x00200000 64bit pref]",
            "pci 0000:00:01.0: bridge window [mem size 0x00200000 64bit pref]: can't assign; no space",
            "pci 0000:03:00.0: BAR 6: no space for [mem size 0x00080000 pref]",
            "pci 0000:03:00.0: BAR 1 [mem 0xe0000000-0xe1ffffff 64bit pref]: assigned",
        ] {
            assert_eq!(recognise(text), None, "{text}");
        }
    }

    #[test]
    fn an_option_that_the_kernel_does_not_know_is_told_without_the_others() {
        let line = "5,30,0,-;Unknown kernel command line parameters \"splash root_key=secret pcie_acs_override=downstream,multifunction\", will be passed to user space.";
        let said = recognise(line).unwrap();
        assert_eq!(said.meaning, Meaning::AcsUnknown);
        assert_eq!(said.text, "Unknown kernel command line parameters \"pcie_acs_override=downstream\"");
        assert_eq!(recognise("Unknown kernel command line parameters \"splash\""), None);
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
