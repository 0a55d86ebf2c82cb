//! `vfiodctl hold`: keeps vfiod from writing to something, for a time or while a command runs.

#![allow(
    clippy::disallowed_methods,
    reason = "the command that runs under the lease has no deadline: it is the user's own"
)]

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio::process::{Child, Command};

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;
use crate::cli::target;

/// What is to be held, and in whose name.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// What, as it was typed.
    pub target: &'a str,
    /// Who asks for it.
    pub who: &'a str,
    /// Why.
    pub why: &'a str,
}

/// Holds for a time; answers with the hold's number.
///
/// # Errors
/// When the daemon cannot be asked, there is no such target, or the caller may not.
pub async fn for_a_time(setting: &Setting, wish: Wish<'_>, duration: Duration) -> Result<Answer, Failure> {
    let daemon = setting.sight.daemon().await?;
    let target = target::find(wish.target, &daemon.status().await?, setting.sight.root().as_ref())?;
    // A part of a second more is better than one less.
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let id = daemon.hold(&target, wish.who, wish.why, seconds).await?;
    let notes = daemon.until_when().await;
    if setting.json {
        return Ok(Answer::fields(json!({ "id": id, "target": target, "seconds": seconds })).with_notes(notes));
    }
    let until = setting.screen.time(setting.screen.now_usec.saturating_add(seconds.saturating_mul(1_000_000)));
    Ok(Answer::text(format!("{target} is held until {until}; to end it: vfiodctl unhold {id}\n")).with_notes(notes))
}

/// Holds while a command runs; answers with the command's exit status.
///
/// # Errors
/// When the daemon cannot be asked, there is no such target, or the caller may not: then the
/// command is not begun.
pub async fn while_running(setting: &Setting, wish: Wish<'_>, command: &[OsString]) -> Result<Answer, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Usage("hold: no command".to_owned()));
    };
    if setting.sight.host.is_some() {
        return Err(Failure::Usage(
            "hold: a command runs here, its lease is on this machine; not with --host".to_owned(),
        ));
    }
    let daemon = setting.sight.daemon().await?;
    let target = target::find(wish.target, &daemon.status().await?, setting.sight.root().as_ref())?;
    // The descriptor is closed on exec: it is this process that holds, and its end is the hold's.
    let lease = daemon.inhibit(&target, wish.who, wish.why).await?;
    // Before the command begins: a signal in between would leave it running without its lease.
    let signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP]);
    let signals = signals.map_err(|error| Failure::Refused(format!("receive signals: {error}")))?;
    let status = match Command::new(program).args(arguments).spawn() {
        Ok(child) => under(lease, signals, child).await,
        Err(error) => return Ok(not_begun(program, &error)),
    };
    status.map_or_else(
        |error| Err(Failure::Refused(format!("wait for {}: {error}", program.to_string_lossy()))),
        |status| Ok(Answer { status: code(status), ..Answer::default() }),
    )
}

/// Waits for the command. What the terminal sends both of them is for the command to act on; what
/// is sent to this process alone is passed on.
async fn under(lease: OwnedFd, mut signals: Signals, mut child: Child) -> io::Result<ExitStatus> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            Some(signal) = signals.next() => {
                if let (Some(pid), true) = (pid, matches!(signal, SIGTERM | SIGHUP)) {
                    // It may have ended just now.
                    let _ = Signal::try_from(signal).map(|signal| kill(pid, signal));
                }
            }
        }
    };
    drop(lease);
    status
}

/// As a shell tells it: the exit status, or 128 and the signal.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// As a shell tells it: 127 for what is not there, 126 for what cannot be run.
fn not_begun(program: &OsString, error: &io::Error) -> Answer {
    let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    let note = format!("run {}: {error}", program.to_string_lossy());
    Answer { notes: vec![note], status, ..Answer::default() }
}
