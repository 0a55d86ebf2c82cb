//! The keeper: learns from a snapshot, decides what to do, and says how things stand.
//!
//! * [`pass`]: what one snapshot means beside the configuration
//! * [`learn`]: what is remembered of it: losses, what was found at first sight; [`acts`]: of acts
//! * [`decide`]: the plan for devices, and [`modules`] for modules
//! * [`standing`]: the public picture

mod acts;
mod decide;
mod learn;
mod modules;
mod pass;
mod standing;

pub use pass::Pass;

use std::collections::BTreeSet;

use super::desired::Desired;
use super::memory::{Memory, Unit};
use super::pace::Pace;
use super::pci::{Address, Driver};
use super::policy::Policy;
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

    /// Declared functions that somebody may have opened or closed: their driver's reference count
    /// is not what it was when holders were last looked for. With `all`, also where no count tells.
    #[must_use]
    pub fn perhaps_open(&self, pass: &Pass<'_>, all: bool) -> BTreeSet<Address> {
        let open = |driver: &Driver| {
            let module = driver.module();
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
            let driver = pass.snapshot.functions.get(address).and_then(|function| function.driver.is());
            driver.is_some_and(|driver| pass.snapshot.is_vfio(driver) && open(driver))
        });
        on_vfio.copied().collect()
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
        let same = |name: &str| {
            let name = entry_of(name);
            let entry = self.desired.entries.iter().find(|entry| entry.name == name);
            entry.is_some() && entry == old.entries.iter().find(|entry| entry.name == name)
        };
        self.memory.kept.retain(|name| same(name));
        self.memory.pace.retain(|unit, _| !matches!(unit, Unit::Entry(name) if !same(name)));
        self.forgive();
    }

    /// Tries again what was given up or put off: the configuration has changed, or a person asks.
    pub fn forgive(&mut self) {
        self.memory.refused.clear();
        for pace in self.memory.pace.values_mut() {
            *pace = Pace { lost: pace.lost, ..Pace::default() };
        }
    }

    /// The next moment after a pass at which something is due that no event announces. What was due
    /// by then the pass has seen: it is held by something else, and asking for it again at once
    /// would never end.
    #[must_use]
    pub fn next_wake(&self, taken: Time) -> Option<Time> {
        let paces = self.memory.pace.values().flat_map(|pace| pace.wakes(&self.policy.breaker));
        let deadlines = self.memory.acting.values().map(|acting| acting.deadline);
        paces.chain(deadlines).filter(|wake| taken < *wake).min()
    }
}

/// The entry that a unit belongs to.
fn entry_of(unit: &str) -> &str {
    unit.split('/').next().unwrap_or(unit)
}
