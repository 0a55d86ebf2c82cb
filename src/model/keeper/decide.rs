//! The plan for devices: what drifted, what moves together, what holds it back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Keeper, Pass};
use crate::model::concern::Concern;
use crate::model::desired::Entry;
use crate::model::drift::Drift;
use crate::model::guard::{self, Question, Verdict};
use crate::model::memory::Unit;
use crate::model::pace::Wait;
use crate::model::pci::{Address, Module};
use crate::model::plan::{About, Act, Guard, Held, Key, Plan, Step, Target};
use crate::model::preflight::blockers::blockers;
use crate::model::snapshot::Fact;
use crate::model::state::State;
use crate::model::time::Time;
use crate::model::variant::Choice;

/// Devices that are repaired together or not at all: joined by a group or by an entry.
type Party = BTreeSet<Address>;

impl Keeper {
    /// Decides what to do. Pure: the same pass and memory give the same plan.
    #[must_use]
    pub fn decide(&self, pass: &Pass<'_>) -> Plan {
        let mut plan = Plan::default();
        for (address, (_, fault)) in &pass.found.faults {
            let guard = match fault.state {
                State::Mismatch => Some(Guard::IdentityMismatch),
                State::Held => Some(Guard::Unreadable),
                _ => None,
            };
            let about = About::Device(*address);
            plan.held.push(Held { about, guard, reason: fault.reason.clone(), not_before: None });
        }
        self.hold_entries(pass, &mut plan);
        for party in parties(pass) {
            self.decide_party(pass, &party, &mut plan);
        }
        self.decide_releases(pass, &mut plan);
        self.decide_modules(pass, &mut plan);
        plan.held.sort_by(|a, b| a.about.cmp(&b.about));
        plan
    }

    /// What an entry lacks and no function stands for: one that is absent, or may be one of several.
    fn hold_entries(&self, pass: &Pass<'_>, plan: &mut Plan) {
        let told: BTreeSet<usize> = pass.found.faults.values().map(|(index, _)| *index).collect();
        let entries = self.desired.entries.iter().zip(&pass.found.entries).enumerate();
        for (_, (entry, found)) in entries.filter(|(index, _)| !told.contains(index)) {
            let Some(fault) = &found.fault else { continue };
            let about = About::Entry(entry.name.clone());
            let guard = (fault.state == State::Held).then_some(Guard::Unreadable);
            plan.held.push(Held { about, guard, reason: fault.reason.clone(), not_before: None });
        }
    }

    fn decide_party(&self, pass: &Pass<'_>, party: &Party, plan: &mut Plan) {
        let before = plan.held.len();
        let mut look = false;
        let lacking = self.lacking(pass, party);
        for address in party {
            let about = About::Device(*address);
            // A guard comes first: it holds the load of a driver, too, which the kernel would bind it to.
            match (self.verdict(pass, *address, lacking.is_some()), self.blocked(pass, *address)) {
                (Verdict::Held(guard, reason), _) => {
                    plan.held.push(Held { about, guard: Some(guard), reason, not_before: None });
                }
                (_, Some(reason)) => plan.held.push(Held { about, guard: None, reason, not_before: None }),
                (Verdict::LookFirst, None) => look = true,
                (Verdict::Free, None) => {}
            }
        }
        if plan.held.len() > before {
            hold_the_others(party, plan, before);
            return;
        }
        // Before the look: on a device with a stuck write the reader would get stuck, too.
        let now = pass.snapshot.taken;
        if let Some((reason, until)) = self.must_wait(pass, party, now) {
            for address in party {
                let about = About::Device(*address);
                plan.held.push(Held { about, guard: None, reason: reason.clone(), not_before: until });
            }
            return;
        }
        if look {
            plan.look.extend(party);
            return;
        }
        if let Some(module) = lacking {
            for address in party {
                let about = About::Device(*address);
                let reason = format!("it waits for module {module}");
                plan.held.push(Held { about, guard: None, reason, not_before: None });
            }
            return;
        }
        plan.acts.extend(self.act(pass, party));
    }

    /// What the guards say about a drifting device.
    fn verdict(&self, pass: &Pass<'_>, address: Address, before_load: bool) -> Verdict {
        let none = BTreeSet::new();
        let entry = self.entry_of(pass, address);
        let allow = entry.map_or(&none, |entry| &entry.allow);
        let Some(drift) = pass.drifts.get(&address) else { return Verdict::Free };
        let index = pass.found.owner.get(&address).copied();
        let unit = index.and_then(|index| self.unit_name(index, address));
        let name = entry.map(|entry| entry.name.as_str());
        if let Some((id, hold)) = self.memory.hold_on_device(address, name, unit.as_deref()) {
            return Verdict::Held(Guard::Hold, hold.reason(id));
        }
        if let Some(reason) = self.perhaps_released(pass, address, drift) {
            return Verdict::Held(Guard::Unreadable, reason);
        }
        if let Some(found) = index.and_then(|index| pass.found.entries.get(index))
            && found.together
            && let Some(fault) = &found.fault
        {
            return Verdict::Held(Guard::GroupShared, format!("its entry is not whole: {}", fault.reason));
        }
        if let Some(found) = index.and_then(|index| pass.found.entries.get(index)).filter(|found| found.together) {
            let unreadable = found.devices.iter().find_map(|address| {
                let function = pass.snapshot.functions.get(address)?;
                function.driver.unreadable().or(function.group.unreadable())
            });
            if let Some(why) = unreadable {
                return Verdict::Held(Guard::Unreadable, why.to_owned());
            }
        }
        // Whether it is open still shows in its driver's reference count: when that changes it is looked at.
        let looked = pass.snapshot.functions.get(&address).is_some_and(|function| function.look.is_some());
        if matches!(drift, Drift::Pin(_))
            && !looked
            && let Some(holder) = self.memory.open.get(&address).and_then(|holders| holders.first())
        {
            return Verdict::Held(Guard::InUse, holder.to_string());
        }
        let by_the_host = matches!(drift, Drift::WrongDriver(driver) if !pass.snapshot.is_vfio(driver));
        let console_gone = !by_the_host && self.was_on_vfio(pass, address);
        let ask = Question { snapshot: pass.snapshot, found: &pass.found, allow, console_gone, before_load };
        guard::verdict(ask, address, drift)
    }

    /// Whether this very device object was on VFIO in this boot.
    fn was_on_vfio(&self, pass: &Pass<'_>, address: Address) -> bool {
        let object = pass.snapshot.functions.get(&address).map(|function| function.card.object);
        object.is_some() && self.memory.on_vfio.get(&address).copied() == object
    }

    /// Why a device on a host driver may be there because it was released, if nobody can tell. One that
    /// was on VFIO in this boot was not.
    fn perhaps_released(&self, pass: &Pass<'_>, address: Address, drift: &Drift) -> Option<String> {
        let unsure = self.memory.unsure.as_ref().filter(|unsure| !unsure.asked.contains(&address))?;
        let Drift::WrongDriver(driver) = drift else { return None };
        (!self.was_on_vfio(pass, address) && !pass.snapshot.is_vfio(driver)).then(|| {
            format!("whether it is released or on hold is not known: {}; repair or adopt it, or reload", unsure.why)
        })
    }

    fn entry_of(&self, pass: &Pass<'_>, address: Address) -> Option<&Entry> {
        self.desired.entries.get(*pass.found.owner.get(&address)?)
    }

    /// Why no repair can help a device, if none can.
    pub(super) fn blocked(&self, pass: &Pass<'_>, address: Address) -> Option<String> {
        let wanted = self.wanted(*pass.found.owner.get(&address)?, address, pass.snapshot);
        if let Some(finding) = blockers(pass.snapshot, address, &wanted.driver).first() {
            return Some(format!("{}: {}", finding.code, finding.why));
        }
        if let Some(concern) = self.concern(pass, address, false) {
            return Some(concern.to_string());
        }
        self.hopeless(pass, &wanted.module).or_else(|| no_such_driver(pass, &wanted))
    }

    /// What the last check found that keeps a function from a virtual machine; with `bound`, also
    /// what a new binding may lift.
    pub(super) fn concern(&self, pass: &Pass<'_>, address: Address, bound: bool) -> Option<&Concern> {
        let object = pass.snapshot.functions.get(&address)?.card.object;
        let concerns = &self.memory.concerns;
        // A module that is kept has a state of its own, newer than any check.
        let keeps = |name: &str| pass.snapshot.modules.keys().any(|module| module.as_str() == name);
        let unloaded = concerns.unloaded().filter(|_| bound && !keeps("vfio_iommu_type1"));
        concerns.blocker(address, object, bound).or(unloaded)
    }

    /// The module that a party waits for.
    fn lacking(&self, pass: &Pass<'_>, party: &Party) -> Option<Module> {
        party.iter().find_map(|address| {
            let module = self.wanted(*pass.found.owner.get(address)?, *address, pass.snapshot).module;
            let drift = pass.drifts.get(address)?;
            (!matches!(drift, Drift::Pin(_)) && pass.lacks_module(&module)).then_some(module)
        })
    }

    /// Why this must wait although no guard holds it: something under way, back-off, the breaker.
    pub(super) fn must_wait(&self, pass: &Pass<'_>, party: &Party, now: Time) -> Option<(String, Option<Time>)> {
        let involved = involved(pass, party);
        if let Some(acting) = involved.iter().find_map(|address| self.memory.acting_on(*address)) {
            return Some((format!("a write is under way since {}", acting.since), None));
        }
        // A group's number comes again when the group has gone, also to another one.
        if let Some(acting) = self.memory.acting.get(&key(pass, party)) {
            return Some((format!("a write to what had its group before is under way since {}", acting.since), None));
        }
        let waits = party.iter().filter_map(|address| {
            let name = self.unit_name(*pass.found.owner.get(address)?, *address)?;
            self.memory.pace.get(&Unit::Entry(name))?.wait(now)
        });
        if let Some(wait) = waits.max_by_key(Wait::until) {
            return Some(match wait {
                Wait::Backoff(until) => ("the last repair did not help".to_owned(), Some(until)),
                Wait::Breaker(until) => ("somebody undoes it again and again".to_owned(), Some(until)),
            });
        }
        None
    }

    /// The steps for a party that is free: pin all, take all, give all. Pinned first, so that
    /// between the unbind and the probe no other driver can take a device.
    fn act(&self, pass: &Pass<'_>, party: &Party) -> Option<Act> {
        let none = BTreeSet::new();
        let (mut pins, mut unbinds, mut probes) = (Vec::new(), Vec::new(), Vec::new());
        for address in party {
            let function = pass.snapshot.functions.get(address)?;
            let target = Target { address: *address, object: function.card.object };
            let wanted = self.wanted(*pass.found.owner.get(address)?, *address, pass.snapshot);
            let wanted = wanted.known.then_some(wanted.driver);
            let on = function.driver.is().cloned();
            match pass.drifts.get(address)? {
                // The binding stands and stays; only what would bring it back is missing.
                Drift::Pin(_) => {
                    let pin = on.clone()?;
                    pins.push(Step::Pin { target, driver: on, pin });
                    continue;
                }
                Drift::WrongDriver(driver) => {
                    let allow = self.entry_of(pass, *address).map_or(&none, |entry| &entry.allow).clone();
                    unbinds.push(Step::Unbind { target, driver: driver.clone(), allow });
                }
                Drift::Unbound => {}
            }
            // The kernel takes any name for an override; with one that no driver bears, none takes the device.
            let wanted = wanted?;
            pins.push(Step::Pin { target, driver: on, pin: wanted.clone() });
            probes.push(Step::Probe { target, driver: wanted });
        }
        let steps = pins.into_iter().chain(unbinds).chain(probes).collect();
        Some(Act { key: key(pass, party), functions: involved(pass, party), steps })
    }
}

/// What a party's actor is known by.
pub(super) fn key(pass: &Pass<'_>, party: &Party) -> Key {
    let groups = party.iter().filter_map(|address| pass.snapshot.functions.get(address)?.group.is().copied());
    match (groups.min(), party.first()) {
        (Some(number), _) => Key::Group(number),
        (None, Some(first)) => Key::Device(*first),
        (None, None) => Key::Modules,
    }
}

/// All or none: when one member is held, the others are, on its account.
fn hold_the_others(party: &Party, plan: &mut Plan, from: usize) {
    let Some(first) = plan.held.get(from).cloned() else { return };
    let held: BTreeSet<Address> = plan.held[from..]
        .iter()
        .filter_map(|held| match held.about {
            About::Device(address) => Some(address),
            About::Module(_) | About::Entry(_) | About::Host => None,
        })
        .collect();
    for address in party.difference(&held) {
        let reason = format!("it moves together with {}, which is held: {}", first.about, first.reason);
        let about = About::Device(*address);
        plan.held.push(Held { about, guard: Some(Guard::GroupShared), reason, not_before: None });
    }
}

/// Every function that a lock of the party's may concern: its members, and their groups'.
pub(super) fn involved(pass: &Pass<'_>, party: &Party) -> BTreeSet<Address> {
    let mut all = party.clone();
    for address in party {
        if let Some((_, group)) = pass.snapshot.group_of(*address) {
            all.extend(group.members.iter().copied());
        }
    }
    all
}

/// Drifting devices, gathered by group and by entry.
fn parties(pass: &Pass<'_>) -> Vec<Party> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Bond {
        Group(u32),
        Entry(usize),
    }
    let mut parties: Vec<Party> = Vec::new();
    let mut bonds: BTreeMap<Bond, usize> = BTreeMap::new();
    for address in pass.drifts.keys() {
        let group = pass.snapshot.functions.get(address).and_then(|f| match &f.group {
            Fact::Is(number) => Some(Bond::Group(*number)),
            Fact::Absent | Fact::Unreadable(_) => None,
        });
        let entry = pass.found.owner.get(address).filter(|index| pass.found.entries[**index].together);
        let mine: Vec<Bond> = group.into_iter().chain(entry.map(|index| Bond::Entry(*index))).collect();
        let mut into = parties.len();
        parties.push(Party::from([*address]));
        for bond in mine {
            if let Some(other) = bonds.get(&bond).copied()
                && other != into
            {
                let (low, high) = (other.min(into), other.max(into));
                let moved = std::mem::take(&mut parties[high]);
                parties[low].extend(moved);
                bonds.values_mut().filter(|at| **at == high).for_each(|at| *at = low);
                into = low;
            }
            bonds.insert(bond, into);
        }
    }
    parties.retain(|party| !party.is_empty());
    parties
}

/// Why a driver cannot be had although its module is there, or nobody keeps that.
fn no_such_driver(pass: &Pass<'_>, wanted: &Choice) -> Option<String> {
    if wanted.known || pass.lacks_module(&wanted.module) {
        return None;
    }
    let Choice { driver, module, .. } = wanted;
    Some(match pass.snapshot.modules.contains_key(module) {
        true => format!("module {module} is loaded, and it has no PCI driver of that name"),
        false => format!("there is no PCI driver {driver}, and modules.keep does not name module {module}"),
    })
}

/// Used by the public picture: the driver that would be planned for an address.
pub(super) fn wanted_name(keeper: &Keeper, pass: &Pass<'_>, address: Address) -> Option<Choice> {
    Some(keeper.wanted(*pass.found.owner.get(&address)?, address, pass.snapshot))
}
