//! The daemon's command line: argument and environment in, exit status out.

#![warn(clippy::disallowed_types, clippy::unwrap_used, clippy::expect_used)]

use std::env;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::stat::fstat;
use vfiod::config;
use vfiod::host::act;
use vfiod::host::live::PATIENCE;
use vfiod::host::look::look::guards_again;
use vfiod::host::look::serve::{let_go, serve};
use vfiod::host::process::take_name;
use vfiod::host::root::Root;
use vfiod::host::witness::cmdline;
use vfiod::model::snapshot::Look;
use vfiod::model::words;
use vfiod::names::{self, exit};
use vfiod::service::check;
use vfiod::service::run::{self, Environment};

/// Keeps PCI passthrough ready: restores VFIO modules and device bindings when they drift.
#[derive(Debug, Parser)]
#[command(name = names::PROGRAM, version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Watch until stopped (what the unit runs)
    Run {
        /// Read this file alone instead of /etc/vfiod/vfiod.toml and the drop-ins
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check the configuration: every fault with file, line, value and what was expected
    CheckConfig {
        /// Check this file alone instead of /etc/vfiod/vfiod.toml and the drop-ins
        file: Option<PathBuf>,
        /// Look the files up below this directory
        #[arg(long, value_name = "DIRECTORY", default_value = "/")]
        root: PathBuf,
    },
    /// Do one errand: steps on standard input, one outcome a line (started by vfiod itself)
    #[command(hide = true)]
    Act,
    /// Check what keeps devices from virtual machines: the functions, or none for all, on standard
    /// input (started by vfiod itself)
    #[command(hide = true)]
    Check,
    /// Take one closer look: the question on standard input (started by vfiod itself)
    #[command(hide = true)]
    Look,
    /// Read one command line: the pid on standard input (started by vfiod itself)
    #[command(hide = true)]
    Cmdline,
}

fn main() -> ExitCode {
    // Children first: they are begun often, and argument parsing is the dear part of their start.
    let mut words = env::args_os().skip(1);
    let alone = words.next().filter(|_| words.next().is_none());
    let verb = match alone.as_deref().and_then(|verb| verb.to_str()) {
        Some("act") => Verb::Act,
        Some("look") => Verb::Look,
        Some("check") => Verb::Check,
        Some("cmdline") => Verb::Cmdline,
        _ => Arguments::parse().verb,
    };
    if matches!(verb, Verb::Look | Verb::Check | Verb::Cmdline) {
        take_name(c"vfiod");
    }
    let status = match verb {
        Verb::Run { config } => match run::run(config, &environment()) {
            Ok(()) => exit::OK,
            Err(failure) => {
                complain(&failure.to_string());
                failure.status()
            }
        },
        Verb::CheckConfig { file, root } => check_config(&root, file),
        Verb::Act => {
            act::stand_alone();
            let look_again = |root: &Root, address| {
                let look = guards_again(root, address, PATIENCE);
                look.unwrap_or_else(|| Look::blind(0, "the device is not there any more"))
            };
            status_of(act::run(&Root::live(), io::stdin(), io::stdout(), &look_again))
        }
        Verb::Cmdline => status_of(cmdline::serve(&Root::live(), io::stdin(), io::stdout())),
        Verb::Check => status_of(check::serve(&Root::live(), io::stdout())),
        Verb::Look => status_of(serve(&Root::live(), io::stdin(), io::stdout()).and_then(|()| let_go())),
    };
    ExitCode::from(status)
}

fn check_config(root: &std::path::Path, file: Option<PathBuf>) -> u8 {
    match config::load(root, file.as_deref()) {
        Ok(settings) => {
            let files = words::count(settings.sources.len(), "file");
            let entries = words::count(settings.desired.entries.len(), "entry");
            println!("the configuration is right: {files}, {entries}");
            exit::OK
        }
        Err(errors) => {
            complain(&errors.to_string());
            exit::CONFIG
        }
    }
}

/// With the priority that the journal expects at the start of a line, when it listens.
fn complain(text: &str) {
    let journal = to_journal();
    for line in text.trim_end().lines() {
        if journal { eprintln!("<3>{line}") } else { eprintln!("{line}") }
    }
}

/// Whether standard error is the journal's stream that the environment names, by device and inode:
/// the variable alone is inherited by whatever a service runs.
fn to_journal() -> bool {
    let named = env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn status_of(result: Result<(), impl Display>) -> u8 {
    match result {
        Ok(()) => exit::OK,
        Err(error) => {
            eprintln!("vfiod: {error}");
            exit::FAILURE
        }
    }
}

fn environment() -> Environment {
    // systemd lists several directories with colons; ours is the first.
    let first = |name| {
        let paths = env::var_os(name)?;
        env::split_paths(&paths).next()
    };
    Environment {
        run: first("RUNTIME_DIRECTORY"),
        state: first("STATE_DIRECTORY"),
        journal: to_journal(),
        unit: env::var_os("NOTIFY_SOCKET").is_some(),
        level: env::var("VFIOD_LOG").ok(),
    }
}
