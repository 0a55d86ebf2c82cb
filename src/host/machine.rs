//! What holds for all devices of the machine, read only where it matters to one of them.

use std::collections::BTreeMap;

use super::module_tree::release;
use super::root::{Root, is_absent};
use super::survey::{arch, isolation, read};
use crate::model::pci::Address;
use crate::model::preflight::hardware::denied_since;
use crate::model::preflight::release::version;
use crate::model::snapshot::{Fact, Function, Platform};

/// What does not change while the machine runs.
#[derive(Debug, Default)]
pub struct Machine {
    kernel: Option<(u32, u32)>,
    remapping: Option<Fact<bool>>,
}

impl Machine {
    /// The facts that matter to these functions.
    pub fn facts(&mut self, root: &Root, functions: &BTreeMap<Address, Function>) -> Platform {
        let mut platform = Platform {
            kernel: *self.kernel.get_or_insert_with(|| version(&release(root).unwrap_or_default())),
            ..Platform::default()
        };
        if functions.is_empty() {
            return platform;
        }
        let mut groups = functions.values().filter_map(|function| function.group.is());
        platform.has_groups = groups.next().is_some() || any_group(root);
        platform.remapping = self.remapping(root);
        if platform.remapping == Fact::Is(false) {
            let modules = ["vfio_iommu_type1", "iommufd"].map(|module| on(root, module, "allow_unsafe_interrupts"));
            platform.unsafe_interrupts = either(modules);
        }
        if functions.values().any(|function| denied_since(function.card.ids).is_some()) {
            platform.denylist_disabled = on(root, "vfio_pci", "disable_denylist");
        }
        platform
    }

    fn remapping(&mut self, root: &Root) -> Fact<bool> {
        self.remapping.get_or_insert_with(|| isolation::read(root, arch::read(root)).0).clone()
    }
}

/// Whether there is a group at all. A list that cannot be read is not an empty one.
fn any_group(root: &Root) -> bool {
    match root.list("/sys/kernel/iommu_groups") {
        Ok(names) => names.into_iter().next().is_some(),
        Err(e) => !is_absent(&e),
    }
}

/// A switch of a module; absent where the module is, or has no such switch.
fn on(root: &Root, module: &str, parameter: &str) -> Fact<bool> {
    read::parsed(root, &format!("/sys/module/{module}/parameters/{parameter}"), |text| match text.trim_end() {
        "Y" | "1" => Some(true),
        "N" | "0" => Some(false),
        _ => None,
    })
}

/// On if one is; off if one is off and nothing is unknown.
fn either(switches: [Fact<bool>; 2]) -> Fact<bool> {
    let unknown = switches.iter().find(|switch| switch.unreadable().is_some()).cloned();
    let told = switches.iter().filter_map(Fact::is).copied().reduce(|a, b| a || b);
    match (told, unknown) {
        (Some(true), _) => Fact::Is(true),
        (_, Some(unknown)) => unknown,
        (Some(false), None) => Fact::Is(false),
        (None, None) => Fact::Absent,
    }
}
