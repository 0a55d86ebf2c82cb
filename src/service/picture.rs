//! When a new picture is due: it is made where something in it has changed, and not at every pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::notify::Notify;
use super::pulse::longest;
use super::store::Store;
use super::tell::Tell;
use super::watch::Watch;
use crate::host::port::Host;
use crate::model::event::Event;
use crate::model::hold::Holds;
use crate::model::keeper::Pass;
use crate::model::pci::{Address, Ids};
use crate::model::picture::{Clock, Counters};
use crate::model::record::Records;
use crate::model::snapshot::{Holder, Snapshot};
use crate::model::status::Status;

/// By how much a clock differs that has been set (microseconds).
const SET: u64 = 1_000_000;

/// What the latest picture was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    status: Status,
    records: Records,
    open: BTreeMap<Address, Vec<Holder>>,
    holds: [Holds; 2],
    state_trouble: String,
}

impl<H: Host, T: Tell, S: Store, N: Notify> Watch<H, T, S, N> {
    /// Shows how things stand after a pass, if that has changed, and what was counted.
    pub(super) fn show(&mut self, pass: &Pass<'_>, status: &Status, events: &[Event]) {
        // After the first pass systemd waits to be told that vfiod is ready, and the second follows at
        // once: names are looked up there.
        if !self.ready {
            return;
        }
        if self.is_new(pass, status) {
            self.know_names(pass, status);
            self.set_clock(self.host.clock());
            self.frame.interval_usec = u64::try_from(longest(&self.settings.watch).as_micros()).unwrap_or(u64::MAX);
            let picture = Arc::new(self.keeper.picture(pass, status, &self.frame));
            self.show.picture(&picture);
            let memory = &self.keeper.memory;
            self.shown = Some(Shown {
                status: status.clone(),
                records: memory.records.clone(),
                open: memory.open.clone(),
                holds: [memory.holds.clone(), memory.lasting.holds.clone()],
                state_trouble: self.frame.state_trouble.clone(),
            });
        }
        self.show.counters(Counters { passes: self.passes, ..self.keeper.memory.records.counters });
        if !events.is_empty() {
            self.show.transitions(events);
        }
    }

    /// Takes a clock over that has been set. The moment of boot that it gives differs a little each time
    /// it is asked, and drifts while the clock is being adjusted; taken over, that would be news of
    /// whatever has a point in time.
    fn set_clock(&mut self, clock: Clock) {
        if self.is_set(clock) {
            self.frame.clock = clock;
        }
    }

    fn is_set(&self, clock: Clock) -> bool {
        clock.boot_usec.abs_diff(self.frame.clock.boot_usec) > SET
    }

    fn is_new(&self, pass: &Pass<'_>, status: &Status) -> bool {
        let memory = &self.keeper.memory;
        let Some(shown) = &self.shown else { return true };
        shown.status != *status
            || shown.records != memory.records
            || shown.open != memory.open
            || shown.holds.each_ref() != [&memory.holds, &memory.lasting.holds]
            || shown.state_trouble != self.frame.state_trouble
            || self.is_set(self.host.clock())
            || self.last.as_ref().is_none_or(|last| !looks_the_same(last, pass.snapshot))
    }

    /// Whether state cannot be stored, or only for this boot, and the picture does not say so yet.
    pub(super) fn is_trouble_untold(&self) -> bool {
        let trouble = &self.frame.state_trouble;
        !trouble.is_empty() && self.shown.as_ref().is_some_and(|shown| shown.state_trouble != *trouble)
    }

    /// Looks names up that are not known yet, and how the IOMMU stands: groups come and go with devices.
    fn know_names(&mut self, pass: &Pass<'_>, status: &Status) {
        let shown = self.keeper.shown(pass.snapshot, status);
        let ids = shown.iter().filter_map(|address| Some(pass.snapshot.functions.get(address)?.card.ids));
        let unknown: Vec<Ids> = ids.filter(|ids| !self.frame.names.contains_key(ids)).collect();
        self.frame.iommu = self.host.iommu();
        if unknown.is_empty() {
            return;
        }
        let found = self.host.names(&unknown);
        for ids in unknown {
            // What has no name is not looked for again and again.
            self.frame.names.insert(ids, found.get(&ids).cloned().unwrap_or_default());
        }
    }
}

/// Whether two snapshots make the same picture, as far as it is made of them.
fn looks_the_same(old: &Snapshot, new: &Snapshot) -> bool {
    old.groups == new.groups
        && old.modules == new.modules
        && old.functions.len() == new.functions.len()
        && old.functions.iter().zip(&new.functions).all(|((a, before), (b, now))| {
            a == b && before.driver == now.driver && before.group == now.group && before.card == now.card
        })
}
