//! Leases: holds that last as long as somebody has a descriptor open, like logind's inhibitors.
//!
//! Each is a named pipe in a directory that ends with the boot. vfiod has the reading end; when the
//! last writing end is closed, in whichever process that was, the reading end is at its end. A
//! restarted vfiod opens the pipes again, and learns of those that ended meanwhile at once.

#![allow(clippy::disallowed_methods, reason = "the pipes are vfiod's own, below its own directory")]

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The leases that are open.
#[derive(Debug)]
pub struct Leases {
    dir: PathBuf,
    open: BTreeMap<u64, AbortHandle>,
    tell: mpsc::UnboundedSender<u64>,
    ended: mpsc::UnboundedReceiver<u64>,
}

impl Leases {
    /// Leases below a directory, which is made when the first is opened.
    #[must_use]
    pub fn new(dir: PathBuf) -> Leases {
        let (tell, ended) = mpsc::unbounded_channel();
        Leases { dir, open: BTreeMap::new(), tell, ended }
    }

    fn path(&self, id: u64) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Opens a lease and answers with the end that its owner keeps.
    ///
    /// # Errors
    /// A sentence, when the pipe cannot be made or opened.
    pub fn open(&mut self, id: u64) -> Result<OwnedFd, String> {
        let path = self.path(id);
        let lease = self.make(id, &path).map_err(|error| format!("open lease {}: {error}", path.display()));
        if lease.is_err() {
            let _ = fs::remove_file(&path);
        }
        lease
    }

    fn make(&mut self, id: u64, path: &Path) -> io::Result<OwnedFd> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let reader = pipe::OpenOptions::new().open_receiver(path)?;
        // There is a reader, so this does not wait for one.
        let writer = OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        self.watch(id, reader);
        Ok(writer.into())
    }

    /// Opens the leases of an earlier run again, and removes pipes that belong to none of them. One
    /// that has ended, or whose pipe is not there, is told by [`Leases::next`].
    pub fn resume(&mut self, ids: impl IntoIterator<Item = u64>) {
        let ids: Vec<u64> = ids.into_iter().collect();
        let left = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for file in left {
            let id = file.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
            if id.is_none_or(|id| !ids.contains(&id)) {
                let _ = fs::remove_file(file.path());
            }
        }
        for id in ids {
            match pipe::OpenOptions::new().open_receiver(self.path(id)) {
                Ok(reader) if has_writer(&reader) => self.watch(id, reader),
                // The other end lives here, too, so this cannot fail.
                Ok(_) | Err(_) => drop(self.tell.send(id)),
            }
        }
    }

    fn watch(&mut self, id: u64, reader: pipe::Receiver) {
        let tell = self.tell.clone();
        let task = tokio::spawn(async move {
            until_closed(&reader).await;
            let _ = tell.send(id);
        });
        self.open.insert(id, task.abort_handle());
    }

    /// The next lease that has ended. Cancel-safe.
    pub async fn next(&mut self) -> u64 {
        match self.ended.recv().await {
            Some(id) => {
                self.close(id);
                id
            }
            // It holds a sender itself.
            None => std::future::pending().await,
        }
    }

    /// Closes a lease, whoever has its other end.
    pub fn close(&mut self, id: u64) {
        if let Some(task) = self.open.remove(&id) {
            task.abort();
        }
        let _ = fs::remove_file(self.path(id));
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.open.values().for_each(AbortHandle::abort);
    }
}

/// Whether somebody has the other end open. Asked by reading: a pipe whose writers left before this
/// end was opened never becomes readable by poll(2), but reads as ended.
fn has_writer(reader: &pipe::Receiver) -> bool {
    !matches!(nix::unistd::read(reader, &mut [0; 512]), Ok(0))
}

/// Returns when the last writer has closed its end; what was written is of no meaning.
async fn until_closed(reader: &pipe::Receiver) {
    let mut buffer = [0; 512];
    loop {
        if reader.readable().await.is_err() {
            return;
        }
        match reader.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_ends_with_the_last_copy_of_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = Leases::new(dir.path().join("leases"));
        let (first, second) = (leases.open(1).unwrap(), leases.open(2).unwrap());
        let copy = first.try_clone().unwrap();
        drop(first);
        drop(second);
        assert_eq!(leases.next().await, 2);
        nix::unistd::write(&copy, b"noise").unwrap();
        drop(copy);
        assert_eq!(leases.next().await, 1);
        assert_eq!(fs::read_dir(dir.path().join("leases")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_restart_keeps_what_is_open_and_tells_what_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut before = Leases::new(dir.path().to_owned());
        let kept = before.open(1).unwrap();
        drop(before.open(2).unwrap());
        drop(before.open(3).unwrap());
        drop(before);
        let mut after = Leases::new(dir.path().to_owned());
        // 3 was not remembered, 4 never had a pipe.
        after.resume([1, 2, 4]);
        let mut ended = [after.next().await, after.next().await];
        ended.sort_unstable();
        assert_eq!(ended, [2, 4]);
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, ["1"]);
        drop(kept);
        assert_eq!(after.next().await, 1);
    }
}
