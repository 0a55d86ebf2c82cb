//! What is remembered from pass to pass, and over restarts within one boot.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::pace::Pace;
use super::pci::{Address, Driver, Module};
use super::plan::{Act, Key};
use super::snapshot::{Fact, Holder};
use super::time::Time;

/// All that is remembered within one boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
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
    /// The driver that a function had before vfiod took it from it.
    pub originals: BTreeMap<Address, Driver>,
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

/// A function as it was first seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The device object.
    pub object: u64,
    /// Its driver.
    pub driver: Driver,
    /// Its `driver_override`; unreadable until it has been read.
    pub pin: Fact<Driver>,
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
