//! What the actor needs of the kernel besides reading it.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::host::kernel;
use crate::host::root::Root;
use crate::model::time::Time;

/// Writes and time. A directory cannot answer a write, so a test puts its own kernel here.
pub(super) trait Kernel {
    /// Where it is read.
    fn root(&self) -> &Root;
    /// Writes one value to one of its files; may not return for a long time.
    fn write(&self, path: &str, value: &str) -> io::Result<()>;
    /// Now.
    fn now(&self) -> Time;
    /// Waits.
    fn pause(&self, length: Duration);
}

/// The running kernel.
pub(super) struct Running<'a>(pub &'a Root);

impl Kernel for Running<'_> {
    fn root(&self) -> &Root {
        self.0
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.0.write(path, value)
    }

    fn now(&self) -> Time {
        kernel::now()
    }

    fn pause(&self, length: Duration) {
        std::thread::sleep(length);
    }
}

/// `open /x: No such file or directory (ENOENT)`: the words of every refusal.
pub(super) fn refusal(op: &str, path: &str, error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => format!("{op} {path}: {} ({errno:?})", errno.desc()),
        None => format!("{op} {path}: {error}"),
    }
}
