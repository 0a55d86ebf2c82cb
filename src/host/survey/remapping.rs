//! The IOMMUs at work, and what the firmware says of them.

use std::collections::BTreeSet;

use super::{acpi, dmar, iort, isolation, ivrs};
use crate::host::module_tree::{ModuleTree, Place};
use crate::host::root::{Root, is_absent};
use crate::host::unsaved;
use crate::model::preflight::arch::Arch;
use crate::model::preflight::survey::Iommu;
use crate::model::snapshot::Fact;

const UNITS: &str = "/sys/class/iommu";

/// Reads all about the IOMMUs.
#[must_use]
pub fn read(root: &Root, tree: &ModuleTree, arch: Option<Arch>) -> Iommu {
    let units = match root.list(UNITS) {
        Ok(names) => Fact::Is(names.into_iter().collect()),
        // Without any IOMMU driver in the kernel there is no such class.
        Err(e) if is_absent(&e) => match unsaved::iommu(root) {
            Some(why) => Fact::Unreadable(why),
            None => Fact::Is(BTreeSet::new()),
        },
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
    let (remapping, remapping_by) = isolation::read(root, arch);
    Iommu {
        units,
        remapping,
        remapping_by,
        dmar: acpi::read(root, "DMAR", dmar::parse),
        ivrs: acpi::read(root, "IVRS", ivrs::parse),
        iort: acpi::read(root, "IORT", iort::parse),
        viot: there("VIOT"),
        virtio_driver: virtio_driver(root, tree),
    }
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
