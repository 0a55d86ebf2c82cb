//! The loop: wake, observe, look closer where needed, learn, decide, act, tell.
//!
//! Everything that the outside decides is a parameter: the kernel, what persons ask, who is told,
//! where memory is kept. A sign (an event, a timer, an actor's return, a request) only ever means
//! "look again". Three promises: at most one pass at a time; no write on the first pass; what a
//! pass does is decided from the one snapshot that it took.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;

use super::notify::Notify;
use super::pulse::{Cause, Pulse};
use super::seen::Seen;
use super::store::Store;
use super::tell::{Tell, Told};
use crate::config::Settings;
use crate::host::port::{Closer, Ended, Found, Host, Scope, Sign};
use crate::model::event;
use crate::model::keeper::Keeper;
use crate::model::memory::Memory;
use crate::model::pci::Address;
use crate::model::plan::{Key, Plan};
use crate::model::policy::Mode;
use crate::model::snapshot::Snapshot;
use crate::model::status::Status;
use crate::model::time::Time;

/// How many signs are taken in one go before it is asked whether a pass is due.
const AT_ONCE: usize = 4096;

/// What a person or systemd asks of the loop.
#[derive(Debug)]
pub enum Request {
    /// Take these settings over; or none, because the files are wrong, and why.
    Reload(Result<Box<Settings>, String>),
    /// End. Nothing is unbound.
    Stop,
}

/// The loop and all that it holds.
#[derive(Debug)]
pub struct Watch<H, T, S, N> {
    host: H,
    tell: T,
    store: S,
    notify: N,
    requests: mpsc::Receiver<Request>,
    settings: Settings,
    keeper: Keeper,
    pulse: Pulse,
    /// How often systemd wants a sign of life.
    watchdog: Option<Duration>,
    /// When it was given last.
    alive: Time,
    /// The picture that was told last.
    status: Option<Status>,
    /// The line that systemd was told last.
    line: String,
    /// Why no act could begin, as it was told last.
    trouble: Option<String>,
    /// Functions whose override is to be read again, and when all are due.
    pins: BTreeSet<Address>,
    pins_due: Time,
    /// Functions to take into observations besides: what a load would bind.
    besides: BTreeSet<Address>,
    ready: bool,
    stop: bool,
    reload: Option<Result<Box<Settings>, String>>,
}

impl<H: Host, T: Tell, S: Store, N: Notify> Watch<H, T, S, N> {
    /// A loop over these.
    pub fn new(settings: Settings, host: H, tell: T, store: S, notify: N, requests: mpsc::Receiver<Request>) -> Self {
        let now = host.now();
        Watch {
            pulse: Pulse::new(&settings.watch, now),
            keeper: Keeper::new(settings.desired.clone(), settings.policy.clone(), Memory::default()),
            host,
            tell,
            store,
            notify,
            requests,
            settings,
            watchdog: None,
            alive: now,
            status: None,
            line: String::new(),
            trouble: None,
            pins: BTreeSet::new(),
            pins_due: now,
            besides: BTreeSet::new(),
            ready: false,
            stop: false,
            reload: None,
        }
    }

    /// With a sign of life at that period, when systemd wants one.
    #[must_use]
    pub fn watchdog(mut self, period: Option<Duration>) -> Self {
        self.watchdog = period;
        self
    }

    /// Runs until it is asked to stop.
    pub async fn run(mut self) {
        self.begin();
        self.pass(Cause::Due).await;
        while !self.stop {
            self.take_signs().await;
            if let Some(settings) = self.reload.take() {
                self.take_over(settings);
            }
            match self.pulse.cause(self.host.now()) {
                Some(cause) => self.pass(cause).await,
                None => self.wait().await,
            }
        }
        self.notify.stopping();
        self.tell.tell(Told::Stopped { acting: self.keeper.memory.acting.len() });
    }

    /// Takes up what is remembered of this boot, and what an earlier vfiod has under way.
    fn begin(&mut self) {
        let (memory, trouble) = self.store.load();
        self.keeper.memory = memory;
        let (inherited, more) = self.host.inherit();
        for why in trouble.into_iter().chain(more) {
            self.tell.tell(Told::StateTrouble { why });
        }
        for acting in inherited {
            self.tell.tell(Told::Adopted { acting: acting.clone() });
            self.keeper.inherit(acting.act, acting.since, acting.deadline);
        }
    }

    /// Takes what has come in meanwhile, without waiting: where one pass is due right after the
    /// other, nobody else would.
    async fn take_signs(&mut self) {
        for _ in 0..AT_ONCE {
            tokio::select! {
                biased;
                request = self.requests.recv(), if !self.stop => self.note_request(request),
                sign = self.host.next() => self.note_sign(sign),
                () = std::future::ready(()) => return,
            }
        }
    }

    /// Waits for a sign, a request, or the time of the next pass; meanwhile gives signs of life,
    /// which so come only from a loop that has made every pass that was due.
    async fn wait(&mut self) {
        let now = self.host.now();
        let pass = self.pulse.next().since(now);
        let beat = self.watchdog.map(|period| (self.alive + period / 2).since(now));
        tokio::select! {
            biased;
            request = self.requests.recv() => self.note_request(request),
            sign = self.host.next() => self.note_sign(sign),
            () = tokio::time::sleep(pass) => {}
            () = tokio::time::sleep(beat.unwrap_or_default()), if beat.is_some() => self.live(),
        }
    }

    fn live(&mut self) {
        self.alive = self.host.now();
        self.notify.alive();
    }

    fn note_request(&mut self, request: Option<Request>) {
        match request {
            Some(Request::Reload(settings)) => self.reload = Some(settings),
            // Nobody is left who could ask for an end: end.
            Some(Request::Stop) | None => self.stop = true,
        }
    }

    fn note_sign(&mut self, sign: Sign) {
        let now = self.host.now();
        match sign {
            // Whoever wants none may have wanted them when the host was made.
            Sign::Event(_) if !self.settings.watch.uevents => {}
            Sign::Event(about) => {
                match about {
                    Some(address) => drop(self.pins.insert(address)),
                    None => self.pins_due = now,
                }
                self.pulse.disturb(now);
            }
            Sign::Ended(ended) => {
                self.note_ended(&ended);
                self.pulse.ask(now);
            }
        }
    }

    fn note_ended(&mut self, ended: &Ended) {
        if let Some(why) = &ended.trouble {
            self.tell.tell(Told::StateTrouble { why: why.clone() });
        }
        if let Some(acting) = self.keeper.memory.acting.get(&ended.key) {
            self.pins.extend(acting.act.functions.iter().copied());
        }
        self.keeper.ended(ended.key, &ended.outcomes);
    }

    /// Puts new settings in force, or says why not.
    fn take_over(&mut self, settings: Result<Box<Settings>, String>) {
        self.notify.reloading();
        match settings {
            Ok(settings) => {
                if *settings != self.settings {
                    self.keeper.change(settings.desired.clone(), settings.policy.clone());
                }
                self.pulse.change(&settings.watch);
                self.settings = *settings;
                self.host.reload(self.settings.watch.uevents);
                self.pins_due = self.host.now();
                self.tell.tell(Told::Reloaded { entries: self.settings.desired.entries.len() });
            }
            Err(why) => self.tell.tell(Told::ReloadFailed { why }),
        }
        self.pulse.ask(self.host.now());
        self.notify.ready();
    }

    /// One pass.
    async fn pass(&mut self, cause: Cause) {
        let noticed = self.pulse.disturbed().unwrap_or_else(|| self.host.now());
        let mut snapshot = self.observe();
        let mut plan = self.consider(&snapshot, noticed);
        // What one look shows can make another one necessary: an override that was cleared, who
        // has the device open.
        let mut seen = Seen::default();
        loop {
            let closer = self.closer(&snapshot, &plan, &seen);
            if closer.is_empty() {
                break;
            }
            let Some(found) = self.look(&closer).await else { return };
            seen.add(closer, found);
            self.besides = seen.pinned.iter().flat_map(|pinned| pinned.is()).flatten().map(|(a, _)| *a).collect();
            snapshot = self.observe();
            seen.show(&mut snapshot);
            plan = self.consider(&snapshot, noticed);
        }
        self.pulse.passed(cause, self.host.now());
        if self.ready && self.settings.policy.mode == Mode::Enforce {
            self.act(cause, &snapshot, &mut plan).await;
        }
        self.report(&snapshot, &plan);
        if !self.ready {
            self.ready = true;
            self.notify.ready();
            self.pulse.ask(self.host.now());
        }
        if let Some(wake) = self.keeper.next_wake(snapshot.taken) {
            self.pulse.ask(wake);
        }
        self.live();
    }

    fn observe(&mut self) -> Snapshot {
        self.host.observe(Scope {
            desired: &self.keeper.desired,
            policy: &self.keeper.policy,
            needs_vfio: self.keeper.needs_vfio(),
            besides: &self.besides,
        })
    }

    fn consider(&mut self, snapshot: &Snapshot, noticed: Time) -> Plan {
        let pass = self.keeper.pass(snapshot);
        self.keeper.learn(&pass, noticed);
        self.keeper.decide(&pass)
    }

    /// What has to be looked at more closely before this pass can decide. What is being written to
    /// is left alone: its reader could get stuck on it, and at the write's end it is read again.
    fn closer(&mut self, snapshot: &Snapshot, plan: &Plan, seen: &Seen) -> Closer {
        let now = self.host.now();
        let mut pins = std::mem::take(&mut self.pins);
        let pass = self.keeper.pass(snapshot);
        let due = self.pins_due <= now;
        if due {
            pins.extend(snapshot.functions.keys());
            self.pins_due = now + self.settings.watch.override_interval;
        }
        pins.retain(|address| {
            let there = snapshot.functions.contains_key(address) && self.keeper.declares(&pass, *address);
            there && self.keeper.memory.acting_on(*address).is_none()
        });
        let mut looks = plan.look.clone();
        looks.extend(self.keeper.perhaps_open(&pass, due));
        looks.retain(|address| !seen.asked.contains(address));
        Closer { looks, pins, pinned: plan.look_for_pinned && seen.pinned.is_none() }
    }

    /// Looks closer, unless an end is asked for meanwhile.
    async fn look(&mut self, closer: &Closer) -> Option<Found> {
        let looking = self.host.look(closer);
        tokio::pin!(looking);
        loop {
            tokio::select! {
                biased;
                found = &mut looking => return Some(found),
                request = self.requests.recv() => match request {
                    Some(Request::Reload(settings)) => self.reload = Some(settings),
                    Some(Request::Stop) | None => {
                        self.stop = true;
                        return None;
                    }
                },
            }
        }
    }

    /// Begins what the plan has and what has had its quiet time; the rest has its own pass.
    async fn act(&mut self, cause: Cause, snapshot: &Snapshot, plan: &mut Plan) {
        for act in std::mem::take(&mut plan.acts) {
            let now = self.host.now();
            let pass = self.keeper.pass(snapshot);
            if !self.pulse.may_act(cause, self.keeper.lost(&act, &pass), now) {
                if self.pulse.disturbed().is_none() {
                    self.pulse.disturb(now);
                }
                continue;
            }
            let deadline = now + self.settings.policy.deadline;
            match self.host.begin(&act, deadline).await {
                Ok(()) => {
                    if act.key == Key::Modules {
                        for (address, driver) in &plan.also_binds {
                            self.tell.tell(Told::AlsoBinds { address: *address, driver: driver.as_str() });
                        }
                    }
                    self.keeper.begun(act, now, deadline, &pass);
                    self.trouble = None;
                }
                Err(why) => {
                    self.keeper.could_not_begin(&act, &why, &pass);
                    if self.trouble.as_ref() != Some(&why) {
                        self.tell.tell(Told::StateTrouble { why: why.clone() });
                    }
                    self.trouble = Some(why);
                }
            }
        }
    }

    /// Tells what has changed, and keeps what must be remembered.
    fn report(&mut self, snapshot: &Snapshot, plan: &Plan) {
        let pass = self.keeper.pass(snapshot);
        let status = self.keeper.status(&pass, plan);
        let events = event::between(self.status.as_ref(), &status, snapshot.taken);
        if !self.ready {
            self.tell.tell(Told::Started { status: &status, mode: self.settings.policy.mode });
        }
        for event in &events {
            self.tell.tell(Told::Event(event));
        }
        let line = status.line();
        if line != self.line {
            self.notify.status(&line);
            self.line = line;
        }
        for why in self.store.save(&self.keeper.memory, &events) {
            self.tell.tell(Told::StateTrouble { why });
        }
        self.status = Some(status);
    }
}
