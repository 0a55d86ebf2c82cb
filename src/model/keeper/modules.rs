//! The plan for modules: what is missing, what a load would bind besides, what forbids it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Keeper, Pass};
use crate::model::desired::Keep;
use crate::model::guard::{self, Verdict};
use crate::model::memory::Unit;
use crate::model::module::{ModuleFacts, ModuleState};
use crate::model::pace::Wait;
use crate::model::pci::{Address, Driver, Module};
use crate::model::plan::{About, Act, Guard, Held, Key, Plan, Step, Target};
use crate::model::snapshot::Fact;

impl Keeper {
    /// Plans the loads of what is missing.
    pub(super) fn decide_modules(&self, pass: &Pass<'_>, plan: &mut Plan) {
        let mut missing = Vec::new();
        for (module, facts) in &pass.snapshot.modules {
            if facts.state.serves() {
                continue;
            }
            match self.cannot_load(pass, module, facts) {
                Some((guard, reason)) => hold(plan, module, guard, reason),
                None => match self.useless(pass, module) {
                    Some(reason) => hold(plan, module, None, reason),
                    None => missing.push((module, facts)),
                },
            }
        }
        // Loading one brings what it needs; so only those that no other missing one needs.
        let roots = missing.iter().filter(|(module, _)| !missing.iter().any(|(_, other)| other.needs.contains(module)));
        for (module, facts) in roots {
            self.decide_load(pass, module, facts, plan);
        }
    }

    /// Why a missing module cannot be loaded now, whatever its devices. What it needs counts: a
    /// need that is prohibited makes modprobe fail, and one that somebody is unloading just now
    /// would make that command fail.
    fn cannot_load(&self, pass: &Pass<'_>, module: &Module, facts: &ModuleFacts) -> Option<(Option<Guard>, String)> {
        if let Some(reason) = self.hopeless(pass, module) {
            return Some((None, reason));
        }
        // What it needs comes with it.
        let absent = |need: &&Module| pass.snapshot.modules.get(*need).is_some_and(|facts| !facts.state.serves());
        let mut coming = std::iter::once(module).chain(facts.needs.iter().filter(absent));
        if let Some((id, hold)) = coming.find_map(|module| self.memory.hold_on_module(module)) {
            return Some((Some(Guard::Hold), hold.reason(id)));
        }
        let needs = facts.needs.iter().filter_map(|need| Some((need, pass.snapshot.modules.get(need)?)));
        let mut all = std::iter::once((module, facts)).chain(needs);
        all.find_map(|(one, facts)| match facts.state {
            ModuleState::Loading | ModuleState::Unloading => Some((None, format!("{one} is {} just now", facts.state))),
            ModuleState::Unreadable => Some((Some(Guard::Unreadable), facts.evidence.clone())),
            _ => None,
        })
    }

    /// Why a missing module cannot be had until something else changes, if it cannot.
    pub(super) fn hopeless(&self, pass: &Pass<'_>, module: &Module) -> Option<String> {
        let facts = pass.snapshot.modules.get(module).filter(|facts| !facts.state.serves())?;
        let why = |module: &Module| {
            let facts = pass.snapshot.modules.get(module)?;
            if facts.state.is_terminal() {
                return Some(format!("module {module} is {}: {}", facts.state, facts.evidence));
            }
            let refused = self.memory.refused.get(module).filter(|_| facts.state == ModuleState::Absent)?;
            Some(format!("module {module} was refused: {}", refused.why))
        };
        let need = |need| why(need).map(|why| format!("it needs another: {why}"));
        why(module).or_else(|| facts.needs.iter().find_map(need))
    }

    /// Why nothing could use a module, if so: whatever needs it cannot be had. What no other module
    /// needs stands on its own, and so does what the configuration lists.
    fn useless(&self, pass: &Pass<'_>, module: &Module) -> Option<String> {
        let listed = |module: &Module| matches!(&self.desired.modules, Keep::List(listed) if listed.contains(module));
        let alone = |module: &Module| listed(module) || users(pass, module).is_empty();
        if alone(module) {
            return None;
        }
        // Needs are told in full, so whatever all this is for is among the users.
        let asked = users(pass, module).into_iter().filter(|user| alone(user));
        let hopeless: Option<Vec<String>> = asked.map(|user| self.hopeless(pass, user)).collect();
        Some(format!("nothing that needs it can be loaded: {}", hopeless?.first()?))
    }

    fn decide_load(&self, pass: &Pass<'_>, module: &Module, facts: &ModuleFacts, plan: &mut Plan) {
        let now = pass.snapshot.taken;
        if let Some(acting) = self.memory.acting.get(&Key::Modules) {
            return hold(plan, module, None, format!("a load is under way since {}", acting.since));
        }
        match self.memory.pace.get(&Unit::Module(module.clone())).and_then(|pace| pace.wait(now)) {
            Some(Wait::Backoff(until)) => {
                return hold_until(plan, module, "the last load did not help".to_owned(), until);
            }
            Some(Wait::Breaker(until)) => {
                return hold_until(plan, module, "somebody unloads it again and again".to_owned(), until);
            }
            None => {}
        }
        let coming: BTreeSet<&Module> = std::iter::once(module)
            .chain(
                facts
                    .needs
                    .iter()
                    .filter(|need| pass.snapshot.modules.get(*need).is_some_and(|facts| !facts.state.serves())),
            )
            .collect();
        let Some(Binds { all: binds, undeclared }) = self.what_it_binds(pass, module, &coming, plan) else { return };
        // Another act may be at work on what the kernel is about to bind.
        let others = plan.acts.iter().filter(|act| act.key != Key::Modules);
        let planned: BTreeSet<Address> = others.flat_map(|act| act.functions.iter().copied()).collect();
        let mut busy = binds.iter().map(|target| target.address);
        let busy = busy.find(|address| self.memory.acting_on(*address).is_some() || planned.contains(address));
        if let Some(address) = busy {
            return hold(plan, module, None, format!("it would bind {address}, which is being worked on"));
        }
        plan.also_binds.extend(undeclared);
        let steps = self.loads(pass, module, facts, &binds, plan);
        match plan.acts.iter_mut().find(|act| act.key == Key::Modules) {
            Some(act) => {
                act.functions.extend(binds.iter().map(|target| target.address));
                act.steps.extend(steps);
            }
            None => {
                let functions = binds.iter().map(|target| target.address).collect();
                plan.acts.push(Act { key: Key::Modules, functions, steps });
            }
        }
    }

    /// One modprobe, unless an install rule on the way must not be run: then one for each module,
    /// the needed ones first, each past its own rule.
    fn loads(
        &self,
        pass: &Pass<'_>,
        module: &Module,
        facts: &ModuleFacts,
        binds: &[Target],
        plan: &mut Plan,
    ) -> Vec<Step> {
        let needs = || facts.needs.iter().filter_map(|need| Some((need, pass.snapshot.modules.get(need)?)));
        let ruled = facts.install_rule.is_some() || needs().any(|(_, facts)| facts.install_rule.is_some());
        let ignore_install = ruled && !self.policy.allow_install;
        let coming = needs().filter(|(_, facts)| !facts.state.serves()).chain([(module, facts)]);
        for (module, rule) in coming.filter_map(|(module, facts)| Some((module, facts.install_rule.as_ref()?))) {
            if !plan.install_rules.iter().any(|(told, ..)| told == module) {
                plan.install_rules.push((module.clone(), rule.clone(), !ignore_install));
            }
        }
        let mut steps = Vec::new();
        if ignore_install {
            // modules.dep lists the nearest first: the far ones have no unmet needs of their own.
            for (need, facts) in needs().collect::<Vec<_>>().into_iter().rev() {
                if !facts.state.serves() {
                    steps.push(Step::LoadModule { module: need.clone(), ignore_install, binds: Vec::new() });
                }
            }
        }
        steps.push(Step::LoadModule { module: module.clone(), ignore_install, binds: binds.to_vec() });
        steps
    }

    /// What the kernel will bind by itself when these modules come: declared devices, and others
    /// that are pinned. None when one of them is held; the load then is, too.
    fn what_it_binds(
        &self,
        pass: &Pass<'_>,
        module: &Module,
        coming: &BTreeSet<&Module>,
        plan: &mut Plan,
    ) -> Option<Binds> {
        // Whatever is not known to bind nothing may be a driver: `keep` and `driver` take any name.
        if coming.iter().all(|module| BINDS_NOTHING.contains(&module.as_str())) {
            return Some(Binds::default());
        }
        let pinned = match &pass.snapshot.pinned {
            Fact::Is(pinned) => pinned,
            Fact::Absent => return Some(Binds::default()),
            Fact::Unreadable(why) => {
                plan.look_for_pinned = true;
                hold(plan, module, Some(Guard::Unreadable), format!("what it would bind cannot be told: {why}"));
                return None;
            }
        };
        let (mut binds, mut held) = (Binds::default(), false);
        // Gathered once: thousands may be pinned, and as many held.
        let guarded: BTreeMap<Address, Verdict> = plan.held.iter().filter_map(guarded).collect();
        for (address, driver) in pinned.iter().filter(|(_, driver)| coming.contains(&pass.snapshot.module_of(driver))) {
            let Some(function) = pass.snapshot.functions.get(address) else { continue };
            let verdict = match &function.driver {
                // Bound meanwhile: the load changes nothing for it.
                Fact::Is(_) => continue,
                Fact::Unreadable(why) => Verdict::Held(Guard::Unreadable, why.clone()),
                Fact::Absent => self.pinned_verdict(pass, *address, plan, &guarded),
            };
            match verdict {
                Verdict::Free => {
                    binds.all.push(Target { address: *address, object: function.card.object });
                    if !pass.found.owner.contains_key(address) {
                        binds.undeclared.push((*address, driver.clone()));
                    }
                }
                Verdict::LookFirst => {
                    plan.look.insert(*address);
                    held = true;
                }
                Verdict::Held(guard, reason) => {
                    hold(plan, module, Some(guard), format!("it would bind {address}, which is held: {reason}"));
                    held = true;
                }
            }
        }
        (!held).then_some(binds)
    }

    fn pinned_verdict(
        &self,
        pass: &Pass<'_>,
        address: Address,
        plan: &Plan,
        guarded: &BTreeMap<Address, Verdict>,
    ) -> Verdict {
        if let Some((_, fault)) = pass.found.faults.get(&address) {
            return Verdict::Held(Guard::IdentityMismatch, fault.reason.clone());
        }
        if pass.found.released.contains(&address) {
            return Verdict::Held(Guard::Hold, "it is released".to_owned());
        }
        if !pass.found.owner.contains_key(&address) {
            if let Some((id, hold)) = self.memory.hold_on_device(address, None, None) {
                return Verdict::Held(Guard::Hold, hold.reason(id));
            }
            let was_on_vfio = self.memory.on_vfio.contains_key(&address);
            return guard::pinned_verdict(pass.snapshot, address, was_on_vfio);
        }
        // Declared: what its party may do was decided already.
        if plan.look.contains(&address) {
            return Verdict::LookFirst;
        }
        guarded.get(&address).cloned().unwrap_or(Verdict::Free)
    }
}

/// The modules that need one, by way of others too.
fn users<'p>(pass: &Pass<'p>, module: &Module) -> Vec<&'p Module> {
    let needing = pass.snapshot.modules.iter().filter(|(_, facts)| facts.needs.contains(module));
    needing.map(|(user, _)| user).collect()
}

/// VFIO's modules that are no drivers of devices: loading them binds nothing.
const BINDS_NOTHING: [&str; 6] = ["iommufd", "irqbypass", "vfio", "vfio_iommu_type1", "vfio_pci_core", "vfio_virqfd"];

/// The device that is held by a guard, and how.
fn guarded(held: &Held) -> Option<(Address, Verdict)> {
    match (&held.about, held.guard) {
        (About::Device(address), Some(guard)) => Some((*address, Verdict::Held(guard, held.reason.clone()))),
        _ => None,
    }
}

/// What the kernel will bind by itself.
#[derive(Default)]
struct Binds {
    all: Vec<Target>,
    undeclared: Vec<(Address, Driver)>,
}

fn hold(plan: &mut Plan, module: &Module, guard: Option<Guard>, reason: String) {
    plan.held.push(Held { about: About::Module(module.clone()), guard, reason, not_before: None });
}

fn hold_until(plan: &mut Plan, module: &Module, reason: String, until: crate::model::time::Time) {
    plan.held.push(Held { about: About::Module(module.clone()), guard: None, reason, not_before: Some(until) });
}
