//! One run's view of the machine: the `Host` that the loop gets.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tokio::time::Instant;
use vfiod::host::port::{Checking, Closer, Found, Host, Inherited, Scope, Sign, Witnessed};
use vfiod::host::sim::{self, Kernel};
use vfiod::model::pci::Ids;
use vfiod::model::picture::{Clock, Iommu};
use vfiod::model::plan::Act;
use vfiod::model::preflight::report::{Predicted, Report, Role, Verdict};
use vfiod::model::snapshot::{Fact, Snapshot};
use vfiod::model::time::Time;

use super::machine::Machine;

/// The machine, as one daemon sees it.
pub struct View {
    machine: Rc<Machine>,
    /// When the closer look ends that is under way.
    looking: Option<(Instant, Closer)>,
}

impl View {
    /// A new daemon's view: events from before are not its own.
    pub fn new(machine: &Rc<Machine>) -> View {
        machine.events.borrow_mut().clear();
        View { machine: Rc::clone(machine), looking: None }
    }
}

impl View {
    /// What a closer look finds that ends now.
    fn looked(&self, closer: &Closer) -> Found {
        let now = self.machine.now();
        if self.machine.look_fails.get() {
            let why = "the reader did not answer in time".to_owned();
            return Found { looks: BTreeMap::new(), pinned: Fact::Unreadable(why) };
        }
        self.machine.with(|kernel| {
            let of = sim::Scope {
                pins: closer.pins.clone(),
                look: closer.looks.clone(),
                pinned: closer.pinned,
                ..sim::Scope::default()
            };
            let snapshot = kernel.observe(&of, now);
            let looks = snapshot.functions.iter().filter(|(address, _)| closer.looks.contains(address));
            let looks = looks.filter_map(|(address, f)| Some((*address, f.look.as_deref()?.clone()))).collect();
            Found { looks, pinned: snapshot.pinned }
        })
    }
}

impl Host for View {
    fn now(&self) -> Time {
        self.machine.now()
    }

    fn clock(&self) -> Clock {
        // Two clocks are read for it, one after the other: it is never quite the same.
        let jitter = self.machine.jitter.replace((self.machine.jitter.get() + 7) % 50);
        Clock { boot_usec: self.machine.boot_usec.get() + jitter }
    }

    fn iommu(&self) -> Iommu {
        Iommu { kinds: vec!["intel".to_owned()], groups: self.machine.groups.get() }
    }

    fn names(&mut self, ids: &[Ids]) -> BTreeMap<Ids, String> {
        ids.iter().map(|ids| (*ids, format!("Device {ids}"))).collect()
    }

    fn check(&mut self) -> Checking {
        let checking = Rc::clone(&self.machine);
        checking.surveys.set(checking.surveys.get() + 1);
        Box::pin(async move {
            tokio::time::sleep(checking.look_takes.get()).await;
            let findings = checking.findings.borrow().clone()?;
            let devices = checking.ask(Kernel::addresses).into_iter().map(|address| (address, verdict())).collect();
            Ok(Report {
                schema: 1,
                kernel: "6.12".to_owned(),
                iommu: BTreeSet::new(),
                iommu_units: BTreeSet::new(),
                devices,
                groups: BTreeMap::new(),
                findings,
            })
        })
    }

    fn observe(&mut self, scope: Scope<'_>) -> Snapshot {
        self.machine.observations.set(self.machine.observations.get() + 1);
        let now = self.machine.now();
        self.machine.with(|kernel| {
            let mut of = kernel.scope(scope.desired, scope.needs_vfio);
            of.functions.extend(scope.besides);
            of.ignore_blacklist = scope.policy.ignore_blacklist;
            kernel.observe(&of, now)
        })
    }

    fn begin_look(&mut self, closer: &Closer) {
        self.machine.looks.borrow_mut().push((self.machine.now(), closer.clone()));
        self.looking = Some((Instant::now() + self.machine.look_takes.get(), closer.clone()));
    }

    async fn begin(&mut self, act: &Act, deadline: Time) -> Result<(), String> {
        if let Some(why) = self.machine.begin_fails.borrow().clone() {
            return Err(why.replace("KEY", &act.key.to_string()));
        }
        let mut acts = self.machine.acts.borrow_mut();
        let clash = |other: &&Inherited| other.act.key == act.key || !other.act.functions.is_disjoint(&act.functions);
        if let Some(other) = acts.values().find(clash) {
            panic!("{} begins while {} is at work", act.key, other.act.key);
        }
        let since = self.machine.now();
        acts.insert(act.key, Inherited { act: act.clone(), since, deadline });
        self.machine.begun.borrow_mut().push((since, act.clone()));
        tokio::task::spawn_local(Rc::clone(&self.machine).act(act.clone(), deadline));
        Ok(())
    }

    async fn next(&mut self) -> Sign {
        loop {
            let ends = self.looking.as_ref().map(|(ends, _)| *ends);
            if ends.is_some_and(|ends| ends <= Instant::now())
                && let Some((_, closer)) = self.looking.take()
            {
                return Sign::Looked(self.looked(&closer));
            }
            if let Some(ended) = self.machine.ended.borrow_mut().pop_front() {
                return Sign::Ended(ended);
            }
            if let Some(sign) = self.machine.events.borrow_mut().pop_front() {
                return sign;
            }
            tokio::select! {
                () = self.machine.sign.notified() => {}
                () = tokio::time::sleep_until(ends.unwrap_or_else(Instant::now)), if ends.is_some() => {}
            }
        }
    }

    fn witnessed(&mut self) -> Witnessed {
        self.machine.witnessed.take()
    }

    fn settled_in(&mut self) {
        self.machine.settled_in.borrow_mut().push(self.machine.observations.get());
    }

    fn leave(&mut self, handed_over: bool) {
        self.machine.left.borrow_mut().push(handed_over);
    }

    fn reload(&mut self, uevents: bool) -> Result<(), String> {
        self.machine.listen_fails.borrow().clone().filter(|_| uevents).map_or(Ok(()), Err)
    }

    fn inherit(&mut self) -> (Vec<Inherited>, Vec<String>) {
        (self.machine.acts.borrow().values().cloned().collect(), Vec::new())
    }
}

/// Nothing in particular.
fn verdict() -> Verdict {
    Verdict {
        ids: "8086:10d3".parse().unwrap(),
        class: 0x02_0000,
        role: Role::Endpoint,
        driver: None,
        group: None,
        iommu: None,
        passthrough_id: None,
        assignable: true,
        predicted: Predicted::opens(),
        codes: Vec::new(),
    }
}
