//! A directory that is open, below which many short paths are looked up in one pass.
//!
//! Walking from the root for each link costs more than reading it. In a hostile tree every path is
//! walked all the same, because only then it is resolved inside the tree.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::dir::Entry;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{Mode, fstatat};

use super::root::Root;

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
        match &self.fd {
            Some(fd) => Ok(readlinkat(fd, below)?),
            None => self.root.read_link(&self.whole(below)).map(std::path::PathBuf::into_os_string),
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
    /// As `opendir(3)` and `readdir(3)`; `InvalidData` when there are more than `most`: a machine
    /// has not that many, a hostile tree may.
    pub fn each(&self, below: &str, most: usize, mut visit: impl FnMut(&str)) -> io::Result<()> {
        let mut dir = match &self.fd {
            Some(fd) => {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                nix::dir::Dir::openat(fd, below, flags, Mode::empty())?
            }
            None => self.root.open_dir(&self.whole(below))?,
        };
        let mut count = 0_usize;
        for entry in dir.iter() {
            let entry: Entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name != "." && name != ".." {
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
