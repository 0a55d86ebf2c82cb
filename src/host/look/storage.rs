//! Whether a disk is in use: the kernel is asked by an exclusive open, the words come from elsewhere.
//!
//! A mount in another mount namespace is in nobody else's list, but an `O_EXCL` open of the block
//! device fails with EBUSY whoever has claimed it: a mount, swap, md, dm, LVM (seen on 6.1, 6.12).
//! Opening only for reading makes no event and creates nothing.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::libc::{EBUSY, ENOMEDIUM, ENXIO};
use procfs::process::MountInfo;

use super::nodes::Node;
use super::patience::failed;
use crate::host::root::Root;

/// What the exclusive open said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Free,
    Busy,
}

/// Who may have claimed a disk, as far as it is listed anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// Device number as `8:1`, source, mount point; of the first process's namespace.
    mounts: Vec<(String, String, String)>,
    /// Nodes that are swapped to.
    swaps: Vec<String>,
    /// Loop devices, each with the file that it shows, and that one's number if it is a node.
    loops: Vec<(String, String, Option<Number>)>,
}

/// The number of a node: whether it is a block device, major, minor.
type Number = (bool, u64, u64);

/// Which of a function's disks are in use: one sentence each.
///
/// # Errors
/// A sentence, when one of them could not be asked: a missing node is no free disk.
pub fn uses(root: &Root, blocks: &[Node]) -> Result<Vec<String>, String> {
    if blocks.is_empty() {
        return Ok(Vec::new());
    }
    if !root.is_live() {
        return Err("a saved tree does not tell whether a disk is in use".to_owned());
    }
    // Each partition too: the whole disk is busy when one of them is, but which one it is makes
    // the difference for whoever reads it.
    let claims = blocks.iter().map(|node| claim(root, node)).collect::<Result<Vec<_>, _>>()?;
    Ok(sentences(root, &Claims::read(root), blocks, &claims))
}

fn claim(root: &Root, node: &Node) -> Result<Claim, String> {
    let path = format!("/dev/{}", node.name);
    let there = root.device_number(&path).map_err(|e| failed("find", &path, &e))?;
    if there != node.number {
        return Err(format!("open {path}: it is another device than the kernel's {}", node.name));
    }
    // O_NONBLOCK: a drive without a medium answers at once.
    let flags = OFlag::O_EXCL | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    verdict(OpenOptions::new().read(true).custom_flags(flags.bits()).open(root.join(&path)).map(drop))
        .map_err(|e| failed("open", &path, &e))
}

fn verdict(opened: io::Result<()>) -> io::Result<Claim> {
    match opened {
        Ok(()) => Ok(Claim::Free),
        Err(e) => match e.raw_os_error() {
            Some(EBUSY) => Ok(Claim::Busy),
            // No medium, or the disk went away: nothing that could be in use.
            Some(ENOMEDIUM | ENXIO) => Ok(Claim::Free),
            _ => Err(e),
        },
    }
}

impl Claims {
    /// Reads what is listed; what cannot be read only costs an explanation.
    fn read(root: &Root) -> Claims {
        let mounts = root.read_text("/proc/1/mountinfo").unwrap_or_default();
        let swaps = root.read_text("/proc/swaps").unwrap_or_default();
        Claims { loops: loops(root), ..Claims::parse(&mounts, &swaps) }
    }

    /// The claims in `/proc/<pid>/mountinfo` and `/proc/swaps`; lines without sense are passed over.
    #[must_use]
    pub fn parse(mounts: &str, swaps: &str) -> Claims {
        Claims {
            mounts: mounts.lines().filter_map(mount).collect(),
            swaps: swaps.lines().skip(1).filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect(),
            loops: Vec::new(),
        }
    }

    /// The loop devices on a disk: by its number where the file leads to a node here, which may be a link,
    /// or of another namespace; else by its name.
    fn loops_on(&self, node: &Node) -> Vec<String> {
        let path = format!("/dev/{}", node.name);
        let on_it =
            |file: &String, number: &Option<Number>| *file == path || number.is_some() && *number == node.number;
        self.loops.iter().filter(|(_, file, number)| on_it(file, number)).map(|(name, _, _)| name.clone()).collect()
    }

    /// What has claimed a disk: one sentence each.
    #[must_use]
    pub fn of(&self, node: &Node) -> Vec<String> {
        let path = format!("/dev/{}", node.name);
        let number = node.number.map(|(_, major, minor)| format!("{major}:{minor}")).unwrap_or_default();
        // btrfs shows a number of its own, so the source is compared as well.
        let here = |(at, source, _): &&(String, String, String)| *at == number || *source == path;
        let mut points: Vec<&String> = self.mounts.iter().filter(here).map(|(_, _, point)| point).collect();
        points.sort_unstable();
        points.dedup();
        let mut found: Vec<String> = points.into_iter().map(|point| format!("is mounted at {point}")).collect();
        if self.swaps.contains(&path) {
            found.push("is swapped to".to_owned());
        }
        found
    }
}

/// The kernel names a loop device nowhere as a holder of what is below it, and an exclusive open of that
/// succeeds, mounted or not (seen on 6.1, 6.12).
fn loops(root: &Root) -> Vec<(String, String, Option<Number>)> {
    let names = root.list("/sys/class/block").unwrap_or_default().into_iter().filter(|name| name.starts_with("loop"));
    let shown = |name: String| {
        let file = root.read_text(&format!("/sys/class/block/{name}/loop/backing_file")).ok()?;
        let file = file.trim_end_matches('\n').to_owned();
        let number = root.at_hand(&file).ok().and_then(|told| told.number);
        Some((name, file, number))
    };
    names.filter_map(shown).collect()
}

/// Whether a file system of this type has for its source what whoever mounted it likes.
#[must_use]
pub fn is_anybodys(kind: &str) -> bool {
    kind == "fuse" || kind.starts_with("fuse.")
}

fn mount(line: &str) -> Option<(String, String, String)> {
    let info = MountInfo::from_line(line).ok()?;
    let point = info.mount_point.to_string_lossy().into_owned();
    // Anybody may mount a file system of his own by FUSE and name any disk as its source (`fsname=`). One
    // that is on a disk in truth (fuseblk) has the disk's number.
    let source = info.mount_source.filter(|_| !is_anybodys(&info.fs_type));
    Some((info.majmin, source.unwrap_or_default(), point))
}

/// A disk on a disk: LVM in LUKS on md on a partition is four.
const DEEPEST: usize = 8;

/// What has claimed a disk, or the disks made of it.
fn reasons(root: &Root, claims: &Claims, node: &Node, depth: usize) -> Vec<String> {
    let mut found = claims.of(node);
    let holders = root.list(&format!("/sys/class/block/{}/holders", node.name.replace('/', "!"))).unwrap_or_default();
    for holder in holders.into_iter().chain(claims.loops_on(node)) {
        let path = format!("/sys/class/block/{holder}");
        let dm = root.read_text(&format!("{path}/dm/name")).map(|name| format!(" ({})", name.trim()));
        let text = root.read_text(&format!("{path}/dev")).unwrap_or_default();
        let number = text.trim().split_once(':').and_then(|(a, b)| Some((true, a.parse().ok()?, b.parse().ok()?)));
        let used = format!("is used by {holder}{}", dm.unwrap_or_default());
        let upper = Node { name: holder.replace('!', "/"), number };
        let above = if depth < DEEPEST { reasons(root, claims, &upper, depth + 1) } else { Vec::new() };
        found.push(if above.is_empty() { used } else { format!("{used}, which {}", above.join(" and ")) });
    }
    found
}

fn sentences(root: &Root, claims: &Claims, blocks: &[Node], verdicts: &[Claim]) -> Vec<String> {
    let mut said = Vec::new();
    for (node, verdict) in blocks.iter().zip(verdicts) {
        let listed = reasons(root, claims, node, 0);
        said.extend(listed.iter().map(|reason| format!("{} {reason}", node.name)));
        // The whole disk is busy because a partition is; then the partition's sentence is enough.
        let partition =
            |(other, verdict): (&Node, &Claim)| *verdict == Claim::Busy && is_partition(&node.name, &other.name);
        if *verdict == Claim::Busy && listed.is_empty() && !blocks.iter().zip(verdicts).any(partition) {
            said.push(format!(
                "{} is held exclusively by something not visible from here (another mount namespace, ZFS, a program)",
                node.name
            ));
        }
    }
    said
}

/// Whether a name is that of a disk's partition: `vda1` of `vda`, `nvme0n1p1` of `nvme0n1`.
fn is_partition(disk: &str, name: &str) -> bool {
    let rest = match disk.ends_with(|last: char| last.is_ascii_digit()) {
        true => name.strip_prefix(disk).and_then(|rest| rest.strip_prefix('p')),
        false => name.strip_prefix(disk),
    };
    rest.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn block(name: &str, major: u64, minor: u64) -> Node {
        Node { name: name.to_owned(), number: Some((true, major, minor)) }
    }

    const MOUNTINFO: &str = "27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
        32 27 7:0 / /iso rw - ext4 /dev/loop0 rw\n\
        30 27 0:40 /@home /home\\040x rw - btrfs /dev/vdb rw\n\
        31 27 253:0 / /srv rw - xfs /dev/mapper/vg-srv rw\n\
        33 27 0:77 / /home/u/x rw - fuse.sshfs /dev/vdi rw,user_id=1000\n\
        34 27 254:144 / /mnt rw - fuseblk /dev/vdj rw,user_id=0\nnonsense\n";
    const SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/vdd partition\t1048572\t0\t-2\n";

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/1/mountinfo", MOUNTINFO);
        write("proc/swaps", SWAPS);
        write("sys/class/block/vdc2/holders/dm-0", "");
        write("sys/class/block/dm-0/dm/name", "vg-srv\n");
        write("sys/class/block/dm-0/dev", "253:0\n");
        write("sys/class/block/loop0/loop/backing_file", "/dev/vdg\n");
        write("sys/class/block/loop0/dev", "7:0\n");
        write("sys/class/block/loop1/loop/backing_file", "/var/image\n");
        write("sys/class/block/loop1/dev", "7:1\n");
        tree
    }

    fn said(blocks: &[Node], verdicts: &[Claim]) -> Vec<String> {
        let tree = tree();
        let root = Root::trusted(tree.path());
        sentences(&root, &Claims::read(&root), blocks, verdicts)
    }

    #[test]
    fn a_partition_in_use_is_named_with_its_mount_point_and_the_disk_is_not_repeated() {
        let blocks = [block("vda", 254, 0), block("vda1", 254, 1), block("vda2", 254, 2)];
        assert_eq!(said(&blocks, &[Claim::Busy, Claim::Busy, Claim::Free]), ["vda1 is mounted at /"]);
    }

    #[test]
    fn swap_btrfs_and_a_disk_under_dm_are_explained() {
        let blocks = [block("vdb", 254, 16), block("vdc2", 254, 34), block("vdd", 254, 48)];
        assert_eq!(
            said(&blocks, &[Claim::Busy; 3]),
            [
                "vdb is mounted at /home\\040x",
                "vdc2 is used by dm-0 (vg-srv), which is mounted at /srv",
                "vdd is swapped to",
            ]
        );
    }

    #[test]
    fn whoever_names_a_disk_as_the_source_of_a_file_system_of_his_own_does_not_use_it() {
        assert_eq!(
            said(&[block("vdi", 254, 128), block("vdj", 254, 144)], &[Claim::Free, Claim::Busy]),
            ["vdj is mounted at /mnt"]
        );
    }

    #[test]
    fn a_disk_under_a_loop_device_is_in_use_though_nobody_has_claimed_it() {
        assert_eq!(
            said(&[block("vdg", 254, 96), block("vdh", 254, 112)], &[Claim::Free; 2]),
            ["vdg is used by loop0, which is mounted at /iso"]
        );
    }

    #[test]
    fn a_claim_that_nothing_explains_is_still_a_use() {
        let found = said(&[block("vde", 254, 64), block("vdf", 254, 80)], &[Claim::Busy, Claim::Free]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("vde is held exclusively by something not visible"), "{found:?}");
    }

    #[test]
    fn a_partition_is_told_from_another_disk() {
        for (disk, name, is) in [
            ("vda", "vda1", true),
            ("nvme0n1", "nvme0n1p2", true),
            ("vda", "vda", false),
            ("sda", "sdaa", false),
            ("nvme0n1", "nvme0n11", false),
        ] {
            assert_eq!(is_partition(disk, name), is, "{disk} {name}");
        }
    }

    #[test]
    fn only_ebusy_means_in_use_and_only_a_missing_medium_means_free() {
        let error = |errno| verdict(Err(io::Error::from_raw_os_error(errno)));
        assert_eq!(verdict(Ok(())).unwrap(), Claim::Free);
        assert_eq!(error(EBUSY).unwrap(), Claim::Busy);
        assert_eq!(error(ENOMEDIUM).unwrap(), Claim::Free);
        assert_eq!(error(ENXIO).unwrap(), Claim::Free);
        for errno in [nix::libc::EPERM, nix::libc::EACCES, nix::libc::EIO] {
            assert!(error(errno).is_err(), "{errno}");
        }
    }

    #[test]
    fn a_missing_node_or_another_device_under_its_name_is_no_free_disk() {
        let root = Root::live();
        assert!(claim(&root, &block("no-such-disk", 254, 0)).unwrap_err().starts_with("find /dev/no-such-disk"));
        assert!(claim(&root, &block("null", 254, 0)).unwrap_err().contains("another device"));
    }

    #[test]
    fn a_saved_tree_does_not_answer_for_its_disks() {
        let tree = tree();
        let root = Root::trusted(tree.path());
        assert!(uses(&root, &[block("vda", 254, 0)]).is_err());
        assert_eq!(uses(&root, &[]), Ok(Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in ".{0,200}") {
            let _ = mount(&line);
        }
    }
}
