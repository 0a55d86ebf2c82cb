//! Whether only root can write what the configuration of this machine is read from.
//!
//! Whoever may write one of the files decides what root does; so does whoever may replace one,
//! because a directory on the way to it is his. The way is walked step by step, links included.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::readlink;
use nix::sys::stat::{FileStat, SFlag, lstat, major, minor};

use super::error::Problem;
use crate::model::printable::printable;

/// More links in a row than the kernel follows.
const LINKS: usize = 40;
/// Write permission of the group and of all others. An access list shows in the group's.
const OF_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// What is at the end of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A file that is read if it is there.
    File,
    /// A directory of which every file is read.
    Directory,
}

/// Everything on the way from `root` to `path` that others than the `owners` can change: files and
/// directories, as somebody within `root` would write them. What is not there is nobody's, if the
/// directory that it is missing from is the owners'.
///
/// Errors of the file system are left to whoever reads the file.
#[must_use]
pub fn doubts(root: &Path, path: &Path, end: End, owners: &[u32]) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut steps: VecDeque<OsString> = steps_of(path).into();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    let Some(mut stat) = stat_at(root, &here) else { return found };
    loop {
        let directory = kind(&stat) == SFlag::S_IFDIR;
        let step = steps.pop_front();
        if !directory {
            if step.is_none() {
                found.extend(doubt(&here, &stat, stat.st_mode & OF_OTHERS != 0, owners));
            }
            return found;
        }
        let there = step.as_ref().filter(|step| *step != "..").map(|step| here.join(step));
        let next = there.as_ref().and_then(|there| stat_at(root, there));
        // In a sticky directory nobody but its owner and the file's may replace a file; but anybody
        // may add one.
        let kept = stat.st_mode & STICKY != 0
            && match (&next, &step) {
                (Some(next), _) => owners.contains(&next.st_uid),
                (None, Some(step)) => step == "..",
                (None, None) => end == End::File,
            };
        found.extend(doubt(&here, &stat, stat.st_mode & OF_OTHERS != 0 && !kept, owners));
        if step.is_none() {
            return found;
        }
        let Some(there) = there else {
            here.pop();
            let Some(above) = stat_at(root, &here) else { return found };
            stat = above;
            continue;
        };
        let Some(next) = next else { return found };
        if kind(&next) != SFlag::S_IFLNK {
            (here, stat) = (there, next);
            continue;
        }
        links += 1;
        let Ok(target) = readlink(&below(root, &there)) else { return found };
        // It masks the file; whose device that is does not matter.
        if links > LINKS || target == "/dev/null" {
            return found;
        }
        if target.as_bytes().starts_with(b"/") {
            here = PathBuf::from("/");
            let Some(top) = stat_at(root, &here) else { return found };
            stat = top;
        }
        for step in steps_of(Path::new(&target)).into_iter().rev() {
            steps.push_front(step);
        }
    }
}

fn steps_of(path: &Path) -> Vec<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(step) => Some(step.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(step).collect()
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn stat_at(root: &Path, path: &Path) -> Option<FileStat> {
    lstat(&below(root, path)).ok()
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn doubt(path: &Path, stat: &FileStat, writable: bool, owners: &[u32]) -> Option<Problem> {
    // A way may lead to /dev/null also by several links.
    let null = kind(stat) == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    if null || (!writable && owners.contains(&stat.st_uid)) {
        return None;
    }
    let mode = stat.st_mode & 0o7777;
    Some(Problem::Untrusted {
        file: printable(&path.to_string_lossy()),
        what: if kind(stat) == SFlag::S_IFDIR { "directory" } else { "file" },
        mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        expected: mode & !OF_OTHERS,
    })
}
