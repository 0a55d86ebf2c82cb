//! One vfiod a machine: a lock that is taken before the first write, and that the kernel gives back.
//!
//! Whoever can open the file can lock it, read-only as well, so it is for nobody else. One that was open
//! to others, or that another user has locked, is put aside for a new one: a lock counts only where vfiod
//! itself holds it.

#![allow(clippy::disallowed_methods, reason = "the lock is vfiod's own, below its own directory")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use procfs::{FromBufRead, Locks};

use super::files::{private, remove};
use crate::host::process::is_foreign;

/// How often a lock that is no vfiod's is put aside before that is given up.
const TRIES: usize = 8;

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum Unlocked {
    /// Another vfiod has it.
    Running,
    /// The system refused something.
    System(&'static str, io::Error),
}

/// Takes the lock.
pub(super) fn lock(path: &Path) -> Result<Flock<File>, Unlocked> {
    lock_as(path, geteuid().as_raw())
}

/// The same; what other users than this one have locked is no vfiod's.
fn lock_as(path: &Path, user: u32) -> Result<Flock<File>, Unlocked> {
    // Kept until the new one is locked: there is no moment at which two could have it.
    let mut former = Vec::new();
    for _ in 0..TRIES {
        let open_to_others = fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0);
        let file = private(OpenOptions::new().write(true).truncate(false), path)
            .map_err(|error| Unlocked::System("open lock", error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) if !is_at(&lock, path) => former.push(lock),
            Ok(lock) if open_to_others => {
                former.push(lock);
                remove(path).map_err(|error| Unlocked::System("remove lock", error))?;
            }
            Ok(lock) => return Ok(lock),
            Err((file, nix::Error::EWOULDBLOCK)) if is_nobodys(&file, user) => {
                // Another one may be a step ahead.
                if is_at(&file, path) {
                    remove(path).map_err(|error| Unlocked::System("remove lock", error))?;
                }
            }
            Err((_, nix::Error::EWOULDBLOCK)) => return Err(Unlocked::Running),
            Err((_, error)) => return Err(Unlocked::System("lock", error.into())),
        }
    }
    Err(Unlocked::Running)
}

/// Whether a file is the one that has this name now.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |file: fs::Metadata, there: fs::Metadata| (file.dev(), file.ino()) == (there.dev(), there.ino());
    file.metadata().and_then(|file| Ok(same(file, fs::metadata(path)?))).unwrap_or(false)
}

/// Whether a locked file is locked by none of that user's processes. What /proc/locks does not tell is a
/// vfiod.
fn is_nobodys(file: &File, user: u32) -> bool {
    let read = |path: &str| Locks::from_buf_read(BufReader::new(File::open(path)?)).map_err(io::Error::other);
    let (Ok(file), Ok(Locks(locks))) = (file.metadata(), read("/proc/locks")) else { return false };
    let device = (nix::libc::major(file.dev()), nix::libc::minor(file.dev()));
    let holders: Vec<Option<i32>> = locks
        .iter()
        .filter(|lock| lock.inode == file.ino() && (lock.devmaj, lock.devmin) == device)
        .map(|lock| lock.pid)
        .collect();
    // Its children do not have vfiod's lock, so that whoever took it and has ended was none.
    let is_foreign = |pid: u32| is_foreign(pid, user) || !Path::new(&format!("/proc/{pid}")).exists();
    !holders.is_empty()
        && holders.iter().all(|pid| {
            // 0: in another pid namespace.
            pid.and_then(|pid| u32::try_from(pid).ok()).is_some_and(|pid| pid != 0 && is_foreign(pid))
        })
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::{Mode, umask};
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn user() -> u32 {
        geteuid().as_raw()
    }

    #[test]
    fn the_lock_is_for_nobody_else_whatever_the_umask_and_the_mode_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let before = umask(Mode::empty());
        drop(lock(&path).unwrap());
        umask(before);
        assert_eq!(mode(&path), 0o600);
        for wide in [0o644, 0o666, 0o640] {
            fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
            // Somebody may have it open, and lock it whenever vfiod is not there.
            let stranger = File::open(&path).unwrap();
            let held = lock(&path).unwrap();
            assert_eq!(mode(&path), 0o600, "{wide:o}");
            assert!(!is_at(&stranger, &path) && is_at(&held, &path), "{wide:o}");
        }
    }

    #[test]
    fn a_second_one_has_to_wait_however_the_file_looks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(Unlocked::Running)));
        // As an earlier version leaves it where it is not started by its unit.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(lock(&path), Err(Unlocked::Running)));
        assert!(is_at(&held, &path));
        drop(held);
        assert!(lock(&path).is_ok());
    }

    #[test]
    fn what_another_user_has_locked_keeps_nobody_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let stranger = Flock::lock(File::open(&path).unwrap(), FlockArg::LockShared).unwrap();
        assert!(matches!(lock_as(&path, user()), Err(Unlocked::Running)), "ours");
        let held = lock_as(&path, user() + 1).unwrap();
        assert!(is_at(&held, &path) && !is_at(&stranger, &path));
        assert!(matches!(lock_as(&path, user()), Err(Unlocked::Running)));
    }
}
