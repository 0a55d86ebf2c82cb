//! What is counted and dated: since when a thing stands as it does, how often it was lost.

use std::collections::BTreeMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::event::{Event, Kind};
use super::pci::{Address, Module};
use super::picture::Counters;
use super::plan::About;
use super::status::Status;
use super::time::Time;

/// What is counted and dated within one boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Records {
    /// Of entries.
    pub entries: BTreeMap<String, Record>,
    /// Of functions.
    pub devices: BTreeMap<Address, Record>,
    /// Of modules.
    pub modules: BTreeMap<Module, Record>,
    /// Of everything; passes are counted by the loop.
    pub counters: Counters,
}

/// What is counted and dated of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The word for how it stands.
    pub word: String,
    /// Since when.
    pub since: Time,
    /// How often it was lost.
    pub drifts: u64,
    /// How often it was brought back.
    pub repairs: u64,
}

impl Records {
    /// Takes note of a picture and of what changed since the one before.
    pub fn note(&mut self, status: &Status, events: &[Event], now: Time) {
        stand(&mut self.entries, status.entries.iter().map(|(name, it)| (name, it.state.as_str())), now);
        stand(&mut self.devices, status.devices.iter().map(|(address, it)| (address, it.standing.state.as_str())), now);
        stand(&mut self.modules, status.modules.iter().map(|(module, it)| (module, it.state.as_str())), now);
        events.iter().for_each(|event| self.count(event));
    }

    fn count(&mut self, event: &Event) {
        let record = match &event.about {
            About::Device(address) => self.devices.entry(*address).or_default(),
            About::Module(module) => self.modules.entry(module.clone()).or_default(),
            About::Entry(name) => self.entries.entry(name.clone()).or_default(),
            About::Host => return,
        };
        match event.kind {
            Kind::Drifted | Kind::ModuleLost => {
                self.counters.drifts += 1;
                record.drifts += 1;
            }
            Kind::Repaired | Kind::ModuleRestored => {
                self.counters.repairs += 1;
                record.repairs += 1;
                if let Some(latency) = event.latency {
                    self.counters.last_repair_latency_usec = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                }
            }
            Kind::RepairFailed => self.counters.failures += 1,
            _ => {}
        }
    }
}

/// Dates what stands otherwise than before, and forgets what is not there any more.
fn stand<'a, K: Ord + Hash + Clone + 'a>(
    records: &mut BTreeMap<K, Record>,
    words: impl Iterator<Item = (&'a K, &'static str)>,
    now: Time,
) {
    for (key, word) in words {
        match records.get_mut(key) {
            Some(record) if record.word == word => {}
            Some(record) => {
                word.clone_into(&mut record.word);
                record.since = now;
            }
            None => {
                drop(records.insert(key.clone(), Record { word: word.to_owned(), since: now, ..Record::default() }))
            }
        }
    }
}
