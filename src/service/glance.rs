//! Looks that are remembered from pass to pass, so that what is left alone is left in peace.
//!
//! A device that a guard holds (the root disk, declared by mistake) would be looked at anew at every
//! poll, for ever, by a child that scans all of /proc; so would one that is only observed, and all of
//! sysfs where a load is held by what it would bind. A remembered look only ever keeps holding: at the
//! first event, or when it would lead to a write, a new one is taken. Each look is remembered for longer
//! than the last, up to the interval at which overrides are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::drift::Drift;
use crate::model::keeper::Pass;
use crate::model::pci::{Address, Driver};
use crate::model::plan::{About, Act, Key, Plan};
use crate::model::policy::Mode;
use crate::model::snapshot::{Fact, Look, Snapshot};
use crate::model::time::Time;

/// The looks that are remembered.
#[derive(Debug, Default)]
pub struct Glances {
    kept: BTreeMap<Address, Glance<Arc<Look>>>,
    /// What the load of a driver would bind, while that holds one.
    pinned: Option<Glance<Pinned>>,
}

/// What a load would bind.
type Pinned = Fact<BTreeMap<Address, Driver>>;

#[derive(Debug)]
struct Glance<T> {
    seen: T,
    again: Time,
    spacing: Duration,
}

impl<T> Glance<T> {
    /// Remembered after the one before, so for longer.
    fn after(before: Option<&Glance<T>>, seen: T, now: Time, pace: Pace) -> Glance<T> {
        let spacing = before.map_or(pace.first, |glance| (glance.spacing * 2).min(pace.longest.max(pace.first)));
        Glance { seen, again: now + spacing, spacing }
    }
}

/// How long looks are remembered.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first one.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

/// What is remembered still.
#[derive(Debug, Default)]
pub struct Recalled {
    /// Looks by function.
    pub looks: BTreeMap<Address, Arc<Look>>,
    /// What the load of a driver would bind.
    pub pinned: Option<Pinned>,
}

impl Recalled {
    /// Whether an act rests on it.
    #[must_use]
    pub fn bears(&self, act: &Act) -> bool {
        let function = |address: &Address| self.looks.contains_key(address);
        act.functions.iter().any(function) || act.key == Key::Modules && self.pinned.is_some()
    }
}

impl Glances {
    /// Forgets all: something has happened.
    pub fn clear(&mut self) {
        *self = Glances::default();
    }

    /// What need not be looked at again yet: the same device objects, for a while.
    pub fn recall(&self, snapshot: &Snapshot) -> Recalled {
        let holds = |address: &Address, glance: &Glance<Arc<Look>>| {
            let function = snapshot.functions.get(address);
            let same = function.is_some_and(|function| function.card.object == glance.seen.object);
            same && snapshot.taken < glance.again
        };
        let kept = self.kept.iter().filter(|(address, glance)| holds(address, glance));
        let pinned = self.pinned.as_ref().filter(|glance| snapshot.taken < glance.again);
        Recalled {
            looks: kept.map(|(address, glance)| (*address, Arc::clone(&glance.seen))).collect(),
            pinned: pinned.map(|glance| glance.seen.clone()),
        }
    }

    /// Remembers the looks at devices on a host's driver that this pass leaves alone; those that
    /// were `recalled` stay as they are. For a device on VFIO none is remembered: whether it is open
    /// shows in its driver's reference count, and is asked for when that changes.
    pub fn keep(&mut self, pass: &Pass<'_>, plan: &Plan, recalled: &Recalled, pace: Pace, mode: Mode) {
        let held: BTreeSet<&About> = plan.held.iter().map(|held| &held.about).collect();
        let left_alone = |address: &Address| {
            let host = matches!(pass.drifts.get(address), Some(Drift::WrongDriver(on)) if !pass.snapshot.is_vfio(on));
            host && (mode == Mode::Observe || held.contains(&About::Device(*address)))
        };
        let now = pass.snapshot.taken;
        self.kept.retain(|address, _| left_alone(address));
        for (address, function) in &pass.snapshot.functions {
            let new = |_: &&Arc<Look>| left_alone(address) && !recalled.looks.contains_key(address);
            let Some(look) = function.look.as_ref().filter(new) else { continue };
            let before = self.kept.get(address).filter(|glance| glance.seen.object == look.object);
            self.kept.insert(*address, Glance::after(before, Arc::clone(look), now, pace));
        }
        let is_module = |about: &&About| matches!(about, About::Module(_));
        if mode == Mode::Enforce && !held.iter().any(is_module) {
            self.pinned = None;
        } else if pass.snapshot.pinned.is().is_some() && recalled.pinned.is_none() {
            let pinned = pass.snapshot.pinned.clone();
            self.pinned = Some(Glance::after(self.pinned.as_ref(), pinned, now, pace));
        }
    }
}
