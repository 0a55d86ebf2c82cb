//! What is told, once each: structured to the journal, readable on a terminal.
//!
//! Nothing else in vfiod writes at priority notice or above.
//!
//! While somebody's unbind of a held device hangs on 6.1, journald can hang with it: the kernel's own
//! message names the device, and journald reads that device's `uevent`, which blocks (seen in the
//! lab). What is told meanwhile waits in journald's socket, some hundred entries of it; a transition
//! is one entry, so a hang is far from filling it.

use tracing::{error, info, warn};

use crate::bus::serve::Word;
use crate::host::port::Inherited;
use crate::model::cause::Culprit;
use crate::model::event::{Event, Kind, Level};
use crate::model::hold::Hold;
use crate::model::pci::Address;
use crate::model::plan::About;
use crate::model::policy::Mode;
use crate::model::printable::{printable, printable_lines};
use crate::model::status::Status;
use crate::model::words;
use crate::names::{self, message};

/// Something worth telling.
#[derive(Debug)]
pub enum Told<'a> {
    /// The first observation is made.
    Started {
        /// How things stand.
        status: &'a Status,
        /// Whether repairs are made.
        mode: Mode,
    },
    /// The loop ends.
    Stopped {
        /// How many writes are left to end by themselves.
        acting: usize,
    },
    /// New settings are in force.
    Reloaded {
        /// How many entries they have.
        entries: usize,
    },
    /// New settings are wrong; the old ones stay.
    ReloadFailed {
        /// Every fault, a line each.
        why: String,
    },
    /// State on disk could not be read or written, or an actor could not be begun.
    StateTrouble {
        /// In words.
        why: String,
    },
    /// The check of what is declared failed.
    Unchecked {
        /// Why.
        why: String,
    },
    /// Who unloads modules cannot be seen.
    Unwitnessed {
        /// Why.
        why: String,
    },
    /// A write of an earlier vfiod is under way.
    Adopted {
        /// Which.
        acting: Inherited,
    },
    /// A load makes the kernel bind something that is not declared.
    AlsoBinds {
        /// Which function.
        address: Address,
        /// To which driver.
        driver: &'a str,
    },
    /// Somebody holds vfiod back.
    Hold {
        /// The hold's id.
        id: u64,
        /// The hold.
        hold: &'a Hold,
    },
    /// A hold has ended.
    HoldOver {
        /// The hold's id.
        id: u64,
        /// The hold.
        hold: &'a Hold,
        /// What ended it.
        how: &'a str,
    },
    /// How vfiod stands on the bus has changed.
    Bus(&'a Word),
    /// A transition.
    Event(&'a Event),
}

/// Whoever is told.
pub trait Tell {
    /// Tells one thing.
    fn tell(&mut self, told: Told<'_>);
}

/// The journal, or the terminal: whatever `tracing` leads to.
#[derive(Debug, Default)]
pub struct Journal;

impl Tell for Journal {
    fn tell(&mut self, told: Told<'_>) {
        match told {
            Told::Started { status, mode } => {
                let observing = if mode == Mode::Observe { " (observing only: nothing is repaired)" } else { "" };
                info!(
                    message_id = message::STARTED,
                    vfiod_new = status.health.as_str(),
                    "started{observing}: {}",
                    status.line()
                );
            }
            Told::Stopped { acting } => {
                let left = match acting {
                    0 => String::new(),
                    1 => "; 1 write ends by itself".to_owned(),
                    more => format!("; {more} writes end by themselves"),
                };
                info!(message_id = message::STOPPED, "stopped; nothing is unbound{left}");
            }
            Told::Reloaded { entries } => {
                info!(message_id = message::RELOADED, "configuration reloaded: {}", words::count(entries, "entry"));
            }
            Told::ReloadFailed { why } => {
                let why = printable_lines(&why);
                error!(
                    message_id = message::RELOAD_FAILED,
                    vfiod_cause = why.as_str(),
                    "configuration not reloaded, the settings in force stay:\n{why}"
                );
            }
            Told::StateTrouble { why } => {
                let why = printable(&why);
                warn!(message_id = message::STATE_TROUBLE, vfiod_cause = why.as_str(), "{why}");
            }
            Told::Unchecked { why } => {
                let why = printable(&why);
                warn!(
                    message_id = message::UNCHECKED,
                    vfiod_cause = why.as_str(),
                    "what is declared could not be checked: {why}"
                );
            }
            Told::Unwitnessed { why } => {
                let why = printable(&why);
                info!(
                    message_id = message::UNWITNESSED,
                    vfiod_cause = why.as_str(),
                    "who unloads modules cannot be told: {why}"
                );
            }
            Told::Adopted { acting } => {
                let key = acting.act.key.to_string();
                info!(
                    message_id = message::ADOPTED,
                    vfiod_cause = key.as_str(),
                    "a write of an earlier run is under way since {}: {key}",
                    acting.since
                );
            }
            Told::AlsoBinds { address, driver } => {
                let address = address.to_string();
                info!(
                    message_id = message::ALSO_BINDS,
                    vfiod_device = address.as_str(),
                    vfiod_new = driver,
                    "{address} is not declared and pinned to {driver}: loading its module binds it"
                );
            }
            Told::Hold { id, hold } => {
                let (cause, uid) = (printable(&hold.reason(id)), hold.uid);
                info!(
                    message_id = message::HOLD,
                    vfiod_cause = cause.as_str(),
                    "{cause}, asked for by {}",
                    words::user(uid)
                );
            }
            Told::HoldOver { id, hold, how } => {
                let cause = printable(&format!("hold {id} of {} by {} is over: {how}", hold.target, hold.who));
                info!(message_id = message::HOLD_OVER, vfiod_cause = cause.as_str(), "{cause}");
            }
            Told::Bus(word) => tell_bus(word),
            Told::Event(event) => tell_event(event),
        }
    }
}

fn tell_bus(word: &Word) {
    match word {
        Word::Up => info!(message_id = message::BUS_BACK, "on the system bus again"),
        Word::Down(why) => warn!(
            message_id = message::BUS_LOST,
            vfiod_cause = why.as_str(),
            "no system bus ({why}); watching goes on, and it is looked for"
        ),
        Word::NameTaken(by) => warn!(
            message_id = message::NAME_TAKEN,
            vfiod_cause = by.as_str(),
            "{by} has the name {} on the system bus; watching goes on",
            names::bus::NAME
        ),
    }
}

fn tell_event(event: &Event) {
    let (device, module) = match &event.about {
        About::Device(address) => (Some(address.to_string()), None),
        About::Module(module) => (None, Some(module.as_str())),
        About::Entry(_) | About::Host => (None, None),
    };
    let device = device.as_deref();
    let entry = event.entry.as_deref();
    let group = event.group;
    let latency = event.latency.map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    let who = Who::of(event.by.as_ref());
    let (id, old, new, cause) = (id(event.kind), event.old.as_str(), event.new.as_str(), event.cause.as_str());
    // The level of a tracing event is static, so the same fields stand three times.
    match event.level {
        Level::Alert => error!(
            message_id = id,
            vfiod_entry = entry,
            vfiod_device = device,
            vfiod_module = module,
            vfiod_group = group,
            vfiod_old = old,
            vfiod_new = new,
            vfiod_cause = cause,
            vfiod_latency_usec = latency,
            vfiod_by_pid = who.pid,
            vfiod_by_comm = who.comm,
            vfiod_by_unit = who.unit,
            vfiod_by_uid = who.uid,
            vfiod_by_parent = who.parent.as_deref(),
            vfiod_by_cmdline = who.cmdline,
            "{event}"
        ),
        Level::Warning => warn!(
            message_id = id,
            vfiod_entry = entry,
            vfiod_device = device,
            vfiod_module = module,
            vfiod_group = group,
            vfiod_old = old,
            vfiod_new = new,
            vfiod_cause = cause,
            vfiod_latency_usec = latency,
            vfiod_by_pid = who.pid,
            vfiod_by_comm = who.comm,
            vfiod_by_unit = who.unit,
            vfiod_by_uid = who.uid,
            vfiod_by_parent = who.parent.as_deref(),
            vfiod_by_cmdline = who.cmdline,
            "{event}"
        ),
        Level::Notice => info!(
            message_id = id,
            vfiod_entry = entry,
            vfiod_device = device,
            vfiod_module = module,
            vfiod_group = group,
            vfiod_old = old,
            vfiod_new = new,
            vfiod_cause = cause,
            vfiod_latency_usec = latency,
            vfiod_by_pid = who.pid,
            vfiod_by_comm = who.comm,
            vfiod_by_unit = who.unit,
            vfiod_by_uid = who.uid,
            vfiod_by_parent = who.parent.as_deref(),
            vfiod_by_cmdline = who.cmdline,
            "{event}"
        ),
    }
}

/// Who did it, as fields; what is not known is none.
#[derive(Default)]
struct Who<'a> {
    pid: Option<u32>,
    comm: Option<&'a str>,
    unit: Option<&'a str>,
    uid: Option<u32>,
    parent: Option<String>,
    cmdline: Option<&'a str>,
}

impl<'a> Who<'a> {
    fn of(culprit: Option<&'a Culprit>) -> Who<'a> {
        let Some(Culprit { pid, comm, unit, uid, parent, cmdline }) = culprit else { return Who::default() };
        let known = |text: &'a String| Some(text.as_str()).filter(|text| !text.is_empty());
        Who {
            pid: Some(*pid),
            comm: known(comm),
            unit: known(unit),
            uid: *uid,
            parent: parent.as_ref().map(|parent| format!("{}[{}]", parent.comm, parent.pid)),
            cmdline: cmdline.as_deref(),
        }
    }
}

/// The MESSAGE_ID of a kind.
fn id(kind: Kind) -> &'static str {
    match kind {
        Kind::ModuleLost => message::MODULE_LOST,
        Kind::ModuleRestored => message::MODULE_RESTORED,
        Kind::ModuleBlocked => message::MODULE_BLOCKED,
        Kind::Drifted => message::DRIFTED,
        Kind::Repaired => message::REPAIRED,
        Kind::RepairFailed => message::REPAIR_FAILED,
        Kind::Held => message::HELD,
        Kind::Blocked => message::BLOCKED,
        Kind::NotFound => message::NOT_FOUND,
        Kind::Assigned => message::ASSIGNED,
        Kind::Fighting => message::FIGHTING,
        Kind::FightOver => message::FIGHT_OVER,
        Kind::Stuck => message::STUCK,
        Kind::Unstuck => message::UNSTUCK,
        Kind::Released => message::RELEASED,
        Kind::GivenBack => message::GIVEN_BACK,
        Kind::Adopted => message::UNRELEASED,
        Kind::Loading => message::LOADING,
        Kind::LoadingOver => message::LOADING_OVER,
        Kind::Verdict => message::VERDICT,
    }
}
