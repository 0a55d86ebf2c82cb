//! The IOMMUs at work, what the firmware says of them, and whether interrupts go through one.

use std::collections::BTreeSet;

use super::{acpi, dmar, ivrs, read};
use crate::host::module_tree::{ModuleTree, Place};
use crate::host::root::{Root, is_absent};
use crate::model::preflight::survey::Iommu;
use crate::model::snapshot::Fact;

const UNITS: &str = "/sys/class/iommu";

/// Reads all about the IOMMUs.
#[must_use]
pub fn read(root: &Root, tree: &ModuleTree) -> Iommu {
    let units = match root.list(UNITS) {
        Ok(names) => Fact::Is(names.into_iter().collect()),
        // Without any IOMMU driver in the kernel there is no such class.
        Err(e) if is_absent(&e) => Fact::Is(BTreeSet::new()),
        Err(e) => Fact::Unreadable(format!("list {UNITS}: {e}")),
    };
    let there = |name: &str| {
        let path = acpi::path(name);
        match root.exists(&path) {
            Ok(true) => Fact::Is(()),
            Ok(false) => Fact::Absent,
            Err(e) => Fact::Unreadable(format!("stat {path}: {e}")),
        }
    };
    Iommu {
        units,
        remapping: read::parsed(root, "/proc/interrupts", remapped),
        dmar: acpi::read(root, "DMAR", dmar::parse),
        ivrs: acpi::read(root, "IVRS", ivrs::parse),
        viot: there("VIOT"),
        virtio_driver: virtio_driver(root, tree),
    }
}

/// Whether interrupts go through a remapping controller, by the names of their controllers.
///
/// On x86 remapped ones begin with `IR-`; on Arm the ITS keeps devices apart. None where neither
/// these nor the plain ones of x86 are found.
#[must_use]
pub fn remapped(interrupts: &str) -> Option<bool> {
    let mut plain = false;
    for line in interrupts.lines().skip(1) {
        let words = line.split_whitespace().skip(1).skip_while(|word| word.bytes().all(|b| b.is_ascii_digit()));
        let Some(controller) = words.take(1).next() else { continue };
        if controller.starts_with("IR-") || controller.starts_with("ITS") {
            return Some(true);
        }
        plain |= controller == "IO-APIC" || controller.starts_with("PCI-MSI");
    }
    plain.then_some(false)
}

fn virtio_driver(root: &Root, tree: &ModuleTree) -> Fact<String> {
    let Ok(module) = "virtio_iommu".parse() else { return Fact::Absent };
    let is = |how: &str| Fact::Is(how.to_owned());
    if tree.builtin.contains(&module) {
        return is("builtin");
    }
    if tree.files.contains_key(&module) || root.exists("/sys/module/virtio_iommu/initstate").unwrap_or(false) {
        return is("module");
    }
    match &tree.place {
        Place::At(_) => Fact::Absent,
        Place::Missing(release) => Fact::Unreadable(format!("there is no module tree for {release}")),
        Place::Unreadable(why) => Fact::Unreadable(why.clone()),
    }
}

#[cfg(test)]
mod tests {
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
}
