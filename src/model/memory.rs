//! What is remembered from pass to pass, and over restarts within one boot.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::alert::Alerted;
use super::cause::{Fall, Rhythm, Unload};
use super::concern::Concerns;
use super::desired::Wanted;
use super::hold::{Hold, Holds};
use super::pace::Pace;
use super::pci::{Address, Driver, Module};
use super::plan::{Act, Key};
use super::record::Records;
use super::snapshot::{Fact, Holder};
use super::time::Time;

/// All that is remembered within one boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What was asked of the vfiod that remembers this, and how to go about it: `[Desired, Policy]` as JSON.
    /// What a later version cannot read is not known to be another.
    pub asked: String,
    /// Whether a function was on a VFIO driver at some time in this boot.
    pub vfio_seen: bool,
    /// Functions that have been on a VFIO driver in this boot, by device object.
    pub on_vfio: BTreeMap<Address, u64>,
    /// Declared functions that were on a VFIO driver when they were first seen: they stay as found.
    pub adopted: BTreeMap<Address, Adopted>,
    /// Modules that served, so that their going is a loss.
    pub served: BTreeSet<Module>,
    /// Entries that were as declared, so that their drifting is a loss.
    pub kept: BTreeSet<String>,
    /// How the repairs of modules and entries go.
    pub pace: BTreeMap<Unit, Pace>,
    /// Modules whose load was refused for good, with the state of the evidence then.
    pub refused: BTreeMap<Module, Refused>,
    /// What outlives the boot; kept in a file of its own.
    #[serde(skip)]
    pub lasting: Lasting,
    /// Whether what lasts is known at all; boot-scoped, because an empty file replaces a damaged one.
    pub unsure: Option<Unsure>,
    /// Holds that end with their owner.
    pub holds: Holds,
    /// When the holds end that end by time, as long as this boot lasts: whoever sets the clock ends none
    /// of them, early or late.
    pub ends: BTreeMap<u64, Time>,
    /// What is counted and dated.
    pub records: Records,
    /// The last unload of each required module.
    pub unloads: BTreeMap<Module, Unload>,
    /// Required modules that are lost now, and whose last unload is this loss.
    pub gone: BTreeSet<Module>,
    /// When who unloaded what, by unit or command.
    pub rhythms: BTreeMap<Module, BTreeMap<String, Rhythm>>,
    /// Required modules that are loading, and since when that is seen.
    pub loading: BTreeMap<Module, Time>,
    /// What somebody was alerted to and still stands.
    pub alerted: Alerted,
    /// The last loss of each declared device.
    pub falls: BTreeMap<Address, Fall>,
    /// What the last check has found.
    pub concerns: Concerns,
    /// Functions that the kernel could not bring back after a fatal error.
    pub unrecovered: BTreeMap<Address, Unrecovered>,
    /// Unloads that were witnessed and belong to no loss yet.
    #[serde(skip)]
    pub witnessed: BTreeMap<Module, Unload>,
    /// Whether records of unloads were lost since all modules were there.
    #[serde(skip)]
    pub missed: bool,
    /// Modules that are on their way out, and since when that is seen: who does it is not known yet.
    #[serde(skip)]
    pub leaving: BTreeMap<Module, Time>,
    /// What is under way.
    #[serde(skip)]
    pub acting: BTreeMap<Key, Acting>,
    /// Reference counts of driver modules when holders were last looked for.
    #[serde(skip)]
    pub refcounts: BTreeMap<Module, u32>,
    /// Who has a declared device open, as of the last look.
    #[serde(skip)]
    pub open: BTreeMap<Address, Vec<Holder>>,
}

/// What is remembered over reboots.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lasting {
    /// The driver that a function had before vfiod took it from it.
    pub originals: BTreeMap<Address, Driver>,
    /// What persons have had given back, by entry (or `NAME/ADDRESS` for a VF of one).
    pub releases: BTreeMap<String, Release>,
    /// Holds that end at a point in time.
    pub holds: Holds,
    /// The id of the next hold.
    pub next_hold: u64,
}

/// What lasts could not be read in this boot: a device may be released, or on hold, and nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unsure {
    /// Why.
    pub why: String,
    /// Devices that a person has asked for all the same.
    pub asked: BTreeSet<Address>,
}

/// A release: what was given back, and stays with the host until it is adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// When, in realtime microseconds.
    pub since_usec: u64,
    /// The user who asked for it.
    pub uid: u32,
    /// Whether the devices have been given back; until then that is worked on. Afterwards whatever
    /// becomes of them is somebody else's doing, and left alone.
    pub done: bool,
}

/// A function as it was first seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The device object.
    pub object: u64,
    /// Its driver.
    pub driver: Driver,
    /// Its `driver_override`; unreadable until it has been read.
    pub pin: Fact<Driver>,
    /// What its entry wanted then; none while no entry declares it. Where that is something else by
    /// now, a person wants it otherwise than it was found.
    #[serde(default)]
    pub wanted: Option<Wanted>,
}

/// A function that the kernel could not bring back after a fatal error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrecovered {
    /// The device object.
    pub object: u64,
    /// The driver that it was on.
    pub driver: Option<Driver>,
}

/// What is repaired and lost as one.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde_with::SerializeDisplay, serde_with::DeserializeFromStr,
)]
pub enum Unit {
    /// A module, with all that hangs on it.
    Module(Module),
    /// An entry.
    Entry(String),
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unit::Module(module) => write!(f, "module:{module}"),
            Unit::Entry(name) => write!(f, "entry:{name}"),
        }
    }
}

impl std::str::FromStr for Unit {
    type Err = super::pci::ParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("module", name)) => name.parse().map(Unit::Module),
            Some(("entry", name)) => Ok(Unit::Entry(name.to_owned())),
            _ => Err(super::pci::ParseError { text: text.to_owned(), expected: "module:NAME or entry:NAME" }),
        }
    }
}

/// A load that was refused in a way that trying again cannot cure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The kernel's or modprobe's words.
    pub why: String,
    /// [`super::module::ModuleFacts::stamp`] when the load began; another stamp means: try again.
    /// None where an earlier vfiod began it: the next pass's counts.
    pub stamp: Option<u64>,
}

/// An act under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    /// What is being done.
    pub act: Act,
    /// What it is charged to. Empty for an inherited one until the first pass knows the entries.
    pub units: BTreeSet<Unit>,
    /// The stamp of the modules' evidence when it began, if that is known.
    pub stamp: Option<u64>,
    /// Since when.
    pub since: Time,
    /// When it counts as stuck.
    pub deadline: Time,
    /// Whether an earlier vfiod began it.
    pub inherited: bool,
}

impl Memory {
    /// The hold that keeps a function from being written to, if one does.
    #[must_use]
    pub fn hold_on_device(&self, address: Address, entry: Option<&str>, unit: Option<&str>) -> Option<(u64, &Hold)> {
        self.both_holds().find_map(|holds| holds.on_device(address, entry, unit))
    }

    /// The hold that keeps a module from being loaded, if one does.
    #[must_use]
    pub fn hold_on_module(&self, module: &Module) -> Option<(u64, &Hold)> {
        self.both_holds().find_map(|holds| holds.on_module(module))
    }

    /// Every hold in force, by id.
    #[must_use]
    pub fn all_holds(&self) -> BTreeMap<u64, &Hold> {
        self.both_holds().flat_map(|holds| holds.0.iter().map(|(id, hold)| (*id, hold))).collect()
    }

    fn both_holds(&self) -> impl Iterator<Item = &Holds> {
        [&self.lasting.holds, &self.holds].into_iter()
    }

    /// Whether a function is being worked on, and by what.
    #[must_use]
    pub fn acting_on(&self, address: Address) -> Option<&Acting> {
        self.acting.values().find(|acting| acting.act.functions.contains(&address))
    }

    /// Whether a load of a module is past its deadline.
    #[must_use]
    pub fn is_stuck(&self, module: &Module, now: Time) -> bool {
        let loads = self.acting.get(&Key::Modules).filter(|acting| acting.deadline <= now);
        loads.is_some_and(|acting| acting.units.contains(&Unit::Module(module.clone())))
    }
}
