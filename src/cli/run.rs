//! From the arguments to the exit status: which command, asked of whom, shown how.

use std::io::Write;

use jiff::tz::TimeZone;

use super::answer::{Answer, Setting};
use super::arguments::{Arguments, Common, ConfigVerb, Verb, When};
use super::failure::Failure;
use super::screen::Screen;
use super::sight::Sight;
use super::verb;
use crate::host::root::Root;
use crate::names::ctl;

/// What the program found around it: the environment and what its output leads to.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// Its columns, or those that `COLUMNS` asks for.
    pub width: Option<u16>,
    /// Its rows, or those that `LINES` asks for.
    pub rows: Option<u16>,
    /// `NO_COLOR` is set, or the terminal is a dumb one.
    pub no_color: bool,
    /// The locale's character set is UTF-8.
    pub utf8: bool,
    /// The time zone.
    pub zone: TimeZone,
    /// Now, in realtime microseconds.
    pub now_usec: u64,
    /// Who runs the command.
    pub who: String,
    /// What a user of this machine is called.
    pub user: fn(u32) -> Option<String>,
    /// Whether the caller may read what the daemon's sandbox keeps from it.
    pub root: bool,
    /// The root below which the system's pci.ids is.
    pub names: Root,
    /// `DBUS_SYSTEM_BUS_ADDRESS`: where the bus is, if not at its usual place.
    pub bus: Option<String>,
}

/// Runs a command; says what came of it.
///
/// Standard output gets the answer, standard error notes and failures; both may be closed.
pub async fn run(
    arguments: Arguments,
    surroundings: &Surroundings,
    out: &mut (impl Write + ?Sized),
    err: &mut (impl Write + ?Sized),
) -> u8 {
    let Arguments { common, verb } = arguments;
    let screen = screen(&common, surroundings);
    let done = match setting(&common, surroundings, &screen) {
        Ok(setting) => within_budget(obey(verb.unwrap_or(Verb::Status), &setting, out).await, &setting),
        Err(failure) => Err(failure),
    };
    let told = match done {
        Ok(Answer { text, notes, status }) => {
            for note in notes {
                let _ = writeln!(err, "vfiodctl: {}", screen.plain(&note));
            }
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::writing) {
                // Whoever closes the pipe has seen enough; the status tells what was found all the same.
                Ok(()) | Err(Failure::Closed) => return status,
                Err(failure) => failure,
            }
        }
        Err(failure) => failure,
    };
    if told != Failure::Closed {
        let _ = err.write_all(told.lines(&screen).as_bytes());
    }
    told.status()
}

/// Half of a saved tree says nothing of the machine.
fn within_budget(done: Result<Answer, Failure>, setting: &Setting) -> Result<Answer, Failure> {
    match setting.sight.tree.as_ref().and_then(Root::overrun) {
        Some(why) => Err(Failure::Refused(format!("--root: {why}; nothing is said of half of one"))),
        None => done,
    }
}

fn screen(common: &Common, around: &Surroundings) -> Screen {
    let color = match (common.color, common.no_color) {
        (_, true) | (Some(When::Never), _) => false,
        (Some(When::Always), _) => true,
        (Some(When::Auto) | None, _) => around.terminal && !around.no_color,
    };
    Screen {
        color,
        symbols: around.terminal && around.utf8 && !common.ascii,
        width: around.width,
        rows: around.rows,
        zone: around.zone.clone(),
        now_usec: around.now_usec,
    }
}

fn setting(common: &Common, around: &Surroundings, screen: &Screen) -> Result<Setting, Failure> {
    let sight = Sight::new(common, around.names.clone(), around.bus.clone())?;
    let screen = screen.clone();
    Ok(Setting {
        sight,
        screen,
        terminal: around.terminal,
        json: common.json,
        who: around.who.clone(),
        user: around.user,
        root: around.root,
    })
}

async fn obey(verb: Verb, setting: &Setting, out: &mut (impl Write + ?Sized)) -> Result<Answer, Failure> {
    match verb {
        Verb::Status => verb::status::run(setting).await,
        Verb::List { all } => verb::list::run(setting, all).await,
        Verb::Groups { devices } => verb::groups::run(setting, &devices).await,
        Verb::Show { device, libvirt } => verb::show::run(setting, &device, libvirt).await,
        Verb::Check { devices } => verb::check::run(setting, &devices).await,
        Verb::Plan => verb::plan::run(setting).await,
        Verb::Repair { devices } => verb::repair::run(setting, &devices).await,
        Verb::Release { device } => verb::release::run(setting, &device).await,
        Verb::Adopt { device } => verb::adopt::run(setting, &device).await,
        Verb::Load { modules } => verb::load::run(setting, &modules).await,
        Verb::Hold { target, why, who, duration, command } => {
            let wish = verb::hold::Wish { target: &target, who: who.as_deref().unwrap_or(&setting.who), why: &why };
            match duration {
                Some(duration) => verb::hold::for_a_time(setting, wish, duration).await,
                None => verb::hold::while_running(setting, wish, &command).await,
            }
        }
        Verb::Unhold { hold } => verb::unhold::run(setting, &hold).await,
        Verb::ResetFailed { target } => verb::reset_failed::run(setting, target.as_deref()).await,
        Verb::Reload => verb::reload::run(setting).await,
        Verb::Wait { devices, timeout } => verb::wait::run(setting, &devices, timeout).await,
        Verb::History { lines } => verb::history::run(setting, lines).await,
        Verb::Monitor => {
            verb::monitor::run(setting, out).await?;
            Ok(Answer { status: ctl::OK, ..Answer::default() })
        }
        Verb::Snapshot { file, force } => verb::snapshot::run(setting, &file, force, out).await,
        Verb::Config { verb: ConfigVerb::Check { file } } => verb::config::check(setting, file.as_deref()),
        Verb::Config { verb: ConfigVerb::Show { file } } => verb::config::show(setting, file.as_deref()),
        Verb::Config { verb: ConfigVerb::Generate } => verb::generate::run(setting).await,
        Verb::Complete { kind } => verb::complete::run(setting, kind).await,
        Verb::Look | Verb::Texts | Verb::Survey => {
            Err(Failure::Usage("look, texts and survey: they are started by vfiodctl itself".to_owned()))
        }
    }
}
