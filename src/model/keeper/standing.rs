//! The public picture of a pass: one word and a reason for each thing.

use std::collections::BTreeMap;

use super::decide::wanted_name;
use super::{Keeper, Pass};
use crate::model::memory::Unit;
use crate::model::pace::Pace;
use crate::model::pci::{Address, Driver, Module};
use crate::model::plan::{About, Held, Plan};
use crate::model::state::{Health, State};
use crate::model::status::{DeviceStatus, ModuleStatus, Standing, Status};

impl Keeper {
    /// How everything stands after a pass and its plan.
    #[must_use]
    pub fn status(&self, pass: &Pass<'_>, plan: &Plan) -> Status {
        let held: BTreeMap<&About, &Held> = plan.held.iter().map(|held| (&held.about, held)).collect();
        let mut devices = BTreeMap::new();
        let mut entries = BTreeMap::new();
        for (index, entry) in self.desired.entries.iter().enumerate() {
            let found = &pass.found.entries[index];
            let mut worst: Option<Standing> = found.fault.as_ref().map(|fault| Standing {
                state: fault.state,
                reason: fault.reason.clone(),
                lost: None,
                not_before: None,
            });
            for address in &found.devices {
                let Some(function) = pass.snapshot.functions.get(address) else { continue };
                let Some(wanted) = wanted_name(self, pass, *address) else { continue };
                let unit = self.unit_name(index, *address).map(Unit::Entry);
                let pace = unit.and_then(|unit| self.memory.pace.get(&unit));
                let standing = self.stand(pass, *address, &wanted, pace, &held);
                if worst.as_ref().is_none_or(|worst| standing.state < worst.state) {
                    worst = Some(standing.clone());
                }
                let status = DeviceStatus {
                    entry: entry.name.clone(),
                    standing,
                    driver: function.driver.is().cloned(),
                    wanted,
                    group: function.group.is().copied(),
                };
                devices.insert(*address, status);
            }
            if let Some(worst) = worst {
                entries.insert(entry.name.clone(), worst);
            }
        }
        let modules: BTreeMap<_, _> = pass
            .snapshot
            .modules
            .iter()
            .map(|(module, facts)| {
                let pace = self.memory.pace.get(&Unit::Module(module.clone()));
                let held = held.get(&About::Module(module.clone()));
                let status = ModuleStatus {
                    state: facts.state,
                    reason: held.map_or_else(|| facts.evidence.clone(), |held| held.reason.clone()),
                    blocked: self.hopeless(pass, module).is_some(),
                    stuck: self.memory.is_stuck(module, pass.snapshot.taken),
                    fought_with: self.fought_with(pass, module),
                    fighting: pace.is_some_and(|pace| pace.open.is_some()),
                    failures: pace.map_or(0, |pace| pace.failures),
                    lost: pace.and_then(|pace| pace.lost),
                    not_before: held.and_then(|held| held.not_before),
                };
                (module.clone(), status)
            })
            .collect();
        let worst_entry = entries.values().map(|standing| Health::of(standing.state)).max();
        let worst_module = modules.values().filter(|module| !module.state.serves()).map(|module| {
            if module.blocked || module.stuck || module.fighting { Health::Blocked } else { Health::Degraded }
        });
        let health = worst_entry.into_iter().chain(worst_module).max().unwrap_or(Health::Ready);
        Status { health, entries, devices, modules }
    }

    fn fought_with(&self, pass: &Pass<'_>, module: &Module) -> Option<Module> {
        let needs_it = |other: &&Module| pass.snapshot.modules.get(*other).is_some_and(|f| f.needs.contains(module));
        let fought = self.memory.pace.iter().filter(|(_, pace)| pace.open.is_some());
        let modules = fought.filter_map(|(unit, _)| match unit {
            Unit::Module(other) => Some(other),
            Unit::Entry(_) => None,
        });
        modules.into_iter().find(needs_it).cloned()
    }

    fn stand(
        &self,
        pass: &Pass<'_>,
        address: Address,
        wanted: &Driver,
        pace: Option<&Pace>,
        held: &BTreeMap<&About, &Held>,
    ) -> Standing {
        let now = pass.snapshot.taken;
        let lost = pace.and_then(|pace| pace.lost);
        let say = |state, reason: String| Standing { state, reason, lost, not_before: None };
        let acting = self.memory.acting_on(address);
        if let Some(acting) = acting.filter(|acting| acting.deadline <= now) {
            let secs = now.since(acting.since).as_secs();
            return say(State::Stuck, format!("a write has not returned for {secs} s; nothing else is written to it"));
        }
        let module = Unit::Module(wanted.module());
        let fights = [pace, self.memory.pace.get(&module)];
        if let Some((pace, open)) = fights.into_iter().flatten().find_map(|pace| Some((pace, pace.open?))) {
            let breaker = &self.policy.breaker;
            let reason = format!("it was undone {} times within {:?}", breaker.incidents, breaker.within);
            let not_before = pace.lost.map(|_| open.probe).filter(|probe| now < *probe);
            return Standing { not_before, ..say(State::Fighting, reason) };
        }
        let function = pass.snapshot.functions.get(&address);
        if let Some(why) = function.and_then(|f| f.driver.unreadable().or(f.group.unreadable())) {
            return say(State::Held, why.to_owned());
        }
        let about = About::Device(address);
        let held = held.get(&about);
        if let Some(Held { guard: Some(guard), reason, .. }) = held {
            return say(State::Held, format!("{guard}: {reason}"));
        }
        let Some(drift) = pass.drifts.get(&address) else {
            return match self.memory.open.get(&address).and_then(|holders| holders.first()) {
                Some(holder) => say(State::Assigned, holder.to_string()),
                None => say(State::Ready, String::new()),
            };
        };
        if let Some(reason) = self.blocked(pass, address) {
            return say(State::Blocked, reason);
        }
        let module_pace = self.memory.pace.get(&module).filter(|_| pass.lacks_module(wanted));
        let failing = [pace, module_pace].into_iter().flatten().find(|pace| pace.failures > 0);
        if let Some(pace) = failing {
            return Standing { not_before: pace.not_before, ..say(State::Failing, pace.failure.clone()) };
        }
        if acting.is_some() {
            return say(State::Repairing, drift.to_string());
        }
        match held {
            Some(held) => {
                Standing { not_before: held.not_before, ..say(State::Drifted, format!("{drift}; {}", held.reason)) }
            }
            None => say(State::Drifted, drift.to_string()),
        }
    }
}
