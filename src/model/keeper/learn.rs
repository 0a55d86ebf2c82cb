//! What is remembered of a pass: first sights, losses and what hangs on them, how attempts ended.

use std::collections::BTreeSet;

use super::{Keeper, Pass};
use crate::model::drift::Drift;
use crate::model::memory::{Acting, Adopted, Refused, Unit};
use crate::model::module::ModuleState;
use crate::model::pci::{Address, Driver, Module};
use crate::model::plan::{Act, Key, Outcome, Step};
use crate::model::snapshot::Fact;
use crate::model::time::Time;

impl Keeper {
    /// Takes note of a pass. `noticed` is when the first sign of what it shows came in.
    ///
    /// Learning the same twice changes nothing.
    pub fn learn(&mut self, pass: &Pass<'_>, noticed: Time) {
        self.learn_first_sights(pass);
        self.learn_open(pass);
        let lost = self.learn_modules(pass, noticed);
        self.learn_entries(pass, noticed, &lost);
        let (entries, modules) = (&self.desired.entries, &pass.snapshot.modules);
        self.memory.pace.retain(|unit, _| match unit {
            Unit::Entry(name) => entries.iter().any(|entry| entry.name == *name),
            Unit::Module(module) => modules.contains_key(module),
        });
    }

    /// What is on VFIO when it is first seen is adopted as it is, whoever put it there.
    fn learn_first_sights(&mut self, pass: &Pass<'_>) {
        for (address, function) in &pass.snapshot.functions {
            let Fact::Is(driver) = &function.driver else { continue };
            if !pass.snapshot.is_vfio(driver) {
                continue;
            }
            self.memory.vfio_seen = true;
            let object = function.card.object;
            let first_sight = self.memory.on_vfio.insert(*address, object) != Some(object);
            if let Some(adopted) = self.memory.adopted.get_mut(address).filter(|adopted| adopted.object == object) {
                if adopted.pin.unreadable().is_some() {
                    adopted.pin.clone_from(&function.pin);
                }
            } else if first_sight && !self.has_kept(pass, *address) {
                let adopted = Adopted { object, driver: driver.clone(), pin: function.pin.clone() };
                self.memory.adopted.insert(*address, adopted);
            }
        }
        let functions = &pass.snapshot.functions;
        self.memory.adopted.retain(|address, adopted| {
            functions.get(address).is_none_or(|function| function.card.object == adopted.object)
        });
    }

    /// Whether vfiod has had this function's entry as declared before: then what the function is
    /// on now is no first sight, even when the device object is new.
    fn has_kept(&self, pass: &Pass<'_>, address: Address) -> bool {
        let owner = pass.found.owner.get(&address).and_then(|index| self.desired.entries.get(*index));
        owner.is_some_and(|entry| self.memory.kept.contains(&entry.name))
    }

    /// Who has what open, as far as this pass looked.
    fn learn_open(&mut self, pass: &Pass<'_>) {
        for (module, facts) in &pass.snapshot.modules {
            match facts.refcount {
                // Nothing of the driver's is open: true for all its devices at once.
                Some(0) if is_driver(pass, module) => {
                    self.memory.refcounts.insert(module.clone(), 0);
                    self.memory.open.retain(|address, _| {
                        let driver = pass.snapshot.functions.get(address).and_then(|f| f.driver.is());
                        driver.is_some_and(|driver| driver.module() != *module)
                    });
                }
                _ => {}
            }
        }
        for (address, function) in &pass.snapshot.functions {
            let Some(look) = &function.look else { continue };
            if let Some(module) = function.driver.is().map(Driver::module)
                && let Some(count) = pass.snapshot.modules.get(&module).and_then(|facts| facts.refcount)
            {
                self.memory.refcounts.insert(module, count);
            }
            match &look.holders {
                Fact::Is(holders) if !holders.is_empty() => {
                    self.memory.open.insert(*address, holders.clone());
                }
                Fact::Is(_) | Fact::Absent => {
                    self.memory.open.remove(address);
                }
                Fact::Unreadable(_) => {}
            }
        }
    }

    /// Notes which modules were lost; answers with all that are lost now.
    fn learn_modules(&mut self, pass: &Pass<'_>, noticed: Time) -> BTreeSet<Module> {
        let now = pass.snapshot.taken;
        let mut lost = BTreeSet::new();
        for (module, facts) in &pass.snapshot.modules {
            let serves = facts.state.serves();
            if serves {
                self.memory.served.insert(module.clone());
                self.memory.refused.remove(module);
            } else if facts.state != ModuleState::Unreadable && self.memory.served.contains(module) {
                lost.insert(module.clone());
            }
            if self.memory.refused.get(module).is_some_and(|refused| refused.stamp != facts.stamp) {
                self.memory.refused.remove(module);
            }
            if let Some(pace) = self.memory.pace.get_mut(&Unit::Module(module.clone())) {
                pace.judge(serves, now, &self.policy.backoff, &self.policy.breaker);
            }
        }
        // One unload is one incident: what another lost module needs went with it.
        let roots = lost.iter().filter(|module| {
            !lost.iter().any(|other| pass.snapshot.modules.get(other).is_some_and(|facts| facts.needs.contains(module)))
        });
        for root in roots {
            let pace = self.memory.pace.entry(Unit::Module(root.clone())).or_default();
            pace.lose(noticed, &self.policy.breaker);
        }
        lost
    }

    fn learn_entries(&mut self, pass: &Pass<'_>, noticed: Time, lost: &BTreeSet<Module>) {
        let now = pass.snapshot.taken;
        for (index, entry) in self.desired.entries.iter().enumerate() {
            let found = &pass.found.entries[index];
            let drifts = || found.devices.iter().filter_map(|address| Some((*address, pass.drifts.get(address)?)));
            if drifts().next().is_some() {
                let pace = self.memory.pace.entry(Unit::Entry(entry.name.clone())).or_default();
                pace.judge(false, now, &self.policy.backoff, &self.policy.breaker);
                // A device that fell with its module, or that was never as declared, is no incident.
                let fell = drifts().all(|(address, drift)| {
                    let function = pass.snapshot.functions.get(&address);
                    let wanted = function.map(|f| crate::model::resolve::wanted_driver(entry, &f.card, pass.snapshot));
                    *drift == Drift::Unbound && wanted.is_some_and(|driver| lost.contains(&driver.module()))
                });
                if fell || !self.memory.kept.contains(&entry.name) {
                    pace.lost.get_or_insert(noticed);
                } else {
                    pace.lose(noticed, &self.policy.breaker);
                }
            } else if found.fault.is_none() {
                if !self.memory.kept.contains(&entry.name) {
                    self.memory.kept.insert(entry.name.clone());
                }
                if let Some(pace) = self.memory.pace.get_mut(&Unit::Entry(entry.name.clone())) {
                    pace.judge(true, now, &self.policy.backoff, &self.policy.breaker);
                }
            }
        }
    }

    /// Takes note that an act has begun.
    pub fn begun(&mut self, act: Act, since: Time, deadline: Time, inherited: bool, pass: Option<&Pass<'_>>) {
        for unit in self.units(&act, pass) {
            self.memory.pace.entry(unit).or_default().begin();
        }
        for step in &act.steps {
            // What vfiod binds itself is no first sight when it is seen.
            if let Some(target) = step.target() {
                self.memory.on_vfio.insert(target.address, target.object);
            }
            if let Step::Unbind { target, driver, .. } = step {
                self.memory.originals.entry(target.address).or_insert_with(|| driver.clone());
            }
        }
        self.memory.acting.insert(act.key, Acting { act, since, deadline, inherited });
    }

    /// Takes note that an act could not begin: a failure like any other, which backs off.
    pub fn never_began(&mut self, key: Key, why: &str, pass: Option<&Pass<'_>>) {
        let Some(acting) = self.memory.acting.remove(&key) else { return };
        for unit in self.units(&acting.act, pass) {
            self.memory.pace.entry(unit).or_default().tried = Some(why.to_owned());
        }
    }

    /// Takes note that an act has ended. Whether it helped is what the next snapshot says; what
    /// the actor says only explains it.
    pub fn ended(&mut self, key: Key, outcomes: &[(usize, Outcome)], pass: Option<&Pass<'_>>) {
        let Some(acting) = self.memory.acting.remove(&key) else { return };
        let stale = outcomes.iter().find_map(|(_, outcome)| match outcome {
            Outcome::Stale { why } => Some(why.clone()),
            _ => None,
        });
        let why = match outcomes.iter().rev().find(|(_, outcome)| !outcome.goes_on()) {
            Some((step, outcome)) => {
                let step = acting.act.steps.get(*step).map(ToString::to_string).unwrap_or_default();
                format!("{step}: {}", outcome.words())
            }
            None if outcomes.len() < acting.act.steps.len() => "the actor ended before its work was done".to_owned(),
            None => "every write succeeded, and it is not as declared all the same".to_owned(),
        };
        for unit in self.units(&acting.act, pass) {
            let pace = self.memory.pace.entry(unit).or_default();
            // What changed under the actor is looked at anew at once; only when that repeats does it wait.
            pace.stale = if stale.is_some() { pace.stale + 1 } else { 0 };
            if stale.is_none() || pace.stale > 2 {
                pace.tried = Some(why.clone());
            }
        }
        for (step, outcome) in outcomes {
            if let (Some(Step::LoadModule { module, .. }), Outcome::Refused { why }) =
                (acting.act.steps.get(*step), outcome)
                && for_good(why)
                && let Some(facts) = pass.and_then(|pass| pass.snapshot.modules.get(module))
            {
                let refused = Refused { why: why.clone(), stamp: facts.stamp, state: facts.state };
                self.memory.refused.insert(module.clone(), refused);
            }
        }
    }

    /// What an act is charged to.
    fn units(&self, act: &Act, pass: Option<&Pass<'_>>) -> Vec<Unit> {
        if act.key == Key::Modules {
            let loads = act.steps.iter().filter_map(|step| match step {
                Step::LoadModule { module, .. } => Some(Unit::Module(module.clone())),
                _ => None,
            });
            return loads.collect();
        }
        let owners = pass.into_iter().flat_map(|pass| {
            act.steps.iter().filter_map(|step| pass.found.owner.get(&step.target()?.address)).copied()
        });
        let names: BTreeSet<&String> =
            owners.filter_map(|index| self.desired.entries.get(index)).map(|entry| &entry.name).collect();
        names.into_iter().map(|name| Unit::Entry(name.clone())).collect()
    }
}

/// Whether a refusal of modprobe's cannot be cured by trying again: a missing or bad signature, or
/// a prohibition that no file tells (seen: `Key was rejected by service`, `Operation not permitted`).
fn for_good(why: &str) -> bool {
    ["Key was rejected", "Operation not permitted", "Exec format error", "Required key not available"]
        .iter()
        .any(|words| why.contains(words))
}

fn is_driver(pass: &Pass<'_>, module: &Module) -> bool {
    module.as_str() == "vfio_pci" || pass.snapshot.variants.iter().any(|variant| variant.module == *module)
}
