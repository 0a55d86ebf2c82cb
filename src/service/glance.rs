//! Looks that are remembered from pass to pass, so that what is left alone is left in peace.
//!
//! A device that a guard holds (the root disk, declared by mistake) would be looked at anew at every
//! poll, for ever, by a child that scans all of /proc. A remembered look only ever keeps holding: at
//! the first event, or when it would lead to a write, a new one is taken. Each look is remembered for
//! longer than the last, up to the interval at which overrides are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::drift::Drift;
use crate::model::keeper::Pass;
use crate::model::pci::Address;
use crate::model::plan::{About, Plan};
use crate::model::snapshot::{Look, Snapshot};
use crate::model::time::Time;

/// The looks that are remembered.
#[derive(Debug, Default)]
pub struct Glances {
    kept: BTreeMap<Address, Glance>,
}

#[derive(Debug)]
struct Glance {
    look: Arc<Look>,
    again: Time,
    spacing: Duration,
}

impl Glances {
    /// Forgets all: something has happened.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// What need not be looked at again yet: the same device objects, for a while.
    pub fn recall(&self, snapshot: &Snapshot) -> BTreeMap<Address, Arc<Look>> {
        let holds = |address: &Address, glance: &Glance| {
            let function = snapshot.functions.get(address);
            let same = function.is_some_and(|function| function.card.object == glance.look.object);
            same && snapshot.taken < glance.again
        };
        let kept = self.kept.iter().filter(|(address, glance)| holds(address, glance));
        kept.map(|(address, glance)| (*address, Arc::clone(&glance.look))).collect()
    }

    /// Remembers the looks at devices on a host's driver that this pass leaves alone; those that
    /// were `recalled` stay as they are. For a device on VFIO none is remembered: whether it is open
    /// shows in its driver's reference count, and is asked for when that changes.
    pub fn keep(
        &mut self,
        pass: &Pass<'_>,
        plan: &Plan,
        recalled: &BTreeSet<Address>,
        first: Duration,
        longest: Duration,
    ) {
        let held: BTreeSet<&About> = plan.held.iter().map(|held| &held.about).collect();
        let left_alone = |address: &Address| {
            let host = matches!(pass.drifts.get(address), Some(Drift::WrongDriver(on)) if !pass.snapshot.is_vfio(on));
            host && held.contains(&About::Device(*address))
        };
        self.kept.retain(|address, _| left_alone(address));
        for (address, function) in &pass.snapshot.functions {
            let Some(look) = function.look.as_ref().filter(|_| left_alone(address) && !recalled.contains(address))
            else {
                continue;
            };
            let before = self.kept.get(address).filter(|glance| glance.look.object == look.object);
            let spacing = before.map_or(first, |glance| (glance.spacing * 2).min(longest.max(first)));
            let glance = Glance { look: Arc::clone(look), again: pass.snapshot.taken + spacing, spacing };
            self.kept.insert(*address, glance);
        }
    }
}
