//! Which device nodes, disks and network interfaces belong to a function.

use std::collections::BTreeSet;
use std::io;

use crate::host::mediated;
use crate::host::root::{Root, is_absent};
use crate::model::pci::Address;

/// A device's number: whether it is a block device, major, minor.
pub type Number = (bool, u64, u64);

/// A device node that belongs to a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Its name below /dev as far as it is known: `vfio/15`, `card0`, `nvme0n1p1`.
    pub name: String,
    /// Its number; without one only the name can be compared.
    pub number: Option<Number>,
}

/// A network interface of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its directory in sysfs.
    pub path: String,
}

/// All that lies below a function's directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Below {
    /// Nodes, those of the disks among them.
    pub nodes: Vec<Node>,
    /// Disks and partitions.
    pub blocks: Vec<Node>,
    /// Network interfaces in this network namespace.
    pub interfaces: Vec<Interface>,
    /// Directories `net` without an interface. The kernel makes such a directory with the first
    /// interface and removes it with the last, so an empty one means that the interface is in
    /// another network namespace.
    pub empty_nets: Vec<String>,
    /// Directories `net` that have more interfaces than they show: the others are in another network
    /// namespace.
    pub partial_nets: Vec<String>,
    /// Whether VFIO has it: there is a `vfio-dev` directory (from 6.1 on).
    pub vfio: bool,
    /// Devices below it that have an IOMMU group of their own: mediated devices, functions behind a
    /// VMD controller.
    pub groups: BTreeSet<Grouped>,
    /// Functions below it.
    pub functions: BTreeSet<Address>,
    /// Mediated devices that its driver carries.
    pub mediated: BTreeSet<String>,
}

/// A device below a function, in an IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grouped {
    /// Its name: a mediated device's UUID, an address.
    pub name: String,
    /// The group, as its link names it.
    pub group: String,
}

/// Directories with neither nodes nor interfaces below them: a NIC has hundreds of them.
pub(in crate::host) const BARREN: [&str; 8] =
    ["power", "msi_irqs", "queues", "queue", "mq", "statistics", "holders", "slaves"];

/// More directories than any function has; a saved tree may hold anything.
const MOST: usize = 100_000;

/// Walks a function's directory without following a link: whatever its driver has made lies below it,
/// each with its nodes (`dev`) and its group (`iommu_group`), be it a mediated device, a vDPA or auxiliary
/// device, a disk or a port.
///
/// It descends into the functions below it unless it is a PCI bridge (`bridge`): those do not need
/// the bridge's driver, while unbinding the driver of a VMD controller takes all below it away.
///
/// # Errors
/// What is not readable; a directory that goes away meanwhile is no error.
pub fn below(root: &Root, directory: &str, bridge: bool) -> io::Result<Below> {
    let mut found = Below::default();
    let mut todo = vec![(directory.to_owned(), String::new())];
    let mut seen = 0;
    while let Some((path, name)) = todo.pop() {
        seen += 1;
        if seen > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many directories"));
        }
        let entries = match root.entries(&path) {
            Err(e) if is_absent(&e) && path != directory => continue,
            entries => entries?,
        };
        if name == "net" {
            let links = match root.links(&path) {
                Err(e) if is_absent(&e) => continue,
                links => links?,
            };
            interfaces(&mut found, &path, &entries, links);
        } else if !name.is_empty() && entries.iter().any(|(entry, _)| entry == "dev") {
            node(root, &mut found, &path, &name)?;
        }
        // A mediated device has one, too.
        found.vfio |= path.len() == directory.len() + "/vfio-dev".len() && path.ends_with("/vfio-dev");
        if path != directory {
            child(root, &mut found, &path, &name, &entries)?;
        }
        if let Some(head) = multipath_head(&name) {
            heads(root, &mut found, &head)?;
        }
        let functions = !bridge || path != directory;
        let wanted = |name: &str| !BARREN.contains(&name) && (functions || name.parse::<Address>().is_err());
        let inner = entries.into_iter().filter(|(name, directory)| *directory && wanted(name));
        todo.extend(inner.map(|(name, _)| (format!("{path}/{name}"), name)));
    }
    found.nodes.sort_unstable();
    found.nodes.dedup();
    found.blocks.sort_unstable();
    found.blocks.dedup();
    Ok(found)
}

/// Takes note of a device below the function, if the directory is one.
fn child(root: &Root, found: &mut Below, path: &str, name: &str, entries: &[(String, bool)]) -> io::Result<()> {
    let has = |wanted: &str| entries.iter().any(|(entry, _)| entry == wanted);
    if let Ok(function) = name.parse::<Address>() {
        found.functions.insert(function);
    }
    if has("mdev_type") || mediated::is_uuid(name) {
        found.mediated.insert(name.to_owned());
    }
    if !has("iommu_group") {
        return Ok(());
    }
    match root.link_name(&format!("{path}/iommu_group")) {
        Ok(group) => _ = found.groups.insert(Grouped { name: name.to_owned(), group }),
        Err(e) if is_absent(&e) => {}
        Err(e) => return Err(e),
    }
    Ok(())
}

/// A `net` directory lists the interfaces of this network namespace; its number of links is two and
/// one for each interface of any (kernfs counts them all; seen on 6.18). A file system that does not
/// count so has fewer, which says nothing.
fn interfaces(found: &mut Below, path: &str, entries: &[(String, bool)], links: u64) {
    let names: Vec<&String> = entries.iter().filter(|(_, directory)| *directory).map(|(name, _)| name).collect();
    if names.is_empty() {
        found.empty_nets.push(path.to_owned());
    } else if links > names.len() as u64 + 2 {
        found.partial_nets.push(path.to_owned());
    }
    found
        .interfaces
        .extend(names.into_iter().map(|name| Interface { name: name.clone(), path: format!("{path}/{name}") }));
}

fn node(root: &Root, found: &mut Below, path: &str, name: &str) -> io::Result<()> {
    let (text, class) = (root.read_text(&format!("{path}/dev")), root.link_name(&format!("{path}/subsystem")));
    let (text, class) = match (text, class) {
        (Err(e), _) if is_absent(&e) => return Ok(()),
        (text, Err(e)) if is_absent(&e) => (text?, String::new()),
        (text, class) => (text?, class?),
    };
    // A network interface may be called anything, so only what says a number is a node.
    let Some((major, minor)) = parse_number(&text) else { return Ok(()) };
    let block = class == "block";
    // The kernel writes `!` for the `/` in a node's name (cciss!c0d0).
    let name = match class.as_str() {
        "vfio-dev" => format!("vfio/devices/{name}"),
        _ => name.replace('!', "/"),
    };
    let node = Node { name, number: Some((block, major, minor)) };
    if block {
        found.blocks.push(node.clone());
    }
    found.nodes.push(node);
    Ok(())
}

/// A number as sysfs shows it: `254:0`.
#[must_use]
pub fn parse_number(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The disk that stands for one path to an NVMe namespace: `nvme0c1n2` is reached as `nvme0n2`.
///
/// With native multipath the disk lies below no PCI function, only the hidden path does.
pub(in crate::host) fn multipath_head(name: &str) -> Option<String> {
    let (subsystem, rest) = name.strip_prefix("nvme")?.split_once('c')?;
    let (controller, namespace) = rest.split_once('n')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    [subsystem, controller, namespace].into_iter().all(number).then(|| format!("nvme{subsystem}n{namespace}"))
}

fn heads(root: &Root, found: &mut Below, head: &str) -> io::Result<()> {
    let disk = format!("/sys/class/block/{head}");
    let entries = match root.entries(&disk) {
        Err(e) if is_absent(&e) => return Ok(()),
        entries => entries?,
    };
    node(root, found, &disk, head)?;
    for (name, directory) in entries {
        if directory && name.starts_with(head) {
            node(root, found, &format!("{disk}/{name}"), &name)?;
        }
    }
    // The character device of the same namespace: nvme0n1 and ng0n1.
    let generic = head.replacen("nvme", "ng", 1);
    node(root, found, &format!("/sys/class/nvme-generic/{generic}"), &generic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn class(root: &Path, path: &str, class: &str, number: &str) {
        fs::create_dir_all(root.join(path)).unwrap();
        fs::write(root.join(path).join("dev"), format!("{number}\n")).unwrap();
        symlink(format!("/sys/class/{class}"), root.join(path).join("subsystem")).unwrap();
    }

    fn names(nodes: &[Node]) -> Vec<&str> {
        nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn disks_partitions_characters_and_interfaces_are_found_below() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path();
        class(root, "d/nvme/nvme0", "nvme", "245:0");
        class(root, "d/nvme/nvme0/nvme0n1", "block", "259:0");
        class(root, "d/nvme/nvme0/nvme0n1/nvme0n1p1", "block", "259:1");
        class(root, "d/vfio-dev/vfio3", "vfio-dev", "511:3");
        fs::create_dir_all(root.join("d/virtio1/net/eth0")).unwrap();
        fs::create_dir_all(root.join("d/virtio2/net")).unwrap();
        fs::create_dir_all(root.join("elsewhere/net/eth9")).unwrap();
        symlink(root.join("elsewhere"), root.join("d/link")).unwrap();
        let hostile = Root::hostile(root).unwrap();
        for found in [below(&Root::trusted(root), "/d", false).unwrap(), below(&hostile, "/d", false).unwrap()] {
            assert_eq!(names(&found.nodes), ["nvme0", "nvme0n1", "nvme0n1p1", "vfio/devices/vfio3"]);
            assert_eq!(names(&found.blocks), ["nvme0n1", "nvme0n1p1"]);
            assert_eq!(found.blocks[1].number, Some((true, 259, 1)));
            assert_eq!(found.interfaces, [Interface { name: "eth0".into(), path: "/d/virtio1/net/eth0".into() }]);
            assert_eq!((found.empty_nets, found.partial_nets), (vec!["/d/virtio2/net".to_owned()], vec![]));
            assert!(found.vfio);
        }
    }

    #[test]
    fn an_interface_that_left_another_one_behind_shows_in_the_number_of_links() {
        let entries = [("eth0".to_owned(), true), ("uevent".to_owned(), false)];
        for (links, partial) in [(4, true), (3, false), (2, false), (1, false)] {
            let mut found = Below::default();
            interfaces(&mut found, "/d/net", &entries, links);
            assert_eq!(found.partial_nets.len(), usize::from(partial), "{links}");
            assert_eq!((found.interfaces.len(), found.empty_nets.len()), (1, 0));
        }
    }

    #[test]
    fn devices_below_are_found_with_their_groups_and_do_not_make_it_vfios() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path();
        let (mdev, function) = ("1a9995f6-0000-4000-8000-000000000001", "10000:e1:00.0");
        class(root, &format!("d/{mdev}/vfio-dev/vfio3"), "vfio-dev", "511:3");
        class(root, "d/vdpa0/vhost-vdpa-0", "vhost-vdpa", "240:0");
        class(root, "d/mlx5_core.sf.2/infiniband_verbs/uverbs2", "infiniband_verbs", "231:194");
        class(root, "d/uio/uio0", "uio", "239:0");
        fs::create_dir_all(root.join(format!("d/wq0/{mdev}2"))).unwrap();
        fs::create_dir_all(root.join(format!("d/pci10000:e0/{function}"))).unwrap();
        symlink("../../kernel/iommu_groups/20", root.join(format!("d/{mdev}/iommu_group"))).unwrap();
        symlink("../../../kernel/iommu_groups/21", root.join(format!("d/pci10000:e0/{function}/iommu_group"))).unwrap();
        symlink("mdev_supported_types/x", root.join(format!("d/wq0/{mdev}2/mdev_type"))).unwrap();
        let hostile = Root::hostile(root).unwrap();
        for found in [below(&Root::trusted(root), "/d", false).unwrap(), below(&hostile, "/d", false).unwrap()] {
            let grouped = |name: &str, group: &str| Grouped { name: name.to_owned(), group: group.to_owned() };
            assert_eq!(found.groups, BTreeSet::from([grouped(function, "21"), grouped(mdev, "20")]));
            assert_eq!(found.functions, BTreeSet::from([function.parse().unwrap()]));
            assert_eq!(found.mediated, BTreeSet::from([mdev.to_owned(), format!("{mdev}2")]));
            assert_eq!(names(&found.nodes), ["uio0", "uverbs2", "vfio/devices/vfio3", "vhost-vdpa-0"]);
            assert!(!found.vfio);
        }
    }

    #[test]
    fn a_bridge_does_not_answer_for_what_is_behind_it_and_a_vmd_controller_does() {
        let tree = tempfile::tempdir().unwrap();
        class(tree.path(), "d/0000:01:00.0/block/vdb", "block", "254:16");
        class(tree.path(), "v/pci10000:e0/10000:e0:06.0/block/vdc", "block", "254:32");
        let root = Root::trusted(tree.path());
        assert!(below(&root, "/d", true).unwrap().nodes.is_empty());
        assert_eq!(names(&below(&root, "/v", false).unwrap().blocks), ["vdc"]);
    }

    #[test]
    fn a_namespace_behind_nvme_multipath_is_found_by_its_path() {
        assert_eq!(multipath_head("nvme0c1n2").as_deref(), Some("nvme0n2"));
        for other in ["nvme0", "nvme0n1", "nvme0c1", "nvme0c1n2p1", "nvmexcxnx", "nc1n1", ""] {
            assert_eq!(multipath_head(other), None, "{other}");
        }
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("d/nvme/nvme0/nvme0c0n1")).unwrap();
        class(tree.path(), "sys/class/block/nvme0n1", "block", "259:0");
        class(tree.path(), "sys/class/block/nvme0n1/nvme0n1p2", "block", "259:2");
        class(tree.path(), "sys/class/nvme-generic/ng0n1", "nvme-generic", "244:0");
        let found = below(&Root::trusted(tree.path()), "/d", false).unwrap();
        assert_eq!(names(&found.blocks), ["nvme0n1", "nvme0n1p2"]);
        assert_eq!(names(&found.nodes), ["ng0n1", "nvme0n1", "nvme0n1p2"]);
    }
}
