//! Two pictures, and what is told of the step from one to the other.

use std::collections::BTreeMap;

use vfiod::model::event::between;
use vfiod::model::module::ModuleState;
use vfiod::model::state::{Health, State};
use vfiod::model::status::{DeviceStatus, ModuleStatus, Standing, Status};
use vfiod::model::time::Time;

use crate::tables::x;

fn standing(state: State) -> Standing {
    let lost = (!state.is_good()).then_some(Time(0));
    Standing { reason: "because".to_owned(), lost, ..Standing::plain(state) }
}

fn picture(state: State) -> Status {
    let device = DeviceStatus {
        entry: "nic".to_owned(),
        standing: standing(state),
        driver: None,
        wanted: x("vfio-pci"),
        module: None,
        group: Some(3),
        last_cause: None,
    };
    Status {
        health: Health::of(state),
        entries: BTreeMap::from([("nic".to_owned(), standing(state))]),
        devices: BTreeMap::from([(x("0000:01:00.0"), device)]),
        modules: BTreeMap::new(),
    }
}

fn module(state: ModuleState) -> ModuleStatus {
    ModuleStatus {
        state,
        reason: String::new(),
        blocked: state.is_terminal(),
        stuck: false,
        fighting: false,
        fought_with: None,
        failures: 0,
        lost: None,
        not_before: None,
        last_unload: None,
        slow: false,
        leaving: false,
    }
}

fn told(old: Option<&Status>, new: &Status) -> Vec<String> {
    between(old, new, Time(2_500_000)).iter().map(|e| format!("{:?} {:?} {}", e.level, e.kind, e.about)).collect()
}

#[test]
fn a_device_that_changes_its_state_is_told_once() {
    use State::{Ambiguous, Assigned, Blocked, Drifted, Failing, Fighting, Held, Missing, Ready, Repairing, Stuck};
    let table = [
        (Ready, Drifted, "Warning Drifted 0000:01:00.0"),
        (Ready, Repairing, "Warning Drifted 0000:01:00.0"),
        (Drifted, Repairing, ""),
        (Failing, Repairing, ""),
        (Repairing, Failing, "Warning RepairFailed 0000:01:00.0"),
        (Repairing, Ready, "Notice Repaired 0000:01:00.0"),
        (Held, Ready, "Notice Repaired 0000:01:00.0"),
        (Drifted, Held, "Warning Held 0000:01:00.0"),
        (Drifted, Blocked, "Warning Blocked 0000:01:00.0"),
        (Repairing, Stuck, "Alert Stuck 0000:01:00.0"),
        (Stuck, Ready, "Notice Unstuck 0000:01:00.0"),
        (Stuck, Failing, "Notice Unstuck 0000:01:00.0"),
        (Ready, Assigned, "Notice Assigned 0000:01:00.0"),
        (Assigned, Ready, "Notice Assigned 0000:01:00.0"),
        (Repairing, Fighting, "Alert Fighting entry nic"),
        (Fighting, Ready, "Notice FightOver entry nic"),
        (Missing, Ready, "Notice Repaired 0000:01:00.0"),
        (Ambiguous, Drifted, "Warning Drifted 0000:01:00.0"),
    ];
    for (old, new, expected) in table {
        let expected: Vec<&str> = Some(expected).filter(|one| !one.is_empty()).into_iter().collect();
        assert_eq!(told(Some(&picture(old)), &picture(new)), expected, "{old} -> {new}");
        assert_eq!(told(Some(&picture(new)), &picture(new)), [""; 0], "{new} stays");
    }
}

#[test]
fn the_first_picture_tells_all_that_is_not_well() {
    assert_eq!(told(None, &picture(State::Ready)), [""; 0]);
    assert_eq!(told(None, &picture(State::Held)), ["Warning Held 0000:01:00.0"]);
    let mut gone = picture(State::Missing);
    gone.devices.clear();
    assert_eq!(told(None, &gone), ["Warning NotFound entry nic"]);
}

#[test]
fn a_repair_tells_how_long_it_was_lost() {
    let events = between(Some(&picture(State::Repairing)), &picture(State::Ready), Time(2_500_000));
    assert_eq!(events[0].latency.map(|latency| latency.as_millis()), Some(2500));
    assert_eq!(events[0].to_string(), "0000:01:00.0 (nic): repairing -> ready: because, after 2.500 s");
}

#[test]
fn a_module_that_changes_its_state_is_told_once() {
    use ModuleState::{Absent, Live, Loading, Prohibited, Unreadable};
    let table = [
        (Live, Absent, "Warning ModuleLost module vfio_pci"),
        (Absent, Loading, ""),
        (Loading, Live, "Notice ModuleRestored module vfio_pci"),
        (Absent, Prohibited, "Alert ModuleBlocked module vfio_pci"),
        (Live, Prohibited, "Alert ModuleBlocked module vfio_pci"),
        (Live, Unreadable, "Warning Held module vfio_pci"),
        (Unreadable, Absent, ""),
    ];
    let with = |state| Status { modules: BTreeMap::from([(x("vfio_pci"), module(state))]), ..picture(State::Ready) };
    for (old, new, expected) in table {
        let expected: Vec<&str> = Some(expected).filter(|one| !one.is_empty()).into_iter().collect();
        assert_eq!(told(Some(&with(old)), &with(new)), expected, "{old} -> {new}");
    }
}

#[test]
fn the_line_counts_entries_and_names_modules_that_do_not_serve() {
    let mut status = picture(State::Drifted);
    status.entries.insert("a".to_owned(), standing(State::Ready));
    status.entries.insert("b".to_owned(), standing(State::Ready));
    status.modules.insert(x("vfio_pci"), module(ModuleState::Absent));
    status.modules.insert(x("vfio"), module(ModuleState::Live));
    assert_eq!(status.line(), "degraded: 2 ready, 1 drifted, vfio_pci absent");
    status.entries.clear();
    status.modules.clear();
    status.health = Health::Ready;
    assert_eq!(status.line(), "ready: nothing is declared");
}

#[test]
fn a_fight_over_a_module_is_one_alert_once_the_module_is_gone() {
    let with = |state, leaving| {
        let fighting = state != ModuleState::Live;
        let modules = BTreeMap::from([(x("vfio_pci"), ModuleStatus { fighting, leaving, ..module(state) })]);
        Status { modules, ..picture(State::Ready) }
    };
    let live = with(ModuleState::Live, false);
    let leaving = with(ModuleState::Unloading, true);
    // As the loop does it: what is told of a module on its way out is laid beside the picture before it once more.
    let mut before = live.clone();
    for _ in 0..3 {
        assert_eq!(told(Some(&before), &leaving), [""; 0]);
        before = vfiod::model::event::told(Some(&before), &leaving).unwrap();
    }
    let alerts =
        |events: Vec<String>| events.into_iter().filter(|event| event.starts_with("Alert")).collect::<Vec<_>>();
    let gone = with(ModuleState::Absent, false);
    assert_eq!(alerts(told(Some(&before), &gone)), ["Alert Fighting module vfio_pci"]);
    assert_eq!(alerts(told(Some(&gone), &gone)), [""; 0]);
}
