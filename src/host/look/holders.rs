//! Who has a device open: one scan of every process's open files for all functions together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use nix::libc::{EACCES, ENAMETOOLONG, EPERM, ESRCH};

use super::descriptor::{Access, Descriptor};
use super::nodes::{Node, Number};
use super::opened::Opened;
use super::patience::failed;
use super::pci_files::{self, PciFiles};
use super::process::holder;
use super::view;
use crate::host::root::{AtHand, Root, is_absent};
use crate::model::pci::Address;
use crate::model::snapshot::Holder;

/// What is looked for, and whose it is: functions' or groups'.
#[derive(Debug, Clone)]
pub struct Wanted<O> {
    by_number: BTreeMap<Number, BTreeMap<O, String>>,
    by_name: Vec<(Node, O, String)>,
    files: PciFiles<O>,
}

// Derived, it would ask for an owner that has a default.
impl<O> Default for Wanted<O> {
    fn default() -> Wanted<O> {
        Wanted { by_number: BTreeMap::new(), by_name: Vec::new(), files: PciFiles::default() }
    }
}

/// Whose something is, and of what of theirs: empty for themselves, else the VF or mediated device.
type Owners<O> = BTreeMap<O, String>;

impl<O: Copy + Ord> Wanted<O> {
    /// Adds a node of an owner, or of its child `of`. A group's node belongs to several.
    pub fn add(&mut self, node: &Node, owner: O, of: &str) {
        if let Some(number) = node.number {
            self.by_number.entry(number).or_default().entry(owner).or_insert_with(|| of.to_owned());
        }
        self.by_name.push((node.clone(), owner, of.to_owned()));
    }

    /// Adds the kernel's files about a function.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn add_files(&mut self, root: &Root, function: Address, owner: O) -> io::Result<()> {
        self.files.add(root, function, owner)
    }

    /// Whose node has this number, or, where a node's number is not known, this name.
    fn numbered(&self, number: Number, tail: &str) -> Owners<O> {
        let named = self.by_name.iter().filter(|(node, ..)| node.number.is_none() && node.name == tail);
        let named = named.map(|(_, owner, of)| (*owner, of.clone()));
        named.chain(self.by_number.get(&number).cloned().unwrap_or_default()).collect()
    }

    /// Whose node has this name, or one below it (`dri/card0` for `card0`).
    fn named(&self, tail: &str) -> Owners<O> {
        if tail.is_empty() {
            return Owners::new();
        }
        let fits = |node: &Node| tail == node.name || tail.ends_with(&format!("/{}", node.name));
        let named = self.by_name.iter().filter(|(node, ..)| fits(node));
        named.map(|(_, owner, of)| (*owner, of.clone())).collect()
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.files.is_empty()
    }
}

/// What one scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan<O> {
    /// The holders of each owner.
    pub holders: BTreeMap<O, BTreeSet<Holder>>,
    /// Who has an owner's files in sysfs and procfs open in a way that is use.
    pub raw: BTreeMap<O, BTreeSet<Holder>>,
    /// Processes that have devices open by way of VFIO, whichever they are.
    pub opened: Vec<Opened>,
}

impl<O> Default for Scan<O> {
    fn default() -> Scan<O> {
        Scan { holders: BTreeMap::new(), raw: BTreeMap::new(), opened: Vec::new() }
    }
}

/// Looks through the open files of every process.
///
/// # Errors
/// A sentence, when there are no processes to look at, or one that may not be looked at: then an
/// empty answer would not mean "nobody".
pub fn scan<O: Copy + Ord>(root: &Root, wanted: &Wanted<O>) -> Result<Scan<O>, String> {
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

/// What stands for a path that the kernel does not show.
const TOO_LONG: &str = "/... (a path of more than 4095 bytes)";

/// Where open files lie that are no nodes, and often many of them.
const NO_NODES: [&str; 4] = ["/memfd:", "/proc/", "/sys/", "/SYSV"];

/// Looks through one process's descriptors, or, when it has none, through its threads': those of a
/// process whose first thread has ended are only there.
fn process<O: Copy + Ord>(root: &Root, wanted: &Wanted<O>, pid: u32, found: &mut Scan<O>) -> Result<(), String> {
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

/// What a descriptor leads to. A path that is longer than the kernel shows is anybody's to make (ENAMETOOLONG
/// by `d_path`): it has a name of its own here, and its number decides as for any other.
fn target(root: &Root, path: &str) -> io::Result<PathBuf> {
    match root.read_link(path) {
        Err(e) if e.raw_os_error() == Some(ENAMETOOLONG) => Ok(PathBuf::from(TOO_LONG)),
        told => told,
    }
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

/// What is open.
enum What {
    /// A device node.
    Node(Number),
    /// Something else, whatever it is called.
    File(AtHand),
    /// Only its name is known.
    Name,
    /// It was closed meanwhile.
    Gone,
}

/// What a descriptor has open. The number decides, not the name: that anybody can choose, below /dev too
/// (/dev/shm, a mount in a user namespace).
///
/// A file that its file system does not tell of is no node: what nodes lie on (devtmpfs, tmpfs, the
/// disks' file systems) answers out of memory. What fails is a server's or somebody's own (a FUSE inode
/// that went bad: EIO), and one such file of anybody's must not keep all devices from being repaired.
fn what(root: &Root, path: &str) -> Result<What, String> {
    match root.at_hand(path) {
        Ok(AtHand { number: Some(number), .. }) => Ok(What::Node(number)),
        // A saved tree has plain files for nodes, or none.
        _ if root.is_hostile() => Ok(What::Name),
        Ok(told) => Ok(What::File(told)),
        // The kernel's links lead to what is open also when it was deleted; those of a written tree lead nowhere.
        Err(e) if is_absent(&e) && !root.is_live() => Ok(What::Name),
        Err(e) if matches!(e.raw_os_error(), Some(EACCES | EPERM)) => {
            settled(Err(e), "stat", path).map(|_: Option<()>| What::Gone)
        }
        Err(_) => Ok(What::Gone),
    }
}

fn files<O: Copy + Ord>(
    root: &Root,
    wanted: &Wanted<O>,
    pid: u32,
    directory: &str,
    descriptors: &[String],
    found: &mut Scan<O>,
) -> Result<(), String> {
    let (mut nameless, mut named, mut groups) = (0, BTreeSet::new(), BTreeSet::new());
    for name in descriptors {
        let file = Descriptor { pid, directory, name };
        let path = file.path();
        let Some(target) = settled(target(root, &path), "read", &path)? else { continue };
        let target = target.to_string_lossy();
        if target == "anon_inode:[vfio-device]" {
            match file.vfio_device(root) {
                Some(function) => _ = named.insert(function),
                None => nameless += 1,
            }
            continue;
        }
        // The question below costs as much as the link did (2 µs): not where nothing of a device can be.
        let none = || NO_NODES.iter().any(|place| target.starts_with(place)) && !pci_files::may_be(&target);
        if !target.starts_with('/') || none() {
            continue;
        }
        let tail = target.split_once("/dev/").map(|(_, tail)| tail.strip_suffix(" (deleted)").unwrap_or(tail));
        let tail = tail.unwrap_or_default();
        let what = what(root, &path)?;
        let owners = match &what {
            What::Node(number) => wanted.numbered(*number, tail),
            What::Name => wanted.named(tail),
            What::File(_) => Owners::new(),
            What::Gone => continue,
        };
        let vfio = tail.strip_prefix("vfio/").filter(|_| !matches!(what, What::File(_)));
        // Whoever has a node open by its name alone has not opened the device, and needs no right to it.
        if (vfio.is_some() || !owners.is_empty()) && file.access(root) == Access::Path {
            continue;
        }
        match vfio.map(|name| (name, name.strip_prefix("devices/"))) {
            Some((_, Some(device))) => named.extend(of_device(root, device)),
            Some((group, None)) => _ = groups.insert(group.to_owned()),
            None => {}
        }
        add(root, &mut found.holders, owners, pid, &target);
        let files = match what {
            What::File(told) => wanted.files.owners(root, file, &target, Some(told)),
            What::Name => wanted.files.owners(root, file, &target, None),
            What::Node(_) | What::Gone => BTreeSet::new(),
        };
        add(root, &mut found.raw, files.into_iter().map(|owner| (owner, String::new())).collect(), pid, &target);
    }
    if nameless > 0 || !named.is_empty() {
        let holder = holder(root, pid, "a VFIO device (nothing says which)");
        found.opened.push(Opened { holder, nameless, named, groups });
    }
    Ok(())
}

fn add<O: Copy + Ord>(root: &Root, to: &mut BTreeMap<O, BTreeSet<Holder>>, owners: Owners<O>, pid: u32, node: &str) {
    if owners.is_empty() {
        return;
    }
    let holder = holder(root, pid, node);
    for (owner, of) in owners {
        let node = if of.is_empty() { node.to_owned() } else { format!("{node} (of {of})") };
        to.entry(owner).or_default().insert(Holder { node, ..holder.clone() });
    }
}

/// The function behind the node `/dev/vfio/devices/<name>`.
fn of_device(root: &Root, name: &str) -> Option<Address> {
    root.link_name(&format!("/sys/class/vfio-dev/{name}/device")).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const GPU: &str = "0000:01:00.0";

    fn gpu() -> Address {
        GPU.parse().unwrap()
    }

    fn wanted(name: &str, number: Option<Number>) -> Wanted<Address> {
        let mut wanted = Wanted::default();
        wanted.add(&Node { name: name.to_owned(), number }, gpu(), "");
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
    fn a_plain_file_with_a_nodes_name_holds_nothing_and_spoils_nothing() {
        let tree = tempfile::tempdir().unwrap();
        for name in ["dev/vfio/15", "dev/shm/dev/vfio/15"] {
            fs::create_dir_all(tree.path().join(name).parent().unwrap()).unwrap();
            fs::write(tree.path().join(name), "").unwrap();
        }
        let at = |name: &str| tree.path().join(name).to_str().unwrap().to_owned();
        let device = "anon_inode:[vfio-device]";
        process(tree.path(), 8, &[&at("dev/vfio/15"), &at("dev/shm/dev/vfio/15"), device]);
        let root = Root::trusted(tree.path());
        for number in [None, Some((false, 243, 0))] {
            let found = scan(&root, &wanted("vfio/15", number)).unwrap();
            assert!(found.holders.is_empty(), "{found:?}");
            // Nor does it account for a device that somebody has open.
            assert!(found.opened[0].groups.is_empty(), "{found:?}");
        }
        // A saved tree has plain files for nodes.
        process(tree.path(), 9, &["/dev/vfio/15"]);
        let hostile = Root::hostile(tree.path()).unwrap();
        assert!(scan(&hostile, &wanted("vfio/15", None)).unwrap().holders.contains_key(&gpu()));
    }

    #[test]
    fn a_node_that_is_open_by_its_name_alone_is_not_open() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 8, &["/dev/null"]);
        let info = tree.path().join("proc/8/fdinfo");
        fs::create_dir_all(&info).unwrap();
        let root = Root::trusted(tree.path());
        for (flags, held) in [("012100000", false), ("0100002", true), ("0100000", true)] {
            fs::write(info.join("0"), format!("pos:\t0\nflags:\t{flags}\n")).unwrap();
            let found = scan(&root, &wanted("card0", Some((false, 1, 3)))).unwrap();
            assert_eq!(found.holders.contains_key(&gpu()), held, "{flags}");
        }
    }

    #[test]
    fn a_file_that_fails_to_tell_what_it_is_spoils_nothing() {
        // A link that leads to itself stands for any error that is neither "not there" nor a lack of rights.
        let tree = tempfile::tempdir().unwrap();
        let circle = tree.path().join("dev/vfio/15");
        fs::create_dir_all(circle.parent().unwrap()).unwrap();
        symlink(&circle, &circle).unwrap();
        process(tree.path(), 8, &[circle.to_str().unwrap()]);
        process(tree.path(), 9, &["/dev/null"]);
        let root = Root::trusted(tree.path());
        let found = scan(&root, &wanted("vfio/15", Some((false, 1, 3)))).unwrap();
        let pids: Vec<u32> = found.holders[&gpu()].iter().map(|holder| holder.pid).collect();
        assert_eq!(pids, [9]);
    }

    #[test]
    fn a_file_whose_path_is_too_long_to_be_shown_spoils_nothing() {
        use nix::fcntl::{OFlag, openat};
        use nix::sys::stat::{Mode, mkdirat};
        let top = tempfile::tempdir().unwrap();
        let (name, flags) = ("d".repeat(200), OFlag::O_RDONLY | OFlag::O_CLOEXEC);
        // Deeper than a path can say, step by step.
        let mut here = nix::fcntl::open(top.path(), flags, Mode::empty()).unwrap();
        for _ in 0..22 {
            mkdirat(&here, name.as_str(), Mode::S_IRWXU).unwrap();
            here = openat(&here, name.as_str(), flags, Mode::empty()).unwrap();
        }
        let root = Root::live();
        let own = format!("/proc/self/fd/{}", here.as_raw_fd());
        let error = root.read_link(&own).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ENAMETOOLONG), "{error}");
        // A directory stands for the file, and a descriptor of this process for anybody's.
        let mut found = Scan::default();
        let descriptors = [here.as_raw_fd().to_string()];
        let pid = std::process::id();
        let wanted = wanted("vfio/15", Some((false, 1, 3)));
        files(&root, &wanted, pid, "/proc/self/fd", &descriptors, &mut found).unwrap();
        assert_eq!(found, Scan::default());
        assert!(matches!(what(&root, &own), Ok(What::File(_))));
    }

    #[test]
    fn a_childs_node_holds_its_parent_and_says_whose_it_is() {
        let tree = tempfile::tempdir().unwrap();
        process(tree.path(), 8, &["/dev/null"]);
        let mut wanted = Wanted::default();
        wanted.add(&Node { name: "vfio/20".to_owned(), number: Some((false, 1, 3)) }, gpu(), "0000:01:10.0");
        let found = scan(&Root::trusted(tree.path()), &wanted).unwrap();
        let holder = found.holders[&gpu()].first().unwrap();
        assert_eq!(holder.to_string(), "qemu[8] of vm.service has /dev/null (of 0000:01:10.0) open");
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
