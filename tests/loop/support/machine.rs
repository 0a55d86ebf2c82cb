//! The machine: a kernel in memory, tokio's paused clock, and the actors that outlive a daemon.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use vfiod::host::port::{Closer, Ended, Inherited, Sign, Witnessed};
use vfiod::host::sim::{Answer, Kernel, Performed, Uevent};
use vfiod::model::pci::Address;
use vfiod::model::plan::{Act, Key, Outcome, Step};
use vfiod::model::preflight::Finding;
use vfiod::model::time::Time;

/// A bare `modprobe vfio-pci`, and any other write.
const LOAD: Duration = Duration::from_millis(160);
const WRITE: Duration = Duration::from_millis(1);

/// All that outlives a daemon.
pub struct Machine {
    kernel: RefCell<Kernel>,
    began: Instant,
    /// Something happened that a sleeping actor may wait for.
    stirred: Notify,
    /// A sign for the daemon.
    pub sign: Notify,
    pub events: RefCell<VecDeque<Sign>>,
    pub ended: RefCell<VecDeque<Ended>>,
    /// What the witness has recorded and nobody asked for yet.
    pub witnessed: RefCell<Witnessed>,
    pub acts: RefCell<BTreeMap<Key, Inherited>>,
    /// Every act that was begun, with its time.
    pub begun: RefCell<Vec<(Time, Act)>>,
    /// Every closer look, with its time.
    pub looks: RefCell<Vec<(Time, Closer)>>,
    pub observations: Cell<usize>,
    /// After how many observations a daemon was ready.
    pub settled_in: RefCell<Vec<usize>>,
    /// How daemons have left: whether another one was to take over.
    pub left: RefCell<Vec<bool>>,
    /// How often the machine was surveyed for a check.
    pub surveys: Cell<usize>,
    /// What a survey finds, or why it fails.
    pub findings: RefCell<Result<Vec<Finding>, String>>,
    /// How many groups the machine says that it has.
    pub groups: Cell<u32>,
    /// How long a closer look takes.
    pub look_takes: Cell<Duration>,
    /// It comes back with nothing read.
    pub look_fails: Cell<bool>,
    /// Why no act can begin.
    pub begin_fails: RefCell<Option<String>>,
    /// Why the kernel's events cannot be listened to from a reload on.
    pub listen_fails: RefCell<Option<String>>,
    /// What modprobe says when it refuses.
    pub words: RefCell<Option<String>>,
    pub uevents: Cell<bool>,
    /// When it was booted by the wall clock, and what reading that adds.
    pub boot_usec: Cell<u64>,
    pub jitter: Cell<u64>,
}

impl Machine {
    /// A machine that was booted a minute ago.
    pub fn new(kernel: Kernel) -> Rc<Machine> {
        Rc::new(Machine {
            kernel: RefCell::new(kernel),
            began: Instant::now() - Duration::from_secs(60),
            stirred: Notify::new(),
            sign: Notify::new(),
            events: RefCell::default(),
            ended: RefCell::default(),
            witnessed: RefCell::default(),
            acts: RefCell::default(),
            begun: RefCell::default(),
            looks: RefCell::default(),
            observations: Cell::default(),
            settled_in: RefCell::default(),
            left: RefCell::default(),
            surveys: Cell::default(),
            findings: RefCell::new(Ok(Vec::new())),
            groups: Cell::new(20),
            look_takes: Cell::new(Duration::from_millis(5)),
            look_fails: Cell::default(),
            begin_fails: RefCell::default(),
            listen_fails: RefCell::default(),
            words: RefCell::default(),
            uevents: Cell::new(true),
            boot_usec: Cell::new(1_700_000_000_000_000),
            jitter: Cell::new(0),
        })
    }

    pub fn now(&self) -> Time {
        Time::BOOT + self.began.elapsed()
    }

    /// Does something to the kernel; its events are on their way at once.
    pub fn with<T>(&self, what: impl FnOnce(&mut Kernel) -> T) -> T {
        let mut kernel = self.kernel.borrow_mut();
        let answer = what(&mut kernel);
        let events = kernel.take_uevents();
        let now = self.now();
        self.witnessed.borrow_mut().records.extend(kernel.take_traced().into_iter().map(|traced| traced.record(now)));
        drop(kernel);
        if self.uevents.get() {
            self.events.borrow_mut().extend(events.iter().map(sign));
        }
        self.stirred.notify_waiters();
        self.sign.notify_one();
        answer
    }

    /// Asks the kernel something.
    pub fn ask<T>(&self, what: impl FnOnce(&Kernel) -> T) -> T {
        what(&self.kernel.borrow())
    }

    /// An actor: the steps in order, the first that does not go on ends it.
    pub async fn act(self: Rc<Self>, act: Act, deadline: Time) {
        let mut outcomes = Vec::new();
        for (number, step) in act.steps.iter().enumerate() {
            let outcome = self.step(step, deadline).await;
            let goes_on = outcome.goes_on();
            outcomes.push((number, outcome));
            if !goes_on {
                break;
            }
        }
        self.acts.borrow_mut().remove(&act.key);
        self.ended.borrow_mut().push_back(Ended { key: act.key, outcomes, trouble: None });
        self.sign.notify_one();
    }

    async fn step(&self, step: &Step, deadline: Time) -> Outcome {
        tokio::time::sleep(if matches!(step, Step::LoadModule { .. }) { LOAD } else { WRITE }).await;
        let mut performed = self.with(|kernel| kernel.perform(step));
        while let Performed::Blocks(job) = performed {
            let stirred = self.stirred.notified();
            if matches!(self.ask(|kernel| kernel.job(job)), Answer::Blocks(_)) {
                stirred.await;
                continue;
            }
            performed = self.with(|kernel| kernel.finish(job, step));
            if self.now() >= deadline {
                return Outcome::Stalled;
            }
        }
        match performed.outcome() {
            Some(Outcome::Refused { why }) => Outcome::Refused { why: self.words.borrow().clone().unwrap_or(why) },
            Some(outcome) => outcome,
            None => unreachable!("it does not block any more"),
        }
    }
}

fn sign(event: &Uevent) -> Sign {
    match event {
        Uevent::Recovery(address, failed) => Sign::Recovery { address: *address, failed: *failed },
        Uevent::Bind(address, _) => Sign::Recovery { address: *address, failed: false },
        _ => Sign::Event(about(event)),
    }
}

fn about(event: &Uevent) -> Option<Address> {
    match event {
        Uevent::Recovery(address, _) => Some(*address),
        Uevent::ModuleAdd(_) | Uevent::ModuleRemove(_) => None,
        Uevent::Add(address) | Uevent::Remove(address) | Uevent::Bind(address, _) | Uevent::Unbind(address) => {
            Some(*address)
        }
    }
}
