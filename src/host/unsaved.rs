//! What a saved tree leaves out: nobody knows what the machine had there.

use super::root::Root;
use crate::model::preflight::survey::NOT_SAVED;
use crate::model::snapshot::Fact;

/// The answer for what is not there: that there is none, or that the tree does not tell, where it has
/// nothing of `place`.
#[must_use]
pub fn absent<T>(root: &Root, place: &str) -> Fact<T> {
    why(root, place).map_or(Fact::Absent, Fact::Unreadable)
}

/// Why nobody knows, where the tree has nothing of `place`.
#[must_use]
pub fn why(root: &Root, place: &str) -> Option<String> {
    root.lacks(place).then(|| format!("{NOT_SAVED}{place}"))
}

/// Why nobody knows whether there is an IOMMU. Either directory tells: an empty one, that there is none.
#[must_use]
pub fn iommu(root: &Root) -> Option<String> {
    why(root, "/sys/class/iommu").filter(|_| root.lacks("/sys/kernel/iommu_groups"))
}

/// Why nobody knows which driver a function is on. A tree of nothing but the functions' own files has
/// no drivers; one of more has at least the directory of a driver that is loaded.
#[must_use]
pub fn drivers(root: &Root) -> Option<String> {
    why(root, "/sys/bus/pci/drivers").filter(|_| root.lacks("/proc/modules"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_none_on_the_machine_itself_and_in_a_whole_snapshot_only() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("sys")).unwrap();
        let hostile = Root::hostile(tree.path()).unwrap();
        assert_eq!(absent::<()>(&Root::trusted(tree.path()), "/proc/modules"), Fact::Absent);
        let unknown = Fact::Unreadable("the saved tree has no /proc/modules".to_owned());
        assert_eq!(absent::<()>(&hostile, "/proc/modules"), unknown);
        assert_eq!(absent::<()>(&hostile, "/sys"), Fact::Absent);
        let mark = |text: &str| std::fs::write(tree.path().join("snapshot"), text).unwrap();
        mark("vfiod 0.1.0\nLook at it: vfiodctl --root x check\n");
        assert_eq!(absent::<()>(&hostile, "/proc/modules"), unknown);
        mark("vfiod 0.2.0\nWhole: what is not in it was not there.\n");
        assert_eq!(absent::<()>(&hostile, "/proc/modules"), Fact::Absent);
        mark("vfiod 0.2.0\nWhole: as far as it could be read.\nCould not be read:\n  read /proc/modules: EACCES\n");
        assert_eq!(absent::<()>(&hostile, "/proc/modules"), unknown);
        assert_eq!(absent::<()>(&hostile, "/proc/iomem"), Fact::Absent);
    }
}
