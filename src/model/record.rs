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
    /// How often it was brought back, of those times.
    pub repairs: u64,
    /// Whether it has been as it should be since it was lost or released last.
    pub kept: bool,
    /// Whether it was counted as lost, and is not back yet.
    pub lost: bool,
}

impl Records {
    /// Takes note of a picture and of what changed since the one before.
    pub fn note(&mut self, status: &Status, events: &[Event], now: Time) {
        let devices = status.devices.iter().map(|(address, it)| (address, it.standing.state));
        let devices = devices.map(|(address, state)| (address, state.as_str(), state.is_good()));
        let modules = status.modules.iter().map(|(module, it)| (module, it.state.as_str(), it.state.serves()));
        let entries = status.entries.iter().map(|(name, it)| (name, it.state.as_str(), false));
        stand(&mut self.entries, entries, now);
        // What was lost and is told to be back.
        let back = events.iter().rev().find_map(|event| match event.kind {
            Kind::Repaired | Kind::ModuleRestored if self.is_lost(&event.about) => event.latency,
            _ => None,
        });
        if let Some(latency) = back {
            self.counters.last_repair_latency_usec = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        }
        self.counters.repairs += stand(&mut self.devices, devices, now) + stand(&mut self.modules, modules, now);
        events.iter().for_each(|event| self.count(event));
    }

    fn is_lost(&self, about: &About) -> bool {
        let record = match about {
            About::Device(address) => self.devices.get(address),
            About::Module(module) => self.modules.get(module),
            About::Entry(_) | About::Host => None,
        };
        record.is_some_and(|record| record.lost)
    }

    fn count(&mut self, event: &Event) {
        let record = match &event.about {
            About::Device(address) => self.devices.entry(*address).or_default(),
            About::Module(module) => self.modules.entry(module.clone()).or_default(),
            About::Entry(name) => self.entries.entry(name.clone()).or_default(),
            About::Host => return,
        };
        match event.kind {
            // What never was as it should be is not lost, nor is what is lost already.
            Kind::Drifted | Kind::ModuleLost if record.kept => {
                (record.kept, record.lost) = (false, true);
                self.counters.drifts += 1;
                record.drifts += 1;
            }
            // Somebody has it back, and when it is kept again that is no repair.
            Kind::Released => (record.kept, record.lost) = (false, false),
            Kind::RepairFailed => self.counters.failures += 1,
            _ => {}
        }
    }
}

/// Dates what stands otherwise than before: key, word, and whether that is as it should be. Answers with
/// how many were lost and are so again.
fn stand<'a, K: Ord + Hash + Clone + 'a>(
    records: &mut BTreeMap<K, Record>,
    words: impl Iterator<Item = (&'a K, &'static str, bool)>,
    now: Time,
) -> u64 {
    let mut back = 0;
    for (key, word, good) in words {
        let record = match records.get_mut(key) {
            Some(record) => record,
            None => records.entry(key.clone()).or_insert_with(|| Record { since: now, ..Record::default() }),
        };
        if record.word != word {
            word.clone_into(&mut record.word);
            record.since = now;
        }
        if good {
            record.kept = true;
            if std::mem::take(&mut record.lost) {
                record.repairs += 1;
                back += 1;
            }
        }
    }
    back
}
