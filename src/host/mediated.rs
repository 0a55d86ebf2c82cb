//! Mediated devices: parts of a function that its host driver gives to virtual machines (GVT-g, vGPU,
//! idxd). They go when that driver goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::look::nodes::{Node, parse_number};
use super::root::{Root, is_absent};
use crate::model::pci::Address;

/// Where the kernel lists them.
const DEVICES: &str = "/sys/bus/mdev/devices";
const FUNCTIONS: &str = "/sys/bus/pci/devices";
/// More than any machine has; a hostile tree may.
const MANY: usize = 1 << 16;

/// Whether a name is a UUID in its usual form. Each mediated device is called by one, and nothing else
/// below a PCI function is.
#[must_use]
pub fn is_uuid(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(hex)
}

/// A mediated device and its IOMMU group, as far as it has one.
pub type Grouped = BTreeMap<String, Option<u32>>;

/// All mediated devices, by the function whose driver carries them: those of the bus, and those right
/// below a function, of which a saved tree may have that directory alone.
///
/// # Errors
/// A sentence, when one of the lists cannot be read.
pub fn all(root: &Root, functions: &BTreeSet<Address>) -> Result<BTreeMap<Address, Grouped>, String> {
    let mut found: BTreeMap<Address, Grouped> = BTreeMap::new();
    let failed = |verb: &str, path: &str, e: &io::Error| format!("{verb} {path}: {e}");
    let mut add = |parent: Address, directory: &str, name: String| {
        let group = root.link_name(&format!("{directory}/{name}/iommu_group")).ok();
        found.entry(parent).or_default().insert(name, group.and_then(|group| group.parse().ok()));
    };
    match root.list(DEVICES) {
        Ok(names) => {
            for name in names.into_iter().take(MANY) {
                let path = format!("{DEVICES}/{name}");
                let target = root.read_link(&path).map_err(|e| failed("read", &path, &e))?;
                if let Some(parent) = parent(&target) {
                    add(parent, DEVICES, name);
                }
            }
        }
        Err(e) if is_absent(&e) => {}
        Err(e) => return Err(failed("list", DEVICES, &e)),
    }
    for function in functions {
        let path = format!("{FUNCTIONS}/{function}");
        match root.entries(&path) {
            Ok(entries) => {
                let named = entries.into_iter().filter(|(name, directory)| *directory && is_uuid(name));
                named.take(MANY).for_each(|(name, _)| add(*function, &path, name));
            }
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(failed("list", &path, &e)),
        }
    }
    Ok(found)
}

/// The nodes that a mediated device has for itself, beside its group's.
#[must_use]
pub fn nodes(root: &Root, parent: Address, device: &str) -> Vec<Node> {
    let places = [format!("{FUNCTIONS}/{parent}/{device}/vfio-dev"), format!("{DEVICES}/{device}/vfio-dev")];
    let node = |place: &str, name: String| {
        let text = root.read_text(&format!("{place}/{name}/dev")).ok()?;
        let (major, minor) = parse_number(&text)?;
        Some(Node { name: format!("vfio/devices/{name}"), number: Some((false, major, minor)) })
    };
    let names = |place: &String| root.list(place).unwrap_or_default();
    let mut found: Vec<Node> =
        places.iter().flat_map(|place| names(place).into_iter().filter_map(|name| node(place, name))).collect();
    found.dedup();
    found
}

/// The last PCI function that a path leads through.
fn parent(path: &Path) -> Option<Address> {
    path.iter().rev().find_map(|part| part.to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const GPU: &str = "0000:00:02.0";
    const UUID: &str = "1a9995f6-0000-4000-8000-000000000001";

    #[test]
    fn a_uuid_is_told_from_other_names() {
        for other in ["", "0000:00:02.0", "1a9995f6", "1a9995f6-0000-4000-8000-00000000000x", "1a9995f6-0000-4000-8000"]
        {
            assert!(!is_uuid(other), "{other}");
        }
        assert!(is_uuid(UUID) && is_uuid("83B8F4F2-509F-382F-3C1E-E6BFE0FA1001"));
    }

    #[test]
    fn they_are_found_by_the_bus_or_below_their_parent() {
        let parent: Address = GPU.parse().unwrap();
        for bus in [true, false] {
            let tree = tempfile::tempdir().unwrap();
            let at = |path: &str| tree.path().join(path);
            let deep = if bus { "/dsa0/wq0.0" } else { "" };
            let own = format!("sys/devices/pci0000:00/{GPU}{deep}/{UUID}");
            for directory in [own.as_str(), "sys/bus/mdev/devices", "sys/bus/pci/devices"] {
                fs::create_dir_all(at(directory)).unwrap();
            }
            symlink("../../../kernel/iommu_groups/20", at(&own).join("iommu_group")).unwrap();
            symlink(format!("../../../devices/pci0000:00/{GPU}"), at(&format!("sys/bus/pci/devices/{GPU}"))).unwrap();
            if bus {
                let target = format!("../../../devices/pci0000:00/{GPU}{deep}/{UUID}");
                symlink(target, at(&format!("sys/bus/mdev/devices/{UUID}"))).unwrap();
            }
            for root in [Root::trusted(tree.path()), Root::hostile(tree.path()).unwrap()] {
                let found = all(&root, &BTreeSet::from([parent])).unwrap();
                let group = BTreeMap::from([(UUID.to_owned(), Some(20))]);
                assert_eq!(found, BTreeMap::from([(parent, group)]));
            }
        }
    }
}
