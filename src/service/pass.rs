//! One pass: observe, look closer where needed, learn, decide, act, tell.

use super::glance::{Pace, Recalled};
use super::notify::Notify;
use super::pulse::{Cause, longest};
use super::seen::Seen;
use super::store::Store;
use super::tell::{Tell, Told};
use super::watch::{Request, Watch};
use crate::host::port::{Closer, Found, Host, Scope, Sign, Witnessed};
use crate::model::drift::Drift;
use crate::model::event::Event;
use crate::model::keeper::Pass;
use crate::model::pci::Address;
use crate::model::plan::{Key, Plan};
use crate::model::policy::Mode;
use crate::model::snapshot::Snapshot;
use crate::model::status::Status;
use crate::model::time::Time;
use crate::model::{alert, event};

impl<H: Host, T: Tell, S: Store, N: Notify> Watch<H, T, S, N> {
    /// One pass.
    pub(super) async fn pass(&mut self, cause: Cause) {
        self.expire_holds();
        let noticed = self.pulse.disturbed().unwrap_or_else(|| self.host.now());
        let mut snapshot = self.observe();
        let (mut seen, mut recalled) = (Seen::default(), Recalled::default());
        if matches!(cause, Cause::Poll | Cause::Plan) {
            recalled = self.glances.recall(&snapshot);
            seen.recall(&recalled.looks, recalled.pinned.as_ref());
        } else {
            self.glances.clear();
        }
        if cause == Cause::Settled {
            // Looked at within this quiet time, and nothing has happened since; before it takes a device from
            // a driver an actor looks again anyhow.
            seen = self.halfway.take().filter(Seen::is_whole).unwrap_or_default();
        }
        seen.show(&mut snapshot);
        let mut pass = self.keeper.learn(&snapshot, noticed);
        let mut plan = self.keeper.decide(&pass);
        // What one look shows can make another one necessary: an override that was cleared, who
        // has the device open.
        let mut first = true;
        loop {
            // Where a look takes longer than that interval, overrides are due again in each round.
            let due = std::mem::take(&mut first) && self.pins_due <= self.host.now();
            let closer = self.closer(&pass, &plan, &seen, due);
            if closer.is_empty() {
                break;
            }
            self.tell_losses(&pass, &plan);
            let Some(found) = self.look(&closer).await else { return };
            seen.add(closer, found);
            self.besides = seen.pinned.iter().flat_map(|pinned| pinned.is()).flatten().map(|(a, _)| *a).collect();
            snapshot = self.observe();
            // Several looks that time out take longer than systemd waits for one sign of life.
            self.live();
            seen.show(&mut snapshot);
            // A loss that began during the look has had no quiet time yet.
            let noticed = self.host.now();
            pass = self.keeper.learn(&snapshot, noticed);
            plan = self.keeper.decide(&pass);
        }
        self.pulse.passed(cause, self.host.now());
        if cause == Cause::Halfway {
            self.halfway = Some(seen);
            // The pass that this look is for tells what it shows, once it has begun what is to be done. While an
            // actor is at work it may be back by then, and would never be told.
            if self.keeper.memory.acting.is_empty() {
                self.wake_later(snapshot.taken);
                return self.live();
            }
        }
        let (watch, mode) = (&self.settings.watch, self.settings.policy.mode);
        let pace = Pace { first: watch.interval.min(watch.override_interval), longest: watch.override_interval };
        self.glances.keep(&pass, &plan, &recalled, pace, mode);
        // A remembered look may keep holding; for a write it takes a new one.
        let acts = plan.acts.len();
        plan.acts.retain(|act| !recalled.bears(act));
        if plan.acts.len() == acts {
            self.answer_plans(&plan);
        } else if mode == Mode::Enforce || self.is_asked_for_plan() {
            // One that lacks something is none: the next pass has it.
            self.glances.clear();
            self.pulse.ask(self.host.now());
        }
        if self.ready && self.settings.policy.mode == Mode::Enforce {
            self.act(cause, &pass, &mut plan).await;
        }
        let status = self.keeper.status(&pass, &plan);
        self.passes += 1;
        self.report(&pass, &status);
        self.answer(&pass, &plan, &status);
        self.status = Some(status);
        if !self.ready {
            self.ready = true;
            self.notify.ready();
            self.host.settled_in();
            self.pulse.ask(self.host.now());
        }
        // Only here: what was asked for before the pass was noted as made is forgotten by that.
        self.wake_later(snapshot.taken);
        self.live();
        drop(pass);
        self.last = Some(snapshot);
    }

    fn wake_later(&mut self, taken: Time) {
        let wakes = [self.keeper.next_wake(taken), self.keeper.next_hold_end()];
        wakes.into_iter().flatten().for_each(|wake| self.pulse.ask(wake));
    }

    pub(super) fn observe(&mut self) -> Snapshot {
        let snapshot = self.host.observe(Scope {
            desired: &self.keeper.desired,
            policy: &self.keeper.policy,
            needs_vfio: self.keeper.needs_vfio(),
            besides: &self.besides,
        });
        // In this order: what the snapshot shows to be lost has been recorded by now.
        let Witnessed { records, notes } = self.host.witnessed();
        self.keeper.witness(records);
        self.notes.extend(notes);
        snapshot
    }

    /// What has to be looked at more closely before this pass can decide. What is being written to
    /// is left alone: its reader could get stuck on it, and at the write's end it is read again.
    /// `due` tells that all overrides are to be read.
    fn closer(&mut self, pass: &Pass<'_>, plan: &Plan, seen: &Seen, due: bool) -> Closer {
        let mut pins = std::mem::take(&mut self.pins);
        let functions = &pass.snapshot.functions;
        if due {
            pins.extend(functions.keys());
            self.pins_due = self.host.now() + self.settings.watch.override_interval;
        }
        pins.retain(|address| {
            // Without a driver the override tells nothing that is needed, and on 6.1 it is what blocks.
            let bound = functions.get(address).is_some_and(|function| !function.driver.is_absent());
            bound && self.keeper.declares(pass, *address) && self.keeper.memory.acting_on(*address).is_none()
        });
        let mut looks = plan.look.clone();
        looks.extend(self.keeper.perhaps_open(pass, due));
        looks.retain(|address| !seen.asked.contains(address));
        let mut serials = self.keeper.unread_serials(pass, due);
        serials.retain(|address| !seen.serials.contains(address));
        Closer { looks, pins, serials, pinned: plan.look_for_pinned && seen.pinned.is_none() }
    }

    /// Tells what is lost and was not told yet: before a look, which may take seconds where the kernel
    /// holds its reader, and would leave it shown as ready for as long.
    pub(super) fn tell_losses(&mut self, pass: &Pass<'_>, plan: &Plan) {
        let Some(shown) = self.status.as_ref().filter(|_| self.ready) else { return };
        // An override is remembered from the last look. Where only that is not as declared, the look decides: whoever gave the device
        // another VFIO driver meanwhile has changed the override as well.
        let by_override = |address: &&Address| matches!(pass.drifts.get(address), Some(Drift::Pin(_)));
        let doubted = plan.look.iter().filter(by_override).copied().collect();
        if let Some(status) = shown.with_losses(&self.keeper.status(pass, plan), &doubted) {
            self.report(pass, &status);
            self.status = Some(status);
        }
    }

    /// Observes while a look is under way, and tells what was lost meanwhile. Nothing is decided by it.
    fn glimpse(&mut self) {
        let snapshot = self.observe();
        let pass = self.keeper.learn(&snapshot, self.host.now());
        let plan = self.keeper.decide(&pass);
        self.tell_losses(&pass, &plan);
    }

    /// Keeps a sign for after the look. One and the same event says no more a second time.
    fn defer(&mut self, sign: Sign) {
        if !matches!(sign, Sign::Event(_)) || !self.signs.contains(&sign) {
            self.signs.push_back(sign);
        }
    }

    /// Looks closer, unless an end is asked for meanwhile. What comes in meanwhile is taken up after it,
    /// but for what is lost.
    pub(super) async fn look(&mut self, closer: &Closer) -> Option<Found> {
        self.host.begin_look(closer);
        let every = longest(&self.settings.watch);
        let mut glimpse = self.host.now() + every;
        loop {
            let now = self.host.now();
            if glimpse <= now {
                self.glimpse();
                glimpse = now + every;
            }
            tokio::select! {
                biased;
                sign = self.host.next() => match sign {
                    Sign::Looked(found) => return Some(found),
                    sign => {
                        glimpse = glimpse.min(now + self.settings.watch.settle);
                        self.defer(sign);
                    }
                },
                () = tokio::time::sleep(glimpse.since(now)) => {}
                request = self.requests.recv() => match request {
                    Some(Request::Reload(settings, call)) => self.reload.push_back((settings, call)),
                    Some(Request::Call(call)) => self.calls.push_back(call),
                    Some(Request::Stop { handed_over }) => {
                        (self.stop, self.handed_over) = (true, handed_over);
                        return None;
                    }
                    None => {
                        self.stop = true;
                        return None;
                    }
                },
            }
        }
    }

    /// Begins what the plan has and what has had its quiet time; the rest has its own pass.
    async fn act(&mut self, cause: Cause, pass: &Pass<'_>, plan: &mut Plan) {
        for act in std::mem::take(&mut plan.acts) {
            let now = self.host.now();
            if !self.pulse.may_act(cause, self.keeper.lost(&act, pass), now) {
                if self.pulse.disturbed().is_none() {
                    self.pulse.disturb(now);
                }
                continue;
            }
            let deadline = now + self.settings.policy.deadline;
            let key = act.key;
            match self.host.begin(&act, deadline).await {
                Ok(()) => {
                    if act.key == Key::Modules {
                        for (address, driver) in &plan.also_binds {
                            self.tell.tell(Told::AlsoBinds { address: *address, driver: driver.as_str() });
                        }
                    }
                    self.keeper.begun(act, now, deadline, pass);
                    self.trouble.remove(&key);
                    // Kept at once: a crash before the pass ends must not forget that a probe was made.
                    self.keep(&[]);
                }
                Err(why) => {
                    self.keeper.could_not_begin(&act, &why, pass);
                    // Each group's may name a file of its own, and each is tried again for ever.
                    if self.trouble.values().all(|known| *known != why) {
                        self.tell.tell(Told::StateTrouble { why: why.clone() });
                    }
                    self.trouble.insert(key, why);
                }
            }
            // To begin many takes a while where the machine is busy: 15 took 26 s beside six others in the lab.
            self.live();
        }
    }

    /// Tells what has changed, and keeps what must be remembered.
    fn report(&mut self, pass: &Pass<'_>, status: &Status) {
        let before = self.told.as_ref().or(self.status.as_ref());
        let mut events = event::between(before, status, pass.snapshot.taken);
        if let Some(before) = before {
            let there = |address| pass.snapshot.functions.contains_key(&address);
            events.extend(event::gone(before, status, there));
        }
        alert::raise_once(before.is_none(), &mut events, status, &mut self.keeper.memory.alerted);
        self.told = event::told(before, status);
        if !self.ready || !events.is_empty() {
            self.checks.want(self.host.now());
        }
        events.append(&mut self.verdicts);
        events.iter_mut().for_each(Event::clean);
        if !self.ready {
            self.tell.tell(Told::Started { status, mode: self.settings.policy.mode });
        }
        self.keeper.memory.records.note(status, &events, pass.snapshot.taken);
        self.show(pass, status, &events);
        for why in self.notes.drain(..) {
            self.tell.tell(Told::Unwitnessed { why });
        }
        for event in &events {
            self.tell.tell(Told::Event(event));
        }
        let line = status.line();
        if line != self.line {
            self.notify.status(&line);
            self.line = line;
        }
        self.keep(&events);
    }
}
