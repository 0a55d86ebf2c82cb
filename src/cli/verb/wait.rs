//! `vfiodctl wait`: until devices are ready, or assigned. It follows the daemon's signals, also when
//! the daemon starts later, or again.
//!
//! Where no device is named, what a person has had released is passed over: nobody expects it.

use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt, future};
use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::daemon::Daemon;
use crate::cli::device::{self, Meant};
use crate::cli::failure::Failure;
use crate::cli::screen::Tone;
use crate::host::root::Root;
use crate::model::pci::Address;
use crate::model::picture::{EntryView, Picture};
use crate::model::state::{Health, State};

/// What is seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    /// What is not ready yet: its name, its state and why.
    open: Vec<(String, String, String)>,
    /// Entries that are released, and not waited for.
    released: Vec<String>,
}

/// Waits.
///
/// # Errors
/// When the bus cannot be had, there is no such entry, or, after the timeout, the daemon does not
/// run or there is still no such device.
pub async fn run(setting: &Setting, devices: &[String], timeout: Option<Duration>) -> Result<Answer, Failure> {
    let daemon = setting.sight.daemon().await?;
    let root = setting.sight.root();
    let mut last = Err(Failure::not_running(setting.sight.host.as_ref()));
    let waiting = until_ready(&daemon, devices, root.as_ref(), &mut last);
    let done = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, waiting).await,
        None => Ok(waiting.await),
    };
    match done {
        Ok(Ok(())) => Ok(ready(&last.unwrap_or_default(), setting)),
        Ok(Err(failure)) => Err(failure),
        Err(_) => last.map(|seen| not_ready(&seen, timeout.unwrap_or_default(), setting)),
    }
}

/// Returns once all is ready; `last` is what it saw last.
async fn until_ready(
    daemon: &Daemon,
    devices: &[String],
    root: Option<&Root>,
    last: &mut Result<Seen, Failure>,
) -> Result<(), Failure> {
    let (mut signals, mut owner) = daemon.signals().await?;
    loop {
        let mut stays_unknown = false;
        let (status, came) = beside(daemon.status(), &mut signals, &mut owner).await;
        *last = match status {
            Ok(picture) => {
                // Entries come with the configuration, not by plugging.
                stays_unknown = devices.iter().any(|name| is_no_place(name) && !picture.entries.contains_key(name));
                seen(&picture, devices, root)
            }
            Err(failure) => Err(failure),
        };
        match last {
            Ok(seen) if seen.open.is_empty() => return Ok(()),
            // A device may be plugged in, and the daemon may start.
            Ok(_) | Err(Failure::NoSuch { .. } | Failure::Unreachable { .. } | Failure::Refused(_)) => {}
            Err(failure) => return Err(failure.clone()),
        }
        if let (Err(failure @ Failure::NoSuch { .. }), true) = (&*last, stays_unknown) {
            return Err(failure.clone());
        }
        let ended = !came
            && tokio::select! {
                signal = signals.next() => signal.is_none(),
                change = owner.next() => change.is_none(),
            };
        if ended {
            return Err(Failure::Unreachable {
                why: "the bus has closed the connection".to_owned(),
                advice: "see: systemctl status dbus".to_owned(),
            });
        }
        // Many changes come at once: one look is enough for all that are there already.
        while future::poll_immediate(signals.next()).await.flatten().is_some() {}
        while future::poll_immediate(owner.next()).await.flatten().is_some() {}
    }
}

/// Waits for an answer, and takes signals meanwhile: a thousand of them can come before it, and where
/// nobody takes them it never comes. Says whether any came, one of which may be newer than the answer.
async fn beside<T>(
    answer: impl Future<Output = T>,
    signals: &mut (impl Stream + Unpin),
    owner: &mut (impl Stream + Unpin),
) -> (T, bool) {
    let mut answer = pin!(answer);
    let (mut came, mut ended) = (false, false);
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return (answer, came && !ended),
            signal = signals.next(), if !ended => (came, ended) = (true, signal.is_none()),
            change = owner.next(), if !ended => (came, ended) = (true, change.is_none()),
        }
    }
}

/// Whether a name is an entry's, and not that of a device, or of a VF by its number.
fn is_no_place(name: &str) -> bool {
    name.parse::<Address>().is_err() && !name.contains('/')
}

/// What is not ready yet, and what is not waited for.
fn seen(picture: &Picture, devices: &[String], root: Option<&Root>) -> Result<Seen, Failure> {
    let mut open = Vec::new();
    if devices.is_empty() {
        let mut released = Vec::new();
        for (name, entry) in picture.entries.iter().filter(|(_, entry)| !entry.state.is_good()) {
            if entry.state == State::Released {
                released.push(name.clone());
                open.extend(beside_released(entry, picture));
            } else {
                open.push((name.clone(), entry.state.to_string(), entry.reason.clone()));
            }
        }
        if picture.health != Health::Ready {
            let modules = picture.modules.iter().filter(|(_, module)| !module.state.serves());
            open.extend(
                modules
                    .map(|(name, module)| (format!("module {name}"), module.state.to_string(), module.reason.clone())),
            );
        }
        return Ok(Seen { open, released });
    }
    // Of several, the first that is unknown is told; all others are waited for meanwhile.
    for meant in device::find_all(devices, picture, root)? {
        let (state, reason) = match &meant {
            Meant::Entry(name) => match picture.entries.get(name) {
                Some(entry) => (entry.state, entry.reason.clone()),
                None => continue,
            },
            Meant::Device(address) => match picture.devices.get(address) {
                Some(view) => (view.state, view.reason.clone()),
                None => continue,
            },
        };
        if !state.is_good() {
            open.push((meant.name(), state.to_string(), reason));
        }
    }
    Ok(Seen { open, released: Vec::new() })
}

/// An entry's devices that are not ready, where others of it are released.
fn beside_released(entry: &EntryView, picture: &Picture) -> Vec<(String, String, String)> {
    let views = entry.devices.iter().filter_map(|address| Some((address, picture.devices.get(address)?)));
    let open = views.filter(|(_, view)| !view.state.is_good() && view.state != State::Released);
    open.map(|(address, view)| (address.to_string(), view.state.to_string(), view.reason.clone())).collect()
}

fn ready(seen: &Seen, setting: &Setting) -> Answer {
    let answer = if setting.json {
        Answer::fields(json!({ "ready": true, "open": [], "released": seen.released }))
    } else {
        Answer::default()
    };
    answer.with_notes(passed_over(seen))
}

fn passed_over(seen: &Seen) -> Vec<String> {
    let note = |names: &[String]| format!("released, and not waited for: {}", names.join(", "));
    if seen.released.is_empty() { Vec::new() } else { vec![note(&seen.released)] }
}

fn not_ready(seen: &Seen, timeout: Duration, setting: &Setting) -> Answer {
    let Seen { open, released } = seen;
    let answer = if setting.json {
        let list: Vec<_> = open
            .iter()
            .map(|(name, state, reason)| json!({ "name": name, "state": state, "reason": reason }))
            .collect();
        Answer::fields(json!({ "ready": false, "open": list, "released": released }))
    } else {
        let screen = &setting.screen;
        let mut text = format!("not ready within {}:\n", humantime::format_duration(timeout));
        for (name, state, reason) in open {
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let state = screen.paint(state, Tone::Fair);
            text += &format!("  {} {state}{}\n", screen.plain(name), screen.wrapped(&reason, 6));
        }
        Answer::text(text)
    };
    answer.with_notes(passed_over(seen)).if_ready(false)
}
