//! All IOMMU groups, their reserved regions, their nodes, and who has those open.

use std::collections::{BTreeMap, BTreeSet};

use super::read;
use crate::host::look::holders::{Wanted, scan};
use crate::host::look::nodes::{Node as Known, parse_number};
use crate::host::mediated::{self, Grouped};
use crate::host::root::{Root, is_absent};
use crate::model::pci::Address;
use crate::model::preflight::survey::{Foreign, Group, Node, Region};
use crate::model::snapshot::{Fact, Holder};

const GROUPS: &str = "/sys/kernel/iommu_groups";
const AT_REST: &str = "a saved tree has no processes, so it does not tell who has a group open";
/// More groups or members than any machine has; a hostile tree may.
const MANY: usize = 1 << 16;
/// More regions than any group has.
const MANY_REGIONS: usize = 4096;

/// Reads all groups.
#[must_use]
pub fn read(root: &Root, unread: &mut Vec<String>) -> BTreeMap<u32, Group> {
    let names = match root.list(GROUPS) {
        Ok(names) => names,
        Err(e) => {
            if !is_absent(&e) {
                unread.push(format!("list {GROUPS}: {e}"));
            }
            return BTreeMap::new();
        }
    };
    let numbers = names.iter().filter_map(|name| name.parse::<u32>().ok()).take(MANY);
    numbers.map(|number| (number, group(root, number, unread))).collect()
}

fn group(root: &Root, number: u32, unread: &mut Vec<String>) -> Group {
    let path = |name: &str| format!("{GROUPS}/{number}/{name}");
    let (mut members, mut others) = (BTreeSet::new(), BTreeSet::new());
    match root.list(&path("devices")) {
        Ok(names) => {
            for name in names.into_iter().take(MANY) {
                match name.parse::<Address>() {
                    Ok(member) => _ = members.insert(member),
                    Err(_) => _ = others.insert(name),
                }
            }
        }
        Err(e) => unread.push(format!("list {}: {e}", path("devices"))),
    }
    let noiommu = read::text(root, &path("name")) == Fact::Is("vfio-noiommu".to_owned());
    let (kind, reserved) = (path("type"), path("reserved_regions"));
    let path = if noiommu { format!("/dev/vfio/noiommu-{number}") } else { format!("/dev/vfio/{number}") };
    let mut group = Group {
        members,
        others,
        kind: read::text(root, &kind),
        reserved: read::parsed(root, &reserved, regions),
        noiommu,
        node: node(root, &path),
        path,
    };
    let foreign = foreign(root, &group);
    if let Fact::Is(node) = &mut group.node {
        node.foreign = foreign;
    }
    group
}

/// The lines of `reserved_regions`; none when one makes no sense.
#[must_use]
pub fn regions(text: &str) -> Option<Vec<Region>> {
    let region = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = (read::number(words.next()?)?, read::number(words.next()?)?);
        let kind = words.next()?.to_owned();
        (start <= end && words.next().is_none()).then_some(Region { start, end, kind })
    };
    text.lines().take(MANY_REGIONS).map(region).collect()
}

/// Whether there are nodes for each device.
#[must_use]
pub fn device_nodes(root: &Root) -> Fact<()> {
    read::fact("stat", "/dev/vfio/devices", root.inode("/dev/vfio/devices").map(|_| ()))
}

/// A node, not opened: opening is exclusive. A saved tree has no rights of its own to show, and
/// perhaps no /dev at all.
#[must_use]
pub fn node(root: &Root, path: &str) -> Fact<Node> {
    if !root.is_live() && !root.exists("/dev/vfio").unwrap_or(true) {
        return Fact::Unreadable("the saved tree has no /dev/vfio".to_owned());
    }
    match read::fact("stat", path, root.mode(path)) {
        Fact::Is((mode, character)) => {
            Fact::Is(Node { mode: root.is_live().then_some(mode), character, foreign: None })
        }
        Fact::Absent => Fact::Absent,
        Fact::Unreadable(why) => Fact::Unreadable(why),
    }
}

/// The number that the kernel has given a group's node.
fn own_number(root: &Root, group: &Group) -> Option<(u64, u64)> {
    parse_number(&root.read_text(&group.number_file()).ok()?)
}

/// What a group's node is, where that is not the group's own. A copy's nodes are plain files.
fn foreign(root: &Root, group: &Group) -> Option<Foreign> {
    let own = own_number(root, group).filter(|_| root.is_live())?;
    let number = root.device_number(&group.path).ok()?;
    let is = number.and_then(|(block, major, minor)| (!block).then_some((major, minor)));
    let served = |(major, minor)| root.exists(&format!("/sys/dev/char/{major}:{minor}")).unwrap_or(true);
    (is != Some(own)).then(|| Foreign { is, own, served: is.is_some_and(served) })
}

/// Who has a group or a member of it open, by one scan of /proc; no scan while VFIO has no node for
/// any of them. Through iommufd a device is opened by a node of its own, its group's is left alone.
///
/// # Errors
/// A sentence, when an empty answer would not mean "nobody".
pub fn holders(
    root: &Root,
    groups: &BTreeMap<u32, Group>,
    mediated: &BTreeMap<Address, Grouped>,
) -> Result<BTreeMap<u32, Vec<Holder>>, String> {
    let mut wanted: Wanted<u32> = Wanted::default();
    let mut of_member = BTreeMap::new();
    // Those of mediated devices among them, which have no function for a member.
    for (owner, group) in groups {
        of_member.extend(group.members.iter().map(|member| (*member, *owner)));
        if !group.node.is_absent() {
            let name = group.path.trim_start_matches("/dev/").to_owned();
            let number = own_number(root, group).map(|(major, minor)| (false, major, minor));
            wanted.add(&Known { name, number }, *owner, "");
        }
    }
    for (parent, devices) in mediated {
        for (device, group) in devices.iter().filter_map(|(device, group)| Some((device, (*group)?))) {
            mediated::nodes(root, *parent, device).iter().for_each(|node| wanted.add(node, group, ""));
        }
    }
    if wanted.is_empty() && device_nodes(root).is_absent() {
        return Ok(BTreeMap::new());
    }
    let found = match scan(root, &wanted) {
        Err(_) if !root.is_live() => return Err(AT_REST.to_owned()),
        found => found?,
    };
    let mut held = found.holders;
    for process in found.opened {
        for named in process.named {
            let Some(number) = of_member.get(&named) else { continue };
            let holders = held.entry(*number).or_default();
            if !holders.iter().any(|known| known.pid == process.holder.pid) {
                holders.insert(Holder { node: named.to_string(), ..process.holder.clone() });
            }
        }
    }
    if held.is_empty() && !root.is_live() {
        return Err(AT_REST.to_owned());
    }
    Ok(held.into_iter().map(|(number, holders)| (number, holders.into_iter().collect())).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn regions_are_read_as_the_kernel_writes_them() {
        let text = "0x00000000fffc0000 0x00000000ffffffff direct\n0x00000000fee00000 0x00000000feefffff msi\n";
        let regions = regions(text).unwrap();
        assert_eq!((regions[0].start, regions[0].end, regions[0].kind.as_str()), (0xfffc_0000, 0xffff_ffff, "direct"));
        assert_eq!(regions[1].to_string(), "0xfee00000-0xfeefffff");
        assert_eq!(super::regions("").unwrap(), []);
    }

    fn group(members: &[&str], node: Fact<Node>) -> Group {
        Group {
            members: members.iter().map(|member| member.parse().unwrap()).collect(),
            others: BTreeSet::new(),
            kind: Fact::Absent,
            reserved: Fact::Absent,
            noiommu: false,
            node,
            path: "/dev/vfio/15".to_owned(),
        }
    }

    #[test]
    fn a_member_that_is_open_by_its_own_node_holds_the_whole_group() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        for directory in ["proc/8/fd", "dev/vfio/devices", "sys/class/vfio-dev/vfio3"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("proc/8/comm"), "qemu\n").unwrap();
        fs::write(at("proc/8/status"), "Uid:\t107\t107\t107\t107\n").unwrap();
        symlink("/dev/vfio/devices/vfio3", at("proc/8/fd/5")).unwrap();
        symlink("../../../0000:01:00.1", at("sys/class/vfio-dev/vfio3/device")).unwrap();
        let character = Fact::Is(Node { mode: None, character: true, foreign: None });
        for node in [character, Fact::Absent] {
            let groups = BTreeMap::from([(15, group(&["0000:01:00.0", "0000:01:00.1"], node))]);
            let found = holders(&Root::trusted(tree.path()), &groups, &BTreeMap::new()).unwrap();
            let said: Vec<String> = found[&15].iter().map(ToString::to_string).collect();
            assert_eq!(said, ["qemu[8] has 0000:01:00.1 open"]);
        }
    }

    #[test]
    fn a_saved_tree_without_holders_does_not_say_that_nobody_holds() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("proc/1/fd")).unwrap();
        let node = Fact::Is(Node { mode: None, character: true, foreign: None });
        let groups = BTreeMap::from([(15, group(&["0000:01:00.0"], node))]);
        assert!(holders(&Root::trusted(tree.path()), &groups, &BTreeMap::new()).unwrap_err().contains("no processes"));
    }

    #[test]
    fn a_line_that_makes_no_sense_spoils_all_of_them() {
        for text in ["0x1", "0x2 0x1 direct", "1 2 direct more", "x y direct"] {
            assert_eq!(regions(text), None, "{text}");
        }
    }
}
