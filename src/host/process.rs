//! A child's program, and the end of a process, told without mistaking another one for it.

use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::task::{Context, Poll};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use procfs::FromRead;
use procfs::process::Stat;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::names;

/// Which program a child runs.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its path. By default `/proc/self/exe`: the daemon's own file, also when an upgrade has
    /// replaced it under its name.
    pub exe: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl Program {
    /// The daemon itself, with these arguments.
    pub fn own(args: impl IntoIterator<Item = impl Into<OsString>>) -> Program {
        Program { exe: PathBuf::from("/proc/self/exe"), args: args.into_iter().map(Into::into).collect() }
    }

    /// A command for it, with nothing of the daemon's environment: a child that knew
    /// `NOTIFY_SOCKET` could speak for the service.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.exe);
        command.arg0(names::PROGRAM).args(&self.args).env_clear().current_dir("/");
        command
    }
}

/// Gives a child its program's name in ps, in the journal and in what systemd says of processes that it
/// finds left over: run as `/proc/self/exe` it would be called `exe`. To be called before it begins a
/// thread: those inherit it.
pub fn take_name(name: &CStr) {
    let _ = nix::sys::prctl::set_name(name);
}

/// How the end of a process is noticed.
#[derive(Debug)]
pub(super) enum Watch {
    /// It has ended already.
    Over,
    /// Its descriptor becomes readable.
    Pidfd(AsyncFd<OwnedFd>),
    /// No descriptor could be had; /proc is asked whenever somebody comes by. Pid and start time.
    Proc(u32, u64),
}

impl Watch {
    /// Watches a child that is not reaped yet, so that its pid is its own.
    pub fn child(pid: u32, starttime: u64) -> Watch {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        raw.and_then(|raw| pidfd_open(raw, PidfdFlags::empty()).ok())
            .and_then(|fd| register(fd).ok())
            .map_or(Watch::Proc(pid, starttime), Watch::Pidfd)
    }

    /// Watches the process that had this pid and start time, if it is still there and runs as that user.
    pub fn stranger(pid: u32, starttime: u64, uid: u32) -> Watch {
        // First the descriptor, then the question whether it is still the same process: the other
        // way round another one could take the pid in between.
        let watch = Watch::child(pid, starttime);
        // What another user runs is no actor of vfiod's, and its user could keep it there for ever.
        if is_gone(pid, starttime) || is_foreign(pid, uid) { Watch::Over } else { watch }
    }

    /// Ready once the process has ended. Needs a tokio runtime around it.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Watch::Over => Poll::Ready(()),
            Watch::Proc(pid, starttime) if is_gone(*pid, *starttime) => Poll::Ready(()),
            Watch::Proc(..) => Poll::Pending,
            Watch::Pidfd(watch) => {
                while let Poll::Ready(Ok(mut guard)) = watch.poll_read_ready(cx) {
                    // A wrong "over" would let a second write begin, so the kernel itself is asked.
                    if is_readable(watch.get_ref()) {
                        return Poll::Ready(());
                    }
                    guard.clear_ready();
                }
                Poll::Pending
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types whose descriptor may change; that of an OwnedFd cannot"
)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

fn is_readable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// When a process was started, in clock ticks since boot.
pub(super) fn starttime(pid: u32) -> io::Result<u64> {
    Ok(stat(pid)?.starttime)
}

fn stat(pid: u32) -> io::Result<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat"))?;
    Stat::from_read(text.as_slice()).map_err(io::Error::other)
}

/// Whether a process has ended: it is not there, is another one, or waits only to be reaped. When
/// that cannot be told (no descriptors left) it has not: a second write would be worse.
fn is_gone(pid: u32, starttime: u64) -> bool {
    match stat(pid) {
        Ok(stat) => stat.starttime != starttime || matches!(stat.state, 'Z' | 'X'),
        Err(e) => e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ESRCH),
    }
}

/// Whether a process is known to run as another user, in any of its four ids (a program with a setuid
/// bit that another user has started has his for one of them).
#[must_use]
pub fn is_foreign(pid: u32, uid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| is_of_another(&status, uid))
}

/// The same of the text of `/proc/<pid>/status`. Where that does not tell, it is not known.
pub(super) fn is_of_another(status: &str, uid: u32) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.is_some_and(|ids| ids.split_whitespace().any(|id| id.parse() != Ok(uid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_of_another_user_is_no_actor_and_so_is_not_waited_for() {
        let (own, uid) = (std::process::id(), nix::unistd::geteuid().as_raw());
        let since = starttime(own).unwrap();
        assert!(matches!(Watch::stranger(own, since, uid), Watch::Pidfd(_)));
        assert!(matches!(Watch::stranger(own, since, uid + 1), Watch::Over));
    }

    #[test]
    fn one_that_a_user_has_started_with_a_setuid_bit_is_his() {
        let status = |ids: &str| format!("Name:\tvfiod-act\nUid:\t{ids}\nGid:\t0\t0\t0\t0\n");
        assert!(!is_of_another(&status("0\t0\t0\t0"), 0));
        for ids in ["1000\t0\t0\t0", "1000\t1000\t1000\t1000", "0\t0\t1000\t0"] {
            assert!(is_of_another(&status(ids), 0), "{ids}");
        }
        assert!(!is_of_another("Name:\tvfiod-act\n", 0), "not known");
    }

    #[test]
    fn a_process_is_told_from_another_with_its_pid_and_from_one_that_only_waits_to_be_reaped() {
        let own = std::process::id();
        let since = starttime(own).unwrap();
        assert!(!is_gone(own, since));
        assert!(is_gone(own, since + 1), "another process");
        let uid = nix::unistd::geteuid().as_raw();
        assert!(!is_foreign(own, uid));
        assert!(is_foreign(own, uid + 1), "another user's");
        let mut child = Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let since = starttime(child.id()).unwrap();
        assert!(!is_gone(child.id(), since));
        let fd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        assert!(!is_readable(&fd));
        drop(child.stdin.take());
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, PollTimeout::NONE).unwrap();
        assert!(is_readable(&fd) && is_gone(child.id(), since), "not reaped yet");
        child.wait().unwrap();
        assert!(is_gone(child.id(), since));
    }
}
