//! The keeper: learns from a snapshot, decides what to do, and says how things stand.
//!
//! * [`pass`]: what one snapshot means beside the configuration
//! * [`learn`]: what is remembered of it: losses, what was found at first sight; [`acts`]: of acts
//! * [`blame`]: who did it
//! * [`decide`]: the plan for devices, and [`modules`] for modules
//! * [`recovery`]: what is remembered of fatal errors
//! * [`requests`]: what persons ask for; [`release`]: the plan for what is given back
//! * [`standing`]: how things stand after it, and [`portrait`]: the public picture

mod acts;
mod blame;
mod decide;
mod learn;
mod modules;
mod pass;
mod portrait;
mod recovery;
mod release;
mod requests;
mod standing;

pub use pass::Pass;
pub use portrait::{Frame, group_view};
pub use requests::Meant;
pub use standing::GIVEN_BACK;

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Desired, Entry};
use super::memory::{Memory, Unit};
use super::pci::{Address, Driver};
use super::policy::Policy;
use super::snapshot::Snapshot;
use super::state::State;
use super::time::Time;

/// What is asked, how it is paced, and what is remembered. Only the loop owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    /// What the configuration asks.
    pub desired: Desired,
    /// How repairs are paced.
    pub policy: Policy,
    /// What is remembered.
    pub memory: Memory,
}

impl Keeper {
    /// A keeper for these settings, with what is remembered of this boot.
    #[must_use]
    pub fn new(desired: Desired, policy: Policy, memory: Memory) -> Keeper {
        Keeper { desired, policy, memory }
    }

    /// Whether VFIO's modules are needed: something is declared, or was on VFIO in this boot.
    #[must_use]
    pub fn needs_vfio(&self) -> bool {
        self.memory.vfio_seen || !self.desired.entries.is_empty()
    }

    /// Whether an entry means this function, rightly or not.
    #[must_use]
    pub fn declares(&self, pass: &Pass<'_>, address: Address) -> bool {
        pass.found.owner.contains_key(&address) || pass.found.faults.contains_key(&address)
    }

    /// The declared functions that are there and not released, each with its device object.
    #[must_use]
    pub fn kept_objects(&self, snapshot: &Snapshot) -> BTreeMap<Address, u64> {
        let pass = self.pass(snapshot);
        let kept = pass.found.owner.keys().filter(|address| !pass.found.released.contains(address));
        kept.filter_map(|address| Some((*address, snapshot.functions.get(address)?.card.object))).collect()
    }

    /// Declared functions that somebody may have opened or closed: their driver's reference count
    /// is not what it was when holders were last looked for. With `all`, also where no count tells.
    #[must_use]
    pub fn perhaps_open(&self, pass: &Pass<'_>, all: bool) -> BTreeSet<Address> {
        let open = |driver: &Driver| {
            let module = pass.snapshot.module_of(driver);
            match pass.snapshot.modules.get(&module) {
                Some(facts) => match facts.refcount {
                    Some(0) => false,
                    Some(count) => all || self.memory.refcounts.get(&module) != Some(&count),
                    None => all && facts.state.serves(),
                },
                None => all,
            }
        };
        let idle = pass.found.owner.keys().filter(|address| self.memory.acting_on(**address).is_none());
        let on_vfio = idle.filter(|address| {
            let function = pass.snapshot.functions.get(address).filter(|function| pass.snapshot.on_vfio(function));
            function.and_then(|function| function.driver.is()).is_some_and(open)
        });
        on_vfio.copied().collect()
    }

    /// Functions that are not known to be the declared ones, because their serial number was not read
    /// yet. With `all` also where that was tried.
    #[must_use]
    pub fn unread_serials(&self, pass: &Pass<'_>, all: bool) -> BTreeSet<Address> {
        let unclear = pass.found.faults.iter().filter(|(_, (_, fault))| fault.state == State::Held);
        let unread = unclear.filter(|(address, (index, _))| {
            let serial = pass.snapshot.functions.get(address).map(|function| &function.card.serial);
            self.desired.entries.get(*index).is_some_and(|entry| entry.identity.serial.is_some())
                && serial.is_some_and(|serial| serial.is_not_looked() || all && serial.unreadable().is_some())
                && self.memory.acting_on(**address).is_none()
        });
        unread.map(|(address, _)| *address).collect()
    }

    /// What a function's losses and repairs are counted for: its entry, or, where the functions of
    /// an entry do not move together (VFs), itself.
    pub(super) fn unit_name(&self, index: usize, address: Address) -> Option<String> {
        let entry = self.desired.entries.get(index)?;
        Some(if entry.select.vf.is_some() { format!("{}/{address}", entry.name) } else { entry.name.clone() })
    }

    /// Takes over other settings. A person has changed something: what was given up is tried again,
    /// and an entry that is another one now has no past.
    pub fn change(&mut self, desired: Desired, policy: Policy) {
        let old = std::mem::replace(&mut self.desired, desired);
        self.policy = policy;
        let before: BTreeMap<&str, &Entry> = old.entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let stays = self.desired.entries.iter().filter(|entry| before.get(entry.name.as_str()) == Some(entry));
        let stays: BTreeSet<&str> = stays.map(|entry| entry.name.as_str()).collect();
        let same = |name: &str| stays.contains(entry_of(name));
        self.memory.kept.retain(|name| same(name));
        self.memory.pace.retain(|unit, _| !matches!(unit, Unit::Entry(name) if !same(name)));
        self.forgive();
        self.note_asked();
    }

    /// Takes up what is remembered of this boot. If something else was asked then, a person has changed it
    /// meanwhile, as with a reload.
    pub fn resume(&mut self, memory: Memory) {
        self.memory = memory;
        if let Ok((desired, policy)) = serde_json::from_str(&self.memory.asked)
            && (&desired, &policy) != (&self.desired, &self.policy)
        {
            let desired = std::mem::replace(&mut self.desired, desired);
            let policy = std::mem::replace(&mut self.policy, policy);
            self.change(desired, policy);
        }
        self.note_asked();
    }

    fn note_asked(&mut self) {
        self.memory.asked = serde_json::to_string(&(&self.desired, &self.policy)).unwrap_or_default();
    }

    /// Tries again what was given up or put off: the configuration has changed, or a person asks.
    pub fn forgive(&mut self) {
        self.memory.refused.clear();
        for pace in self.memory.pace.values_mut() {
            pace.forgive();
        }
    }

    /// The next moment after a pass at which something is due that no event announces. What was due
    /// by then the pass has seen: it is held by something else, and asking for it again at once
    /// would never end.
    #[must_use]
    pub fn next_wake(&self, taken: Time) -> Option<Time> {
        let paces = self.memory.pace.values().flat_map(|pace| pace.wakes(&self.policy.breaker));
        let slow = self.memory.loading.values().map(|since| *since + self.policy.deadline);
        let deadlines = self.memory.acting.values().map(|acting| acting.deadline).chain(self.left(taken)).chain(slow);
        paces.chain(deadlines).filter(|wake| taken < *wake).min()
    }
}

/// The entry that a unit belongs to.
fn entry_of(unit: &str) -> &str {
    unit.split('/').next().unwrap_or(unit)
}
