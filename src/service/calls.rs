//! What persons and programs ask of the loop over the bus.
//!
//! What changes memory alone is answered at once. What takes a pass, or changes what one is made from,
//! is answered after it; what takes writes is answered when each device is settled, or the deadline of a write is over. None of it
//! makes the loop wait but a release: like a pass it looks closer first, for some seconds where a read
//! blocks, and what is asked meanwhile is taken up after that.
//!
//! What is asked for and must not be forgotten is stored before anything else is done for it, and before
//! it is answered. Where it cannot be stored nothing is changed, and the answer says which file, and why.
//! Where what lasts can be stored for this boot only, it is done, and the picture says so before the
//! answer comes (`Manager.StateTrouble`).

use std::collections::BTreeSet;

use super::notify::Notify;
use super::seen::Seen;
use super::store::{Saved, Store};
use super::tell::{Tell, Told};
use super::waiting::{Reply, Waiting};
use super::watch::Watch;
use crate::bus::call::{Answer, Ask, Call, Caller, Refusal, Target};
use crate::host::port::{Closer, Host};
use crate::model::event::Event;
use crate::model::guard::Verdict;
use crate::model::hold::Until;
use crate::model::keeper::Meant;
use crate::model::memory::Memory;
use crate::model::pci::{Address, Module};
use crate::model::plan::Guard;
use crate::model::policy::Mode;

impl<H: Host, T: Tell, S: Store, N: Notify> Watch<H, T, S, N> {
    /// Takes up the calls that have come in, once there is something to answer from.
    pub(super) async fn take_calls(&mut self) {
        while self.last.is_some()
            && !self.stop
            && let Some(call) = self.calls.pop_front()
        {
            let Call { ask, caller, reply } = call;
            // Whoever has gone is not waited for, and what he asked for is not done.
            if !reply.is_closed() {
                self.take(ask, &caller, reply).await;
            }
        }
    }

    async fn take(&mut self, ask: Ask, caller: &Caller, reply: Reply) {
        let answer = match ask {
            Ask::Pass => return self.wait_for_pass(Waiting::Pass(reply)),
            Ask::Plan => return self.wait_for_plan(caller.uid, reply),
            Ask::Repair(targets) => match self.all_meant(&targets).and_then(|meant| self.urge(meant)) {
                Ok(meant) => return self.wait_for_settling(meant, reply),
                Err(refusal) => Err(refusal),
            },
            Ask::LoadModules(modules) => match self.modules_meant(&modules).and_then(|meant| self.urge(meant)) {
                Ok(meant) => return self.wait_for_settling(meant, reply),
                Err(refusal) => Err(refusal),
            },
            Ask::Release(target) => match self.release(&target, caller).await {
                Ok(meant) => return self.wait_for_settling(meant, reply),
                Err(refusal) => Err(refusal),
            },
            Ask::Adopt(target) => match self.adopt(&target) {
                Ok(meant) => return self.wait_for_settling(meant, reply),
                Err(refusal) => Err(refusal),
            },
            Ask::Check(target) => match self.checked(&target) {
                Ok(functions) => return self.check(functions, caller.uid, reply),
                Err(refusal) => Err(refusal),
            },
            Ask::Hold { .. } | Ask::Inhibit { .. } => return self.take_hold(ask, caller, reply),
            Ask::Unhold(id) => {
                let done = self.unhold(id);
                return self.answer_done(done, reply);
            }
            Ask::CallerGone(name) => {
                self.end_holds(
                    "its owner has left",
                    |_, hold| matches!(&hold.until, Until::Owner(owner) if *owner == name),
                );
                Ok(Answer::Done)
            }
            Ask::Owners => {
                let holds = self.keeper.memory.all_holds();
                let owners = holds.values().filter_map(|hold| match &hold.until {
                    Until::Owner(owner) => Some(owner.clone()),
                    Until::Time(_) | Until::Lease => None,
                });
                Ok(Answer::Owners(owners.collect()))
            }
            Ask::ResetFailed(target) => {
                let done = self.reset_failed(&target);
                return self.answer_done(done, reply);
            }
            Ask::History(most) => self.store.history(most as usize).map(Answer::History).map_err(Refusal::Failed),
            // The one who reads files puts its outcome among the requests, see `run`.
            Ask::Reload => Err(Refusal::Failed("the configuration is not read here".to_owned())),
        };
        let _ = reply.send(answer);
    }

    /// The functions that a check is about; none for all.
    fn checked(&self, target: &Target) -> Result<BTreeSet<Address>, Refusal> {
        match target {
            Target::All => Ok(BTreeSet::new()),
            // Also one that nobody declared.
            Target::Device(address) => Ok(BTreeSet::from([*address])),
            Target::Entry(_) | Target::Module(_) => {
                let meant = self.meant(target)?;
                if meant.devices.is_empty() {
                    return Err(Refusal::Refused(format!("nothing of {target} is there to be checked")));
                }
                Ok(meant.devices)
            }
        }
    }

    pub(super) fn realtime_usec(&self) -> u64 {
        self.host.clock().realtime_usec(self.host.now())
    }

    pub(super) fn meant(&self, target: &Target) -> Result<Meant, Refusal> {
        let meant = self.last.as_ref().and_then(|last| self.keeper.meant(last, target));
        meant.ok_or_else(|| Refusal::NoSuchObject {
            what: format!("declared device, entry or required module {target}"),
            near: Vec::new(),
        })
    }

    /// What these mean together; everything, where there is none.
    fn all_meant(&self, targets: &[Target]) -> Result<Meant, Refusal> {
        if targets.is_empty() {
            return self.meant(&Target::All);
        }
        let mut all = Meant::default();
        for target in targets {
            all.extend(self.meant(target)?);
        }
        Ok(all)
    }

    /// The same of modules. Whoever wants all of them loaded wants nothing of any device.
    fn modules_meant(&self, modules: &[Module]) -> Result<Meant, Refusal> {
        let targets: Vec<Target> = modules.iter().cloned().map(Target::Module).collect();
        Ok(Meant { modules: self.all_meant(&targets)?.modules, ..Meant::default() })
    }

    fn urge(&mut self, meant: Meant) -> Result<Meant, Refusal> {
        self.enforcing()?;
        if let Some(last) = &self.last {
            self.keeper.urge(last, &meant);
        }
        self.checks.want_at(self.host.now());
        Ok(meant)
    }

    fn reset_failed(&mut self, target: &Target) -> Result<(), Refusal> {
        let meant = self.meant(target)?;
        let before = self.keeper.memory.clone();
        if let Some(last) = &self.last {
            self.keeper.reset(last, &meant);
        }
        self.keep_or(before, "nothing is forgotten")?;
        self.checks.want_at(self.host.now());
        self.pulse.ask(self.host.now());
        Ok(())
    }

    fn enforcing(&self) -> Result<(), Refusal> {
        match self.settings.policy.mode {
            Mode::Enforce => Ok(()),
            Mode::Observe | Mode::Unknown => {
                Err(Refusal::Refused("mode is observe: nothing is written to the kernel".to_owned()))
            }
        }
    }

    /// Looks whether these can be given back; only then it is remembered that they are to be.
    async fn release(&mut self, target: &Target, caller: &Caller) -> Result<Meant, Refusal> {
        let mut meant = self.meant(target)?;
        if meant.units.is_empty() || matches!(target, Target::All | Target::Module(_)) {
            return Err(Refusal::Refused("only a device or an entry can be released".to_owned()));
        }
        self.enforcing()?;
        let units = self.keeper.party(self.last.as_ref(), &meant);
        let mut snapshot = self.observe();
        let closer = {
            let pass = self.keeper.pass(&snapshot);
            if let Some(acting) = units.iter().find_map(|address| self.keeper.memory.acting_on(*address)) {
                return Err(Refusal::Refused(format!("a write is under way since {}", acting.since)));
            }
            Closer { looks: self.keeper.to_look_at(&pass, &units), ..Closer::default() }
        };
        let mut seen = Seen::default();
        if !closer.is_empty() {
            // What is asked for may just have been lost.
            let pass = self.keeper.learn(&snapshot, self.host.now());
            let plan = self.keeper.decide(&pass);
            self.tell_losses(&pass, &plan);
            let Some(found) = self.look(&closer).await else {
                return Err(Refusal::Failed("vfiod stops".to_owned()));
            };
            seen.add(closer, found);
            snapshot = self.observe();
            self.live();
        }
        seen.show(&mut snapshot);
        let pass = self.keeper.pass(&snapshot);
        match self.keeper.may_give_back(&pass, &units) {
            Verdict::Free => {}
            Verdict::Held(Guard::InUse, reason) => return Err(Refusal::InUse(format!("it is in use: {reason}"))),
            Verdict::Held(guard, reason) => return Err(Refusal::Refused(format!("{guard}: {reason}"))),
            Verdict::LookFirst => return Err(Refusal::Refused("it changed while it was looked at".to_owned())),
        }
        let since = self.realtime_usec();
        let before = self.keeper.memory.clone();
        self.keeper.release(&meant, caller.uid, since);
        // Before the first write, so that a crash in between does not take it back.
        self.keep_or(before, "nothing is released")?;
        // What became of those that move with it is told as well.
        meant.devices.extend(units);
        Ok(meant)
    }

    fn adopt(&mut self, target: &Target) -> Result<Meant, Refusal> {
        let mut meant = self.meant(target)?;
        let before = self.keeper.memory.clone();
        if !self.keeper.adopt(&meant) {
            return Err(Refusal::Refused(format!("{target} is not released")));
        }
        self.keep_or(before, "it stays released")?;
        meant.devices.extend(self.keeper.party(self.last.as_ref(), &meant));
        Ok(meant)
    }

    /// Answers that something is done; after a pass, where the picture does not tell yet that it is for
    /// this boot only.
    fn answer_done(&mut self, done: Result<(), Refusal>, reply: Reply) {
        match done {
            Ok(()) if self.is_trouble_untold() => self.wait_for_pass(Waiting::Pass(reply)),
            done => drop(reply.send(done.map(|()| Answer::Done))),
        }
    }

    /// Stores memory, where an answer must not be forgotten; or takes back what was changed since
    /// `before`, in the words of `instead`.
    pub(super) fn keep_or(&mut self, before: Memory, instead: &str) -> Result<(), Refusal> {
        let Some(why) = self.keep(&[]) else { return Ok(()) };
        self.keeper.memory = before;
        // A part of it may be on disk.
        self.keep(&[]);
        Err(Refusal::Failed(format!("{why}; {instead}")))
    }

    /// Stores memory and these transitions; answers why, if a restart would forget some of it.
    pub(super) fn keep(&mut self, events: &[Event]) -> Option<String> {
        let Saved { trouble, lost, this_boot } = self.store.save(&self.keeper.memory, events);
        for why in trouble {
            self.tell.tell(Told::StateTrouble { why });
        }
        let trouble = lost.clone().or(this_boot).unwrap_or_default();
        if self.frame.state_trouble != trouble {
            self.frame.state_trouble = trouble;
            self.pulse.ask(self.host.now());
        }
        lost
    }
}
