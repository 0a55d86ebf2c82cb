//! What the loop needs of a kernel: the one trait between the decisions and the machine.
//!
//! A directory cannot answer a write, so there are two of them: [`super::live`] is the machine
//! that vfiod runs on, and the simulated kernel of the tests is the other.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use crate::model::cause::Record;
use crate::model::desired::Desired;
use crate::model::pci::{Address, Driver, Ids};
use crate::model::picture::{Clock, Iommu};
use crate::model::plan::{Act, Key, Outcome};
use crate::model::policy::Policy;
use crate::model::preflight::Report;
use crate::model::snapshot::{Fact, Look, Snapshot};
use crate::model::time::Time;

/// What to observe.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// What the configuration asks.
    pub desired: &'a Desired,
    /// What it permits.
    pub policy: &'a Policy,
    /// Whether VFIO's modules are needed.
    pub needs_vfio: bool,
    /// Functions to take in besides.
    pub besides: &'a BTreeSet<Address>,
}

/// What to look at more closely: reads that can block, taken in a child with a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closer {
    /// Functions to look at from all sides.
    pub looks: BTreeSet<Address>,
    /// Functions whose `driver_override` is to be read.
    pub pins: BTreeSet<Address>,
    /// Functions whose serial number is to be read: each read wakes a device.
    pub serials: BTreeSet<Address>,
    /// Whether to find everything that the load of a driver would bind.
    pub pinned: bool,
}

impl Closer {
    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.looks.is_empty() && self.pins.is_empty() && self.serials.is_empty() && !self.pinned
    }
}

/// What a closer look found. The overrides and serial numbers that were read are remembered by the
/// host and shown by its next observations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// By function.
    pub looks: BTreeMap<Address, Look>,
    /// What the load of a driver would bind.
    pub pinned: Fact<BTreeMap<Address, Driver>>,
}

/// Something that says "look again", never a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// The kernel announced something about a module or a PCI device; none where announcements
    /// were lost.
    Event(Option<Address>),
    /// The kernel announced what became of a PCI device after an error, or that it was bound anew. No file
    /// tells that.
    Recovery {
        /// The device.
        address: Address,
        /// Whether it could not be brought back.
        failed: bool,
    },
    /// An actor is back.
    Ended(Ended),
    /// The closer look has ended that was begun last.
    Looked(Found),
}

/// An actor that is back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What it worked on.
    pub key: Key,
    /// What it told, by step.
    pub outcomes: Vec<(usize, Outcome)>,
    /// What went wrong with the actor itself.
    pub trouble: Option<String>,
}

/// An act that an earlier vfiod began and that is still under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// The act.
    pub act: Act,
    /// When it was begun.
    pub since: Time,
    /// When it counts as stuck.
    pub deadline: Time,
}

/// A check under way.
pub type Checking = Pin<Box<dyn Future<Output = Result<Report, String>>>>;

/// What was witnessed of whoever unloads modules. Unlike a sign this is a fact: of the past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Witnessed {
    /// What the kernel recorded, in its order.
    pub records: Vec<Record>,
    /// What keeps it from being witnessed, a sentence each, once.
    pub notes: Vec<String>,
}

/// A kernel, as the loop sees it.
pub trait Host {
    /// The time since boot.
    fn now(&self) -> Time;

    /// What makes points in time of times.
    fn clock(&self) -> Clock;

    /// The machine's IOMMU.
    fn iommu(&self) -> Iommu;

    /// Vendors and devices in words, as far as the machine has them.
    fn names(&mut self, ids: &[Ids]) -> BTreeMap<Ids, String>;

    /// Observes, quickly and without any read that could block.
    fn observe(&mut self, scope: Scope<'_>) -> Snapshot;

    /// Looks for all that stands between the machine's functions and virtual machines. Slow, and
    /// taken in a child: nobody waits for it but those who asked.
    fn check(&mut self) -> Checking;

    /// Begins a closer look, in the place of one that is under way. It always comes back, as a sign
    /// ([`Sign::Looked`]), with unreadable facts where reads did not.
    fn begin_look(&mut self, closer: &Closer);

    /// Begins an act in a process of its own, its intent stored first.
    fn begin(&mut self, act: &Act, deadline: Time) -> impl Future<Output = Result<(), String>>;

    /// The next sign. Cancel-safe: what was not returned comes again.
    fn next(&mut self) -> impl Future<Output = Sign>;

    /// What was witnessed since this was last asked. Asked right after an observation it knows who
    /// made each loss that this one shows: the kernel records an unload before it ends.
    fn witnessed(&mut self) -> Witnessed;

    /// systemd has been told that vfiod is ready: what takes the kernel long may be begun now.
    fn settled_in(&mut self);

    /// vfiod ends. Where another one takes over at once (`handed_over`), what it can go on with stays.
    fn leave(&mut self, handed_over: bool);

    /// A reload was asked for: forgets what it remembers of the machine between observations, and
    /// listens to the kernel's events from now on, or no longer.
    ///
    /// # Errors
    /// Why it cannot listen; the poll is left.
    fn reload(&mut self, uevents: bool) -> Result<(), String>;

    /// Takes over what an earlier vfiod has begun, and says what of it could not be read.
    fn inherit(&mut self) -> (Vec<Inherited>, Vec<String>);
}
