//! What is remembered of a pass: first sights, losses and what hangs on them.

use std::collections::BTreeSet;

use super::{Keeper, Pass, entry_of};
use crate::model::desired::Wanted;
use crate::model::drift::Drift;
use crate::model::memory::{Adopted, Unit};
use crate::model::module::ModuleState;
use crate::model::pci::{Address, Driver, Module};
use crate::model::resolve::{Resolution, resolve};
use crate::model::snapshot::{Fact, Snapshot};
use crate::model::time::Time;

impl Keeper {
    /// Lays a snapshot beside the configuration and takes note of it. `noticed` is when the first
    /// sign of what it shows came in.
    ///
    /// Learning the same twice changes nothing. What is on VFIO at first sight is adopted before
    /// anything is called drift.
    pub fn learn<'a>(&mut self, snapshot: &'a Snapshot, noticed: Time) -> Pass<'a> {
        let found = resolve(&self.desired, snapshot);
        self.learn_first_sights(snapshot, &found);
        self.learn_recoveries(snapshot);
        let pass = self.lay(snapshot, found);
        self.learn_open(&pass);
        let lost = self.learn_modules(&pass, noticed);
        self.learn_entries(&pass, noticed, &lost);
        self.learn_releases(&pass);
        self.learn_inherited(&pass);
        self.forget_paces(&pass);
        pass
    }

    /// Forgets how repairs went of what is no longer asked for.
    fn forget_paces(&mut self, pass: &Pass<'_>) {
        if self.memory.pace.is_empty() {
            return;
        }
        let entries: BTreeSet<&str> = self.desired.entries.iter().map(|entry| entry.name.as_str()).collect();
        self.memory.pace.retain(|unit, _| match unit {
            Unit::Entry(name) => entries.contains(entry_of(name)),
            Unit::Module(module) => pass.snapshot.modules.contains_key(module),
        });
    }

    /// What is on VFIO when it is first seen is adopted as it is, whoever put it there.
    fn learn_first_sights(&mut self, snapshot: &Snapshot, found: &Resolution) {
        for (address, function) in &snapshot.functions {
            let Fact::Is(driver) = &function.driver else { continue };
            if !snapshot.on_vfio(function) {
                continue;
            }
            // A vendor's own driver needs none of vfio-pci's modules.
            self.memory.vfio_seen |= snapshot.is_vfio(driver);
            let object = function.card.object;
            let wanted = found.owner.get(address).and_then(|index| self.desired.entries.get(*index));
            let wanted = wanted.map(|entry| &entry.driver);
            // A vendor's driver is the host's too: taken from it is what is asked for by name, and nothing else.
            let asked_away = !snapshot.is_vfio(driver) && matches!(wanted, Some(Wanted::Named(_)));
            if asked_away {
                self.memory.adopted.remove(address);
            }
            let first_sight = self.memory.on_vfio.insert(*address, object) != Some(object);
            if let Some(adopted) = self.memory.adopted.get_mut(address).filter(|adopted| adopted.object == object) {
                if adopted.pin.unreadable().is_some() {
                    adopted.pin.clone_from(&function.pin);
                }
                // The file may have changed while nobody ran: the settings before are not known.
                match (&adopted.wanted, wanted) {
                    (Some(then), Some(now)) if !is_same(then, now) => drop(self.memory.adopted.remove(address)),
                    (None, Some(now)) => adopted.wanted = Some(now.clone()),
                    _ => {}
                }
            } else if first_sight && !asked_away && !self.has_kept(found, *address) {
                let (driver, pin) = (driver.clone(), function.pin.clone());
                let adopted = Adopted { object, driver, pin, wanted: wanted.cloned() };
                self.memory.adopted.insert(*address, adopted);
            }
        }
        let functions = &snapshot.functions;
        self.memory.adopted.retain(|address, adopted| {
            functions.get(address).is_none_or(|function| function.card.object == adopted.object)
        });
    }

    /// Whether vfiod has had this function's entry as declared before: then what the function is
    /// on now is no first sight, even when the device object is new.
    fn has_kept(&self, found: &Resolution, address: Address) -> bool {
        // Also while its serial number is still to be read.
        let faulty = || found.faults.get(&address).map(|(index, _)| index);
        let unit = found.owner.get(&address).or_else(faulty).and_then(|index| self.unit_name(*index, address));
        unit.is_some_and(|name| self.memory.kept.contains(&name))
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
                        driver.is_some_and(|driver| pass.snapshot.module_of(driver) != *module)
                    });
                }
                _ => {}
            }
        }
        for (address, function) in &pass.snapshot.functions {
            let Some(look) = &function.look else { continue };
            if let Some(module) = function.driver.is().map(|driver| pass.snapshot.module_of(driver))
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

    /// Notes which modules were lost; answers with all that a device may have fallen with: those
    /// that are lost now, and those that nobody can tell of.
    fn learn_modules(&mut self, pass: &Pass<'_>, noticed: Time) -> BTreeSet<Module> {
        let now = pass.snapshot.taken;
        let (mut lost, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for (module, facts) in &pass.snapshot.modules {
            let serves = facts.state.serves();
            if facts.state == ModuleState::Loading {
                self.memory.loading.entry(module.clone()).or_insert(now);
            } else {
                self.memory.loading.remove(module);
            }
            if serves {
                self.memory.served.insert(module.clone());
                self.memory.refused.remove(module);
            } else if facts.state == ModuleState::Unreadable {
                unknown.insert(module.clone());
            } else if self.memory.served.contains(module) {
                lost.insert(module.clone());
            }
            if let Some(refused) = self.memory.refused.get_mut(module)
                && *refused.stamp.get_or_insert(facts.stamp) != facts.stamp
            {
                self.memory.refused.remove(module);
            }
            // What is on its way, or cannot be read, says nothing about an attempt yet.
            let open = matches!(facts.state, ModuleState::Unreadable | ModuleState::Loading | ModuleState::Unloading);
            if let Some(pace) = self.memory.pace.get_mut(&Unit::Module(module.clone())).filter(|_| !open) {
                pace.judge(serves, now, &self.policy.backoff, &self.policy.breaker);
            }
        }
        self.memory.loading.retain(|module, _| pass.snapshot.modules.contains_key(module));
        // One unload is one incident: what another lost module needs went with it.
        let roots = lost.iter().filter(|module| {
            !lost.iter().any(|other| pass.snapshot.modules.get(other).is_some_and(|facts| facts.needs.contains(module)))
        });
        for root in roots {
            let pace = self.memory.pace.entry(Unit::Module(root.clone())).or_default();
            pace.lose(noticed, &self.policy.breaker);
        }
        self.learn_unloads(pass, noticed, &lost);
        lost.append(&mut unknown);
        lost
    }

    fn learn_entries(&mut self, pass: &Pass<'_>, noticed: Time, lost: &BTreeSet<Module>) {
        for (index, found) in pass.found.entries.iter().enumerate() {
            // Functions that do not move together are lost and repaired each for itself.
            if found.together {
                self.learn_unit(pass, noticed, lost, index, &found.devices);
            } else {
                for address in &found.devices {
                    self.learn_unit(pass, noticed, lost, index, std::slice::from_ref(address));
                }
            }
        }
    }

    fn learn_unit(
        &mut self,
        pass: &Pass<'_>,
        noticed: Time,
        lost: &BTreeSet<Module>,
        index: usize,
        devices: &[Address],
    ) {
        let now = pass.snapshot.taken;
        let (Some(entry), Some(first)) = (self.desired.entries.get(index), devices.first()) else { return };
        let Some(name) = self.unit_name(index, *first) else { return };
        if pass.found.released.contains(first) {
            return;
        }
        let drifts = || devices.iter().filter_map(|address| Some((*address, pass.drifts.get(address)?)));
        if drifts().next().is_some() {
            // A device that fell with its module, or that was never as declared, is no incident.
            let with = |address: Address, drift: &Drift| {
                let function = pass.snapshot.functions.get(&address).filter(|_| *drift == Drift::Unbound)?;
                let wanted = crate::model::resolve::wanted_driver(entry, function, pass.snapshot.known());
                Some(wanted.module).filter(|module| lost.contains(module))
            };
            let fell = drifts().all(|(address, drift)| with(address, drift).is_some());
            let known = self.memory.kept.contains(&name);
            let pace = self.memory.pace.entry(Unit::Entry(name)).or_default();
            pace.judge(false, now, &self.policy.backoff, &self.policy.breaker);
            pace.note_seen(|| drifts().map(|(address, drift)| (address, drift.to_string())).collect());
            if fell || !known {
                pace.lost.get_or_insert(noticed);
            } else {
                pace.lose(noticed, &self.policy.breaker);
            }
            let since = pace.lost.unwrap_or(noticed);
            let falls: Vec<_> = drifts().map(|(address, drift)| (address, with(address, drift), drift)).collect();
            for (address, with, drift) in falls.into_iter().filter(|_| known) {
                self.learn_fall(address, since, with.as_ref(), drift);
            }
        } else if is_whole(devices, pass) {
            if !self.memory.kept.contains(&name) {
                self.memory.kept.insert(name.clone());
            }
            if let Some(pace) = self.memory.pace.get_mut(&Unit::Entry(name)) {
                pace.judge(true, now, &self.policy.backoff, &self.policy.breaker);
            }
        }
    }
}

/// Whether what is there of an entry is known to be as declared: a driver link that cannot be read
/// is no drift, and no success either.
fn is_whole(devices: &[Address], pass: &Pass<'_>) -> bool {
    let readable = |address| pass.snapshot.functions.get(address).is_some_and(|f| f.driver.unreadable().is_none());
    !devices.is_empty() && devices.iter().all(readable)
}

/// Whether an entry wants what it wanted. An earlier vfiod took one that names no driver for one that
/// names vfio-pci.
fn is_same(then: &Wanted, now: &Wanted) -> bool {
    then == now || *now == Wanted::Any && *then == Wanted::Named(Driver::vfio_pci())
}

fn is_driver(pass: &Pass<'_>, module: &Module) -> bool {
    pass.snapshot.known().is_vfios(module)
}
