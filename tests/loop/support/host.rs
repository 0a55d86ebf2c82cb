//! One run's view of the machine: the `Host` that the loop gets.

use std::rc::Rc;

use vfiod::host::port::{Closer, Found, Host, Inherited, Scope, Sign};
use vfiod::host::sim;
use vfiod::model::plan::Act;
use vfiod::model::snapshot::{Fact, Look, Snapshot};
use vfiod::model::time::Time;

use super::machine::Machine;

/// The machine, as one daemon sees it.
pub struct View(pub Rc<Machine>);

impl View {
    /// A new daemon's view: events from before are not its own.
    pub fn new(machine: &Rc<Machine>) -> View {
        machine.events.borrow_mut().clear();
        View(Rc::clone(machine))
    }
}

impl Host for View {
    fn now(&self) -> Time {
        self.0.now()
    }

    fn observe(&mut self, scope: Scope<'_>) -> Snapshot {
        self.0.observations.set(self.0.observations.get() + 1);
        let now = self.0.now();
        self.0.with(|kernel| {
            let mut of = kernel.scope(scope.desired, scope.needs_vfio);
            of.functions.extend(scope.besides);
            of.ignore_blacklist = scope.policy.ignore_blacklist;
            kernel.observe(&of, now)
        })
    }

    async fn look(&mut self, closer: &Closer) -> Found {
        self.0.looks.borrow_mut().push((self.0.now(), closer.clone()));
        tokio::time::sleep(self.0.look_takes.get()).await;
        let now = self.0.now();
        if self.0.look_fails.get() {
            let objects = closer.looks.iter().filter_map(|a| Some((*a, self.0.ask(|kernel| kernel.object(*a))?)));
            return Found { looks: objects.map(|(a, object)| (a, blind(object))).collect(), pinned: no_answer() };
        }
        self.0.with(|kernel| {
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

    async fn begin(&mut self, act: &Act, deadline: Time) -> Result<(), String> {
        if let Some(why) = self.0.begin_fails.borrow().clone() {
            return Err(why);
        }
        let mut acts = self.0.acts.borrow_mut();
        let clash = |other: &&Inherited| other.act.key == act.key || !other.act.functions.is_disjoint(&act.functions);
        if let Some(other) = acts.values().find(clash) {
            panic!("{} begins while {} is at work", act.key, other.act.key);
        }
        let since = self.0.now();
        acts.insert(act.key, Inherited { act: act.clone(), since, deadline });
        self.0.begun.borrow_mut().push((since, act.clone()));
        tokio::task::spawn_local(Rc::clone(&self.0).act(act.clone(), deadline));
        Ok(())
    }

    async fn next(&mut self) -> Sign {
        loop {
            if let Some(ended) = self.0.ended.borrow_mut().pop_front() {
                return Sign::Ended(ended);
            }
            if let Some(sign) = self.0.events.borrow_mut().pop_front() {
                return sign;
            }
            self.0.sign.notified().await;
        }
    }

    fn reload(&mut self, _uevents: bool) {}

    fn inherit(&mut self) -> (Vec<Inherited>, Vec<String>) {
        (self.0.acts.borrow().values().cloned().collect(), Vec::new())
    }
}

fn no_answer<T>() -> Fact<T> {
    Fact::Unreadable("the reader did not answer in time".to_owned())
}

fn blind(object: u64) -> Look {
    Look {
        object,
        pin: no_answer(),
        uevent_driver: no_answer(),
        holders: no_answer(),
        network: no_answer(),
        storage: no_answer(),
        vfs: no_answer(),
    }
}
