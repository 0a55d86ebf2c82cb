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
use super::store::Store;
use super::tell::{Tell, Told};
use crate::config::Settings;
use crate::host::port::{Closer, Ended, Host, Scope, Sign};
use crate::model::event;
use crate::model::keeper::Keeper;
use crate::model::memory::Memory;
use crate::model::pci::Address;
use crate::model::plan::{Act, Plan};
use crate::model::policy::Mode;
use crate::model::snapshot::Snapshot;
use crate::model::status::Status;
use crate::model::time::Time;

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
    /// The picture that was told last, and the snapshot behind it.
    status: Option<Status>,
    snapshot: Option<Snapshot>,
    /// The line that systemd was told last.
    line: String,
    /// Functions whose override is to be read again, and when all are due.
    pins: BTreeSet<Address>,
    pins_due: Time,
    /// Functions to take into observations besides: what a load would bind.
    besides: BTreeSet<Address>,
    /// When the first sign of what is not told yet came in.
    noticed: Option<Time>,
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
            status: None,
            snapshot: None,
            line: String::new(),
            pins: BTreeSet::new(),
            pins_due: now,
            besides: BTreeSet::new(),
            noticed: None,
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
            self.keeper.begun(acting.act, acting.since, acting.deadline, true, None);
        }
    }

    /// Waits for a sign, a request, or the time of the next pass.
    async fn wait(&mut self) {
        let left = self.pulse.next().since(self.host.now());
        tokio::select! {
            biased;
            request = self.requests.recv() => self.note_request(request),
            sign = self.host.next() => self.note_sign(sign),
            () = tokio::time::sleep(left) => {}
        }
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
            Sign::Event(about) => {
                self.noticed.get_or_insert(now);
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
        let pass = self.snapshot.as_ref().map(|snapshot| self.keeper.pass(snapshot));
        // The borrow of the snapshot ends before the keeper learns.
        let mut keeper = self.keeper.clone();
        keeper.ended(ended.key, &ended.outcomes, pass.as_ref());
        self.keeper = keeper;
    }

    /// Puts new settings in force, or says why not.
    fn take_over(&mut self, settings: Result<Box<Settings>, String>) {
        self.notify.reloading();
        match settings {
            Ok(settings) => {
                self.keeper.desired = settings.desired.clone();
                self.keeper.policy = settings.policy.clone();
                // A person's wish: what was given up is tried again.
                if *settings != self.settings {
                    self.keeper.forgive();
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
        let noticed = self.pulse.disturbed().or(self.noticed).unwrap_or_else(|| self.host.now());
        let mut snapshot = self.observe();
        let mut plan = self.consider(&snapshot, noticed);
        let closer = self.closer(&snapshot, &plan);
        if !closer.is_empty() {
            let Some(found) = self.look(&closer).await else { return };
            self.besides = found.pinned.is().map(|pinned| pinned.keys().copied().collect()).unwrap_or_default();
            snapshot = self.observe();
            snapshot.pinned = found.pinned;
            for (address, look) in found.looks {
                if let Some(function) = snapshot.functions.get_mut(&address) {
                    function.look = Some(std::sync::Arc::new(look));
                }
            }
            plan = self.consider(&snapshot, noticed);
        }
        let fresh = cause == Cause::Poll && !plan.acts.is_empty();
        let acts = if self.ready && !fresh { std::mem::take(&mut plan.acts) } else { Vec::new() };
        self.pulse.passed(self.host.now());
        if !acts.is_empty() && self.settings.policy.mode == Mode::Enforce {
            self.act(&snapshot, acts).await;
        }
        if fresh && self.ready {
            self.pulse.disturb(noticed);
        } else {
            self.noticed = None;
        }
        self.report(&snapshot, &plan);
        self.snapshot = Some(snapshot);
        if !self.ready {
            self.ready = true;
            self.notify.ready();
            self.pulse.ask(self.host.now());
        }
        if let Some(wake) = self.keeper.next_wake(self.host.now()) {
            self.pulse.ask(wake);
        }
        self.notify.alive();
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

    /// What has to be looked at more closely before this pass can decide.
    fn closer(&mut self, snapshot: &Snapshot, plan: &Plan) -> Closer {
        let now = self.host.now();
        let mut pins = std::mem::take(&mut self.pins);
        let pass = self.keeper.pass(snapshot);
        let declared = |address: &Address| self.keeper.declares(&pass, *address);
        pins.retain(declared);
        let all = self.pins_due <= now;
        if all {
            pins.extend(snapshot.functions.keys().copied().filter(declared));
            self.pins_due = now + self.settings.watch.override_interval;
        }
        let mut looks = plan.look.clone();
        looks.extend(self.keeper.perhaps_open(&pass, all));
        Closer { looks, pins, pinned: plan.look_for_pinned }
    }

    /// Looks closer, unless an end is asked for meanwhile.
    async fn look(&mut self, closer: &Closer) -> Option<crate::host::port::Found> {
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

    async fn act(&mut self, snapshot: &Snapshot, acts: Vec<Act>) {
        for act in acts {
            let now = self.host.now();
            let deadline = now + self.settings.policy.deadline;
            let pass = self.keeper.pass(snapshot);
            match self.host.begin(&act, deadline).await {
                Ok(()) => self.keeper.begun(act, now, deadline, false, Some(&pass)),
                Err(why) => {
                    // An act that could not begin is a failure like any other: it backs off.
                    let key = act.key;
                    self.keeper.begun(act, now, deadline, false, Some(&pass));
                    self.keeper.never_began(key, &why, Some(&pass));
                    self.tell.tell(Told::StateTrouble { why });
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
        for (address, driver) in &plan.also_binds {
            self.tell.tell(Told::AlsoBinds { address: *address, driver: driver.as_str() });
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
