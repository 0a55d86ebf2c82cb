//! Holds: begun on request, ended on request, by time, or with their owner.

use super::notify::Notify;
use super::store::Store;
use super::tell::{Tell, Told};
use super::waiting::{Reply, Waiting};
use super::watch::Watch;
use crate::bus::call::{Answer, Ask, Caller, Refusal, Target};
use crate::host::port::Host;
use crate::model::hold::{Hold, MOST, Until};

impl<H: Host, T: Tell, S: Store, N: Notify> Watch<H, T, S, N> {
    /// Holds, and answers when nothing is written to the target any more.
    pub(super) fn take_hold(&mut self, ask: Ask, caller: &Caller, reply: Reply) {
        let held = match ask {
            Ask::Hold { target, who, why, seconds } => {
                let until = match seconds {
                    0 => Until::Owner(caller.name.clone()),
                    _ => Until::Time(self.realtime_usec().saturating_add(seconds.saturating_mul(1_000_000))),
                };
                let length = seconds.saturating_mul(1_000_000);
                self.hold(caller, target, (who, why), until, length).map(|id| (id, Answer::Id(id)))
            }
            Ask::Inhibit { target, who, why } => self.inhibit(caller, target, who, why),
            _ => Err(Refusal::Failed("this is no hold".to_owned())),
        };
        match held {
            Ok((id, answer)) if self.is_trouble_untold() => self.waiting.push(Waiting::Held { id, answer, reply }),
            Ok((id, answer)) => self.grant(id, answer, reply),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// Answers whoever holds; later, while something that was begun before is still at work on what is
    /// held: nothing new begins, and what does not return in time is the device's state.
    pub(super) fn grant(&mut self, id: u64, answer: Answer, reply: Reply) {
        if reply.is_closed() {
            // He does not know its number.
            self.end_holds("whoever asked for it did not wait", |other, _| other == id);
            return;
        }
        let now = self.host.now();
        match self.keeper.end_of_acts_on_held(id, self.last.as_ref(), now) {
            None => drop(reply.send(Ok(answer))),
            Some(deadline) => {
                self.pulse.ask(deadline);
                self.waiting.push(Waiting::Held { id, answer, reply });
            }
        }
    }

    fn inhibit(&mut self, caller: &Caller, target: Target, who: String, why: String) -> Result<(u64, Answer), Refusal> {
        let id = self.hold(caller, target, (who, why), Until::Lease, 0)?;
        let opened = match &mut self.leases {
            Some(leases) => leases.open(id),
            None => Err("leases cannot be kept here".to_owned()),
        };
        opened.map(|lease| (id, Answer::Lease(lease))).map_err(|why| {
            self.end_holds("its lease could not be opened", |other, _| other == id);
            Refusal::Failed(why)
        })
    }

    fn hold(
        &mut self,
        caller: &Caller,
        target: Target,
        (who, why): (String, String),
        until: Until,
        length_usec: u64,
    ) -> Result<u64, Refusal> {
        let target = self.to_hold(target)?;
        if self.keeper.memory.all_holds().len() >= MOST {
            return Err(Refusal::LimitsExceeded(format!("there are {MOST} holds already")));
        }
        let hold = Hold { target, who, why, uid: caller.uid, pid: caller.pid, until, length_usec };
        let before = self.keeper.memory.clone();
        let id = self.keeper.hold(hold.clone());
        self.measure_holds();
        self.keep_or(before, "nothing is held")?;
        self.tell.tell(Told::Hold { id, hold: &hold });
        self.pulse.ask(self.host.now());
        Ok(id)
    }

    /// What a hold is to name, if there is such a thing.
    fn to_hold(&self, target: Target) -> Result<Target, Refusal> {
        // A card that is not there yet may be held, too, and so may one that nobody declared.
        if matches!(target, Target::Device(_)) {
            return Ok(target);
        }
        let meant = self.meant(&target)?;
        Ok(match (&target, meant.devices.first()) {
            // The number of a VF says which one is meant now: it is that one that must not be written to.
            (Target::Entry(name), Some(vf)) if name.contains('/') => Target::Device(*vf),
            _ => target,
        })
    }

    /// Ends a hold on request: it stays in force where its end cannot be stored.
    pub(super) fn unhold(&mut self, id: u64) -> Result<(), Refusal> {
        let before = self.keeper.memory.clone();
        let ended = self.keeper.end_holds(|other, _| other == id);
        if ended.is_empty() {
            return Err(Refusal::NoSuchObject { what: format!("hold {id}"), near: Vec::new() });
        }
        self.keep_or(before, "the hold stays in force")?;
        self.tell_over(&ended, "ended on request");
        Ok(())
    }

    /// Ends holds that nobody waits for, and tells it. What cannot be stored of that is tried again.
    pub(super) fn end_holds(&mut self, how: &str, over: impl Fn(u64, &Hold) -> bool) {
        let ended = self.keeper.end_holds(over);
        if !ended.is_empty() {
            self.keep(&[]);
            self.tell_over(&ended, how);
        }
    }

    fn tell_over(&mut self, ended: &[(u64, Hold)], how: &str) {
        for (id, hold) in ended {
            if let Some(leases) = &mut self.leases {
                leases.close(*id);
            }
            self.tell.tell(Told::HoldOver { id: *id, hold, how });
        }
        self.pulse.ask(self.host.now());
    }

    /// Takes note of when holds end, whatever the clock was set to meanwhile.
    pub(super) fn measure_holds(&mut self) {
        self.keeper.measure_holds(self.host.now(), self.host.clock());
    }

    /// Ends what ends by time.
    pub(super) fn expire_holds(&mut self) {
        self.measure_holds();
        let expired = self.keeper.expired_holds(self.host.now());
        self.end_holds("its time is over", |id, _| expired.contains(&id));
    }
}
