//! Which functions the root file system's disks are behind.

use super::behind::Way;
use super::read;
use crate::host::root::{Root, is_absent};
use crate::model::preflight::survey::RootDisk;
use crate::model::snapshot::Fact;

/// The tables of mounts, the first that can be read counts.
pub(in crate::host) const MOUNTS: [&str; 2] = ["/proc/1/mountinfo", "/proc/self/mountinfo"];
pub(super) const BLOCK: &str = "/sys/class/block";
/// A directory for each btrfs, with links to its devices.
pub(in crate::host) const BTRFS: &str = "/sys/fs/btrfs";

/// The functions that the root file system's disks are behind; none where it is behind none.
#[must_use]
pub fn root_disk(root: &Root) -> RootDisk {
    let unknown = |why: String| RootDisk { unknown: Some(why), ..RootDisk::default() };
    let text = MOUNTS.iter().find_map(|path| read::text(root, path).is().cloned());
    let Some(text) = text else { return unknown("no mountinfo can be read".to_owned()) };
    let Some(mount) = Mount::of_root(&text) else {
        return unknown("no line of mountinfo is about /".to_owned());
    };
    match mount.link(root) {
        Ok(Some(link)) => {
            let way = mount.way(root, link);
            RootDisk { behind: way.functions, unknown: way.unknown }
        }
        Ok(None) => RootDisk::default(),
        Err(why) => unknown(why),
    }
}

/// A mounted file system.
pub(in crate::host) struct Mount<'t> {
    /// The number of its device; `0:35` where it has none or spans several.
    pub number: &'t str,
    /// `ext4`, `btrfs`.
    pub kind: &'t str,
    /// The path of its device, if it is on one.
    pub source: &'t str,
}

/// File systems that are on no disk of this machine.
const ELSEWHERE: [&str; 8] = ["tmpfs", "ramfs", "rootfs", "nfs", "nfs4", "cifs", "9p", "virtiofs"];

impl<'t> Mount<'t> {
    /// What mountinfo says of `/`: the last line of a mount point is the one on top, and behind `-`
    /// come kind and source.
    pub fn of_root(mountinfo: &'t str) -> Option<Mount<'t>> {
        mountinfo.lines().rev().find_map(|line| {
            let mut words = line.split(' ');
            let number = words.nth(2)?;
            if words.nth(1)? != "/" {
                return None;
            }
            let mut words = words.skip_while(|word| *word != "-").skip(1);
            Some(Mount { number, kind: words.next()?, source: words.next()? })
        })
    }

    /// The link in sysfs to its block device; none where it is on no disk. Btrfs has no number that
    /// sysfs knows, but a device for its source; overlay and ZFS have neither.
    ///
    /// # Errors
    /// When number and source do not tell.
    pub fn link(&self, root: &Root) -> Result<Option<String>, String> {
        if !self.number.starts_with("0:") {
            return Ok(Some(format!("/sys/dev/block/{}", self.number)));
        }
        if ELSEWHERE.contains(&self.kind) {
            return Ok(None);
        }
        let unknown = || format!("/ is {} on {}, which is no block device", self.kind, read::shortened(self.source));
        let name = self.source.strip_prefix("/dev/").ok_or_else(unknown)?;
        let Some(mapped) = name.strip_prefix("mapper/") else {
            // The kernel shows `!` for a `/` in a device's name.
            return Ok(Some(format!("{BLOCK}/{}", name.replace('/', "!"))));
        };
        let blocks = root.list(BLOCK).map_err(|e| format!("list {BLOCK}: {e}"))?;
        let is = |block: &String| read::text(root, &format!("{BLOCK}/{block}/dm/name")) == Fact::Is(mapped.to_owned());
        let block = blocks.iter().filter(|block| block.starts_with("dm-")).find(|block| is(block));
        block.map(|block| Some(format!("{BLOCK}/{block}"))).ok_or_else(unknown)
    }

    /// The way down from that, and from the other devices of the same file system.
    pub fn way(&self, root: &Root, link: String) -> Way {
        match self.others(root, &link) {
            Ok(mut links) => {
                links.push(link);
                Way::down(root, links)
            }
            Err(why) => Way { unknown: Some(why), ..Way::down(root, vec![link]) },
        }
    }

    /// All devices of the btrfs of which a block device is one: mountinfo names only that one.
    fn others(&self, root: &Root, link: &str) -> Result<Vec<String>, String> {
        let name = link.rsplit('/').next().unwrap_or_default();
        if !self.number.starts_with("0:") {
            return Ok(Vec::new());
        }
        let systems = match root.list(BTRFS) {
            // A tree that was saved without it.
            Err(e) if is_absent(&e) => return Ok(Vec::new()),
            systems => systems.map_err(|e| format!("list {BTRFS}: {e}"))?,
        };
        for system in systems {
            let directory = format!("{BTRFS}/{system}/devices");
            match root.list(&directory) {
                Ok(names) if names.iter().any(|known| known == name) => {
                    return Ok(names.iter().map(|name| format!("{directory}/{name}")).collect());
                }
                Err(e) if !is_absent(&e) => return Err(format!("list {directory}: {e}")),
                Ok(_) | Err(_) => {}
            }
        }
        if self.kind == "btrfs" { Err(format!("{BTRFS} does not know {name}")) } else { Ok(Vec::new()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A machine with a disk and a mapped device on it, on which `/` is mounted as the line says.
    fn found(line: &str) -> RootDisk {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        for directory in ["proc/1", "sys/dev/block", "sys/class/block", "sys/devices/virtual/block/dm-0/slaves"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        let mounts = format!("{line}\n22 21 8:1 / /boot rw - ext4 /dev/sda1 rw\n");
        fs::write(at("proc/1/mountinfo"), mounts).unwrap();
        let disk = "pci0000:00/0000:00:1c.0/0000:02:00.0/nvme/nvme0/nvme0n1";
        fs::create_dir_all(at(&format!("sys/devices/{disk}/nvme0n1p2"))).unwrap();
        fs::create_dir_all(at("sys/devices/virtual/block/dm-0/dm")).unwrap();
        fs::write(at("sys/devices/virtual/block/dm-0/dm/name"), "vg-root\n").unwrap();
        symlink(format!("../../../../{disk}"), at("sys/devices/virtual/block/dm-0/slaves/nvme0n1")).unwrap();
        symlink("../../devices/virtual/block/dm-0", at("sys/dev/block/253:0")).unwrap();
        symlink("../../devices/virtual/block/dm-0", at("sys/class/block/dm-0")).unwrap();
        symlink(format!("../../devices/{disk}/nvme0n1p2"), at("sys/class/block/nvme0n1p2")).unwrap();
        // Of a btrfs on two disks the second one is named.
        let other = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda";
        symlink(format!("../../devices/{other}"), at("sys/class/block/sda")).unwrap();
        let devices = at("sys/fs/btrfs/5c9e/devices");
        fs::create_dir_all(&devices).unwrap();
        fs::create_dir_all(at("sys/fs/btrfs/features")).unwrap();
        symlink(format!("../../../../devices/{other}"), devices.join("sda")).unwrap();
        symlink("../../../../devices/virtual/block/dm-0", devices.join("dm-0")).unwrap();
        root_disk(&Root::hostile(tree.path()).unwrap())
    }

    fn behind(functions: &[&str]) -> RootDisk {
        RootDisk { behind: functions.iter().map(|function| function.parse().unwrap()).collect(), unknown: None }
    }

    #[test]
    fn the_root_disk_is_found_by_its_number_also_through_a_mapped_device() {
        let disk = behind(&["0000:02:00.0"]);
        assert_eq!(found("21 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw"), disk);
    }

    #[test]
    fn the_root_disk_of_a_file_system_without_a_number_is_found_by_its_source() {
        let disk = behind(&["0000:02:00.0"]);
        assert_eq!(found("21 1 0:35 /@ / rw,noatime shared:1 - none /dev/nvme0n1p2 rw,subvol=/@"), disk);
    }

    #[test]
    fn a_file_system_on_two_disks_is_behind_both_whichever_is_named() {
        let disks = behind(&["0000:00:17.0", "0000:02:00.0"]);
        assert_eq!(found("21 1 0:35 / / rw - btrfs /dev/mapper/vg-root rw"), disks);
        assert_eq!(found("21 1 0:35 / / rw - btrfs /dev/sda rw"), disks);
    }

    #[test]
    fn a_btrfs_that_the_kernel_does_not_list_may_have_more_disks_than_the_one_that_is_named() {
        let found = found("21 1 0:35 /@ / rw - btrfs /dev/nvme0n1p2 rw,subvol=/@");
        assert_eq!(found.behind, behind(&["0000:02:00.0"]).behind);
        assert!(found.unknown.is_some());
    }

    #[test]
    fn a_root_disk_that_nobody_can_tell_is_unknown_and_not_none() {
        for line in [
            "21 1 0:40 / / rw - overlay overlay rw,lowerdir=/a",
            "21 1 0:41 / / rw - zfs rpool/ROOT/pve-1 rw,xattr",
            "21 1 0:35 / / rw - btrfs /dev/root rw",
            "21 1 0:35 / / rw - btrfs /dev/mapper/other rw",
            "21 1 8:1 / / rw - ext4 /dev/sda1 rw",
            "21 1 8:1 / /mnt rw - ext4 /dev/sda1 rw",
        ] {
            assert!(found(line).unknown.is_some(), "{line}");
        }
        assert_eq!(found("21 1 0:24 / / rw - nfs4 server:/root rw"), RootDisk::default());
    }
}
