//! The public picture of a pass: one word and a reason for each thing.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::wanted_name;
use super::recovery::REMEDY;
use super::{Keeper, Pass};
use crate::model::cause::Unload;
use crate::model::desired::VfRange;
use crate::model::guard::{self, Question};
use crate::model::memory::Unit;
use crate::model::module::{ModuleFacts, ModuleState};
use crate::model::pace::Pace;
use crate::model::pci::{Address, Module};
use crate::model::plan::{About, Held, Plan};
use crate::model::preflight::blockers::blockers;
use crate::model::preflight::code::Code;
use crate::model::remedy::{make_vfs, remedy};
use crate::model::state::State;
use crate::model::status::{DeviceStatus, ModuleStatus, Standing, Status};
use crate::model::time::Time;
use crate::model::variant::Choice;
use crate::model::words;

/// How the reason begins of what is released and has been given back; the command line knows by it
/// whether a release has come about.
pub const GIVEN_BACK: &str = "given back to the host";

/// The VFs that an entry wants, and how many its PF has, where that is there.
fn vfs(pass: &Pass<'_>, range: Option<VfRange>) -> Option<(VfRange, usize)> {
    let range = range?;
    Some((range, pass.snapshot.functions.get(&range.pf)?.vfs.len()))
}

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
                remedy: match vfs(pass, entry.select.vf).filter(|_| fault.state == State::Missing) {
                    Some((range, has)) => make_vfs(range, has, pass.snapshot.most_vfs.get(&range.pf).copied()),
                    None => remedy(fault.state, None).to_owned(),
                },
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
                    module: Some(wanted.module).filter(|module| *module != wanted.driver.module()),
                    wanted: wanted.driver,
                    group: function.group.is().copied(),
                    last_cause: self.memory.falls.get(address).cloned(),
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
                let slow = self.slow(module, pass.snapshot.taken);
                let reason = held.map_or_else(|| facts.evidence.clone(), |held| held.reason.clone());
                let status = ModuleStatus {
                    state: facts.state,
                    slow: slow.is_some(),
                    reason: slow.unwrap_or(reason),
                    blocked: self.hopeless(pass, module).is_some(),
                    stuck: self.memory.is_stuck(module, pass.snapshot.taken),
                    fought_with: self.fought_with(pass, module),
                    fighting: pace.is_some_and(|pace| pace.open.is_some()),
                    failures: pace.map_or(0, |pace| pace.failures),
                    lost: pace.and_then(|pace| pace.lost),
                    not_before: held.and_then(|held| held.not_before),
                    last_unload: self.last_unload(module, facts),
                    leaving: self.is_leaving(module, pass.snapshot.taken),
                };
                (module.clone(), status)
            })
            .collect();
        Status { health: Status::health_of(&entries, &modules), entries, devices, modules }
    }

    /// The last unload; while a module is on its way out, the one before is not meant.
    fn last_unload(&self, module: &Module, facts: &ModuleFacts) -> Option<Unload> {
        let unload = self.memory.unloads.get(module)?;
        let explained = facts.state != ModuleState::Unloading || self.memory.gone.contains(module);
        explained.then(|| unload.clone())
    }

    /// What there is to say of a module that somebody has been loading for too long.
    fn slow(&self, module: &Module, now: Time) -> Option<String> {
        let deadline = self.policy.deadline;
        let since = self.memory.loading.get(module).filter(|since| now.since(**since) >= deadline)?;
        // Its own load is told as stuck. Without a number that grows, as there.
        let own = self.memory.is_stuck(module, now);
        (!own).then(|| {
            format!("it has been loading since {since}, for more than {deadline:?}: somebody waits in the kernel")
        })
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

    /// Who keeps the group of a device from being opened although the device is bound: a member that
    /// nobody declared, or one that is declared and stays on its host driver for now.
    fn shared(&self, pass: &Pass<'_>, address: Address, held: &BTreeMap<&About, &Held>) -> Option<String> {
        let none = BTreeSet::new();
        let ask = Question {
            snapshot: pass.snapshot,
            found: &pass.found,
            allow: &none,
            console_gone: false,
            before_load: false,
        };
        guard::shared(ask, address).or_else(|| {
            let (number, group) = pass.snapshot.group_of(address)?;
            guard::blockers(pass.snapshot, group).into_iter().find_map(|(member, driver)| {
                let held = held.get(&About::Device(member))?;
                let why = match held.guard {
                    Some(guard) => format!("{guard}: {}", held.reason),
                    None => held.not_before.map(|_| held.reason.clone())?,
                };
                Some(format!("{member} shares group {number} and stays on {driver}: {why}"))
            })
        })
    }

    /// Why a device that is bound as declared cannot be opened.
    fn unassignable(
        &self,
        pass: &Pass<'_>,
        address: Address,
        wanted: &Choice,
        held: &BTreeMap<&About, &Held>,
    ) -> Option<String> {
        if let Some(finding) = blockers(pass.snapshot, address, &wanted.driver).first() {
            return Some(format!("{}: {}", finding.code, finding.why));
        }
        let shared = self.shared(pass, address, held).map(|why| format!("{}: {why}", Code::GroupShared));
        shared.or_else(|| self.concern(pass, address, true).map(ToString::to_string))
    }

    /// What became of a released device, in a sentence.
    fn how_released(&self, pass: &Pass<'_>, address: Address, held: &BTreeMap<&About, &Held>) -> String {
        let driver = pass.snapshot.functions.get(&address).and_then(|function| function.driver.is());
        let on = driver.map_or_else(|| "without a driver".to_owned(), |driver| format!("on {driver}"));
        if let Some(held) = held.get(&About::Device(address)) {
            return format!("it is {on}, not given back yet: {}", held.reason);
        }
        if self.memory.acting_on(address).is_some() || self.is_being_given_back(pass, address) {
            return format!("it is {on}, being given back");
        }
        let unit = pass.found.owner.get(&address).and_then(|index| self.unit_name(*index, address));
        let by = unit.and_then(|unit| self.release_of(&unit)).map(|release| release.uid);
        let by = by.map_or_else(String::new, |uid| format!(", asked for by {}", words::user(uid)));
        format!("{GIVEN_BACK}, {on}{by}")
    }

    fn stand(
        &self,
        pass: &Pass<'_>,
        address: Address,
        wanted: &Choice,
        pace: Option<&Pace>,
        held: &BTreeMap<&About, &Held>,
    ) -> Standing {
        let now = pass.snapshot.taken;
        let lost = pace.and_then(|pace| pace.lost);
        let say_guarded = |state, guard, reason: String| {
            let remedy = remedy(state, guard).to_owned();
            Standing { state, reason, remedy, lost, not_before: None }
        };
        let say = |state, reason: String| say_guarded(state, None, reason);
        let acting = self.memory.acting_on(address);
        if pass.found.released.contains(&address) {
            return Standing { lost: None, ..say(State::Released, self.how_released(pass, address, held)) };
        }
        if let Some(acting) = acting.filter(|acting| acting.deadline <= now) {
            // Without a number that grows: it would be another reason at every pass.
            let why =
                format!("a write begun at {} has not returned in time; nothing else is written to it", acting.since);
            return say(State::Stuck, why);
        }
        let module = Unit::Module(wanted.module.clone());
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
        let mine = held.get(&about);
        if let Some(Held { guard: Some(guard), reason, .. }) = mine {
            return say_guarded(State::Held, Some(*guard), format!("{guard}: {reason}"));
        }
        let Some(drift) = pass.drifts.get(&address) else {
            // Also while it is open: whoever has it, has a device that does not work.
            if let Some(concern) = self.unrecovered(pass, address) {
                return Standing { remedy: REMEDY.to_owned(), ..say(State::Blocked, concern.to_string()) };
            }
            return match self.memory.open.get(&address).and_then(|holders| holders.first()) {
                Some(holder) => say(State::Assigned, holder.to_string()),
                // Bound as declared, and nobody will ever open it; or not as things are.
                None => match self.unassignable(pass, address, wanted, held) {
                    Some(why) => say(State::Blocked, why),
                    None => say(State::Ready, String::new()),
                },
            };
        };
        if let Some(reason) = self.blocked(pass, address) {
            return say(State::Blocked, reason);
        }
        let module_pace = self.memory.pace.get(&module).filter(|_| pass.lacks_module(&wanted.module));
        let failing = [pace, module_pace].into_iter().flatten().find(|pace| pace.failures > 0);
        if let Some(pace) = failing {
            let seen = drift.to_string();
            let reason = match pace.is_about(address, &seen) {
                true => pace.failure.clone(),
                // Somebody has moved it since.
                false => format!("{seen}; the last repair, before that, did not help"),
            };
            return Standing { not_before: pace.not_before, ..say(State::Failing, reason) };
        }
        if acting.is_some() {
            return say(State::Repairing, drift.to_string());
        }
        match mine {
            Some(held) => {
                Standing { not_before: held.not_before, ..say(State::Drifted, format!("{drift}; {}", held.reason)) }
            }
            None => say(State::Drifted, drift.to_string()),
        }
    }
}
