//! One function as sysfs shows it without blocking: its driver, and the nodes it can be held by.

use std::io;

use super::attributes::{Readings, directory, driver_link};
use super::nodes::{Below, Node, below, parse_number};
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
    /// All nodes by which it can be held, those of its group among them.
    pub nodes: Result<Vec<Node>, String>,
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
    let nodes = match (&driver, &below) {
        (Err(why), _) | (_, Err(why)) => Err(why.clone()),
        (Ok(driver), Ok(below)) => all_nodes(root, address, driver.as_ref(), below, read),
    };
    Site { address, object, driver: driver.unwrap_or_default(), below, nodes }
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
    read: &Readings,
) -> Result<Vec<Node>, String> {
    let path = directory(address);
    let mut found = below.nodes.clone();
    found.extend(of_group(root, &path).map_err(|e| failed("find the group of", &path, &e))?);
    if driver.is_some_and(|driver| driver.as_str() == "nvidia") {
        let file = format!("/proc/driver/nvidia/gpus/{address}/information");
        match read.get(&file) {
            Some(Reading::Text(text)) => {
                found.push(of_nvidia(text).ok_or_else(|| format!("read {file}: no Device Minor"))?);
            }
            Some(Reading::Failed(why) | Reading::Late(why)) => return Err(why.clone()),
            // A virtual function that the driver hands to guests is no GPU of the host's.
            Some(Reading::Gone) | None if below.vfio => {}
            Some(Reading::Gone) | None => return Err(format!("read {file}: not there, so its node is unknown")),
        }
    }
    Ok(found)
}

/// The nodes through which VFIO gives an IOMMU group away: `/dev/vfio/15` or `/dev/vfio/noiommu-15`.
fn of_group(root: &Root, directory: &str) -> io::Result<Vec<Node>> {
    let group = match root.link_name(&format!("{directory}/iommu_group")) {
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        group => group?,
    };
    let mut found = Vec::new();
    for name in [group.clone(), format!("noiommu-{group}")] {
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
