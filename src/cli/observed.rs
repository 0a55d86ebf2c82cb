//! What this machine, or a saved tree, shows without the daemon: one pass that writes nothing.
//!
//! Since when something stands as it does nobody knows from one look: such times are 0.
//! What is on a VFIO driver now is adopted as it is, as at the daemon's first sight. What needs a
//! right that the caller lacks is unreadable, and said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::failure::Failure;
use crate::config::{self, Settings};
use crate::host::live::PATIENCE;
use crate::host::look::ask::{Ask, Looked};
use crate::host::look::look::look;
use crate::host::observe::Observer;
use crate::host::port::{Closer, Found, Scope};
use crate::host::process::Program;
use crate::host::readers::Readers;
use crate::host::root::Root;
use crate::host::seen::Seen;
use crate::host::{iommu, kernel, pci_ids, survey};
use crate::model::concern::Concerns;
use crate::model::desired::Desired;
use crate::model::keeper::{Frame, Keeper, group_view};
use crate::model::memory::Memory;
use crate::model::pci::{Address, Ids};
use crate::model::picture::{Clock, DeviceView, GroupView, Picture};
use crate::model::plan::Plan;
use crate::model::plan_view::PlanView;
use crate::model::policy::Policy;
use crate::model::preflight;
use crate::model::snapshot::{Group, Snapshot};
use crate::model::status::Status;

/// What one look shows.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The public picture, as the daemon would draw it at its first look.
    pub picture: Picture,
    /// Functions that are neither declared nor on a VFIO driver, as far as they were looked at.
    pub others: BTreeMap<Address, DeviceView>,
    /// All groups that were looked at.
    pub groups: BTreeMap<u32, GroupView>,
    /// What it would do.
    pub plan: PlanView,
    /// The facts.
    pub snapshot: Snapshot,
    /// What the reader must know of how this was seen.
    pub notes: Vec<String>,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What the configuration names or VFIO has, from all sides.
    Declared,
    /// All PCI functions, but only what a glance shows.
    Everything,
}

/// Takes one look; `names` has the words for ids. A configuration that is wrong is noted, and looked past.
pub async fn observe(root: &Root, names: &Root, extent: Extent) -> Observed {
    let mut notes = Vec::new();
    let settings = config::load(&root.join("/"), None).unwrap_or_else(|errors| {
        let errors = errors.to_string();
        let first = errors.lines().next().unwrap_or_default();
        notes.push(format!(
            "the configuration is wrong, so nothing counts as declared here: {first} (all of it: vfiodctl config check)"
        ));
        Settings::default()
    });
    let Settings { desired, policy, .. } = settings;
    let keeper = Keeper::new(desired, policy, Memory::default());
    let all = match extent {
        Extent::Declared => BTreeSet::new(),
        Extent::Everything => functions(root, &mut notes),
    };
    let mut eye = Eye { observer: Observer::new(root.clone()), keeper, all, close: extent == Extent::Declared };
    let (snapshot, plan, status) = eye.pass().await;
    let keeper = &eye.keeper;
    let pass = keeper.pass(&snapshot);
    let ids: Vec<Ids> = snapshot.functions.values().map(|function| function.card.ids).collect();
    let frame = Frame { iommu: iommu::of(root), names: pci_ids::describe(names, &ids), ..Frame::default() };
    let mut picture = keeper.picture(&pass, &status, &frame);
    undated(&mut picture);
    let others = snapshot.functions.keys().filter(|address| !picture.devices.contains_key(address));
    let others = others.filter_map(|address| Some((*address, keeper.device_view(&pass, &status, &frame, *address)?)));
    let others = others.collect();
    let group = |(number, group): (&u32, &Group)| (*number, group_view(&snapshot, group));
    let groups: BTreeMap<u32, GroupView> = snapshot.groups.iter().map(group).collect();
    let plan = PlanView::of(&plan, keeper.policy.mode, Clock::default());
    Observed { picture, others, groups, plan, snapshot, notes }
}

/// Looks at functions from all sides, and puts what is found into the snapshot.
pub async fn look_closely(root: &Root, snapshot: &mut Snapshot, of: BTreeSet<Address>) {
    if of.is_empty() {
        return;
    }
    let keeper = Keeper::new(Desired::default(), Policy::default(), Memory::default());
    let mut eye = Eye { observer: Observer::new(root.clone()), keeper, all: BTreeSet::new(), close: true };
    let closer = Closer { looks: of, ..Closer::default() };
    let found = eye.look(&Readers::new(Program::own(["look"])), &closer).await;
    let mut seen = Seen::default();
    seen.add(closer, found);
    seen.show(snapshot);
}

/// One look cannot tell since when.
fn undated(picture: &mut Picture) {
    picture.entries.values_mut().for_each(|entry| entry.since_usec = 0);
    picture.devices.values_mut().for_each(|device| device.since_usec = 0);
    picture.modules.values_mut().for_each(|module| module.since_usec = 0);
}

fn functions(root: &Root, notes: &mut Vec<String>) -> BTreeSet<Address> {
    match root.list("/sys/bus/pci/devices") {
        Ok(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
        Err(error) => {
            notes.push(format!("list /sys/bus/pci/devices: {error}"));
            BTreeSet::new()
        }
    }
}

/// Base class and subclass of a class code.
#[must_use]
pub fn class_of(class: u32) -> u16 {
    u16::try_from(class >> 8 & 0xffff).unwrap_or_default()
}

/// One pass in the daemon's order: observe, learn, decide, look closer until nothing is open.
struct Eye {
    observer: Observer,
    keeper: Keeper,
    all: BTreeSet<Address>,
    close: bool,
}

impl Eye {
    async fn pass(&mut self) -> (Snapshot, Plan, Status) {
        let readers = Readers::new(Program::own(["look"]));
        let (mut seen, mut besides, mut first) = (Seen::default(), self.all.clone(), true);
        loop {
            let (desired, policy) = (&self.keeper.desired, &self.keeper.policy);
            let scope = Scope { desired, policy, needs_vfio: self.keeper.needs_vfio(), besides: &besides };
            let mut snapshot = self.observer.observe(scope, kernel::now());
            seen.show(&mut snapshot);
            let root = self.observer.root();
            if first && !root.is_live() {
                // Nothing blocks there; on this machine the daemon is who checks before it is asked.
                let report = preflight::check(&survey::take(root, PATIENCE));
                self.keeper.memory.concerns = Concerns::of(&report, &self.keeper.kept_objects(&snapshot));
            }
            let pass = self.keeper.learn(&snapshot, snapshot.taken);
            let plan = self.keeper.decide(&pass);
            let mut closer = Closer::default();
            if self.close {
                let bound = snapshot.functions.iter().filter(|(_, function)| !function.driver.is_absent());
                let declared = bound.filter(|(address, _)| first && self.keeper.declares(&pass, **address));
                closer.pins = declared.map(|(address, _)| *address).collect();
                closer.looks = plan.look.union(&self.keeper.perhaps_open(&pass, first)).copied().collect();
                closer.looks.retain(|address| !seen.asked.contains(address));
                closer.pinned = plan.look_for_pinned && seen.pinned.is_none();
            }
            closer.serials = self.keeper.unread_serials(&pass, false);
            closer.serials.retain(|address| !seen.serials.contains(address));
            if closer.is_empty() {
                let status = self.keeper.status(&pass, &plan);
                return (snapshot, plan, status);
            }
            first = false;
            let found = self.look(&readers, &closer).await;
            seen.add(closer, found);
            besides.extend(seen.pinned.iter().flat_map(|pinned| pinned.is()).flatten().map(|(address, _)| *address));
        }
    }

    /// On this machine a child looks, because a read can block; in a saved tree nothing does.
    async fn look(&mut self, readers: &Readers, closer: &Closer) -> Found {
        let ask = Ask::of(closer, PATIENCE);
        let looked: Result<Looked, String> = if self.observer.root().is_live() {
            match serde_json::to_string(&ask) {
                Ok(text) => readers.ask(&text, PATIENCE * 4).await,
                Err(error) => Err(error.to_string()),
            }
        } else {
            Ok(look(self.observer.root(), &ask))
        };
        match looked {
            Ok(looked) => self.observer.take_in(looked),
            Err(why) => self.observer.take_silence(closer, why),
        }
    }
}

/// The root that the arguments mean.
///
/// # Errors
/// When the directory cannot be opened.
pub fn root(path: Option<&Path>) -> Result<Root, Failure> {
    let Some(path) = path else { return Ok(Root::live()) };
    let wrong = |error| Failure::Usage(format!("--root {}: {error}", path.display()));
    Root::hostile(path).map_err(wrong)
}
