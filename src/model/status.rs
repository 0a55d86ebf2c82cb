//! The public picture: how everything stands. The JSON of it only grows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::cause::{Fall, Unload};
use super::module::ModuleState;
use super::pci::{Address, Driver, Module};
use super::snapshot::NOT_LOOKED;
use super::state::{Health, State};
use super::time::Time;

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The worst of the parts.
    pub health: Health,
    /// The entries, by name.
    pub entries: BTreeMap<String, Standing>,
    /// The declared functions, by address.
    pub devices: BTreeMap<Address, DeviceStatus>,
    /// The required modules, by name.
    pub modules: BTreeMap<Module, ModuleStatus>,
}

/// How one thing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// In one word.
    pub state: State,
    /// Why, in a sentence; empty when there is nothing to say.
    pub reason: String,
    /// What a person can do; empty where nothing is to be done.
    pub remedy: String,
    /// Since when it is lost, while it is.
    pub lost: Option<Time>,
    /// When it is tried again, where time is what it waits for.
    pub not_before: Option<Time>,
}

impl Standing {
    /// A state that has nothing more to say.
    #[must_use]
    pub fn plain(state: State) -> Standing {
        Standing { state, reason: String::new(), remedy: String::new(), lost: None, not_before: None }
    }
}

/// How a declared function stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// The entry that declares it.
    pub entry: String,
    /// How it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// The driver it is on.
    pub driver: Option<Driver>,
    /// The driver it should be on.
    pub wanted: Driver,
    /// The module of that, where its name does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Module>,
    /// Its group.
    pub group: Option<u32>,
    /// Its last loss in this boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_cause: Option<Fall>,
}

impl DeviceStatus {
    /// The module of the driver it should be on.
    #[must_use]
    pub fn wanted_module(&self) -> Module {
        self.module.clone().unwrap_or_else(|| self.wanted.module())
    }
}

/// How a required module stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleStatus {
    /// Its state.
    pub state: ModuleState,
    /// Why, in a sentence; empty when there is nothing to say.
    pub reason: String,
    /// Whether nothing that vfiod can do will bring it.
    pub blocked: bool,
    /// Whether a load of it has not returned within its deadline.
    pub stuck: bool,
    /// Whether the breaker is open for it.
    pub fighting: bool,
    /// The module that needs it and is fought over: what befalls this one is part of that fight.
    pub fought_with: Option<Module>,
    /// How often in a row loading it did not help.
    pub failures: u32,
    /// Since when it is lost, while it is.
    pub lost: Option<Time>,
    /// When it is tried again, where time is what it waits for.
    pub not_before: Option<Time>,
    /// Its last unload in this boot; while it is lost, the one that made it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_unload: Option<Unload>,
    /// Whether it is just being unloaded, and who does it may be known in a moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Whether somebody has been loading it for longer than a repair may take.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slow: bool,
}

impl Status {
    /// The worst of these parts.
    #[must_use]
    pub fn health_of(entries: &BTreeMap<String, Standing>, modules: &BTreeMap<Module, ModuleStatus>) -> Health {
        let worst_entry = entries.values().map(|standing| Health::of(standing.state)).max();
        let worst_module = modules.values().filter(|module| !module.state.serves()).map(|module| {
            if module.blocked || module.stuck || module.slow || module.fighting {
                Health::Blocked
            } else {
                Health::Degraded
            }
        });
        worst_entry.into_iter().chain(worst_module).max().unwrap_or(Health::Ready)
    }

    /// This picture with what a later one shows to be lost, and nothing else of that; none where nothing
    /// is. What a closer look is still to tell is not in the later one; nothing is told of devices in `doubted`.
    #[must_use]
    pub fn with_losses(&self, later: &Status, doubted: &BTreeSet<Address>) -> Option<Status> {
        let mut told = self.clone();
        told.devices.retain(|address, device| !device.standing.state.is_good() || later.devices.contains_key(address));
        let lost = later.devices.iter().filter(|(_, device)| !device.standing.state.is_good());
        let mut unsure: BTreeSet<&str> = BTreeSet::new();
        let mut sure: BTreeSet<&str> = BTreeSet::new();
        for (address, device) in lost {
            if doubted.contains(address) {
                unsure.insert(&device.entry);
                continue;
            }
            sure.insert(&device.entry);
            let was_good = match self.devices.get(address) {
                Some(before) => before.standing.state.is_good(),
                // New in an entry that was well.
                None => self.entries.get(&device.entry).is_some_and(|entry| entry.state.is_good()),
            };
            if was_good {
                told.devices.insert(*address, device.clone());
            }
        }
        let only_doubted = |name: &str| unsure.contains(name) && !sure.contains(name);
        for (name, entry) in later.entries.iter().filter(|(name, entry)| !entry.state.is_good() && !only_doubted(name))
        {
            if let Some(good) = told.entries.get_mut(name).filter(|entry| entry.state.is_good()) {
                good.clone_from(entry);
            }
        }
        for (name, module) in later.modules.iter().filter(|(_, module)| !module.state.serves()) {
            if let Some(good) = told.modules.get_mut(name).filter(|module| module.state.serves()) {
                good.clone_from(module);
                // That a look is still to come is no reason of the loss.
                if good.reason.ends_with(NOT_LOOKED) {
                    good.reason.clear();
                }
            }
        }
        told.health = Status::health_of(&told.entries, &told.modules);
        (told != *self).then_some(told)
    }

    /// One line for `systemctl status`: the health, and how many of what.
    #[must_use]
    pub fn line(&self) -> String {
        let mut counts: BTreeMap<State, usize> = BTreeMap::new();
        for standing in self.entries.values() {
            *counts.entry(standing.state).or_default() += 1;
        }
        let entries = counts.iter().rev().map(|(state, count)| format!("{count} {state}"));
        let modules = self.modules.iter().filter(|(_, module)| !module.state.serves());
        let modules = modules.map(|(name, module)| format!("{name} {}", module.state));
        let parts: Vec<String> = entries.chain(modules).collect();
        if parts.is_empty() {
            format!("{}: nothing is declared", self.health)
        } else {
            format!("{}: {}", self.health, parts.join(", "))
        }
    }
}
