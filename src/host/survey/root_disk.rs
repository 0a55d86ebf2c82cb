//! Which functions the root file system's disks are behind.

use std::collections::BTreeSet;

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
    let mounts = Mount::of_system(&text, root);
    if mounts.is_empty() {
        return unknown("no line of mountinfo is about /".to_owned());
    }
    let mut found = RootDisk::default();
    for mount in mounts {
        match mount.link(root) {
            Ok(Some(link)) => {
                let way = mount.way(root, link);
                found.behind.extend(way.functions);
                found.unknown = found.unknown.or(way.unknown);
            }
            Ok(None) => {}
            Err(why) => found.unknown = Some(why),
        }
    }
    found
}

/// A mounted file system.
#[derive(Debug, Clone, Copy)]
pub(in crate::host) struct Mount<'t> {
    /// The number of its device; `0:35` where it has none or spans several.
    pub number: &'t str,
    /// `ext4`, `btrfs`.
    pub kind: &'t str,
    /// The path of its device, if it is on one; bcachefs has several, with `:` between.
    pub source: &'t str,
    /// Where it is mounted.
    pub at: &'t str,
    /// The file system's own options: of an overlay, what it is made of.
    options: &'t str,
}

/// Where systems have what they are made of: OSTree; Ubuntu's overlayroot; live systems of Debian, Ubuntu,
/// Fedora and Arch; Harvester and its like.
const SYSTEMS: [&str; 10] = [
    "/sysroot",
    "/media/root-ro",
    "/media/root-rw",
    "/run/live/medium",
    "/lib/live/mount/medium",
    "/cdrom",
    "/run/initramfs/live",
    "/run/archiso/bootmnt",
    "/run/initramfs/cos-state",
    "/run/cos/state",
];

/// File systems that are on no disk of this machine.
const ELSEWHERE: [&str; 8] = ["tmpfs", "ramfs", "rootfs", "nfs", "nfs4", "cifs", "9p", "virtiofs"];

impl<'t> Mount<'t> {
    /// A line of mountinfo: behind `-` come kind, source and options.
    pub fn of_line(line: &'t str) -> Option<Mount<'t>> {
        let mut words = line.split(' ');
        let number = words.nth(2)?;
        let at = words.nth(1)?;
        let mut words = words.skip_while(|word| *word != "-").skip(1);
        let (kind, source) = (words.next()?, words.next()?);
        Some(Mount { number, kind, source, at, options: words.next().unwrap_or_default() })
    }

    /// The mounts that the system is on: that of `/`, of which the last line is the one on top; in its
    /// place those that it is made of, where it is made of others (an overlay, an image on a loop device).
    pub fn of_system(mountinfo: &'t str, root: &Root) -> Vec<Mount<'t>> {
        let all: Vec<Mount<'t>> = mountinfo.lines().filter_map(Mount::of_line).collect();
        let Some(top) = all.iter().rposition(|mount| mount.at == "/") else { return Vec::new() };
        let below = match all[top].parts(root) {
            Some(parts) => Mount::below(&all, &parts),
            None => Vec::new(),
        };
        match below.is_empty() {
            true => all.into_iter().nth(top).into_iter().collect(),
            false => below,
        }
    }

    /// The files and directories that a file system is made of, where it is on no disk of its own.
    fn parts(&self, root: &Root) -> Option<Vec<String>> {
        if let Some(minor) = self.number.strip_prefix("7:") {
            let file = read::text(root, &format!("/sys/dev/block/7:{minor}/loop/backing_file"));
            return file.is().map(|file| vec![file.clone()]);
        }
        if !matches!(self.kind, "overlay" | "aufs" | "unionfs" | "fuse.unionfs-fuse" | "fuse.overlayfs") {
            return None;
        }
        let values = self.options.split(',').filter_map(|option| option.split_once('='));
        let named =
            values.filter(|(name, _)| matches!(name.trim_end_matches('+'), "lowerdir" | "upperdir" | "datadir" | "br"));
        Some(named.flat_map(|(_, paths)| paths.split(':')).map(str::to_owned).collect())
    }

    /// The mounts on disks that hold these paths, or, where none of them is to be seen any more, those
    /// that systems are put together from.
    fn below(all: &[Mount<'t>], parts: &[String]) -> Vec<Mount<'t>> {
        let on_disk = |mount: &&Mount<'t>| !mount.number.starts_with("0:") || mount.source.starts_with("/dev/");
        let holds = |mount: &&Mount<'t>, path: &str| {
            mount.at != "/" && path.strip_prefix(mount.at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let of_part = |path: &String| {
            all.iter().filter(|mount| holds(mount, path)).max_by_key(|mount| mount.at.len()).filter(on_disk)
        };
        let mut found: Vec<&Mount<'t>> = parts.iter().filter_map(of_part).collect();
        if found.is_empty() {
            found = all.iter().filter(|mount| SYSTEMS.contains(&mount.at)).filter(on_disk).collect();
        }
        let mut numbers = BTreeSet::new();
        found.into_iter().filter(|mount| numbers.insert(mount.number)).copied().collect()
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
        let first = self.source.split(":/dev/").next().unwrap_or_default();
        let name = first.strip_prefix("/dev/").ok_or_else(unknown)?;
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
        if self.source.contains(":/dev/") {
            let names = self.source.split(':').skip(1).filter_map(|path| path.strip_prefix("/dev/"));
            return Ok(names.map(|name| format!("{BLOCK}/{}", name.replace('/', "!"))).collect());
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
    fn a_system_that_is_put_together_is_behind_what_it_is_made_of() {
        let disk = behind(&["0000:02:00.0"]);
        for lines in [
            // Composefs: the objects are on the disk that is mounted at /sysroot.
            "60 1 0:32 / / ro - overlay composefs ro,lowerdir+=/run/x,datadir+=/sysroot/ostree/repo/objects\n61 60 253:0 / /sysroot ro - xfs /dev/mapper/vg-root rw",
            "60 1 0:32 / / ro - overlay composefs ro,lowerdir=/run/ostree/.private/cfsroot-lower\n61 60 253:0 / /sysroot ro - xfs /dev/mapper/vg-root rw",
            // Overlayroot: the upper layer is in memory.
            "60 1 0:32 / / rw - overlay overlayroot rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay\n61 60 253:0 / /media/root-ro ro - ext4 /dev/mapper/vg-root ro\n62 60 0:33 / /media/root-rw rw - tmpfs tmpfs-root rw",
            // A live system.
            "60 1 0:32 / / rw - overlay overlay rw,lowerdir=/run/live/rootfs/filesystem.squashfs/\n61 60 253:0 / /run/live/medium ro - iso9660 /dev/mapper/vg-root ro",
            // Several devices.
            "21 1 0:35 / / rw - bcachefs /dev/nvme0n1p2:/dev/nvme0n1p2 rw",
        ] {
            assert_eq!(found(lines), disk, "{lines}");
        }
        let both = found("21 1 0:35 / / rw - bcachefs /dev/nvme0n1p2:/dev/sda rw");
        assert_eq!(both, behind(&["0000:00:17.0", "0000:02:00.0"]));
        // Nothing of what it is made of is to be seen.
        assert!(found("60 1 0:32 / / rw - overlay overlay rw,lowerdir=/a").unknown.is_some());
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
