//! What persons ask for: repairs out of turn, releases, holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Keeper, Pass, entry_of};
use crate::model::hold::{Hold, Until};
use crate::model::memory::{Release, Unit};
use crate::model::pci::{Address, Module};
use crate::model::picture::Clock;
use crate::model::resolve::{Resolution, resolve};
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::time::Time;

/// What a person means by what he names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meant {
    /// Entries of the configuration.
    pub entries: BTreeSet<String>,
    /// What losses and repairs are counted for: entries, or single VFs of them.
    pub units: BTreeSet<String>,
    /// Declared functions.
    pub devices: BTreeSet<Address>,
    /// Required modules.
    pub modules: BTreeSet<Module>,
    /// All units of each entry that something of is meant, meant or not.
    pub kin: BTreeMap<String, BTreeSet<String>>,
}

impl Meant {
    /// All of both.
    pub fn extend(&mut self, other: Meant) {
        self.entries.extend(other.entries);
        self.units.extend(other.units);
        self.devices.extend(other.devices);
        self.modules.extend(other.modules);
        self.kin.extend(other.kin);
    }
}

impl Keeper {
    /// What a target means now; none where nothing has that name.
    #[must_use]
    pub fn meant(&self, snapshot: &Snapshot, target: &Target) -> Option<Meant> {
        let found = resolve(&self.desired, snapshot);
        let mut meant = Meant::default();
        match target {
            Target::All => {
                meant.modules.extend(snapshot.modules.keys().cloned());
                meant.entries.extend(self.desired.entries.iter().map(|entry| entry.name.clone()));
                for (address, index) in &found.owner {
                    self.add(&mut meant, *index, *address);
                }
            }
            Target::Module(module) => {
                snapshot.modules.contains_key(module).then(|| meant.modules.insert(module.clone()))?;
            }
            Target::Device(address) => self.add(&mut meant, *found.owner.get(address)?, *address),
            Target::Entry(name) => self.entry_meant(snapshot, &found, name, &mut meant)?,
        }
        for (address, index) in &found.owner {
            let Some(unit) = self.unit_name(*index, *address) else { continue };
            if meant.entries.contains(entry_of(&unit)) {
                meant.kin.entry(entry_of(&unit).to_owned()).or_default().insert(unit);
            }
        }
        Some(meant)
    }

    fn entry_meant(&self, snapshot: &Snapshot, found: &Resolution, name: &str, meant: &mut Meant) -> Option<()> {
        let (entry_name, vf) = name.split_once('/').map_or((name, None), |(entry, vf)| (entry, Some(vf)));
        let index = self.desired.entries.iter().position(|entry| entry.name == entry_name)?;
        match vf {
            None => {
                meant.entries.insert(entry_name.to_owned());
                for address in &found.entries.get(index)?.devices {
                    self.add(meant, index, *address);
                }
                // Nothing of it is there: its name alone says what is meant.
                if meant.units.is_empty() {
                    meant.units.insert(entry_name.to_owned());
                }
            }
            Some(vf) => {
                let range = self.desired.entries[index].select.vf?;
                let vf: u32 = vf.parse().ok().filter(|vf| (range.first..=range.last).contains(vf))?;
                let address = snapshot.functions.get(&range.pf)?.vfs.get(&vf)?;
                found.owner.get(address).filter(|owner| **owner == index)?;
                self.add(meant, index, *address);
            }
        }
        Some(())
    }

    fn add(&self, meant: &mut Meant, index: usize, address: Address) {
        let Some(unit) = self.unit_name(index, address) else { return };
        meant.entries.insert(entry_of(&unit).to_owned());
        meant.units.insert(unit);
        meant.devices.insert(address);
    }

    /// Tries at once what is put off, once: a person asks for it. Also the modules that it takes.
    pub fn urge(&mut self, snapshot: &Snapshot, meant: &Meant) {
        self.ask_for(meant);
        let now = snapshot.taken;
        for unit in self.charged(snapshot, meant) {
            if let Unit::Module(module) = &unit {
                self.memory.refused.remove(module);
            }
            if let Some(pace) = self.memory.pace.get_mut(&unit) {
                pace.not_before = None;
                if let Some(open) = &mut pace.open {
                    open.probe = open.probe.min(now);
                }
            }
        }
    }

    /// A person asks for these: where nobody knows whether they are released, they are not. Answers
    /// whether that is news.
    fn ask_for(&mut self, meant: &Meant) -> bool {
        let Some(unsure) = &mut self.memory.unsure else { return false };
        let before = unsure.asked.len();
        unsure.asked.extend(&meant.devices);
        unsure.asked.len() > before
    }

    /// Forgets failures and breakers of these.
    pub fn reset(&mut self, snapshot: &Snapshot, meant: &Meant) {
        for unit in self.charged(snapshot, meant) {
            if let Unit::Module(module) = &unit {
                self.memory.refused.remove(module);
            }
            if let Some(pace) = self.memory.pace.get_mut(&unit) {
                pace.forgive();
            }
        }
    }

    /// What repairs of these are charged to, with the modules that they take.
    pub(super) fn charged(&self, snapshot: &Snapshot, meant: &Meant) -> BTreeSet<Unit> {
        let found = resolve(&self.desired, snapshot);
        let mut units: BTreeSet<Unit> = meant.units.iter().cloned().map(Unit::Entry).collect();
        let mut modules = meant.modules.clone();
        for address in &meant.devices {
            if let Some(index) = found.owner.get(address) {
                modules.insert(self.wanted(*index, *address, snapshot).module);
            }
        }
        for module in modules {
            let needs = snapshot.modules.get(&module).map(|facts| facts.needs.clone()).unwrap_or_default();
            units.extend(needs.into_iter().chain([module]).map(Unit::Module));
        }
        units
    }

    /// Takes note that a person has these given back.
    pub fn release(&mut self, meant: &Meant, uid: u32, since_usec: u64) {
        for unit in &meant.units {
            // Anew also where there is one: what was given back somebody may have put on VFIO since.
            self.memory.lasting.releases.insert(unit.clone(), Release { since_usec, uid, done: false });
            // What was lost or failed until now is nobody's concern any more.
            self.memory.pace.remove(&Unit::Entry(unit.clone()));
        }
    }

    /// Ends the releases of these; answers whether there was one, or may have been.
    pub fn adopt(&mut self, meant: &Meant) -> bool {
        let mut any = self.ask_for(meant);
        let releases = &mut self.memory.lasting.releases;
        for unit in &meant.units {
            // A release of a whole VF entry stands for each of its VFs: those that are not meant stay
            // released.
            let Some(release) = releases.remove(entry_of(unit)) else { continue };
            let kin = meant.kin.get(entry_of(unit)).into_iter().flatten();
            for unit in kin.chain([unit]) {
                releases.entry(unit.clone()).or_insert_with(|| release.clone());
            }
        }
        for unit in &meant.units {
            if self.memory.lasting.releases.remove(unit).is_some() {
                any = true;
                // Its return is no loss that somebody caused, and what went before counts no more.
                self.memory.kept.remove(unit);
                self.memory.pace.remove(&Unit::Entry(unit.clone()));
            }
        }
        any
    }

    /// Whether what an entry's function is counted for has been released.
    pub(super) fn is_released(&self, index: usize, address: Address) -> bool {
        if self.memory.lasting.releases.is_empty() {
            return false;
        }
        self.unit_name(index, address).is_some_and(|unit| self.release_of(&unit).is_some())
    }

    /// The release that a unit is under.
    pub(super) fn release_of(&self, unit: &str) -> Option<&Release> {
        let releases = &self.memory.lasting.releases;
        releases.get(unit).or_else(|| releases.get(entry_of(unit)))
    }

    /// Puts a hold in force; answers with its id.
    pub fn hold(&mut self, hold: Hold) -> u64 {
        // What lasts may have been lost, or not have been written: no number that is in force is given twice.
        let in_force = [&self.memory.holds, &self.memory.lasting.holds].map(|holds| holds.0.last_key_value());
        let last = in_force.into_iter().flatten().map(|(id, _)| *id).max().unwrap_or_default();
        let lasting = &mut self.memory.lasting;
        let id = lasting.next_hold.max(last).saturating_add(1);
        lasting.next_hold = id;
        match hold.until {
            Until::Time(_) => lasting.holds.0.insert(id, hold),
            Until::Owner(_) | Until::Lease => self.memory.holds.0.insert(id, hold),
        };
        id
    }

    /// Takes note of when holds end in the time of this boot, and by the clock as it is now.
    pub fn measure_holds(&mut self, now: Time, clock: Clock) {
        let memory = &mut self.memory;
        // Most of the time there is none.
        if !memory.lasting.holds.0.is_empty() || !memory.ends.is_empty() {
            memory.ends = memory.lasting.holds.measure(&memory.ends, now, clock);
        }
    }

    /// The holds whose time is over.
    #[must_use]
    pub fn expired_holds(&self, now: Time) -> BTreeSet<u64> {
        self.memory.ends.iter().filter(|(_, end)| **end <= now).map(|(id, _)| *id).collect()
    }

    /// When the next hold ends by time.
    #[must_use]
    pub fn next_hold_end(&self) -> Option<Time> {
        self.memory.ends.values().min().copied()
    }

    /// Ends the holds that `over` says are over, and answers with them.
    pub fn end_holds(&mut self, over: impl Fn(u64, &Hold) -> bool) -> Vec<(u64, Hold)> {
        let mut ended = self.memory.lasting.holds.end(&over);
        ended.extend(self.memory.holds.end(&over));
        self.memory.ends.retain(|id, _| ended.iter().all(|(other, _)| other != id));
        ended
    }

    /// Whether a function is released and has not been given back yet, or written to just now.
    #[must_use]
    pub fn is_being_given_back(&self, pass: &Pass<'_>, address: Address) -> bool {
        let unit = pass.found.owner.get(&address).and_then(|index| self.unit_name(*index, address));
        unit.and_then(|unit| self.release_of(&unit)).is_some_and(|release| !release.done)
    }
}
