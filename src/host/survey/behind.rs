//! Which functions a block device is behind, by the links of sysfs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use crate::host::root::{Root, is_absent};
use crate::model::pci::Address;

/// More block devices than any disk is made of; a saved tree may hold anything.
const MANY: usize = 512;
/// Block devices that the kernel makes up.
const VIRTUAL: &str = "/sys/devices/virtual/";

/// What was found on the way down from block devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::host) struct Way {
    /// The functions at its ends.
    pub functions: BTreeSet<Address>,
    /// The links that were followed, and where each of them leads, if anywhere: a copy of them leads the
    /// same way.
    pub links: BTreeMap<String, Option<String>>,
    /// Why there may be more functions.
    pub unknown: Option<String>,
}

impl Way {
    /// Follows links to block devices, and those to all that they are made of.
    pub fn down(root: &Root, links: Vec<String>) -> Way {
        let mut way = Way::default();
        let mut todo = links;
        while let Some(link) = todo.pop() {
            if way.links.contains_key(&link) {
                continue;
            }
            let led = root.read_link(&link).map(|target| place(&link, &target));
            way.links.insert(link.clone(), led.as_ref().ok().cloned());
            if way.links.len() > MANY {
                way.unknown = Some("the root disk is made of too many others".to_owned());
                break;
            }
            let below = match led {
                Ok(place) => way.below(root, &place),
                Err(e) => Err(format!("read link {link}: {e}")),
            };
            match below {
                Ok(below) => todo.extend(below),
                Err(why) => way.unknown = Some(why),
            }
        }
        way
    }

    /// Notes the function that a block device is behind; else the links to what it is made of. None
    /// are left where it is evident that no function is below it: its controller is on another bus.
    fn below(&mut self, root: &Root, place: &str) -> Result<Vec<String>, String> {
        let found = functions(place);
        if !found.is_empty() {
            self.functions.extend(found);
            return Ok(Vec::new());
        }
        let unknown = || format!("{place} does not tell which device it is behind");
        let Some(made_up) = place.strip_prefix(VIRTUAL) else {
            let elsewhere = place.strip_prefix("/sys/devices/").filter(|device| !device.starts_with("pci"));
            return elsewhere.map(|_| Vec::new()).ok_or_else(unknown);
        };
        let links = match made_up.strip_prefix("nvme-subsystem/").and_then(|path| path.split('/').next()) {
            // The disk of native multipath lies below no controller: the subsystem has links to them.
            Some(subsystem) => {
                let directory = format!("{VIRTUAL}nvme-subsystem/{subsystem}");
                let names = root.list(&directory).map_err(|e| format!("list {directory}: {e}"))?;
                let controllers = names.iter().filter(|name| is_controller(name));
                controllers.map(|name| format!("{directory}/{name}")).collect()
            }
            None => slaves(root, place)?,
        };
        if links.is_empty() { Err(unknown()) } else { Ok(links) }
    }
}

/// The last function in a path, and those above it in whose own domain it is (Intel VMD).
pub(super) fn functions(place: &str) -> Vec<Address> {
    // Short addresses would be read as well; sysfs has none.
    let address = |step: &&str| step.parse::<Address>().ok().filter(|_| step.len() >= 12);
    let steps: Vec<&str> = place.split('/').collect();
    let above = steps.windows(2).filter(|pair| pair[1].starts_with("pci")).filter_map(|pair| address(&pair[0]));
    above.chain(steps.iter().rev().find_map(address)).collect()
}

/// What a mapped device or an array is made of; a partition is made of what its disk is made of.
fn slaves(root: &Root, place: &str) -> Result<Vec<String>, String> {
    let disk = place.rsplit_once('/').map_or("", |(disk, _)| disk);
    for directory in [format!("{place}/slaves"), format!("{disk}/slaves")] {
        match root.list(&directory) {
            Ok(names) => return Ok(names.iter().map(|name| format!("{directory}/{name}")).collect()),
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(format!("list {directory}: {e}")),
        }
    }
    Ok(Vec::new())
}

/// Whether a name is that of an NVMe controller: `nvme0`, and not a disk's, `nvme0n1`.
fn is_controller(name: &str) -> bool {
    name.strip_prefix("nvme").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Where a link leads, as a path without links: sysfs has none above a device.
pub(super) fn place(link: &str, target: &Path) -> String {
    let parent = link.rsplit_once('/').map_or("", |(parent, _)| parent);
    let mut steps: Vec<String> = match target.is_absolute() {
        true => Vec::new(),
        false => parent.split('/').filter(|step| !step.is_empty()).map(str::to_owned).collect(),
    };
    for step in target.components() {
        match step {
            Component::ParentDir => drop(steps.pop()),
            Component::Normal(name) => steps.push(name.to_string_lossy().into_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    format!("/{}", steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const FIRST: &str = "pci0000:00/0000:00:1c.0/0000:02:00.0/nvme/nvme0";
    const SECOND: &str = "pci0000:80/0000:80:1c.0/0000:82:00.0/nvme/nvme1";

    /// The way down from `/sys/dev/block/9:9`, with directories and links below /sys.
    fn way(directories: &[&str], links: &[(&str, &str)]) -> Way {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join("sys").join(path);
        fs::create_dir_all(at("dev/block")).unwrap();
        for directory in directories {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for (link, target) in links {
            fs::create_dir_all(at(link).parent().unwrap()).unwrap();
            let up = "../".repeat(link.split('/').count() - 1);
            symlink(format!("{up}{target}"), at(link)).unwrap();
        }
        Way::down(&Root::hostile(tree.path()).unwrap(), vec!["/sys/dev/block/9:9".to_owned()])
    }

    fn shown(way: &Way) -> Vec<String> {
        way.functions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_partition_of_a_multipath_disk_is_behind_all_controllers_of_its_subsystem() {
        let subsystem = "devices/virtual/nvme-subsystem/nvme-subsys0";
        let (first, second) = (format!("{subsystem}/nvme0"), format!("{subsystem}/nvme1"));
        let disk = format!("{subsystem}/nvme0n1/nvme0n1p2");
        let links = [
            ("dev/block/9:9", disk.as_str()),
            (&first, &format!("devices/{FIRST}")),
            (&second, &format!("devices/{SECOND}")),
        ];
        let found = way(&[&disk], &links);
        assert_eq!((shown(&found), &found.unknown), (vec!["0000:02:00.0".into(), "0000:82:00.0".into()], &None));
        assert_eq!(found.links.len(), 3);
        // Without the links to them nobody knows.
        let found = way(&[&disk], &links[..1]);
        assert!(found.functions.is_empty() && found.unknown.is_some(), "{found:?}");
    }

    #[test]
    fn an_array_is_behind_what_all_its_members_are_behind_also_by_a_partition() {
        let (array, head) = ("devices/virtual/block/md0", "devices/virtual/nvme-subsystem/nvme-subsys1");
        let links = [
            ("dev/block/9:9", "devices/virtual/block/md0/md0p1"),
            ("devices/virtual/block/md0/slaves/nvme0n1p1", &format!("devices/{FIRST}/nvme0n1/nvme0n1p1")),
            ("devices/virtual/block/md0/slaves/nvme1n1", &format!("{head}/nvme1n1")),
            (&format!("{head}/nvme1"), &format!("devices/{SECOND}")),
        ];
        let found = way(&[&format!("{array}/md0p1")], &links);
        assert_eq!((shown(&found), &found.unknown), (vec!["0000:02:00.0".into(), "0000:82:00.0".into()], &None));
        // One member that nobody can tell spoils no other.
        let found = way(&[&format!("{array}/md0p1")], &links[..3]);
        assert_eq!(shown(&found), ["0000:02:00.0"]);
        assert!(found.unknown.is_some());
    }

    #[test]
    fn only_a_controller_on_another_bus_is_evidence_that_no_function_is_below() {
        for place in ["devices/platform/a003e00.virtio_mmio/virtio1/block/vda", "devices/platform/host2/block/sda"] {
            assert_eq!(way(&[], &[("dev/block/9:9", place)]).unknown, None, "{place}");
        }
        let loops = "devices/virtual/block/loop0";
        for place in [loops, "devices/virtual/block/dm-7", "devices/pci0000:00/odd/block/sda", "elsewhere"] {
            let found = way(&[&format!("{loops}/slaves")], &[("dev/block/9:9", place)]);
            assert!(found.unknown.is_some() && found.functions.is_empty(), "{place}");
        }
        assert!(way(&[], &[]).unknown.is_some());
    }

    #[test]
    fn a_circle_of_mapped_devices_ends() {
        let (first, second) = ("devices/virtual/block/dm-0", "devices/virtual/block/dm-1");
        let links = [
            ("dev/block/9:9", first),
            ("devices/virtual/block/dm-0/slaves/dm-1", second),
            ("devices/virtual/block/dm-1/slaves/dm-0", first),
        ];
        assert!(way(&[], &links).functions.is_empty());
    }

    #[test]
    fn the_controller_of_a_domain_of_its_own_is_on_the_way() {
        let place = "devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0/nvme/nvme0/nvme0n1";
        assert_eq!(shown(&way(&[], &[("dev/block/9:9", place)])), ["0000:00:0e.0", "10000:e1:00.0"]);
    }
}
