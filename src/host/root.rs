//! The root below which /sys, /proc, /dev and /etc are looked up.
//!
//! The live root is `/`. A user's saved tree (`--root`) is hostile input: every path is resolved
//! inside it (`openat2` with `RESOLVE_IN_ROOT`), so no link in it leads out, only plain files and
//! directories are opened, and only so much of it is read ([`super::budget`]). A test's tree is
//! trusted and read by the same calls as the live one, so that benchmarks measure the real path.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use rustix::io::Errno;

use super::budget::Budget;

/// Where the kernel's files are looked up.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Live,
    Trusted,
    Hostile(Arc<Tree>),
}

/// Somebody's tree.
#[derive(Debug)]
struct Tree {
    fd: OwnedFd,
    budget: Budget,
}

/// What a file is, as far as the kernel has it at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtHand {
    /// Of a device node its number: whether it is a block device, major, minor.
    pub number: Option<(bool, u64, u64)>,
    /// The file system that it is on: major, minor.
    pub device: (u64, u64),
    /// Its inode there.
    pub inode: u64,
}

fn numbered(mode: SFlag, rdev: u64) -> Option<(bool, u64, u64)> {
    let kind = mode & SFlag::S_IFMT;
    let node = kind == SFlag::S_IFBLK || kind == SFlag::S_IFCHR;
    node.then(|| (kind == SFlag::S_IFBLK, major(rdev), minor(rdev)))
}

/// Begins the line by which a snapshot says that it is whole.
pub const WHOLE: &str = "Whole: ";

/// How often a file is looked up while others rename and mount: far more than ever needed, and soon over.
const RACES: usize = 1000;

/// An attribute has at most a page: one call takes it, and one finds its end.
const USUAL: usize = 4096;

impl Root {
    /// `/`: this machine.
    #[must_use]
    pub fn live() -> Root {
        Root { path: PathBuf::from("/"), kind: Kind::Live }
    }

    /// A tree of our own making, for tests and benchmarks.
    pub fn trusted(path: impl Into<PathBuf>) -> Root {
        Root { path: path.into(), kind: Kind::Trusted }
    }

    /// A tree that somebody sent.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn hostile(path: impl Into<PathBuf>) -> io::Result<Root> {
        Root::hostile_within(path, Budget::default())
    }

    /// The same, of which only so much is read.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn hostile_within(path: impl Into<PathBuf>, budget: Budget) -> io::Result<Root> {
        let path = path.into();
        let fd = nix::fcntl::open(&path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Root { path, kind: Kind::Hostile(Arc::new(Tree { fd, budget })) })
    }

    /// Why not all of a tree that somebody sent was read; none where it was, or is no such tree.
    #[must_use]
    pub fn overrun(&self) -> Option<String> {
        match &self.kind {
            Kind::Live | Kind::Trusted => None,
            Kind::Hostile(tree) => tree.budget.overrun(),
        }
    }

    /// Whether this is the running machine: only then are system calls about it (netlink,
    /// exclusive opens) allowed to answer for it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.kind, Kind::Live)
    }

    /// Whether a saved tree leaves this out, so that nobody knows whether the machine had it. What is not
    /// there on the machine itself, or in a whole snapshot, is none.
    #[must_use]
    pub fn lacks(&self, path: &str) -> bool {
        self.is_hostile()
            && self.exists(path).is_ok_and(|there| !there)
            && self.whole().is_none_or(|text| text.lines().any(|line| line.starts_with("  ") && line.contains(path)))
    }

    /// Whether all of a machine is here that a report needs.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.is_hostile() || self.whole().is_some()
    }

    /// What a snapshot says of itself, if it says that it is whole: what could not be read is named there.
    fn whole(&self) -> Option<String> {
        self.read_text("/snapshot").ok().filter(|text| text.lines().any(|line| line.starts_with(WHOLE)))
    }

    /// Whether every path must be resolved inside the tree by `openat2`.
    pub(super) fn is_hostile(&self) -> bool {
        matches!(self.kind, Kind::Hostile(_))
    }

    /// Opens a directory for reading its entries.
    ///
    /// # Errors
    /// As `open(2)`.
    pub(super) fn open_dir(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match &self.kind {
            Kind::Live | Kind::Trusted => Ok(nix::fcntl::open(&self.join(path), flags, Mode::empty())?),
            Kind::Hostile(tree) => tree.open(path, flags),
        }
    }

    /// Counts a name that a directory of somebody's tree has.
    pub(super) fn count(&self, name: &str) -> io::Result<()> {
        match &self.kind {
            Kind::Live | Kind::Trusted => Ok(()),
            Kind::Hostile(tree) => tree.budget.take(name.len()),
        }
    }

    /// The path of a file as the operating system takes it. For messages, and for writes by the
    /// actor, which never runs on a hostile tree.
    #[must_use]
    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Opens a file for reading. In a hostile tree only a regular file, and not before that is known: a
    /// fifo would block and its writer notice, some devices act, and a socket has nobody to answer.
    ///
    /// # Errors
    /// As `open(2)`; `InvalidData` for what is no plain file in a hostile tree.
    pub fn reader(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        match &self.kind {
            // Whoever reads all of a plain `File` asks for its size first, which the kernel's own files do not have.
            Kind::Live | Kind::Trusted => Ok(Box::new(File::open(self.join(path))?.take(u64::MAX))),
            Kind::Hostile(tree) => {
                let found = tree.open(path, OFlag::O_PATH)?;
                let stat = fstat(&found)?;
                if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "not a plain file"));
                }
                let again = format!("/proc/self/fd/{}", found.as_raw_fd());
                let file = nix::fcntl::open(again.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                Ok(Box::new(tree.budget.reader(File::from(file), size)?))
            }
        }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(USUAL);
        self.reader(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a whole text file; what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`.
    pub fn read_text(&self, path: &str) -> io::Result<String> {
        let bytes = self.read(path)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// Reads a link without following it.
    ///
    /// # Errors
    /// As `readlink(2)`; `ENOENT` when it is not there, `EINVAL` when it is no link.
    pub fn read_link(&self, path: &str) -> io::Result<PathBuf> {
        match &self.kind {
            Kind::Live | Kind::Trusted => std::fs::read_link(self.join(path)),
            Kind::Hostile(tree) => {
                let link = tree.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
                // An empty name means the descriptor itself; a descriptor that is no link gives ENOENT.
                let text =
                    readlinkat(&link, "").map_err(|e| if e == nix::Error::ENOENT { nix::Error::EINVAL } else { e })?;
                tree.budget.take(text.len())?;
                Ok(PathBuf::from(text))
            }
        }
    }

    /// The last component of a link's target, as sysfs uses links: the driver's or group's name.
    ///
    /// # Errors
    /// As [`Root::read_link`]; `InvalidData` when it has no readable last component.
    pub fn link_name(&self, path: &str) -> io::Result<String> {
        let target = self.read_link(path)?;
        target
            .file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("link to {}", target.display())))
    }

    /// The names in a directory, sorted; names that are no UTF-8 are left out (sysfs has none).
    ///
    /// # Errors
    /// As `opendir(3)` and `readdir(3)`.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        match &self.kind {
            Kind::Live | Kind::Trusted => {
                for entry in std::fs::read_dir(self.join(path))? {
                    names.extend(entry?.file_name().into_string().ok());
                }
            }
            Kind::Hostile(tree) => {
                let dir = tree.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
                for entry in nix::dir::Dir::from_fd(dir)?.iter() {
                    let name = entry?.file_name().to_str().unwrap_or("..").to_owned();
                    if name != "." && name != ".." {
                        tree.budget.take(name.len())?;
                        names.push(name);
                    }
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The names in a directory and whether each is a directory itself; a link never is.
    ///
    /// # Errors
    /// As `opendir(3)` and `readdir(3)`.
    pub fn entries(&self, path: &str) -> io::Result<Vec<(String, bool)>> {
        let mut found = Vec::new();
        match &self.kind {
            Kind::Live | Kind::Trusted => {
                for entry in std::fs::read_dir(self.join(path))? {
                    let entry = entry?;
                    let directory = entry.file_type()?.is_dir();
                    found.extend(entry.file_name().into_string().ok().map(|name| (name, directory)));
                }
            }
            Kind::Hostile(tree) => {
                let dir = tree.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
                for entry in nix::dir::Dir::from_fd(dir)?.iter() {
                    let entry = entry?;
                    let name = entry.file_name().to_str().unwrap_or("..").to_owned();
                    if name != "." && name != ".." {
                        tree.budget.take(name.len())?;
                        found.push((name, entry.file_type() == Some(nix::dir::Type::Directory)));
                    }
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The number of a device node (links followed): whether it is a block device, major, minor.
    /// `None` for what is no device node.
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn device_number(&self, path: &str) -> io::Result<Option<(bool, u64, u64)>> {
        let stat = self.stat(path)?;
        Ok(numbered(SFlag::from_bits_truncate(stat.st_mode), stat.st_rdev))
    }

    /// What a file is (links followed), without asking anybody who may not answer: the type and the
    /// inode as the kernel has them in its memory, whatever a server that is away or somebody's FUSE
    /// would say now.
    ///
    /// A file of a user's own FUSE mount is nobody's device: root may not ask for its type (EACCES), only
    /// for nothing at all (`fuse_getattr`), and such mounts carry no devices (`nodev`; in a user namespace
    /// `SB_I_NODEV`).
    ///
    /// Only type and inode are asked for, unsynced: for a time NFS would first write back what is dirty.
    ///
    /// # Errors
    /// As `statx(2)`; `EACCES` and `EPERM` only where nothing at all may be asked.
    pub fn at_hand(&self, path: &str) -> io::Result<AtHand> {
        if self.is_hostile() {
            let stat = self.stat(path)?;
            let number = numbered(SFlag::from_bits_truncate(stat.st_mode), stat.st_rdev);
            return Ok(AtHand { number, device: (major(stat.st_dev), minor(stat.st_dev)), inode: stat.st_ino });
        }
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let whole = self.join(path);
        let told = match statx(CWD, &whole, flags, StatxFlags::TYPE | StatxFlags::INO) {
            Err(Errno::ACCESS | Errno::PERM) => statx(CWD, &whole, flags, StatxFlags::empty())?,
            told => told?,
        };
        let rdev = (u64::from(told.stx_rdev_major), u64::from(told.stx_rdev_minor));
        let number = match FileType::from_raw_mode(told.stx_mode.into()) {
            FileType::BlockDevice => Some((true, rdev.0, rdev.1)),
            FileType::CharacterDevice => Some((false, rdev.0, rdev.1)),
            _ => None,
        };
        let device = (told.stx_dev_major.into(), told.stx_dev_minor.into());
        Ok(AtHand { number, device, inode: told.stx_ino })
    }

    /// The number of links to something (links followed).
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn links(&self, path: &str) -> io::Result<u64> {
        Ok(self.stat(path)?.st_nlink)
    }

    /// The permissions of something (links followed), nine bits, and whether it is a character device.
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn mode(&self, path: &str) -> io::Result<(u32, bool)> {
        let stat = self.stat(path)?;
        let character = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
        Ok((stat.st_mode & 0o777, character))
    }

    /// Whether something is there (links followed). `Err` when that cannot be told.
    ///
    /// # Errors
    /// Anything but `ENOENT` and `ENOTDIR`, which mean "no".
    pub fn exists(&self, path: &str) -> io::Result<bool> {
        match self.stat(path) {
            Ok(_) => Ok(true),
            Err(e) if is_absent(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether something is a plain file (links followed): only that may be opened without knowing
    /// what it does then.
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn is_plain(&self, path: &str) -> io::Result<bool> {
        let stat = self.stat(path)?;
        Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
    }

    /// The inode of a file or directory (links followed).
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn inode(&self, path: &str) -> io::Result<u64> {
        self.stat(path).map(|stat| stat.st_ino)
    }

    /// When a file was last changed, in nanoseconds folded with its inode: differs after any change.
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn stamp(&self, path: &str) -> io::Result<u64> {
        let stat = self.stat(path)?;
        let when = stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec);
        Ok(stat.st_ino.rotate_left(32) ^ when.cast_unsigned())
    }

    fn stat(&self, path: &str) -> io::Result<FileStat> {
        match &self.kind {
            Kind::Live | Kind::Trusted => Ok(nix::sys::stat::stat(&self.join(path))?),
            Kind::Hostile(tree) => Ok(fstat(tree.open(path, OFlag::O_PATH)?)?),
        }
    }

    /// Writes one value to a kernel file in a single `write(2)`, as sysfs wants it. Only the actor
    /// calls this, and the witness for its own instance of the trace.
    ///
    /// # Errors
    /// As `open(2)` and `write(2)`; `PermissionDenied` on a hostile tree, which is never written.
    pub fn write(&self, path: &str, value: &str) -> io::Result<()> {
        if matches!(self.kind, Kind::Hostile(_)) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a saved tree is never written"));
        }
        let mut file = std::fs::OpenOptions::new().write(true).open(self.join(path))?;
        let written = file.write(value.as_bytes())?;
        if written == value.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
    }
}

impl Tree {
    fn open(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        self.budget.take(0)?;
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(settled(|| openat2(&self.fd, Path::new(path), how))?)
    }
}

/// Asks again while the kernel cannot tell whether `..` stays in the tree: any rename or mount on the
/// machine meanwhile makes it answer EAGAIN (`handle_dots` in fs/namei.c), which says nothing of the file.
fn settled<T>(mut open: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    for _ in 1..RACES {
        match open() {
            Err(nix::Error::EAGAIN) => std::thread::yield_now(),
            answer => return answer,
        }
    }
    open()
}

/// Whether an error means that the thing is not there.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        // An attribute of a device that is going away answers ENODEV.
        || error.raw_os_error() == Some(nix::libc::ENODEV)
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
