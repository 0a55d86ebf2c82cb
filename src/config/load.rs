//! Finds and reads the files: the only I/O of the configuration.
//!
//! Everything is looked up inside a root (`openat2` with `RESOLVE_IN_ROOT`), since that may be a
//! tree that somebody sent: no link in it leads out. For `/` it makes no difference.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor, stat};
use nix::unistd::geteuid;

use super::error::{Errors, Place, Problem};
use super::origin::origins;
use super::settings::{Settings, settings};
use super::source::Source;
use super::trust::{self, End};
use crate::model::printable::printable;
use crate::names::path::{CONFIG, CONFIG_DROP_INS};

/// Larger files are refused: no configuration is, and a saved tree must not keep its reader busy.
const LARGEST: u64 = 256 << 10;

/// Files of more drop-ins than this are refused, and of more bytes together: no machine has them, and a
/// saved tree must not keep its reader busy.
const MANY: usize = 4096;
const LARGEST_TOGETHER: usize = 16 << 20;

/// How often a file is looked up while others rename and mount: far more than ever needed, and soon over.
const RACES: usize = 1000;

/// Reads the configuration below `root`: the main file and the drop-ins, or `file` alone.
///
/// Where `root` is this machine's, the main file, the drop-ins and their directories must be root's
/// alone. `file` may be anybody's draft: it is only looked at. It is taken as the caller's own path, not as one below `root`, and must be there; otherwise
/// a file that is not there says nothing. Paths in messages and in [`Settings::sources`] are as
/// somebody within `root` would write them.
///
/// # Errors
/// Everything that is wrong, in all of the files; files and directories that cannot be read.
pub fn load(root: &Path, file: Option<&Path>) -> Result<Settings, Errors> {
    let (sources, problems) = sources(root, file, &owners(root));
    settings(&sources, problems)
}

/// As [`load`], for whoever acts on it: `file` too must be root's, or of the user who runs this.
///
/// # Errors
/// As [`load`].
pub fn load_to_act(file: Option<&Path>) -> Result<Settings, Errors> {
    let root = Path::new("/");
    let Some(file) = file else { return load(root, None) };
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut doubts = trust::doubts(root, &whole, End::File, &[0, geteuid().as_raw()]);
    if doubts.is_empty() {
        return load(root, Some(file));
    }
    settings(&[], std::mem::take(&mut doubts))
}

/// As [`load`] reads this machine's files, but below another directory, and with another owner than
/// root: for tests, which cannot write below `/`.
///
/// # Errors
/// As [`load`].
pub fn load_as_of(root: &Path, owner: u32) -> Result<Settings, Errors> {
    let (sources, problems) = sources(root, None, &[owner]);
    settings(&sources, problems)
}

/// Whose the files below a root must be; empty where they may be anybody's.
fn owners(root: &Path) -> Vec<u32> {
    let live = open_root(root).is_ok_and(|root| is_slash(&root).unwrap_or(true));
    if live { vec![0] } else { Vec::new() }
}

/// The settings as [`load`] reads them, and where each value that a file gives is from.
///
/// # Errors
/// As [`load`].
pub fn load_with_origins(root: &Path, file: Option<&Path>) -> Result<(Settings, BTreeMap<String, Place>), Errors> {
    let (sources, problems) = sources(root, file, &owners(root));
    Ok((settings(&sources, problems)?, origins(&sources)))
}

fn sources(root: &Path, file: Option<&Path>, owners: &[u32]) -> (Vec<Source>, Vec<Problem>) {
    let mut problems = Vec::new();
    let doubts = |path: &Path, end| match owners {
        [] => Vec::new(),
        owners => trust::doubts(root, path, end, owners),
    };
    let texts = match file {
        Some(file) => own(file).map(|bytes| vec![(file.to_owned(), bytes)]),
        None => open_root(root).and_then(|root| below(&root, &doubts, &mut problems)),
    };
    let texts = texts.unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    let mut sources = Vec::new();
    for (rank, (path, bytes)) in texts.into_iter().enumerate() {
        match Source::new(rank, &path, bytes) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    (sources, problems)
}

type Text = (PathBuf, Vec<u8>);

fn unreadable(path: &Path, cause: impl std::fmt::Display) -> Problem {
    Problem::Unreadable { file: printable(&path.to_string_lossy()), cause: printable(&cause.to_string()) }
}

fn open_root(root: &Path) -> Result<OwnedFd, Problem> {
    nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|cause| unreadable(root, cause.desc()))
}

/// The file that the caller names.
fn own(file: &Path) -> Result<Vec<u8>, Problem> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(file, flags, Mode::empty()).map_err(|cause| unreadable(file, cause.desc()))?;
    contents(&fd, file)
}

/// The main file and the drop-ins, in the order of reading; those that are empty left out. What others
/// can change is not even read: a link in it may lead to what only root can see.
fn below(
    root: &OwnedFd,
    doubts: &dyn Fn(&Path, End) -> Vec<Problem>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Text>, Problem> {
    let mut files = vec![PathBuf::from(CONFIG)];
    files.extend(drop_ins(root, doubts, problems).into_values());
    let (mut texts, mut bytes) = (Vec::new(), 0);
    for file in files {
        let doubts = doubts(&file, End::File);
        if !doubts.is_empty() {
            note(doubts, problems);
            continue;
        }
        match read(root, &file) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => {
                bytes += text.len();
                if bytes > LARGEST_TOGETHER {
                    problems
                        .push(unreadable(&file, format!("all files together have more than {LARGEST_TOGETHER} bytes")));
                    break;
                }
                texts.push((file, text));
            }
            Err(problem) => problems.push(problem),
        }
    }
    Ok(texts)
}

/// Adds what is not known yet: the files share directories.
fn note(doubts: Vec<Problem>, problems: &mut Vec<Problem>) {
    for doubt in doubts {
        if !problems.contains(&doubt) {
            problems.push(doubt);
        }
    }
}

/// The drop-ins by file name; of one name the directory that counts most.
fn drop_ins(
    root: &OwnedFd,
    doubts: &dyn Fn(&Path, End) -> Vec<Problem>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<OsString, PathBuf> {
    let mut found = BTreeMap::new();
    for directory in CONFIG_DROP_INS.map(Path::new) {
        let doubts = doubts(directory, End::Directory);
        if !doubts.is_empty() {
            note(doubts, problems);
            continue;
        }
        match names(root, directory) {
            Ok(names) => found.extend(names.into_iter().map(|name| (name.clone(), directory.join(name)))),
            Err(Errno::ENOENT) => {}
            Err(Errno::E2BIG) => problems.push(unreadable(directory, format!("more than {MANY} drop-ins"))),
            Err(cause) => problems.push(unreadable(directory, cause.desc())),
        }
    }
    found
}

fn open(root: &OwnedFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    if is_slash(root)? {
        // Below / nothing leads out, and openat2 is not there in the unit: RestrictSUIDSGID makes it
        // ENOSYS, because a seccomp filter cannot see its mode (seen, systemd 252).
        return nix::fcntl::open(path, flags | OFlag::O_CLOEXEC, Mode::empty());
    }
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    // EAGAIN: something was renamed or mounted on the machine meanwhile, and the kernel cannot tell whether
    // `..` stays in the root (`handle_dots` in fs/namei.c).
    for _ in 1..RACES {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            answer => return answer,
        }
    }
    openat2(root, path, how)
}

/// Whether the root is this machine's.
fn is_slash(root: &OwnedFd) -> nix::Result<bool> {
    let (root, slash) = (fstat(root)?, stat("/")?);
    Ok((root.st_dev, root.st_ino) == (slash.st_dev, slash.st_ino))
}

fn names(root: &OwnedFd, directory: &Path) -> nix::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(open(root, directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)?.iter() {
        let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
        // Hidden names are what editors leave behind, and `.toml` is no name.
        let bytes = name.as_bytes();
        if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
            names.push(name);
        }
        if names.len() > MANY {
            return Err(Errno::E2BIG);
        }
    }
    Ok(names)
}

/// The bytes of a file below the root; none when it is not there, or a link to /dev/null.
fn read(root: &OwnedFd, path: &Path) -> Result<Vec<u8>, Problem> {
    let link =
        open(root, path, OFlag::O_PATH | OFlag::O_NOFOLLOW).and_then(|at| readlinkat(at.as_fd(), OsStr::new(""))).ok();
    // A saved tree has no /dev/null, and it masks there all the same.
    if link.as_deref() == Some(OsStr::new("/dev/null")) {
        return Ok(Vec::new());
    }
    match (open(root, path, OFlag::O_PATH), link) {
        (Ok(fd), _) => contents(&fd, path),
        (Err(Errno::ENOENT), None) => Ok(Vec::new()),
        // To pass over a link that leads nowhere would drop settings without a word.
        (Err(Errno::ENOENT), Some(link)) => {
            Err(unreadable(path, format!("link to {}, which is not there", link.to_string_lossy())))
        }
        (Err(cause), _) => Err(unreadable(path, cause.desc())),
    }
}

/// What the file has. It is opened only once it is known to be a plain one: a fifo's writer would
/// notice, and some devices act.
fn contents(fd: &OwnedFd, path: &Path) -> Result<Vec<u8>, Problem> {
    let stat = fstat(fd).map_err(|cause| unreadable(path, cause.desc()))?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3) {
        return Ok(Vec::new());
    }
    if kind != SFlag::S_IFREG {
        return Err(unreadable(path, "not a plain file"));
    }
    let again = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let fd = nix::fcntl::open(again.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|cause| unreadable(path, cause.desc()))?;
    let mut bytes = Vec::new();
    File::from(fd).take(LARGEST + 1).read_to_end(&mut bytes).map_err(|cause| unreadable(path, cause))?;
    if bytes.len() as u64 > LARGEST {
        return Err(unreadable(path, format!("larger than {LARGEST} bytes")));
    }
    Ok(bytes)
}
