//! The loop: takes signs in, and makes a pass when one is due.
//!
//! Everything that the outside decides is a parameter: the kernel, what persons ask, who is told,
//! where memory is kept. A sign (an event, a timer, an actor's return, a request) only ever means
//! "look again". Three promises: at most one pass at a time; no write on the first pass; what a
//! pass does is decided from the one snapshot that it took last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;

use super::checks::Checks;
use super::glance::Glances;
use super::leases::Leases;
use super::notify::Notify;
use super::picture::Shown;
use super::pulse::{Cause, Pulse};
use super::seen::Seen;
use super::show::{Nobody, Show};
use super::store::Store;
use super::tell::{Tell, Told};
use super::waiting::Waiting;
use crate::bus::call::{Call, Refusal};
use crate::config::Settings;
use crate::host::port::{Ended, Host, Sign};
use crate::model::event::Event;
use crate::model::hold::{Hold, Until};
use crate::model::keeper::{Frame, Keeper};
use crate::model::memory::Memory;
use crate::model::pci::Address;
use crate::model::plan::Key;
use crate::model::snapshot::Snapshot;
use crate::model::status::Status;
use crate::model::time::Time;

/// How many signs are taken in one go before it is asked whether a pass is due.
const AT_ONCE: usize = 4096;

/// The settings as they were read, or every fault of the files.
pub type Reading = Result<Box<Settings>, String>;

/// What a person or systemd asks of the loop.
#[derive(Debug)]
pub enum Request {
    /// Take these settings over; or none, because the files are wrong, and why. With the call that
    /// asked for it, if one did.
    Reload(Reading, Option<Call>),
    /// Somebody asks over the bus.
    Call(Call),
    /// End. Nothing is unbound.
    Stop {
        /// Whether another one begins at once, as systemd restarts it.
        handed_over: bool,
    },
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
    /// The last picture.
    pub(super) status: Option<Status>,
    /// The picture as far as it was told, where that is another one.
    pub(super) told: Option<Status>,
    /// The line that systemd was told last.
    pub(super) line: String,
    /// Why no act could begin, as it was told last.
    pub(super) trouble: BTreeMap<Key, String>,
    /// Why it cannot be seen who unloads modules; not told yet.
    pub(super) notes: Vec<String>,
    /// Functions whose override is to be read again, and when all are due.
    pub(super) pins: BTreeSet<Address>,
    pub(super) pins_due: Time,
    /// Functions to take into observations besides: what a load would bind.
    pub(super) besides: BTreeSet<Address>,
    /// What was looked at halfway through the quiet time; nothing has happened since.
    pub(super) halfway: Option<Seen>,
    /// Looks at what is left alone.
    pub(super) glances: Glances,
    pub(super) ready: bool,
    pub(super) stop: bool,
    /// Whether another one begins when this one has ended.
    pub(super) handed_over: bool,
    pub(super) reload: VecDeque<(Reading, Option<Call>)>,
    /// Signs that came in during a look, and were not taken up yet.
    pub(super) signs: VecDeque<Sign>,
    /// Calls that were not taken up yet.
    pub(super) calls: VecDeque<Call>,
    /// Calls that wait for a pass.
    pub(super) waiting: Vec<Waiting>,
    /// When a plan was answered last.
    pub(super) planned: Option<Time>,
    /// Checks that were asked for.
    pub(super) checks: Checks,
    /// What they have found that is new; not told yet.
    pub(super) verdicts: Vec<Event>,
    /// Holds by descriptor.
    pub(super) leases: Option<Leases>,
    /// Whoever shows the picture, and what it was made of.
    pub(super) show: Box<dyn Show>,
    pub(super) shown: Option<Shown>,
    /// Names of devices in words, and how many passes were made.
    pub(super) frame: Frame,
    pub(super) passes: u64,
    /// The last snapshot.
    pub(super) last: Option<Snapshot>,
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
            told: None,
            line: String::new(),
            trouble: BTreeMap::new(),
            notes: Vec::new(),
            pins: BTreeSet::new(),
            pins_due: now,
            besides: BTreeSet::new(),
            halfway: None,
            glances: Glances::default(),
            ready: false,
            stop: false,
            handed_over: false,
            reload: VecDeque::new(),
            signs: VecDeque::new(),
            calls: VecDeque::new(),
            waiting: Vec::new(),
            planned: None,
            checks: Checks::default(),
            verdicts: Vec::new(),
            leases: None,
            show: Box::new(Nobody),
            shown: None,
            frame: Frame::default(),
            passes: 0,
            last: None,
        }
    }

    /// With somebody who shows how things stand, and holds by descriptor.
    #[must_use]
    pub fn on_the_bus(mut self, show: Box<dyn Show>, leases: Leases) -> Self {
        self.show = show;
        self.leases = Some(leases);
        self
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
            while let Some((settings, call)) = self.reload.pop_front() {
                self.take_over(settings, call);
            }
            self.take_calls().await;
            self.survey();
            match self.pulse.cause(self.host.now()) {
                Some(cause) => self.pass(cause).await,
                None => self.wait().await,
            }
        }
        self.notify.stopping();
        self.measure_holds();
        // The last chance for what could not be written.
        self.keep(&[]);
        self.tell.tell(Told::Stopped { acting: self.keeper.memory.acting.len() });
        self.host.leave(self.handed_over);
    }

    /// Takes up what is remembered of this boot, and what an earlier vfiod has under way.
    fn begin(&mut self) {
        let (memory, trouble) = self.store.load();
        self.keeper.resume(memory);
        self.measure_holds();
        let (inherited, more) = self.host.inherit();
        for why in trouble.into_iter().chain(more) {
            self.tell.tell(Told::StateTrouble { why });
        }
        for acting in inherited {
            self.tell.tell(Told::Adopted { acting: acting.clone() });
            self.keeper.inherit(acting.act, acting.since, acting.deadline);
        }
        // Whether an owner has left meanwhile the bus tells; whether a lease has ended, its pipe.
        let lease = |hold: &Hold| matches!(hold.until, Until::Lease);
        let holds = self.keeper.memory.holds.0.iter();
        let leases: Vec<u64> = holds.filter(|(_, hold)| lease(hold)).map(|(id, _)| *id).collect();
        if let Some(open) = &mut self.leases {
            open.resume(leases);
        }
    }

    /// Takes what has come in meanwhile, without waiting: where one pass is due right after the
    /// other, nobody else would.
    async fn take_signs(&mut self) {
        while let Some(sign) = self.signs.pop_front() {
            self.note_sign(sign);
        }
        for _ in 0..AT_ONCE {
            tokio::select! {
                biased;
                request = self.requests.recv(), if !self.stop => self.note_request(request),
                sign = self.host.next() => self.note_sign(sign),
                id = next_lease(&mut self.leases) => self.note_lease(id),
                surveyed = self.checks.next() => self.note_survey(surveyed),
                () = std::future::ready(()) => return,
            }
        }
    }

    /// Waits for a sign, a request, or the time of the next pass; meanwhile gives signs of life,
    /// which so come only from a loop that has made every pass that was due.
    async fn wait(&mut self) {
        let now = self.host.now();
        let next = self.checks.due().into_iter().fold(self.pulse.next(), Time::min);
        let beat = self.watchdog.map(|period| (self.alive + period / 2).since(now));
        tokio::select! {
            biased;
            request = self.requests.recv() => self.note_request(request),
            sign = self.host.next() => self.note_sign(sign),
            id = next_lease(&mut self.leases) => self.note_lease(id),
            surveyed = self.checks.next() => self.note_survey(surveyed),
            () = tokio::time::sleep(next.since(now)) => {}
            () = tokio::time::sleep(beat.unwrap_or_default()), if beat.is_some() => self.live(),
        }
    }

    /// Gives a sign of life, where the last one is not as good still.
    pub(super) fn live(&mut self) {
        let now = self.host.now();
        if self.watchdog.is_some_and(|period| self.alive + period / 8 <= now) {
            self.alive = now;
            self.notify.alive();
        }
    }

    fn note_lease(&mut self, id: u64) {
        self.end_holds("its owner has closed it", |other, _| other == id);
    }

    fn note_request(&mut self, request: Option<Request>) {
        match request {
            Some(Request::Reload(settings, call)) => self.reload.push_back((settings, call)),
            Some(Request::Call(call)) => self.calls.push_back(call),
            Some(Request::Stop { handed_over }) => (self.stop, self.handed_over) = (true, handed_over),
            // Nobody is left who could ask for an end: end.
            None => self.stop = true,
        }
    }

    fn note_sign(&mut self, sign: Sign) {
        let now = self.host.now();
        self.halfway = None;
        match sign {
            // Those that came before they were switched off.
            Sign::Event(_) | Sign::Recovery { .. } if !self.settings.watch.uevents => {}
            Sign::Recovery { address, failed } => {
                self.keeper.note_recovery(self.last.as_ref(), address, failed);
                self.pins.insert(address);
                self.pulse.disturb(now);
            }
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
            // Of a look that was given up.
            Sign::Looked(_) => {}
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
    fn take_over(&mut self, settings: Reading, call: Option<Call>) {
        self.notify.reloading();
        match settings {
            Ok(settings) => {
                if *settings != self.settings {
                    self.keeper.change(settings.desired.clone(), settings.policy.clone());
                }
                // Whoever reloads has been told that releases are not known, and wants it kept.
                let unsure = self.keeper.memory.unsure.take();
                self.pulse.change(&settings.watch);
                self.settings = *settings;
                let listens = self.host.reload(self.settings.watch.uevents);
                self.pins_due = self.host.now();
                self.checks.want(self.host.now());
                // What is not asked at every pass may have changed, too.
                self.shown = None;
                self.tell.tell(Told::Reloaded { entries: self.settings.desired.entries.len() });
                if let Err(why) = listens {
                    self.tell.tell(Told::StateTrouble { why });
                }
                // The files themselves are read by a restart as well; only that would not be known to it.
                let stored = match unsure {
                    Some(_) => self.keep_or(
                        Memory { unsure, ..self.keeper.memory.clone() },
                        "the configuration is in force, but devices that may be released stay where they are",
                    ),
                    None => Ok(()),
                };
                match (stored, call) {
                    (Err(refusal), Some(call)) => drop(call.reply.send(Err(refusal))),
                    // Whoever has it answered looks at the picture next, and is to see what he has declared.
                    (_, call) => self.waiting.extend(call.map(|call| Waiting::Pass(call.reply))),
                }
            }
            Err(why) => {
                if let Some(call) = call {
                    let _ = call.reply.send(Err(Refusal::InvalidConfiguration(why.clone())));
                }
                self.tell.tell(Told::ReloadFailed { why });
            }
        }
        self.pulse.ask(self.host.now());
        self.notify.ready();
    }
}

async fn next_lease(leases: &mut Option<Leases>) -> u64 {
    match leases {
        Some(leases) => leases.next().await,
        None => std::future::pending().await,
    }
}
