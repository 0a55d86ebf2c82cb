//! What is remembered of acts: what they are charged to, and how they ended.

use std::collections::BTreeSet;

use super::{Keeper, Meant, Pass, entry_of};
use crate::model::memory::{Acting, Refused, Unit};
use crate::model::pci::Module;
use crate::model::plan::{Act, Key, Outcome, Step};
use crate::model::resolve::Resolution;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::time::Time;

impl Keeper {
    /// Takes note that an act has begun.
    pub fn begun(&mut self, act: Act, since: Time, deadline: Time, pass: &Pass<'_>) {
        let units = self.units(&act, &pass.found);
        for unit in &units {
            self.memory.pace.entry(unit.clone()).or_default().begin();
        }
        self.note_steps(&act, pass);
        // All modules' evidence has one stamp.
        let stamp = pass.snapshot.modules.values().next().map(|facts| facts.stamp);
        self.memory.acting.insert(act.key, Acting { act, units, stamp, since, deadline, inherited: false });
    }

    /// What is to be remembered of an act that has begun; a second time changes nothing.
    fn note_steps(&mut self, act: &Act, pass: &Pass<'_>) {
        for step in &act.steps {
            // What vfiod binds itself is no first sight when it is seen.
            if let Some(target) = step.target() {
                self.memory.on_vfio.insert(target.address, target.object);
            }
            match step {
                Step::Unbind { target, driver, .. } if !pass.snapshot.is_vfio(driver) => {
                    self.memory.lasting.originals.insert(target.address, driver.clone());
                }
                // As vfiod pins it is not as it was found.
                Step::Pin { target, .. } => drop(self.memory.adopted.remove(&target.address)),
                _ => {}
            }
        }
    }

    /// Takes over an act that an earlier vfiod began. It may have been killed before it remembered that:
    /// the first pass does it again.
    pub fn inherit(&mut self, act: Act, since: Time, deadline: Time) {
        let units = self.units(&act, &Resolution::default());
        for unit in &units {
            self.memory.pace.entry(unit.clone()).or_default().begin();
        }
        self.memory.acting.insert(act.key, Acting { act, units, stamp: None, since, deadline, inherited: true });
    }

    /// Takes note that an act could not begin: a failure like any other, which backs off.
    pub fn could_not_begin(&mut self, act: &Act, why: &str, pass: &Pass<'_>) {
        for unit in self.units(act, &pass.found) {
            let pace = self.memory.pace.entry(unit).or_default();
            pace.begin();
            pace.tried = Some(why.to_owned());
        }
    }

    /// Takes note that an act has ended. Whether it helped is what the next snapshot says; what
    /// the actor says only explains it.
    pub fn ended(&mut self, key: Key, outcomes: &[(usize, Outcome)]) {
        let Some(acting) = self.memory.acting.remove(&key) else { return };
        let refused = self.note_refusals(&acting, outcomes);
        self.note_returns(&acting.act, &acting.units, outcomes);
        let stale = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Stale { .. }));
        let why = match outcomes.iter().rev().find(|(_, outcome)| !outcome.goes_on()) {
            Some((step, outcome)) => {
                let step = acting.act.steps.get(*step).map(ToString::to_string).unwrap_or_default();
                format!("{step}: {}", outcome.words())
            }
            None if outcomes.len() < acting.act.steps.len() => "the actor ended before its work was done".to_owned(),
            None => "every write succeeded, and it is not as declared all the same".to_owned(),
        };
        // A load that was never begun has not failed: charged with the one before it, both would wait
        // for the same moment, and the one that fails would come first for ever.
        let begun: BTreeSet<Unit> = match (key, outcomes.len()) {
            (Key::Modules, 1..) => {
                let steps = outcomes.iter().filter_map(|(step, _)| acting.act.steps.get(*step));
                steps.filter_map(loaded).collect()
            }
            _ => acting.units.clone(),
        };
        for unit in begun.difference(&refused) {
            let pace = self.memory.pace.entry(unit.clone()).or_default();
            // What changed under the actor is looked at anew at once; only when that repeats does it wait.
            pace.stale = if stale { pace.stale.saturating_add(1) } else { 0 };
            if !stale || pace.stale > 2 {
                pace.tried = Some(why.clone());
            }
        }
    }

    /// Remembers loads that were refused for good: these wait for other evidence, not for time.
    fn note_refusals(&mut self, acting: &Acting, outcomes: &[(usize, Outcome)]) -> BTreeSet<Unit> {
        let mut units = BTreeSet::new();
        for (step, outcome) in outcomes {
            if let (Some(Step::LoadModule { module, .. }), Outcome::Refused { why }) =
                (acting.act.steps.get(*step), outcome)
                && for_good(why)
            {
                self.memory.refused.insert(module.clone(), Refused { why: why.clone(), stamp: acting.stamp });
                units.insert(Unit::Module(module.clone()));
            }
        }
        units
    }

    /// Finds out what inherited acts are charged to, and remembers what is remembered of any.
    pub(super) fn learn_inherited(&mut self, pass: &Pass<'_>) {
        let unknown = self.memory.acting.values().filter(|acting| acting.units.is_empty());
        let found: Vec<Act> = unknown.map(|acting| acting.act.clone()).collect();
        for act in found {
            let units = self.units(&act, &pass.found);
            for unit in &units {
                self.memory.pace.entry(unit.clone()).or_default().begin();
            }
            self.note_steps(&act, pass);
            if let Some(acting) = self.memory.acting.get_mut(&act.key) {
                acting.units = units;
            }
        }
    }

    /// Since when the latest of what an act is to repair is lost; none for what never was as it
    /// should be.
    #[must_use]
    pub fn lost(&self, act: &Act, pass: &Pass<'_>) -> Option<Time> {
        let units = self.units(act, &pass.found);
        units.iter().filter_map(|unit| self.memory.pace.get(unit)?.lost).max()
    }

    /// Whether an act is under way, and not late, that works on any of these, or loads a module for them.
    #[must_use]
    pub fn is_worked_on(&self, snapshot: &Snapshot, meant: &Meant) -> bool {
        let units = self.charged(snapshot, meant);
        let loads = units.iter().any(|unit| {
            let Unit::Module(module) = unit else { return false };
            snapshot.modules.get(module).is_some_and(|facts| !facts.state.serves())
        });
        self.memory.acting.values().filter(|acting| snapshot.taken < acting.deadline).any(|acting| {
            // One actor loads all modules: what it was not begun for comes after it.
            let of_modules = acting.act.key == Key::Modules && loads;
            of_modules || !acting.act.functions.is_disjoint(&meant.devices) || !acting.units.is_disjoint(&units)
        })
    }

    /// When the latest of the acts counts as stuck that are under way and work on what a hold is on;
    /// none where nothing does, or nothing that is in time.
    #[must_use]
    pub fn end_of_acts_on_held(&self, id: u64, snapshot: Option<&Snapshot>, now: Time) -> Option<Time> {
        let holds = self.memory.all_holds();
        let target = &holds.get(&id)?.target;
        let loads = |act: &Act, module: &Module| {
            act.steps.iter().any(|step| match step {
                // modprobe loads what it needs as well.
                Step::LoadModule { module: loaded, .. } => {
                    let facts = snapshot.and_then(|snapshot| snapshot.modules.get(loaded));
                    loaded == module || facts.is_some_and(|facts| facts.needs.contains(module))
                }
                _ => false,
            })
        };
        let on_it = |acting: &&Acting| match target {
            Target::All => true,
            Target::Device(address) => acting.act.functions.contains(address),
            Target::Module(module) => loads(&acting.act, module),
            Target::Entry(name) => {
                let meant = snapshot.and_then(|snapshot| self.meant(snapshot, target)).unwrap_or_default();
                let of_it = |unit: &Unit| matches!(unit, Unit::Entry(unit) if entry_of(unit) == name);
                acting.units.iter().any(of_it) || !acting.act.functions.is_disjoint(&meant.devices)
            }
        };
        let in_time = self.memory.acting.values().filter(|acting| now < acting.deadline);
        in_time.filter(on_it).map(|acting| acting.deadline).max()
    }

    /// What an act is charged to.
    fn units(&self, act: &Act, found: &Resolution) -> BTreeSet<Unit> {
        let unit = |step: &Step| match step {
            Step::LoadModule { .. } => loaded(step),
            _ => {
                let address = step.target()?.address;
                self.unit_name(*found.owner.get(&address)?, address).map(Unit::Entry)
            }
        };
        act.steps.iter().filter_map(unit).collect()
    }
}

/// The module that a step loads.
fn loaded(step: &Step) -> Option<Unit> {
    match step {
        Step::LoadModule { module, .. } => Some(Unit::Module(module.clone())),
        _ => None,
    }
}

/// Whether a refusal of modprobe's cannot be cured by trying again: a missing or bad signature, or
/// a prohibition that no file tells (seen: `Key was rejected by service`, `Operation not permitted`).
fn for_good(why: &str) -> bool {
    ["Key was rejected", "Operation not permitted", "Exec format error", "Required key not available"]
        .iter()
        .any(|words| why.contains(words))
}
