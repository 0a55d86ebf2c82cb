//! The keeper: learns from a snapshot, decides what to do, and says how things stand.
//!
//! * [`pass`]: what one snapshot means beside the configuration
//! * [`learn`]: what is remembered of it: losses, failures, what was found at first sight
//! * [`decide`]: the plan for devices, and [`modules`] for modules
//! * [`standing`]: the public picture

mod decide;
mod learn;
mod modules;
mod pass;
mod standing;

pub use pass::Pass;

use super::desired::Desired;
use super::memory::Memory;
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

    /// The next moment at which something is due that no event announces.
    #[must_use]
    pub fn next_wake(&self, now: Time) -> Option<Time> {
        let paces = self.memory.pace.values().filter_map(|pace| pace.wake(&self.policy.breaker));
        let deadlines = self.memory.acting.values().map(|acting| acting.deadline).filter(|deadline| now < *deadline);
        paces.chain(deadlines).min()
    }
}
