//! Functions that are open by the kernel's own files about them, without a node in /dev: their memory
//! (`resource0`), their ROM, their configuration space (`config`, `/proc/bus/pci/01/00.0`). Programs
//! that flash a card, and drivers in user space, work so.
//!
//! Which file is open is told by its inode: sysfs and procfs give a file the same one wherever they are
//! mounted (seen on 6.18), and anybody may call a file of their own by any name.
//!
//! What is mapped, its file closed, shows in `/proc/<pid>/maps` alone. That is not read: it takes the
//! process's memory lock, which a process that is stuck can keep for ever, and without an answer from
//! each process nothing could be repaired any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::attributes::directory;
use super::descriptor::{Access, Descriptor};
use crate::host::root::{AtHand, Root, is_absent};
use crate::model::pci::Address;

/// Whose files are looked for, by owner.
#[derive(Debug, Clone)]
pub struct PciFiles<O> {
    by_inode: BTreeMap<u64, Vec<Known<O>>>,
    by_address: BTreeMap<Address, BTreeSet<O>>,
}

#[derive(Debug, Clone)]
struct Known<O> {
    device: (u64, u64),
    file_system: &'static str,
    owner: O,
}

// Derived, it would ask for an owner that has a default.
impl<O> Default for PciFiles<O> {
    fn default() -> PciFiles<O> {
        PciFiles { by_inode: BTreeMap::new(), by_address: BTreeMap::new() }
    }
}

impl<O: Copy + Ord> PciFiles<O> {
    /// Adds the files of a function.
    ///
    /// # Errors
    /// When they cannot be listed; a function that is not there has none.
    pub fn add(&mut self, root: &Root, address: Address, owner: O) -> io::Result<()> {
        self.by_address.entry(address).or_default().insert(owner);
        // In a saved tree the names are all there is.
        if root.is_hostile() {
            return Ok(());
        }
        let sysfs = directory(address);
        let names = match root.list(&sysfs) {
            Err(e) if is_absent(&e) => return Ok(()),
            names => names?,
        };
        for name in names.iter().filter(|name| of_sysfs(name).is_some()) {
            self.know(root, &format!("{sysfs}/{name}"), "sysfs", owner)?;
        }
        for path in of_procfs(address) {
            self.know(root, &path, "proc", owner)?;
        }
        Ok(())
    }

    fn know(&mut self, root: &Root, path: &str, file_system: &'static str, owner: O) -> io::Result<()> {
        match root.at_hand(path) {
            Ok(AtHand { device, inode, .. }) => {
                self.by_inode.entry(inode).or_default().push(Known { device, file_system, owner });
                Ok(())
            }
            Err(e) if is_absent(&e) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// Whose file this is, if it is open in a way that is use. `told` is what the kernel has at hand;
    /// nothing in a saved tree.
    #[must_use]
    pub fn owners(&self, root: &Root, file: Descriptor<'_>, target: &str, told: Option<AtHand>) -> BTreeSet<O> {
        let Some(space) = space(target) else { return BTreeSet::new() };
        let owners = match told {
            Some(told) => self.by_inode(root, file, told),
            None => address(target).and_then(|address| self.by_address.get(&address)).cloned().unwrap_or_default(),
        };
        if owners.is_empty() {
            return owners;
        }
        let (access, inode) = file.access_and_inode(root);
        // Anybody may open a configuration for reading, and close it or put another file in its place while
        // he is looked at.
        let closed = |told: AtHand| match inode {
            Some(inode) => inode != told.inode,
            None => space == Space::Configuration && access == Access::Unknown,
        };
        match (space, access) {
            _ if told.is_some_and(closed) => BTreeSet::new(),
            (_, Access::Path) | (Space::Configuration, Access::Read) => BTreeSet::new(),
            _ => owners,
        }
    }

    fn by_inode(&self, root: &Root, file: Descriptor<'_>, told: AtHand) -> BTreeSet<O> {
        let fits = |known: &&Known<O>| {
            // Each network namespace has a sysfs of its own, each pid namespace a procfs.
            known.device == told.device || file.is_on(root, known.file_system)
        };
        let known = self.by_inode.get(&told.inode).into_iter().flatten();
        known.filter(fits).map(|known| known.owner).collect()
    }
}

/// What of a function a file opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    /// Its memory or its ROM: only root may, and to read is use, too.
    Memory,
    /// Its configuration: anybody may read it, as lspci does.
    Configuration,
}

/// What a file opens, by its name alone, if it can be a function's.
fn space(target: &str) -> Option<Space> {
    let name = target.rsplit('/').next()?;
    of_sysfs(name).or_else(|| address(target).map(|_| Space::Configuration))
}

/// Whether a file by this path can be one of a function.
#[must_use]
pub fn may_be(target: &str) -> bool {
    space(target).is_some()
}

fn of_sysfs(name: &str) -> Option<Space> {
    let memory = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    match name {
        "rom" => Some(Space::Memory),
        "config" => Some(Space::Configuration),
        _ => name.strip_prefix("resource").is_some_and(memory).then_some(Space::Memory),
    }
}

/// Where procfs has a function: the domain is left out where it is 0.
fn of_procfs(address: Address) -> Vec<String> {
    let Address { domain, bus, device, function } = address;
    let place = format!("{bus:02x}/{device:02x}.{function}");
    let mut paths = vec![format!("/proc/bus/pci/{domain:04x}:{place}")];
    if domain == 0 {
        paths.push(format!("/proc/bus/pci/{place}"));
    }
    paths
}

/// The function that a path names, in sysfs or in procfs.
fn address(target: &str) -> Option<Address> {
    let mut parts = target.rsplit('/');
    let (last, above) = (parts.next()?, parts.next()?);
    if of_sysfs(last).is_some() {
        return above.parse().ok();
    }
    if parts.next() != Some("pci") {
        return None;
    }
    let domain = if above.contains(':') { "" } else { "0000:" };
    format!("{domain}{above}:{last}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const NIC: &str = "0000:03:00.0";

    fn nic() -> Address {
        NIC.parse().unwrap()
    }

    fn write(tree: &Path, path: &str, text: &str) {
        fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        fs::write(tree.join(path), text).unwrap();
    }

    /// Who owns what a process has open by this path of the tree, with these flags.
    fn owners(tree: &Path, opened: &str, flags: &str) -> usize {
        let root = Root::trusted(tree);
        let mut files = PciFiles::default();
        files.add(&root, nic(), nic()).unwrap();
        write(tree, "proc/8/fdinfo/3", &format!("flags:\t{flags}\nmnt_id:\t23\n"));
        let told = root.at_hand(opened).unwrap();
        let file = Descriptor { pid: 8, directory: "/proc/8/fd", name: "3" };
        files.owners(&root, file, opened, Some(told)).len()
    }

    fn machine() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for name in ["resource", "resource0", "resource2_wc", "rom", "config", "vendor"] {
            write(tree.path(), &format!("sys/bus/pci/devices/{NIC}/{name}"), "");
        }
        write(tree.path(), "proc/bus/pci/03/00.0", "");
        tree
    }

    #[test]
    fn memory_counts_however_it_is_open_and_configuration_when_it_can_be_written() {
        let tree = machine();
        let of = |name: &str, flags: &str| owners(tree.path(), &format!("/sys/bus/pci/devices/{NIC}/{name}"), flags);
        let (read, write, path) = ("0100000", "02100002", "012100000");
        for name in ["resource0", "resource2_wc", "rom"] {
            assert_eq!((of(name, read), of(name, write), of(name, path)), (1, 1, 0), "{name}");
        }
        assert_eq!((of("config", read), of("config", write), of("config", path)), (0, 1, 0));
        for name in ["resource", "vendor"] {
            assert_eq!(of(name, write), 0, "{name}");
        }
        let of = |flags: &str| owners(tree.path(), "/proc/bus/pci/03/00.0", flags);
        assert_eq!((of(read), of(write), of(path)), (0, 1, 0));
    }

    #[test]
    fn a_descriptor_that_is_closed_or_another_file_by_now_is_no_use() {
        let tree = machine();
        let root = Root::trusted(tree.path());
        let mut files = PciFiles::default();
        files.add(&root, nic(), nic()).unwrap();
        let file = Descriptor { pid: 8, directory: "/proc/8/fd", name: "3" };
        for (name, closed) in [("config", 0), ("resource0", 1)] {
            let path = format!("/sys/bus/pci/devices/{NIC}/{name}");
            let told = root.at_hand(&path).unwrap();
            let owners = || files.owners(&root, file, &path, Some(told)).len();
            let _ = fs::remove_file(tree.path().join("proc/8/fdinfo/3"));
            // Only root can have opened its memory: that is not passed over.
            assert_eq!(owners(), closed, "{name}");
            for (inode, wanted) in [(told.inode, 1), (told.inode + 1, 0)] {
                write(tree.path(), "proc/8/fdinfo/3", &format!("flags:\t0100002\nmnt_id:\t23\nino:\t{inode}\n"));
                assert_eq!(owners(), wanted, "{name}");
            }
        }
    }

    #[test]
    fn a_file_of_the_same_name_is_not_the_functions() {
        let tree = machine();
        write(tree.path(), &format!("tmp/sys/bus/pci/devices/{NIC}/resource0"), "");
        assert_eq!(owners(tree.path(), &format!("/tmp/sys/bus/pci/devices/{NIC}/resource0"), "02100002"), 0);
    }

    #[test]
    fn a_file_of_another_mount_of_sysfs_is_known_by_its_inode_and_the_mounts_type() {
        let tree = machine();
        let root = Root::trusted(tree.path());
        let mut files = PciFiles::default();
        files.add(&root, nic(), nic()).unwrap();
        write(tree.path(), "proc/8/fdinfo/3", "flags:\t02100002\nmnt_id:\t23\n");
        let path = format!("/sys/bus/pci/devices/{NIC}/resource0");
        let told = AtHand { device: (0, 99), ..root.at_hand(&path).unwrap() };
        let file = Descriptor { pid: 8, directory: "/proc/8/fd", name: "3" };
        for (kind, wanted) in [("sysfs", 1), ("tmpfs", 0), ("fuse.sshfs", 0)] {
            write(tree.path(), "proc/8/mountinfo", &format!("23 28 0:99 / /sys rw - {kind} sysfs rw\n"));
            assert_eq!(files.owners(&root, file, "/container/resource0", Some(told)).len(), wanted, "{kind}");
        }
    }

    #[test]
    fn the_function_is_read_from_a_saved_path() {
        for (path, wanted) in [
            ("/sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/resource0_wc", Some(NIC)),
            ("/sys/bus/pci/devices/0000:03:00.0/config", Some(NIC)),
            ("/proc/bus/pci/03/00.0", Some(NIC)),
            ("/proc/bus/pci/10000:e1/00.0", Some("10000:e1:00.0")),
            ("/sys/devices/pci0000:00/0000:03:00.0/resource", None),
            ("/proc/bus/pci/devices", None),
            ("/home/03/00.0", None),
            ("/etc/ssh/config", None),
            ("rom", None),
        ] {
            assert_eq!(address(path).map(|address| address.to_string()).as_deref(), wanted, "{path}");
        }
        assert_eq!(of_procfs(nic()), ["/proc/bus/pci/0000:03/00.0", "/proc/bus/pci/03/00.0"]);
    }
}
