//! One function as sysfs shows it without blocking: its driver, and the nodes it can be held by.

use std::collections::BTreeSet;
use std::io;

use super::attributes::{Readings, directory, driver_link};
use super::nodes::{Below, Grouped, Node, below, parse_number};
use super::patience::{Reading, failed};
use crate::host::root::{Root, is_absent};
use crate::model::pci::{Address, Driver};

/// One function, before anything slow is asked.
#[derive(Debug)]
pub struct Site {
    /// Where it is.
    pub address: Address,
    /// The device object.
    pub object: u64,
    /// The driver link; none also when it cannot be read, and then `nodes` says so.
    pub driver: Option<Driver>,
    /// What lies below it.
    pub below: Result<Below, String>,
    /// All nodes by which it can be held, those of its group and of its children's among them.
    pub nodes: Result<Vec<Held>, String>,
    /// Its VFs and the functions below it: who has one of them open has a part of it.
    pub children: BTreeSet<Address>,
    /// The functions by whose files in sysfs and procfs it is used: these, and its group's.
    pub files: Result<BTreeSet<Address>, String>,
}

/// A node by which a function can be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The node.
    pub node: Node,
    /// Which of its children the node is of; empty for its own.
    pub of: String,
}

/// NVIDIA's file about a function, where its driver has it: the driver answers under a lock of its own.
#[must_use]
pub fn information(root: &Root, address: Address) -> Option<String> {
    let driver = driver_link(root, address).ok().flatten()?;
    (driver.as_str() == "nvidia").then(|| format!("/proc/driver/nvidia/gpus/{address}/information"))
}

/// What sysfs says without blocking: the driver and what lies below the function. `read` has each
/// [`information`].
#[must_use]
pub fn site(root: &Root, address: Address, object: u64, read: &Readings) -> Site {
    let path = directory(address);
    let driver = driver_link(root, address).map_err(|e| failed("read", &format!("{path}/driver"), &e));
    let below = below_of(root, address);
    let vfs = vfs(root, &path).map_err(|e| failed("list", &path, &e));
    let nodes = match (&driver, &below, &vfs) {
        (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => Err(why.clone()),
        (Ok(driver), Ok(below), Ok(vfs)) => all_nodes(root, address, driver.as_ref(), below, vfs, read),
    };
    let vfs = vfs.into_iter().flatten();
    let children: BTreeSet<Address> = below.iter().flat_map(|below| &below.functions).copied().chain(vfs).collect();
    let files = members(root, &path).map(|mut members| {
        members.extend(children.iter().copied().chain([address]));
        members
    });
    let files = files.map_err(|e| failed("list the group of", &path, &e));
    Site { address, object, driver: driver.unwrap_or_default(), below, nodes, children, files }
}

/// The `virtfnN` links of a PF.
fn vfs(root: &Root, directory: &str) -> io::Result<BTreeSet<Address>> {
    let names = match root.list(directory) {
        Err(e) if is_absent(&e) => return Ok(BTreeSet::new()),
        names => names?,
    };
    let mut found = BTreeSet::new();
    for name in names.iter().filter(|name| name.starts_with("virtfn")) {
        match root.link_name(&format!("{directory}/{name}")) {
            Ok(vf) => found.extend(vf.parse::<Address>()),
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// The functions in the group of a function.
fn members(root: &Root, directory: &str) -> io::Result<BTreeSet<Address>> {
    match root.list(&format!("{directory}/iommu_group/devices")) {
        Ok(names) => Ok(names.iter().filter_map(|name| name.parse().ok()).collect()),
        Err(e) if is_absent(&e) => Ok(BTreeSet::new()),
        Err(e) => Err(e),
    }
}

/// What lies below a function.
pub fn below_of(root: &Root, address: Address) -> Result<Below, String> {
    let path = directory(address);
    // Only PCI bridges have a class that begins so; a class that cannot be read is walked in full.
    let bridge = root.read_text(&format!("{path}/class")).is_ok_and(|class| class.starts_with("0x0604"));
    below(root, &path, bridge).map_err(|e| failed("walk", &path, &e))
}

fn all_nodes(
    root: &Root,
    address: Address,
    driver: Option<&Driver>,
    below: &Below,
    vfs: &BTreeSet<Address>,
    read: &Readings,
) -> Result<Vec<Held>, String> {
    let path = directory(address);
    let own = |node: Node| Held { node, of: String::new() };
    let mut found: Vec<Held> = below.nodes.iter().cloned().map(own).collect();
    found.extend(of_group(root, &path).map_err(|e| failed("find the group of", &path, &e))?.into_iter().map(own));
    if driver.is_some_and(|driver| driver.as_str() == "nvidia") {
        let file = format!("/proc/driver/nvidia/gpus/{address}/information");
        match read.get(&file) {
            Some(Reading::Text(text)) => {
                found.push(own(of_nvidia(text).ok_or_else(|| format!("read {file}: no Device Minor"))?));
            }
            Some(Reading::Failed(why) | Reading::Late(why)) => return Err(why.clone()),
            // A virtual function that the driver hands to guests is no GPU of the host's.
            Some(Reading::Gone) | None if below.vfio => {}
            Some(Reading::Gone) | None => return Err(format!("read {file}: not there, so its node is unknown")),
        }
    }
    found.extend(of_children(root, below, None)?);
    for vf in vfs {
        found.extend(of_vf(root, *vf)?);
    }
    Ok(found)
}

/// The nodes of the groups that devices below a function are in.
fn of_children(root: &Root, below: &Below, vf: Option<Address>) -> Result<Vec<Held>, String> {
    let mut found = Vec::new();
    for Grouped { name, group } in &below.groups {
        let nodes = group_nodes(root, group).map_err(|e| format!("find the node of group {group}, of {name}: {e}"))?;
        let of = vf.map_or_else(|| name.clone(), |vf| format!("{name} on {vf}"));
        found.extend(nodes.into_iter().map(|node| Held { node, of: of.clone() }));
    }
    Ok(found)
}

/// A VF lies beside its PF in sysfs, and goes with its PF's driver.
fn of_vf(root: &Root, vf: Address) -> Result<Vec<Held>, String> {
    let path = directory(vf);
    let below = match below(root, &path, false) {
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        below => below.map_err(|e| failed("walk", &path, &e))?,
    };
    let group = of_group(root, &path).map_err(|e| failed("find the group of", &path, &e))?;
    let own = below.nodes.iter().cloned().chain(group).map(|node| Held { node, of: vf.to_string() });
    Ok(own.chain(of_children(root, &below, Some(vf))?).collect())
}

/// The nodes through which VFIO gives an IOMMU group away: `/dev/vfio/15` or `/dev/vfio/noiommu-15`.
fn of_group(root: &Root, directory: &str) -> io::Result<Vec<Node>> {
    let group = match root.link_name(&format!("{directory}/iommu_group")) {
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        group => group?,
    };
    group_nodes(root, &group)
}

fn group_nodes(root: &Root, group: &str) -> io::Result<Vec<Node>> {
    let mut found = Vec::new();
    for name in [group.to_owned(), format!("noiommu-{group}")] {
        let number = match root.read_text(&format!("/sys/class/vfio/{name}/dev")) {
            Ok(text) => parse_number(&text).map(|(major, minor)| (false, major, minor)),
            Err(e) if is_absent(&e) => None,
            Err(e) => return Err(e),
        };
        let name = format!("vfio/{name}");
        if number.is_some() || root.exists(&format!("/dev/{name}"))? {
            found.push(Node { name, number });
        }
    }
    Ok(found)
}

/// The node of a GPU on NVIDIA's driver, from the text of `/proc/driver/nvidia/gpus/*/information`.
///
/// Its nodes are not in sysfs; their major number is 195.
fn of_nvidia(information: &str) -> Option<Node> {
    let minor = information.lines().find_map(|line| line.strip_prefix("Device Minor:"))?.trim().parse().ok()?;
    Some(Node { name: format!("nvidia{minor}"), number: Some((false, 195, minor)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn group_zero_has_a_node_like_any_other() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("sys/class/vfio/0")).unwrap();
        fs::write(tree.path().join("sys/class/vfio/0/dev"), "243:0\n").unwrap();
        fs::create_dir_all(tree.path().join("d")).unwrap();
        symlink("../kernel/iommu_groups/0", tree.path().join("d/iommu_group")).unwrap();
        let found = of_group(&Root::trusted(tree.path()), "/d").unwrap();
        assert_eq!(found, [Node { name: "vfio/0".into(), number: Some((false, 243, 0)) }]);
    }

    #[test]
    fn the_node_of_an_nvidia_gpu_is_read_from_its_information() {
        let captured =
            "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   \t\t 132\nBus Location: \t 0000:01:00.0\nDevice Minor: \t 1\n";
        assert_eq!(of_nvidia(captured).unwrap().name, "nvidia1");
        assert_eq!(of_nvidia("Device Minor: \t ?\n"), None);
    }
}
