//! The plan for what a person has had released: back to the driver it had, or to none.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{involved, key};
use super::{Keeper, Meant, Pass};
use crate::model::guard::{self, Verdict};
use crate::model::memory::Unit;
use crate::model::pci::Address;
use crate::model::plan::{About, Act, Guard, Held, Outcome, Plan, Step, Target};
use crate::model::resolve::resolve;
use crate::model::snapshot::{Fact, Snapshot};

impl Keeper {
    /// Plans the return of what is released and has not been given back yet.
    pub(super) fn decide_releases(&self, pass: &Pass<'_>, plan: &mut Plan) {
        for party in self.given_back(pass).into_values() {
            let before = plan.held.len();
            match self.may_give_back(pass, &party) {
                Verdict::Free => {}
                Verdict::LookFirst => {
                    plan.look.extend(self.to_look_at(pass, &party));
                    continue;
                }
                Verdict::Held(guard, reason) => {
                    for address in &party {
                        let about = About::Device(*address);
                        plan.held.push(Held { about, guard: Some(guard), reason: reason.clone(), not_before: None });
                    }
                }
            }
            if plan.held.len() > before {
                continue;
            }
            match self.must_wait(pass, &party, pass.snapshot.taken) {
                Some((reason, not_before)) => {
                    for address in &party {
                        let about = About::Device(*address);
                        plan.held.push(Held { about, guard: None, reason: reason.clone(), not_before });
                    }
                }
                None => {
                    let Some(act) = self.give_back(pass, &party) else { continue };
                    // One act at a time for a group: a repair in it comes first.
                    if plan.acts.iter().all(|other| other.key != act.key) {
                        plan.acts.push(act);
                    }
                }
            }
        }
    }

    /// All functions that are released with what a person named.
    #[must_use]
    pub fn party(&self, snapshot: Option<&Snapshot>, meant: &Meant) -> BTreeSet<Address> {
        let Some(snapshot) = snapshot else { return BTreeSet::new() };
        let found = resolve(&self.desired, snapshot);
        let with = found.owner.iter().filter(|(address, index)| {
            self.unit_name(**index, **address).is_some_and(|unit| meant.units.contains(&unit))
        });
        with.map(|(address, _)| *address).collect()
    }

    /// The functions of each release that is not done.
    fn given_back(&self, pass: &Pass<'_>) -> BTreeMap<String, BTreeSet<Address>> {
        let mut parties: BTreeMap<String, BTreeSet<Address>> = BTreeMap::new();
        for address in &pass.found.released {
            let unit = pass.found.owner.get(address).and_then(|index| self.unit_name(*index, *address));
            if let Some(unit) = unit.filter(|unit| self.release_of(unit).is_some_and(|release| !release.done)) {
                parties.entry(unit).or_default().insert(*address);
            }
        }
        parties
    }

    /// Whether functions may be given back now: nobody may have them open, nor anything of their
    /// groups, which the kernel takes as one.
    #[must_use]
    pub fn may_give_back(&self, pass: &Pass<'_>, party: &BTreeSet<Address>) -> Verdict {
        for address in party {
            let index = pass.found.owner.get(address).copied();
            let unit = index.and_then(|index| self.unit_name(index, *address));
            let entry = index.and_then(|index| self.desired.entries.get(index)).map(|entry| entry.name.as_str());
            if let Some((id, hold)) = self.memory.hold_on_device(*address, entry, unit.as_deref()) {
                return Verdict::Held(Guard::Hold, hold.reason(id));
            }
        }
        let verdicts = self.to_look_at(pass, party);
        let verdicts = verdicts.into_iter().map(|address| guard::give_back_verdict(pass.snapshot, address));
        // Whatever is held is held, whether or not another one was looked at.
        verdicts
            .reduce(|a, b| if matches!(a, Verdict::Held(..)) || b == Verdict::Free { a } else { b })
            .unwrap_or(Verdict::Free)
    }

    /// The functions of a party and of its groups that are on VFIO, or without a driver.
    #[must_use]
    pub fn to_look_at(&self, pass: &Pass<'_>, party: &BTreeSet<Address>) -> BTreeSet<Address> {
        let on_vfio = |address: &Address| {
            pass.snapshot.functions.get(address).is_some_and(|function| match &function.driver {
                Fact::Is(_) => pass.snapshot.on_vfio(function),
                Fact::Absent => party.contains(address),
                Fact::Unreadable(_) => true,
            })
        };
        involved(pass, party).into_iter().filter(on_vfio).collect()
    }

    /// The steps: unpin all, take all, give all back that had a driver.
    fn give_back(&self, pass: &Pass<'_>, party: &BTreeSet<Address>) -> Option<Act> {
        let (mut unpins, mut unbinds, mut returns) = (Vec::new(), Vec::new(), Vec::new());
        for address in party {
            let function = pass.snapshot.functions.get(address)?;
            let target = Target { address: *address, object: function.card.object };
            let on = function.driver.is().cloned();
            match &on {
                Some(driver) if !pass.snapshot.is_vfio(driver) => continue,
                Some(driver) => {
                    let driver = driver.clone();
                    unbinds.push(Step::Unbind { target, driver, allow: BTreeSet::new() });
                }
                None => {}
            }
            unpins.push(Step::Unpin { target, driver: on });
            if let Some(driver) = self.memory.lasting.originals.get(address) {
                returns.push(Step::Return { target, driver: driver.clone() });
            }
        }
        let steps: Vec<Step> = unpins.into_iter().chain(unbinds).chain(returns).collect();
        (!steps.is_empty()).then(|| Act { key: key(pass, party), functions: involved(pass, party), steps })
    }

    /// What is on a host's driver has been given back, by whomever.
    pub(super) fn learn_releases(&mut self, pass: &Pass<'_>) {
        for (unit, party) in self.given_back(pass) {
            let back = party.iter().all(|address| {
                let driver = pass.snapshot.functions.get(address).and_then(|function| function.driver.is());
                driver.is_some_and(|driver| !pass.snapshot.is_vfio(driver))
            });
            if back {
                self.note_given_back(&unit);
            } else if let Some(pace) = self.memory.pace.get_mut(&Unit::Entry(unit)) {
                pace.judge(false, pass.snapshot.taken, &self.policy.backoff, &self.policy.breaker);
            }
        }
    }

    /// Takes note of an act that gave something back: done, unless a write failed that leaves it on
    /// VFIO, or pinned there. A host's driver that does not take it is the host's affair.
    pub(super) fn note_returns(&mut self, act: &Act, units: &BTreeSet<Unit>, outcomes: &[(usize, Outcome)]) {
        if !act.steps.iter().any(|step| matches!(step, Step::Unpin { .. })) {
            return;
        }
        let last = outcomes.last().and_then(|(step, outcome)| Some((act.steps.get(*step)?, outcome)));
        let given = last.is_some_and(|(step, outcome)| {
            outcome.goes_on() && outcomes.len() == act.steps.len() || matches!(step, Step::Return { .. })
        });
        if given {
            for unit in units {
                if let Unit::Entry(name) = unit {
                    self.note_given_back(name);
                }
            }
        }
    }

    fn note_given_back(&mut self, unit: &str) {
        self.memory.pace.remove(&Unit::Entry(unit.to_owned()));
        if let Some(release) = self.memory.lasting.releases.get_mut(unit) {
            release.done = true;
        }
    }
}
