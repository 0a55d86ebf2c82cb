//! The machine's IOMMU: who drives it, and how many groups there are.

use std::collections::BTreeSet;

use super::root::Root;
use crate::model::picture::Iommu;
use crate::model::preflight::make::Make;

/// What `/sys/class/iommu` and `/sys/kernel/iommu_groups` say. Not the kernel command line: many
/// kernels need nothing there.
#[must_use]
pub fn of(root: &Root) -> Iommu {
    let names = root.list("/sys/class/iommu").unwrap_or_default();
    let kinds: BTreeSet<String> = names.iter().map(|name| kind(root, name)).collect();
    let groups = root.list("/sys/kernel/iommu_groups").map_or(0, |groups| groups.len());
    Iommu { kinds: kinds.into_iter().collect(), groups: u32::try_from(groups).unwrap_or(u32::MAX) }
}

/// By its name; virtio's may have that of any device.
fn kind(root: &Root, name: &str) -> String {
    let by_driver = || {
        let driver = root.link_name(&format!("/sys/class/iommu/{name}/device/driver"));
        driver.is_ok_and(|driver| driver.starts_with("virtio"))
    };
    match Make::of(name) {
        Make::Other if by_driver() => "virtio".to_owned(),
        make => make.word().unwrap_or(name).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_names_of_the_units_tell_whose_they_are() {
        let tree = tempfile::tempdir().unwrap();
        for name in ["dmar0", "dmar1", "ivhd0", "smmu3.0x00000000eefc0000", "s390-iommu.00000100", "other"] {
            fs::create_dir_all(tree.path().join("sys/class/iommu").join(name)).unwrap();
        }
        fs::create_dir_all(tree.path().join("sys/kernel/iommu_groups/0")).unwrap();
        let found = of(&Root::trusted(tree.path()));
        assert_eq!(found.kinds, ["amd", "arm-smmu", "intel", "other", "s390"]);
        assert_eq!(found.groups, 1);
        assert_eq!(of(&Root::trusted(tree.path().join("sys/none"))), Iommu::default());
    }
}
