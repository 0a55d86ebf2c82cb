//! What is reserved in a group, read once while the group stands.

use std::collections::BTreeSet;

use super::module_tree::release;
use super::root::Root;
use super::survey::{groups::regions, read};
use crate::model::pci::Address;
use crate::model::preflight::release::{is_backported, version};
use crate::model::preflight::reserved;
use crate::model::preflight::survey::Region;
use crate::model::snapshot::Fact;

/// A group's reserved regions, while the group stands.
#[derive(Debug, Clone)]
pub(super) struct Regions {
    /// The inode of the group's directory.
    pub(super) object: u64,
    pub(super) reserved: Fact<Vec<Region>>,
    /// Those for which the kernel refuses to open the group.
    pub(super) insisted: Fact<Vec<Region>>,
}

impl Regions {
    pub(super) fn read(root: &Root, number: u32, object: u64, members: &BTreeSet<Address>) -> Regions {
        let path = format!("/sys/kernel/iommu_groups/{number}/reserved_regions");
        let reserved = read::parsed(root, &path, regions);
        let mut insisted = reserved.clone();
        if let Fact::Is(regions) = &mut insisted {
            regions.retain(reserved::insists);
            if let Some(member) = members.first().filter(|_| !regions.is_empty()) {
                let unit = root.link_name(&format!("/sys/bus/pci/devices/{member}/iommu")).ok();
                let release = release(root).unwrap_or_default();
                let cares = reserved::refusal_by(version(&release), unit.as_deref()).is_some();
                if !cares && !is_backported(&release) {
                    regions.clear();
                }
            }
        }
        Regions { object, reserved, insisted }
    }
}
