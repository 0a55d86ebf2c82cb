//! Who has a device open: one scan of every process's open files for all functions together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nix::libc::{EACCES, EPERM, ESRCH};

use super::nodes::{Node, Number};
use super::opened::Opened;
use super::patience::failed;
use super::process::holder;
use super::view;
use crate::host::root::{Root, is_absent};
use crate::model::pci::Address;
use crate::model::snapshot::Holder;

/// The nodes that are looked for, and whose they are.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    by_number: BTreeMap<Number, BTreeSet<Address>>,
    by_name: Vec<(Node, Address)>,
}

impl Wanted {
    /// Adds a node of a function. A group's node belongs to several.
    pub fn add(&mut self, node: &Node, owner: Address) {
        if let Some(number) = node.number {
            self.by_number.entry(number).or_default().insert(owner);
        }
        self.by_name.push((node.clone(), owner));
    }

    /// Whose node has this number, or, where a node's number is not known, this name.
    fn numbered(&self, number: Number, tail: &str) -> BTreeSet<Address> {
        let named = self.by_name.iter().filter(|(node, _)| node.number.is_none() && node.name == tail);
        let numbered = self.by_number.get(&number).into_iter().flatten();
        named.map(|(_, owner)| owner).chain(numbered).copied().collect()
    }

    /// Whose node has this name, or one below it (`dri/card0` for `card0`).
    fn named(&self, tail: &str) -> BTreeSet<Address> {
        let fits = |node: &Node| tail == node.name || tail.ends_with(&format!("/{}", node.name));
        self.by_name.iter().filter(|(node, _)| fits(node)).map(|(_, owner)| *owner).collect()
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// What one scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// The holders of each function.
    pub holders: BTreeMap<Address, BTreeSet<Holder>>,
    /// Processes that have devices open by way of VFIO, whichever they are.
    pub opened: Vec<Opened>,
}

/// Looks through the open files of every process.
///
/// # Errors
/// A sentence, when there are no processes to look at, or one that may not be looked at: then an
/// empty answer would not mean "nobody".
pub fn scan(root: &Root, wanted: &Wanted) -> Result<Scan, String> {
    view::of_processes(root)?;
    let names = root.list("/proc").map_err(|e| failed("list", "/proc", &e))?;
    let mut pids = names.iter().filter_map(|name| name.parse::<u32>().ok()).peekable();
    if pids.peek().is_none() {
        return Err("list /proc: there are no processes in it (a saved tree has none)".to_owned());
    }
    let mut found = Scan::default();
    // This process opens disks while the scan runs; it holds nothing else.
    for pid in pids.filter(|pid| !root.is_live() || *pid != std::process::id()) {
        process(root, wanted, pid, &mut found)?;
    }
    Ok(found)
}

/// Where open files lie that are no nodes, and often many of them.
const NO_NODES: [&str; 4] = ["/memfd:", "/proc/", "/sys/", "/SYSV"];

/// Looks through one process's descriptors, or, when it has none, through its threads': those of a
/// process whose first thread has ended are only there.
fn process(root: &Root, wanted: &Wanted, pid: u32, found: &mut Scan) -> Result<(), String> {
    let own = format!("/proc/{pid}/fd");
    let Some(descriptors) = listed(root, &own)? else { return Ok(()) };
    if !descriptors.is_empty() {
        return files(root, wanted, pid, &own, &descriptors, found);
    }
    for thread in listed(root, &format!("/proc/{pid}/task"))?.unwrap_or_default() {
        let path = format!("/proc/{pid}/task/{thread}/fd");
        if thread != pid.to_string()
            && let Some(descriptors) = listed(root, &path)?
        {
            files(root, wanted, pid, &path, &descriptors, found)?;
        }
    }
    Ok(())
}

fn listed(root: &Root, path: &str) -> Result<Option<Vec<String>>, String> {
    settled(root.list(path), "list", path)
}

/// A process may end at any moment; one that may not be looked at spoils the scan.
fn settled<T>(result: io::Result<T>, verb: &str, path: &str) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if is_absent(&e) || e.raw_os_error() == Some(ESRCH) => Ok(None),
        Err(e) if matches!(e.raw_os_error(), Some(EACCES | EPERM)) => Err(format!(
            "{verb} {path}: {e}: vfiod lacks CAP_SYS_PTRACE or CAP_DAC_READ_SEARCH, so nobody knows who holds a device"
        )),
        Err(e) => Err(failed(verb, path, &e)),
    }
}

fn files(
    root: &Root,
    wanted: &Wanted,
    pid: u32,
    directory: &str,
    descriptors: &[String],
    found: &mut Scan,
) -> Result<(), String> {
    let (mut nameless, mut named, mut groups) = (0, BTreeSet::new(), BTreeSet::new());
    for descriptor in descriptors {
        let path = format!("{directory}/{descriptor}");
        let Some(target) = settled(root.read_link(&path), "read", &path)? else { continue };
        let target = target.to_string_lossy();
        if target == "anon_inode:[vfio-device]" {
            match told(root, directory, descriptor) {
                Some(owner) => {
                    named.insert(owner);
                    add(root, found, BTreeSet::from([owner]), pid, &target);
                }
                None => nameless += 1,
            }
            continue;
        }
        // The question below costs as much as the link did (2 µs): not where no node can be.
        if !target.starts_with('/') || NO_NODES.iter().any(|place| target.starts_with(place)) {
            continue;
        }
        let tail = target.split_once("/dev/").map(|(_, tail)| tail.strip_suffix(" (deleted)").unwrap_or(tail));
        let tail = tail.unwrap_or_default();
        if let Some(device) = tail.strip_prefix("vfio/devices/") {
            named.extend(of_device(root, device));
        } else if let Some(group) = tail.strip_prefix("vfio/") {
            groups.insert(group.to_owned());
        }
        let number = match target.starts_with("/dev/") {
            true => settled(root.device_number(&path), "stat", &path)?.flatten(),
            // A node may lie anywhere (a container's raw block volume), but a stat of a file on a dead
            // network mount would block for ever: only what the kernel has at hand is asked for.
            false => root.device_number_at_hand(&path),
        };
        let owners = match number {
            Some(number) => wanted.numbered(number, tail),
            // The /dev of a chroot or container that does not tell: compare the name alone.
            None if !tail.is_empty() => wanted.named(tail),
            None => continue,
        };
        add(root, found, owners, pid, &target);
    }
    if nameless > 0 || !named.is_empty() {
        let holder = holder(root, pid, "a VFIO device (nothing says which)");
        found.opened.push(Opened { holder, nameless, named, groups });
    }
    Ok(())
}

fn add(root: &Root, found: &mut Scan, owners: BTreeSet<Address>, pid: u32, node: &str) {
    if owners.is_empty() {
        return;
    }
    let holder = holder(root, pid, node);
    for owner in owners {
        found.holders.entry(owner).or_default().insert(holder.clone());
    }
}

/// The function behind the node `/dev/vfio/devices/<name>`.
fn of_device(root: &Root, name: &str) -> Option<Address> {
    root.link_name(&format!("/sys/class/vfio-dev/{name}/device")).ok()?.parse().ok()
}

/// The function behind a VFIO device's descriptor, where the kernel tells (from 6.17 on).
fn told(root: &Root, directory: &str, descriptor: &str) -> Option<Address> {
    let info = root.read_text(&format!("{directory}info/{descriptor}")).ok()?;
    syspath(&info)
}

fn syspath(info: &str) -> Option<Address> {
    let path = info.lines().find_map(|line| line.strip_prefix("vfio-device-syspath:"))?;
    path.trim().rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const GPU: &str = "0000:01:00.0";

    fn gpu() -> Address {
        GPU.parse().unwrap()
    }

    fn wanted(name: &str, number: Option<Number>) -> Wanted {
        let mut wanted = Wanted::default();
        wanted.add(&Node { name: name.to_owned(), number }, gpu());
        wanted
    }

    /// A process as /proc shows it, with one link a descriptor.
    fn process(tree: &Path, pid: u32, files: &[&str]) {
        let own = tree.join(format!("proc/{pid}"));
        fs::create_dir_all(own.join("fd")).unwrap();
        fs::write(own.join("comm"), "qemu\n").unwrap();
        fs::write(own.join("status"), "Uid:\t107\t107\t107\t107\n").unwrap();
        fs::write(own.join("cgroup"), "0::/system.slice/vm.service\n").unwrap();
        for (number, file) in files.iter().enumerate() {
            symlink(file, own.join("fd").join(number.to_string())).unwrap();
        }
    }

    #[test]
    fn whoever_has_a_node_open_is_found_by_the_nodes_number() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 7, &["/dev/zero"]);
        process(tree.path(), 8, &["/etc/passwd", "socket:[12]", "/dev/null"]);
        let root = Root::trusted(tree.path());
        let found = scan(&root, &wanted("card0", Some((false, 1, 3)))).unwrap();
        let holders: Vec<_> = found.holders[&gpu()].iter().map(ToString::to_string).collect();
        assert_eq!(holders, ["qemu[8] of vm.service has /dev/null open"]);
        assert_eq!(found.holders[&gpu()].first().unwrap().uid, 107);
        // A block device with the same number is another one.
        assert!(scan(&root, &wanted("sda", Some((true, 1, 3)))).unwrap().holders.is_empty());
    }

    #[test]
    fn a_deleted_node_and_one_in_a_chroot_are_told_by_name() {
        for target in ["/dev/vfio/15 (deleted)", "/srv/c1/dev/vfio/15"] {
            let tree = tempfile::tempdir().unwrap();
            process(tree.path(), 8, &[target]);
            let root = Root::trusted(tree.path());
            assert!(scan(&root, &wanted("vfio/15", None)).unwrap().holders.contains_key(&gpu()), "{target}");
            assert!(scan(&root, &wanted("vfio/5", None)).unwrap().holders.is_empty(), "{target}");
        }
    }

    #[test]
    fn a_node_outside_dev_is_told_by_its_number() {
        let tree = tempfile::tempdir().unwrap();
        let volume = tree.path().join("data/block");
        fs::create_dir_all(volume.parent().unwrap()).unwrap();
        symlink("/dev/null", &volume).unwrap();
        let file = tree.path().join("data/file");
        fs::write(&file, "").unwrap();
        process(tree.path(), 8, &[file.to_str().unwrap(), volume.to_str().unwrap(), "/data/gone"]);
        let root = Root::trusted(tree.path());
        let found = scan(&root, &wanted("nvme0n1", Some((false, 1, 3)))).unwrap();
        assert!(found.holders[&gpu()].first().unwrap().node.ends_with("data/block"));
        assert!(scan(&root, &wanted("nvme0n1", Some((true, 1, 3)))).unwrap().holders.is_empty());
    }

    #[test]
    fn a_thread_that_outlives_the_first_one_still_holds() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 8, &[]);
        let fd = tree.path().join("proc/8/task/9/fd");
        fs::create_dir_all(&fd).unwrap();
        symlink("/dev/null", fd.join("3")).unwrap();
        let found = scan(&Root::trusted(tree.path()), &wanted("card0", Some((false, 1, 3)))).unwrap();
        assert!(found.holders.contains_key(&gpu()));
    }

    #[test]
    fn what_a_process_has_of_vfio_is_noted_and_the_device_named_where_the_kernel_tells() {
        let tree = tempfile::tempdir().unwrap();
        let device = "anon_inode:[vfio-device]";
        process(tree.path(), 8, &[device, device, "/srv/c1/dev/vfio/7", "/dev/vfio/vfio", "/dev/vfio/noiommu-3"]);
        let root = Root::trusted(tree.path());
        let found = scan(&root, &wanted("vfio/15", None)).unwrap();
        assert!(found.holders.is_empty());
        let [opened] = found.opened.as_slice() else { panic!("{found:?}") };
        assert_eq!((opened.holder.pid, opened.nameless), (8, 2));
        assert!(opened.groups.contains("7") && opened.groups.contains("noiommu-3"), "{opened:?}");

        let info = tree.path().join("proc/8/fdinfo");
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("0"), format!("pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/{GPU}\n")).unwrap();
        let found = scan(&root, &wanted("vfio/15", None)).unwrap();
        assert!(found.holders.contains_key(&gpu()));
        assert_eq!((found.opened[0].nameless, &found.opened[0].named), (1, &BTreeSet::from([gpu()])));
    }

    #[test]
    fn a_devices_own_node_names_it_also_where_nobody_asked_for_it() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 8, &["/srv/c1/dev/vfio/devices/vfio3"]);
        let class = tree.path().join("sys/class/vfio-dev/vfio3");
        fs::create_dir_all(&class).unwrap();
        symlink(format!("../../../{GPU}"), class.join("device")).unwrap();
        let found = scan(&Root::trusted(tree.path()), &wanted("vfio/15", None)).unwrap();
        assert!(found.holders.is_empty());
        assert_eq!(found.opened[0].named, BTreeSet::from([gpu()]));
    }

    #[test]
    fn a_process_that_may_not_be_looked_at_spoils_the_scan_and_one_that_ended_does_not() {
        let denied = settled::<()>(Err(io::Error::from_raw_os_error(EACCES)), "list", "/proc/1/fd").unwrap_err();
        assert!(denied.contains("CAP_SYS_PTRACE"), "{denied}");
        assert_eq!(settled::<()>(Err(io::Error::from_raw_os_error(ESRCH)), "list", "/proc/1/fd"), Ok(None));
    }

    #[test]
    fn a_tree_without_processes_is_no_proof_that_nobody_holds() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("proc")).unwrap();
        assert!(scan(&Root::trusted(tree.path()), &wanted("card0", None)).is_err());
    }
}
