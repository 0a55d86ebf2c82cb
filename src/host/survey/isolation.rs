//! Whether a device can send only the interrupts that are its own: VFIO asks for that before it opens
//! one (`iommu_group_has_isolated_msi`, before 6.3 `IOMMU_CAP_INTR_REMAP`).
//!
//! Each architecture has its own answer, and `/proc/interrupts` gives it on x86 alone. s390 calls its
//! controller `PCI-MSI` as well, and isolates always (`s390_iommu_capable`). POWER's container
//! (`vfio_iommu_spapr_tce`) does not ask. On Arm only an ITS keeps devices apart
//! (`IRQ_DOMAIN_FLAG_ISOLATED_MSI`; GICv2m and a GICv3 without ITS: EPERM, seen on 6.12 and 7.3). Of
//! RISC-V and others nothing is known that tells.

use super::device_tree::{Sought, seek};
use super::{acpi, madt, read};
use crate::host::root::Root;
use crate::model::preflight::arch::Arch;
use crate::model::preflight::finding::Evidence;
use crate::model::snapshot::Fact;

const INTERRUPTS: &str = "/proc/interrupts";

/// Whether interrupts are isolated, and what tells.
#[must_use]
pub fn read(root: &Root, arch: Option<Arch>) -> (Fact<bool>, Option<Evidence>) {
    match arch {
        Some(Arch::S390 | Arch::Power) => (Fact::Is(true), None),
        Some(Arch::Arm) => arm(root),
        Some(Arch::X86) | None => {
            let fact = read::parsed(root, INTERRUPTS, remapped);
            let words = "no interrupt goes through a remapping controller (none is called IR-…)";
            let by = (fact == Fact::Is(false)).then(|| Evidence::new(INTERRUPTS, words));
            (fact, by)
        }
        Some(arch) => {
            let why = format!("nothing on {} tells whether interrupts of devices are kept apart", arch.as_str());
            (Fact::Unreadable(why), None)
        }
    }
}

/// The names of the controllers in `/proc/interrupts`.
fn controllers(interrupts: &str) -> impl Iterator<Item = &str> {
    interrupts.lines().skip(1).filter_map(|line| {
        let words = line.split_whitespace().skip(1);
        words.skip_while(|word| word.bytes().all(|b| b.is_ascii_digit())).take(1).next()
    })
}

/// Whether interrupts go through a remapping controller of x86, by the names of the controllers: those
/// that do begin with `IR-`. None where neither these nor the plain ones are found.
#[must_use]
pub fn remapped(interrupts: &str) -> Option<bool> {
    let mut plain = false;
    for controller in controllers(interrupts) {
        if controller.starts_with("IR-") || controller.starts_with("ITS") {
            return Some(true);
        }
        plain |= controller == "IO-APIC" || controller.starts_with("PCI-MSI");
    }
    plain.then_some(false)
}

/// Arm: an ITS, by the interrupts that go through it; else by what the firmware lists, since a machine
/// whose devices are all idle shows none.
fn arm(root: &Root) -> (Fact<bool>, Option<Evidence>) {
    let text = read::text(root, INTERRUPTS);
    let controllers = || text.is().into_iter().flat_map(|text| controllers(text));
    if let Some(its) = controllers().find(|name| name.starts_with("ITS")) {
        return (Fact::Is(true), Some(Evidence::new(INTERRUPTS, its)));
    }
    // No other controller of message-signalled interrupts keeps devices apart.
    if let Some(other) = controllers().find(|name| name.contains("MSI") || name.starts_with("GICv2m")) {
        return (Fact::Is(false), Some(Evidence::new(INTERRUPTS, other)));
    }
    let table = acpi::path("APIC");
    match root.read(&table).ok().and_then(|bytes| madt::has_its(&bytes)) {
        Some(true) => return (Fact::Is(true), Some(Evidence::new(table, "it lists an ITS"))),
        Some(false) => return (Fact::Is(false), Some(Evidence::new(table, "it lists no ITS"))),
        None => {}
    }
    let tree = "the device tree";
    match seek(root, &["arm,gic-v3-its", "arm,gic-v5-its"]) {
        Sought::Found => (Fact::Is(true), Some(Evidence::new(tree, "it has an ITS"))),
        Sought::None => (Fact::Is(false), Some(Evidence::new(tree, "it has no ITS"))),
        Sought::Unknown if seek(root, &["arm,gic-v2m-frame"]) == Sought::Found => {
            (Fact::Is(false), Some(Evidence::new(tree, "it has GICv2m, and no ITS was found")))
        }
        Sought::Unknown => {
            let why = "neither /proc/interrupts nor ACPI nor the device tree tells whether there is an ITS";
            (Fact::Unreadable(why.to_owned()), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HEAD: &str = "           CPU0       CPU1\n";

    #[test]
    fn remapping_is_told_by_the_controllers_names() {
        for (lines, expected) in [
            ("  9:  0  0  IR-IO-APIC    9-fasteoi   acpi\n", Some(true)),
            (" 24:  0  0  PCI-MSI 65536-edge      PCIe PME\n 25:  1 2  IR-PCI-MSI 49152-edge nvme\n", Some(true)),
            ("  1:  9  0   IO-APIC    1-edge      i8042\n 26: 5 0 PCI-MSIX-0000:00:03.0    0-edge eth0\n", Some(false)),
            ("  9:  0  0  GICv3  25 Level     vgic\n 44:  3 3  ITS-MSI 16384 Edge nvme\n", Some(true)),
            ("NMI:   0   0   Non-maskable interrupts\n", None),
            ("", None),
        ] {
            assert_eq!(remapped(&format!("{HEAD}{lines}")), expected, "{lines}");
        }
    }

    fn of(arch: Arch, files: &[(&str, &str)]) -> Option<bool> {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read(&Root::hostile(tree.path()).unwrap(), Some(arch)).0.is().copied()
    }

    #[test]
    fn isolation_is_a_matter_of_the_architecture() {
        let plain = format!("{HEAD}  2:  310  0  PCI-MSI  mlx5_async0@pci:00ab:00:00.0\n");
        let interrupts = |text: &str| format!("{HEAD}{text}");
        let file = "proc/interrupts";
        for (arch, text, expected) in [
            (Arch::S390, plain.clone(), Some(true)),
            (Arch::Power, interrupts(" 20: 0 0 PNV-PCI-MSI 134217728 Edge nvme0q0\n"), Some(true)),
            (Arch::X86, plain.clone(), Some(false)),
            (Arch::RiscV, interrupts(" 12: 0 0 PCI-MSIX-0000:01:00.0 0 Edge nvme0q0\n"), None),
            (Arch::Loongarch, plain, None),
            (Arch::Arm, interrupts(" 60: 0 0 ITS-PCI-MSIX-000f:01:00.0 0 Edge nvidia\n"), Some(true)),
            (Arch::Arm, interrupts(" 60: 0 0 ITS-pMSI 0 Edge smmu\n"), Some(true)),
            (Arch::Arm, interrupts(" 60: 0 0 GICv2m-PCI-MSIX-0000:01:00.0 0 Edge eth0-0\n"), Some(false)),
            (Arch::Arm, interrupts(" 60: 0 0 MSI 0 Edge eth0-0\n"), Some(false)),
            (Arch::Arm, interrupts("160: 0 0 MIP-MSI-d 524288 Edge nvme0q0\n"), Some(false)),
            (Arch::Arm, interrupts(" 11: 3 3 GICv3 27 Level arch_timer\n"), None),
        ] {
            assert_eq!(of(arch, &[(file, &text)]), expected, "{arch:?} {text}");
        }
        // All devices are idle: the device tree tells.
        let idle = (file, &*format!("{HEAD} 11: 3 3 GICv3 27 Level arch_timer\n"));
        let node = "proc/device-tree/intc@8000000/its@8080000/compatible";
        assert_eq!(of(Arch::Arm, &[idle, (node, "arm,gic-v3-its\0")]), Some(true));
        assert_eq!(of(Arch::Arm, &[idle, (node, "arm,gic-v2m-frame\0")]), Some(false));
    }
}
