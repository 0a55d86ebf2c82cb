//! The command line of people: argument and environment in, exit status out.

#![warn(clippy::disallowed_types, clippy::unwrap_used, clippy::expect_used)]

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::unistd::{Uid, User, geteuid, getuid};
use vfiod::cli::arguments::{Arguments, Verb};
use vfiod::cli::run::{Surroundings, run};
use vfiod::host::look::serve::{let_go, serve};
use vfiod::host::process::take_name;
use vfiod::host::root::Root;
use vfiod::host::saved::texts;
use vfiod::host::surveyor;
use vfiod::model::words;
use vfiod::names::ctl;

fn main() -> ExitCode {
    // clap's own status for a wrong command line is 2, too, and 0 for --help.
    let arguments = Arguments::parse();
    if matches!(arguments.verb, Some(Verb::Look | Verb::Texts | Verb::Survey)) {
        take_name(c"vfiodctl");
    }
    match arguments.verb {
        Some(Verb::Look) => return child(serve(&Root::live(), io::stdin(), io::stdout())),
        Some(Verb::Texts) => return child(texts::serve(&Root::live(), io::stdin(), io::stdout())),
        Some(Verb::Survey) => return child(surveyor::serve(&Root::live(), io::stdout())),
        _ => {}
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vfiodctl: start the runtime: {error}");
            return ExitCode::from(ctl::NOT_READY);
        }
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let status = runtime.block_on(run(arguments, &surroundings(), &mut out, &mut err));
    // A reader that has not come back from the kernel is not waited for.
    runtime.shutdown_background();
    ExitCode::from(status)
}

/// The end of a child that has read what may block.
fn child(served: io::Result<()>) -> ExitCode {
    match served.and_then(|()| let_go()) {
        Ok(()) => ExitCode::from(ctl::OK),
        Err(error) => {
            eprintln!("vfiodctl: {error}");
            ExitCode::from(ctl::NOT_READY)
        }
    }
}

fn surroundings() -> Surroundings {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let terminal = io::stdout().is_terminal();
    let asked = |name| set(name).and_then(|number| number.parse().ok());
    let size = terminal_size::terminal_size().filter(|_| terminal);
    let width = asked("COLUMNS").or_else(|| size.map(|(width, _)| width.0));
    let rows = asked("LINES").or_else(|| size.map(|(_, height)| height.0));
    // The first of them that is set counts, as for setlocale(3).
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    Surroundings {
        terminal,
        width,
        rows,
        no_color: set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb"),
        utf8: locale.contains("utf-8") || locale.contains("utf8"),
        zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
        now_usec: Timestamp::now().as_microsecond().unsigned_abs(),
        who: set("SUDO_USER").unwrap_or_else(user),
        user: named,
        root: geteuid().is_root(),
        names: Root::live(),
        bus: set("DBUS_SYSTEM_BUS_ADDRESS"),
    }
}

/// The user's name, or number where nothing names it.
fn user() -> String {
    let uid = getuid().as_raw();
    named(uid).unwrap_or_else(|| words::user(uid))
}

fn named(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}
