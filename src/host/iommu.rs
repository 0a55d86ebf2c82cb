//! The machine's IOMMU: who drives it, and how many groups there are.

use std::collections::BTreeSet;

use super::root::Root;
use crate::model::picture::Iommu;

/// What `/sys/class/iommu` and `/sys/kernel/iommu_groups` say. Not the kernel command line: many
/// kernels need nothing there.
#[must_use]
pub fn of(root: &Root) -> Iommu {
    let names = root.list("/sys/class/iommu").unwrap_or_default();
    let kinds: BTreeSet<String> = names.iter().map(|name| kind(root, name)).collect();
    let groups = root.list("/sys/kernel/iommu_groups").map_or(0, |groups| groups.len());
    Iommu { kinds: kinds.into_iter().collect(), groups: u32::try_from(groups).unwrap_or(u32::MAX) }
}

/// `dmar0` is Intel's, `ivhd0` AMD's, `smmu3.0x…` Arm's; virtio's has the name of its device.
fn kind(root: &Root, name: &str) -> String {
    if name.starts_with("dmar") {
        return "intel".to_owned();
    }
    if name.starts_with("ivhd") {
        return "amd".to_owned();
    }
    if name.starts_with("smmu") || name.starts_with("arm-smmu") {
        return "arm-smmu".to_owned();
    }
    let driver = root.link_name(&format!("/sys/class/iommu/{name}/device/driver"));
    if driver.is_ok_and(|driver| driver.starts_with("virtio")) { "virtio".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_names_of_the_units_tell_whose_they_are() {
        let tree = tempfile::tempdir().unwrap();
        for name in ["dmar0", "dmar1", "ivhd0", "smmu3.0x00000000eefc0000", "other"] {
            fs::create_dir_all(tree.path().join("sys/class/iommu").join(name)).unwrap();
        }
        fs::create_dir_all(tree.path().join("sys/kernel/iommu_groups/0")).unwrap();
        let found = of(&Root::trusted(tree.path()));
        assert_eq!(found.kinds, ["amd", "arm-smmu", "intel", "other"]);
        assert_eq!(found.groups, 1);
        assert_eq!(of(&Root::trusted(tree.path().join("sys/none"))), Iommu::default());
    }
}
