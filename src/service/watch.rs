//! The loop: takes signs in, and makes a pass when one is due.
//!
//! Everything that the outside decides is a parameter: the kernel, what persons ask, who is told,
//! where memory is kept. A sign (an event, a timer, an actor's return, a request) only ever means
//! "look again". Three promises: at most one pass at a time; no write on the first pass; what a
//! pass does is decided from the one snapshot that it took last.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;

use super::glance::Glances;
use super::notify::Notify;
use super::pulse::{Cause, Pulse};
use super::store::Store;
use super::tell::{Tell, Told};
use crate::config::Settings;
use crate::host::port::{Ended, Host, Sign};
use crate::model::keeper::Keeper;
use crate::model::memory::Memory;
use crate::model::pci::Address;
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
    pub(super) host: H,
    pub(super) tell: T,
    pub(super) store: S,
    pub(super) notify: N,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) settings: Settings,
    pub(super) keeper: Keeper,
    pub(super) pulse: Pulse,
    /// How often systemd wants a sign of life.
    pub(super) watchdog: Option<Duration>,
    /// When it was given last.
    pub(super) alive: Time,
    /// The picture that was told last.
    pub(super) status: Option<Status>,
    /// The line that systemd was told last.
    pub(super) line: String,
    /// Why no act could begin, as it was told last.
    pub(super) trouble: Option<String>,
    /// Functions whose override is to be read again, and when all are due.
    pub(super) pins: BTreeSet<Address>,
    pub(super) pins_due: Time,
    /// Functions to take into observations besides: what a load would bind.
    pub(super) besides: BTreeSet<Address>,
    /// Looks at what is left alone.
    pub(super) glances: Glances,
    pub(super) ready: bool,
    pub(super) stop: bool,
    pub(super) reload: Option<Result<Box<Settings>, String>>,
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
            glances: Glances::default(),
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

    pub(super) fn live(&mut self) {
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
            // Those that came before they were switched off.
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
}
