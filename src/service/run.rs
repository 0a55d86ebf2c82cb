//! `vfiod run`: the settings, the lock, the signals, the machine, and the loop over them.

#![allow(clippy::disallowed_methods, reason = "the lock and the directories of state are the service's own files")]

use std::fs::{DirBuilder, File};
use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use nix::fcntl::Flock;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::watch::channel as watch_channel;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::leases::Leases;
use super::lock::{self, Unlocked};
use super::notify::Systemd;
use super::show::ToBus;
use super::store::Disk;
use super::tell::{Journal, Tell, Told};
use super::watch::{Request, Watch};
use crate::bus::call::{Ask, Call};
use crate::bus::serve::{self, Place, Terms, Word};
use crate::bus::systemd;
use crate::config::{self, Settings};
use crate::host::kernel;
use crate::host::live::Live;
use crate::host::root::Root;
use crate::host::witness::instance::Instance;
use crate::model::picture::Counters;
use crate::names;

/// Passes whose transitions may wait for the bus; those beyond are left out there, the picture has them.
const TRANSITIONS: usize = 32;
/// Calls that may wait for the loop; beyond that the bus waits.
const CALLS: usize = 64;

/// What the environment says, read once by the program.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `RUNTIME_DIRECTORY`: the first of them.
    pub run: Option<PathBuf>,
    /// `STATE_DIRECTORY`: the first of them.
    pub state: Option<PathBuf>,
    /// Whether standard error leads to the journal (`JOURNAL_STREAM`).
    pub journal: bool,
    /// Whether systemd waits for its words (`NOTIFY_SOCKET`).
    pub unit: bool,
    /// `VFIOD_LOG`: error, warn, info (the default), debug or trace.
    pub level: Option<String>,
}

/// Why `vfiod run` ended at once.
#[derive(Debug, Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// Another one is at work.
    #[error("another vfiod is running on this machine (it has locked {})", .0.display())]
    Running(PathBuf),
    /// The system refused something that it cannot run without.
    #[error("{op} {}: {source}", path.display())]
    System {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

impl Failure {
    /// The exit status that stands for it.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Failure::Config(_) => names::exit::CONFIG,
            Failure::Running(_) => names::exit::RUNNING,
            Failure::System { .. } => names::exit::FAILURE,
        }
    }
}

fn system(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::System { op, path, source }
}

/// Watches until it is told to stop.
///
/// # Errors
/// When the configuration is wrong, another vfiod runs, or the system lets it not begin.
pub fn run(file: Option<PathBuf>, environment: &Environment) -> Result<(), Failure> {
    log(environment);
    let settings = read(file.as_deref()).map_err(|why| {
        Instance::forget(&Root::live());
        Failure::Config(why)
    })?;
    let run = environment.run.clone().unwrap_or_else(|| PathBuf::from(names::path::RUN));
    let state = environment.state.clone().unwrap_or_else(|| PathBuf::from(names::path::STATE));
    // A state directory that cannot be had is told by the store. Without a lock there is no write,
    // but there is somebody who watches.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(&state);
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&run).map_err(system("create directory", &run));
    let (_lock, unlocked) = match made.and_then(|()| lock(&run.join("lock"))) {
        Ok(lock) => (Some(lock), None),
        Err(failure @ Failure::Running(_)) => return Err(failure),
        Err(failure) => (None, Some(failure.to_string())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime in", &run))?;
    runtime.block_on(watch(file, settings, &run, state, unlocked, environment.unit))
}

async fn watch(
    file: Option<PathBuf>,
    settings: Settings,
    run: &Path,
    state: PathBuf,
    unlocked: Option<String>,
    unit: bool,
) -> Result<(), Failure> {
    let root = Root::live();
    let boot = kernel::boot_id(&root).map_err(system("read", Path::new("the boot id")))?;
    let host = Live::new(root, run, &boot, settings.watch.uevents, unlocked);
    let (ask, requests) = mpsc::channel(8);
    let signals = Signals::new([SIGHUP, SIGTERM, SIGINT]).map_err(system("receive signals in", run))?;
    tokio::spawn(listen(signals, file.clone(), unit, ask.clone()));
    let store = Disk::new(run.to_owned(), state, boot);
    let watch = Watch::new(settings, host, Journal, store, Systemd, requests);
    let leases = Leases::new(run.join("leases"));
    watch.on_the_bus(Box::new(to_bus(file, ask)), leases).watchdog(sd_notify::watchdog_enabled()).run().await;
    Ok(())
}

/// Serves the bus beside the loop; what is asked there becomes requests.
fn to_bus(file: Option<PathBuf>, ask: mpsc::Sender<Request>) -> ToBus {
    let (picture, pictures) = watch_channel(None);
    let (counters, counted) = watch_channel(Counters::default());
    let (transitions, told) = mpsc::channel(TRANSITIONS);
    let (calls, called) = mpsc::channel(CALLS);
    let (words, heard) = mpsc::unbounded_channel();
    tokio::spawn(serve::serve(Terms {
        place: Place::System,
        picture: pictures,
        counters: counted,
        transitions: told,
        calls,
        trusted: serve::root,
        words,
    }));
    tokio::spawn(take_calls(called, file, ask));
    tokio::spawn(tell_words(heard));
    ToBus { picture, counters, transitions }
}

/// Hands calls to the loop; what is asked of the files is read first.
async fn take_calls(mut called: mpsc::Receiver<Call>, file: Option<PathBuf>, ask: mpsc::Sender<Request>) {
    while let Some(call) = called.recv().await {
        let request = match call.ask {
            Ask::Reload => Request::Reload(read(file.as_deref()).map(Box::new), Some(call)),
            _ => Request::Call(call),
        };
        if ask.send(request).await.is_err() {
            return;
        }
    }
}

/// Tells how vfiod stands on the bus. That it is there is no news at the start.
async fn tell_words(mut heard: mpsc::UnboundedReceiver<Word>) {
    let mut was_up = true;
    while let Some(word) = heard.recv().await {
        let up = word == Word::Up;
        if !(up && was_up) {
            Journal.tell(Told::Bus(&word));
        }
        was_up = up;
    }
}

/// Turns signals into requests. It lives as long as the loop, so that none is lost between two.
async fn listen(mut signals: Signals, file: Option<PathBuf>, unit: bool, ask: mpsc::Sender<Request>) {
    while let Some(signal) = signals.next().await {
        let request = match signal {
            SIGHUP => Request::Reload(read(file.as_deref()).map(Box::new), None),
            SIGTERM => Request::Stop { handed_over: unit && systemd::restarts(&Place::System).await },
            _ => Request::Stop { handed_over: false },
        };
        if ask.send(request).await.is_err() {
            return;
        }
    }
}

fn read(file: Option<&Path>) -> Result<Settings, String> {
    config::load_to_act(file).map_err(|errors| errors.to_string().trim_end().to_owned())
}

/// One vfiod a machine: taken before the first write, given back by the kernel when it ends.
fn lock(path: &Path) -> Result<Flock<File>, Failure> {
    lock::lock(path).map_err(|unlocked| match unlocked {
        Unlocked::Running => Failure::Running(path.to_owned()),
        Unlocked::System(op, source) => system(op, path)(source),
    })
}

/// Structured entries for the journal where systemd started us, readable lines elsewhere.
fn log(environment: &Environment) {
    let level = environment.level.as_deref().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let registry = tracing_subscriber::registry().with(level);
    if environment.journal
        && let Ok(journal) = tracing_journald::layer()
    {
        let layer = journal.with_field_prefix(None).with_syslog_identifier(names::PROGRAM.to_owned());
        let _ = registry.with(layer).try_init();
        return;
    }
    // On a terminal only the sentence: the fields are for machines.
    let sentence = tracing_subscriber::fmt::format::debug_fn(|to, field, value| match field.name() {
        "message" => write!(to, "{value:?}"),
        _ => Ok(()),
    });
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .fmt_fields(sentence);
    let _ = registry.with(layer).try_init();
}
