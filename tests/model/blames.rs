//! Who did it, pass by pass: a module on its way out, a crowd of culprits.

use std::collections::BTreeMap;
use std::time::Duration;

use vfiod::model::cause::{Culprit, Record};
use vfiod::model::desired::Entry;
use vfiod::model::event::{self, Event, Kind, between};
use vfiod::model::keeper::Keeper;
use vfiod::model::memory::Memory;
use vfiod::model::module::{ModuleFacts, ModuleState};
use vfiod::model::policy::Policy;
use vfiod::model::status::Status;
use vfiod::model::time::Time;

use crate::tables::{at, desired, entry, function, snapshot, x};

/// A keeper, and the picture that it gave last.
struct Watched {
    keeper: Keeper,
    status: Option<Status>,
    told: Option<Status>,
}

impl Watched {
    /// One that has seen vfio_pci live.
    fn new() -> Watched {
        Watched::over([])
    }

    /// The same with entries.
    fn over(entries: impl IntoIterator<Item = Entry>) -> Watched {
        let keeper = Keeper::new(desired(entries), Policy::default(), Memory::default());
        let mut watched = Watched { keeper, status: None, told: None };
        watched.pass(0, ModuleState::Live);
        watched
    }

    /// A pass over a NIC that has its driver as long as its module is live.
    fn pass(&mut self, ms: u64, state: ModuleState) -> Vec<Event> {
        let driver = if state == ModuleState::Live { "vfio-pci" } else { "-" };
        let mut snapshot = snapshot([("0000:01:00.0", function("0000:00:05.0/00.0", driver, 15))]);
        snapshot.taken = Time(ms * 1000);
        let facts = ModuleFacts {
            state,
            evidence: String::new(),
            refcount: None,
            used_by: Vec::new(),
            needs: Vec::new(),
            install_rule: None,
            stamp: 1,
        };
        snapshot.modules = BTreeMap::from([(x("vfio_pci"), facts)]);
        let pass = self.keeper.learn(&snapshot, snapshot.taken);
        let plan = self.keeper.decide(&pass);
        let status = self.keeper.status(&pass, &plan);
        let before = self.told.as_ref().or(self.status.as_ref());
        let events = between(before, &status, snapshot.taken);
        self.told = event::told(before, &status);
        self.status = Some(status);
        events
    }

    fn witness(&mut self, ms: u64, comm: &str) {
        let by = Culprit { pid: 5, comm: comm.to_owned(), ..Culprit::default() };
        self.keeper.witness([Record::Unloaded { module: x("vfio_pci"), at: Time(ms * 1000), by }]);
    }
}

fn told(events: &[Event]) -> Vec<(Kind, Option<&str>)> {
    events.iter().map(|event| (event.kind, event.by.as_ref().map(|by| by.comm.as_str()))).collect()
}

#[test]
fn a_module_on_its_way_out_is_told_as_lost_once_it_is_known_who_does_it() {
    let mut watched = Watched::new();
    assert_eq!(told(&watched.pass(5000, ModuleState::Unloading)), []);
    assert_eq!(watched.keeper.next_wake(Time(5_000_000)), Some(Time(5_200_000)));
    // Its exit function takes as long as it has to: here, on a machine that has no processor to spare.
    assert_eq!(told(&watched.pass(9000, ModuleState::Unloading)), []);
    watched.witness(9030, "rmmod");
    assert_eq!(told(&watched.pass(9040, ModuleState::Unloading)), [(Kind::ModuleLost, Some("rmmod"))]);
    assert_eq!(told(&watched.pass(9140, ModuleState::Absent)), []);
    assert_eq!(told(&watched.pass(10_000, ModuleState::Live)), [(Kind::ModuleRestored, None)]);
}

#[test]
fn a_module_that_stays_on_its_way_out_is_told_as_lost_all_the_same() {
    let mut watched = Watched::new();
    watched.witness(1, "earlier");
    watched.pass(2, ModuleState::Absent);
    watched.pass(1000, ModuleState::Live);
    assert_eq!(told(&watched.pass(5000, ModuleState::Unloading)), []);
    // The one before is not laid to whoever did it then.
    assert_eq!(told(&watched.pass(15_000, ModuleState::Unloading)), [(Kind::ModuleLost, None)]);
    assert_eq!(told(&watched.pass(16_000, ModuleState::Unloading)), []);
    // Known too late to be told, it is remembered.
    watched.witness(17_000, "rmmod");
    assert_eq!(told(&watched.pass(17_010, ModuleState::Absent)), []);
    let unload = watched.keeper.memory.unloads[&x("vfio_pci")].to_string();
    assert_eq!(unload, "unloaded by rmmod[5]");
}

#[test]
fn a_device_that_fell_with_a_module_on_its_way_out_is_told_with_whoever_takes_it_out() {
    let mut watched = Watched::over([entry("nic0", at("0000:01:00.0"))]);
    assert_eq!(told(&watched.pass(5000, ModuleState::Unloading)), []);
    assert_eq!(told(&watched.pass(5200, ModuleState::Unloading)), []);
    watched.witness(5300, "rmmod");
    let events = watched.pass(5400, ModuleState::Absent);
    assert_eq!(told(&events), [(Kind::ModuleLost, Some("rmmod")), (Kind::Drifted, Some("rmmod"))]);
    let words: Vec<_> = events.iter().map(|event| (event.old.as_str(), event.new.as_str())).collect();
    assert_eq!(words, [("live", "absent"), ("ready", "drifted")]);
    assert_eq!(told(&watched.pass(6000, ModuleState::Live)), [(Kind::ModuleRestored, None), (Kind::Repaired, None)]);
    // Back before it had gone: nothing to tell, of neither.
    assert_eq!(told(&watched.pass(7000, ModuleState::Unloading)), []);
    assert_eq!(told(&watched.pass(7200, ModuleState::Live)), []);
    // One that never ends its way out is told, and its device with it.
    assert_eq!(told(&watched.pass(8000, ModuleState::Unloading)), []);
    let kinds = [(Kind::ModuleLost, None), (Kind::Drifted, None)];
    assert_eq!(told(&watched.pass(18_000, ModuleState::Unloading)), kinds);
    assert_eq!(told(&watched.pass(18_200, ModuleState::Unloading)), []);
}

#[test]
fn one_that_was_on_its_way_out_and_is_back_was_never_lost() {
    let mut watched = Watched::new();
    assert_eq!(told(&watched.pass(5000, ModuleState::Unloading)), []);
    assert_eq!(told(&watched.pass(5100, ModuleState::Live)), []);
    assert!(watched.keeper.memory.leaving.is_empty());
}

#[test]
fn an_unload_after_the_snapshot_is_laid_to_the_next_one() {
    let mut watched = Watched::new();
    watched.witness(5005, "rmmod");
    assert_eq!(told(&watched.pass(5000, ModuleState::Live)), []);
    assert_eq!(told(&watched.pass(5100, ModuleState::Absent)), [(Kind::ModuleLost, Some("rmmod"))]);
}

#[test]
fn of_a_crowd_of_culprits_the_latest_are_remembered() {
    let mut watched = Watched::new();
    for n in 0..100_u64 {
        watched.witness(n * 1000 + 500, &format!("culprit-{n}"));
        watched.pass(n * 1000 + 600, ModuleState::Absent);
        watched.pass(n * 1000 + 900, ModuleState::Live);
    }
    let known = &watched.keeper.memory.rhythms[&x("vfio_pci")];
    let expected: Vec<String> = (92..100).map(|n| format!("culprit-{n}")).collect();
    assert_eq!(known.keys().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(known.values().map(|rhythm| rhythm.times.len()).max(), Some(1));
    assert!(Time(99_500_000).since(known["culprit-99"].times[0]) == Duration::ZERO);
}
