//! Who did it: a loss is laid beside what the host's witness has recorded.
//!
//! A record explains a loss of the same module that is seen after it, and that no load lies
//! between. Where there is none, what stayed may tell the command; nothing else is concluded.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Keeper, Pass};
use crate::model::cause::{By, Fall, How, Record, Unload};
use crate::model::drift::Drift;
use crate::model::module::{ModuleFacts, ModuleState};
use crate::model::pci::{Address, Module};
use crate::model::plan::Key;
use crate::model::time::Time;

/// How long a module that is being unloaded is not told as lost: the kernel names who does it only
/// when its exit function has returned. That takes milliseconds; on a machine whose processors are
/// all busy it took more than a second (6.12). Meanwhile nothing could be done anyhow.
const LEAVING: Duration = Duration::from_secs(10);
/// How soon it is looked at again meanwhile.
const AGAIN: Duration = Duration::from_millis(200);
/// How long after an unload that nobody saw what stays still tells the command.
const AFTERMATH: Duration = Duration::from_secs(1);
/// How many different ones are remembered for each module.
const WHO: usize = 8;

impl Keeper {
    /// Takes note of what the host's witness has recorded.
    pub fn witness(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            match record {
                Record::Unloaded { module, at, by } => {
                    let unload = Unload { at, by: By::Witnessed(by), again: None };
                    let known = self.memory.unloads.get(&module).is_some_and(|known| known.at == at);
                    if known {
                        self.complete(&module, unload)
                    } else {
                        drop(self.memory.witnessed.insert(module, unload))
                    }
                }
                Record::Loaded { module, at } => {
                    if self.memory.witnessed.get(&module).is_some_and(|unload| unload.at <= at)
                        && let Some(unload) = self.memory.witnessed.remove(&module)
                    {
                        // It came back before anybody saw it gone: that happened, and is no loss.
                        self.note(&module, unload);
                    }
                }
                Record::Missed => self.memory.missed = true,
            }
        }
    }

    /// Explains what is lost. `lost` are modules that served and do not now.
    pub(super) fn learn_unloads(&mut self, pass: &Pass<'_>, noticed: Time, lost: &BTreeSet<Module>) {
        let now = pass.snapshot.taken;
        for (module, facts) in &pass.snapshot.modules {
            if lost.contains(module) {
                self.explain(pass, module, facts, noticed);
            } else if facts.state.serves() {
                self.memory.gone.remove(module);
                self.memory.leaving.remove(module);
                let past = self.memory.witnessed.get(module).is_some_and(|unload| unload.at <= now);
                if past && let Some(unload) = self.memory.witnessed.remove(module) {
                    self.note(module, unload);
                }
            }
        }
        if lost.is_empty() {
            self.memory.missed = false;
        }
        // What is not asked for needs no explanation.
        self.memory.witnessed.retain(|module, _| pass.snapshot.modules.contains_key(module));
    }

    fn explain(&mut self, pass: &Pass<'_>, module: &Module, facts: &ModuleFacts, noticed: Time) {
        if let Some(unload) = self.memory.witnessed.remove(module) {
            self.note(module, unload);
        } else if self.memory.gone.contains(module) {
            return self.look_again(pass, module);
        } else if facts.state == ModuleState::Unloading {
            self.memory.leaving.entry(module.clone()).or_insert(pass.snapshot.taken);
            return;
        } else {
            let why = self.memory.missed.then(|| "records of the kernel's trace were lost".to_owned());
            let by = By::Unknown { like: fingerprint(pass, module), why };
            self.note(module, Unload { at: noticed, by, again: None });
        }
        self.memory.gone.insert(module.clone());
        self.memory.leaving.remove(module);
    }

    /// A pass may come between two modules of one command: what stays shows a moment later, and
    /// tells something only until vfiod itself changes it.
    fn look_again(&mut self, pass: &Pass<'_>, module: &Module) {
        let untouched = !self.memory.acting.contains_key(&Key::Modules);
        if let Some(unload) = self.memory.unloads.get_mut(module).filter(|_| untouched)
            && let By::Unknown { like: like @ None, .. } = &mut unload.by
            && pass.snapshot.taken.since(unload.at) < AFTERMATH
        {
            *like = fingerprint(pass, module);
            let unload = unload.clone();
            self.correct(module, unload.at, &unload);
        }
    }

    /// Notes an unload, counts it, and completes what was laid to an unknown one meanwhile.
    fn note(&mut self, module: &Module, mut unload: Unload) {
        if let Some(culprit) = unload.by.culprit() {
            let known = self.memory.rhythms.entry(module.clone()).or_default();
            let who = culprit.who();
            if known.len() >= WHO && !known.contains_key(&who) {
                let oldest = known.iter().min_by_key(|(_, rhythm)| rhythm.times.back().copied());
                if let Some(oldest) = oldest.map(|(who, _)| who.clone()) {
                    known.remove(&oldest);
                }
            }
            let rhythm = known.entry(who).or_default();
            rhythm.beat(unload.at);
            unload.again = rhythm.again();
        }
        let before = self.memory.unloads.insert(module.clone(), unload.clone());
        if let Some(before) = before.filter(|_| self.memory.gone.contains(module)) {
            self.correct(module, before.at, &unload);
        }
    }

    /// More is known of the process by now.
    fn complete(&mut self, module: &Module, unload: Unload) {
        let Some(known) = self.memory.unloads.get_mut(module) else { return };
        known.by = unload.by;
        let known = known.clone();
        self.correct(module, known.at, &known);
    }

    /// Devices that fell with a module fell by whoever unloaded it.
    fn correct(&mut self, of: &Module, at: Time, by: &Unload) {
        for fall in self.memory.falls.values_mut() {
            if let How::WithModule { module, unload } = &mut fall.how
                && module == of
                && unload.at == at
            {
                unload.clone_from(by);
            }
        }
    }

    /// Notes why a device is lost, once for each loss. `with` is the module that it fell with.
    pub(super) fn learn_fall(&mut self, address: Address, at: Time, with: Option<&Module>, drift: &Drift) {
        if self.memory.falls.get(&address).is_some_and(|fall| fall.at == at) {
            return;
        }
        let how = match with {
            Some(module) => match self.memory.unloads.get(module).filter(|_| self.memory.gone.contains(module)) {
                Some(unload) => How::WithModule { module: module.clone(), unload: unload.clone() },
                // It may be known in a moment.
                None => return,
            },
            None => How::ByHand { found: drift.to_string() },
        };
        self.memory.falls.insert(address, Fall { at, how });
    }

    /// Whether a module is just being unloaded, and who does it may be known in a moment.
    pub(super) fn is_leaving(&self, module: &Module, now: Time) -> bool {
        self.memory.leaving.get(module).is_some_and(|since| now.since(*since) < LEAVING)
    }

    /// When to look again at modules that are on their way out: the kernel's last event of one comes
    /// before it has gone.
    pub(super) fn left(&self, now: Time) -> impl Iterator<Item = Time> {
        self.memory.leaving.values().map(move |since| (now + AGAIN).min(*since + LEAVING))
    }
}

/// The command that leaves the modules as they are: `modprobe -r vfio_pci` takes that one and
/// `vfio_pci_core`; `vfio` and `vfio_iommu_type1` stay (seen on 6.1 and 6.12).
fn fingerprint(pass: &Pass<'_>, module: &Module) -> Option<String> {
    let state = |name: &str| {
        let mut modules = pass.snapshot.modules.iter();
        modules.find(|(module, _)| module.as_str() == name).map(|(_, facts)| facts.state)
    };
    let all = |names: [&str; 2], wanted: ModuleState| names.into_iter().all(|name| state(name) == Some(wanted));
    let of_these = ["vfio_pci", "vfio_pci_core"].contains(&module.as_str());
    let like = of_these
        && all(["vfio_pci", "vfio_pci_core"], ModuleState::Absent)
        && all(["vfio", "vfio_iommu_type1"], ModuleState::Live);
    like.then(|| "modprobe -r vfio_pci".to_owned())
}
