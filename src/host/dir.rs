//! A directory that is open, below which many short paths are looked up in one pass.
//!
//! Walking from the root for each link costs more than reading it. In a hostile tree every path is
//! walked all the same, because only then it is resolved inside the tree.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstatat};
use rustix::fs::{OFlags, RawDir, openat, readlinkat_raw};

use super::root::Root;

/// What one call takes of a directory's entries: all of them, for most directories of sysfs.
const ENTRIES: usize = 4096;
/// No link's target is longer, as the kernel has it.
const TARGET: usize = 4096;

/// An open directory.
#[derive(Debug)]
pub struct Dir<'r> {
    root: &'r Root,
    path: &'static str,
    fd: Option<OwnedFd>,
}

impl<'r> Dir<'r> {
    /// Opens a directory.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(root: &'r Root, path: &'static str) -> io::Result<Dir<'r>> {
        let fd = if root.is_hostile() {
            root.inode(path)?;
            None
        } else {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            Some(nix::fcntl::open(&root.join(path), flags, Mode::empty())?)
        };
        Ok(Dir { root, path, fd })
    }

    /// The whole path of something in it, as messages show it and [`Root`] takes it.
    #[must_use]
    pub fn whole(&self, below: &str) -> String {
        format!("{}/{below}", self.path)
    }

    /// The target of a link.
    ///
    /// # Errors
    /// As `readlink(2)`.
    pub fn link(&self, below: &str) -> io::Result<OsString> {
        self.follow(below, OsStr::to_owned)
    }

    /// What is made of the target of a link; of the many that a pass reads most are only compared.
    ///
    /// # Errors
    /// As `readlink(2)`.
    pub fn follow<T>(&self, below: &str, take: impl FnOnce(&OsStr) -> T) -> io::Result<T> {
        match &self.fd {
            Some(fd) => {
                let mut target = [MaybeUninit::uninit(); TARGET];
                let (target, _) = readlinkat_raw(fd, below, &mut target)?;
                Ok(take(OsStr::from_bytes(target)))
            }
            None => self.root.read_link(&self.whole(below)).map(|target| take(target.as_os_str())),
        }
    }

    /// The inode of something (links followed).
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn inode(&self, below: &str) -> io::Result<u64> {
        match &self.fd {
            Some(fd) => Ok(fstatat(fd, below, AtFlags::empty())?.st_ino),
            None => self.root.inode(&self.whole(below)),
        }
    }

    /// Hands over each name in a directory below, unsorted; names that are no UTF-8 are left out.
    ///
    /// # Errors
    /// As `open(2)` and `getdents(2)`; `InvalidData` when there are more than `most`: a machine
    /// has not that many, a hostile tree may.
    pub fn each(&self, below: &str, most: usize, mut visit: impl FnMut(&str)) -> io::Result<()> {
        let dir = match &self.fd {
            Some(fd) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat(fd, below, flags, rustix::fs::Mode::empty())?
            }
            None => self.root.open_dir(&self.whole(below))?,
        };
        // Four calls a directory; `opendir` and its kin take eight, and a pass lists one for each group.
        let mut entries = [MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(dir, &mut entries);
        let mut count = 0_usize;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name != "." && name != ".." {
                self.root.count(name)?;
                count += 1;
                if count > most {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {most} entries")));
                }
                visit(name);
            }
        }
        Ok(())
    }
}

/// The last component of a link's target, as sysfs uses links.
#[must_use]
pub fn last(target: &OsStr) -> Option<&str> {
    Path::new(target).file_name()?.to_str()
}
