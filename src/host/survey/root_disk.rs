//! Which function the root file system's disk is behind.

use super::read;
use crate::host::root::Root;
use crate::model::pci::Address;
use crate::model::snapshot::Fact;

/// The tables of mounts, the first that can be read counts.
pub(in crate::host) const MOUNTS: [&str; 2] = ["/proc/1/mountinfo", "/proc/self/mountinfo"];
const BLOCK: &str = "/sys/class/block";

/// The function that the root file system's disk is behind; absent where it is behind none.
#[must_use]
pub fn root_disk(root: &Root) -> Fact<Address> {
    let text = MOUNTS.iter().find_map(|path| read::text(root, path).is().cloned());
    let Some(text) = text else { return Fact::Unreadable("no mountinfo can be read".to_owned()) };
    let Some(mount) = Mount::of_root(&text) else {
        return Fact::Unreadable("no line of mountinfo is about /".to_owned());
    };
    let link = match mount.link(root) {
        Ok(Some(link)) => link,
        Ok(None) => return Fact::Absent,
        Err(why) => return Fact::Unreadable(why),
    };
    match root.read_link(&link) {
        Ok(_) => behind(root, &link, 4).map_or(Fact::Absent, Fact::Is),
        Err(e) => Fact::Unreadable(format!("read link {link}: {e}")),
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
}

/// The last PCI address in the path that a link of a block device leads to; of a mapped device, the
/// one below it.
fn behind(root: &Root, link: &str, depth: u32) -> Option<Address> {
    let target = root.read_link(link).ok()?;
    let steps = target.iter().filter_map(|step| step.to_str());
    let last = steps.filter(|step| step.len() >= 12).filter_map(|step| step.parse::<Address>().ok()).next_back();
    if last.is_some() || depth == 0 {
        return last;
    }
    let slaves = format!("{link}/slaves");
    root.list(&slaves).ok()?.iter().take(64).find_map(|slave| behind(root, &format!("{slaves}/{slave}"), depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A machine with a disk and a mapped device on it, on which `/` is mounted as the line says.
    fn found(line: &str) -> Fact<Address> {
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
        root_disk(&Root::hostile(tree.path()).unwrap())
    }

    #[test]
    fn the_root_disk_is_found_by_its_number_also_through_a_mapped_device() {
        let disk = Fact::Is("0000:02:00.0".parse().unwrap());
        assert_eq!(found("21 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw"), disk);
    }

    #[test]
    fn the_root_disk_of_a_file_system_without_a_number_is_found_by_its_source() {
        let disk = Fact::Is("0000:02:00.0".parse().unwrap());
        assert_eq!(found("21 1 0:35 /@ / rw,noatime shared:1 - btrfs /dev/nvme0n1p2 rw,subvol=/@"), disk);
        assert_eq!(found("21 1 0:35 / / rw - btrfs /dev/mapper/vg-root rw"), disk);
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
            assert!(found(line).unreadable().is_some(), "{line}");
        }
        assert_eq!(found("21 1 0:24 / / rw - nfs4 server:/root rw"), Fact::Absent);
    }
}
