//! What is told, once each: structured to the journal, readable on a terminal.
//!
//! Nothing else in vfiod writes at priority notice or above.
//!
//! While somebody's unbind of a held device hangs on 6.1, journald can hang with it: the kernel's own
//! message names the device, and journald reads that device's `uevent`, which blocks (seen in the
//! lab). What is told meanwhile waits in journald's socket, some hundred entries of it; a transition
//! is one entry, so a hang is far from filling it.

use tracing::{error, info, warn};

use crate::host::port::Inherited;
use crate::model::event::{Event, Kind, Level};
use crate::model::pci::Address;
use crate::model::plan::About;
use crate::model::policy::Mode;
use crate::model::status::Status;
use crate::names::message;

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
                let left = if acting == 0 { String::new() } else { format!("; {acting} writes end by themselves") };
                info!(message_id = message::STOPPED, "stopped; nothing is unbound{left}");
            }
            Told::Reloaded { entries } => {
                info!(message_id = message::RELOADED, "configuration reloaded: {entries} entries");
            }
            Told::ReloadFailed { why } => {
                error!(
                    message_id = message::RELOAD_FAILED,
                    vfiod_cause = why.as_str(),
                    "configuration not reloaded, the settings in force stay:\n{why}"
                );
            }
            Told::StateTrouble { why } => {
                warn!(message_id = message::STATE_TROUBLE, vfiod_cause = why.as_str(), "{why}");
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
            Told::Event(event) => tell_event(event),
        }
    }
}

fn tell_event(event: &Event) {
    let (device, module) = match &event.about {
        About::Device(address) => (Some(address.to_string()), None),
        About::Module(module) => (None, Some(module.as_str())),
        About::Entry(_) => (None, None),
    };
    let device = device.as_deref();
    let entry = event.entry.as_deref();
    let group = event.group;
    let latency = event.latency.map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
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
            "{event}"
        ),
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
    }
}
