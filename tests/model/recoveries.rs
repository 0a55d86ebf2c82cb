//! What is remembered of a device that the kernel could not bring back after a fatal error.

use std::sync::Arc;

use vfiod::model::keeper::Keeper;
use vfiod::model::memory::Memory;
use vfiod::model::policy::Policy;
use vfiod::model::snapshot::{Fact, Function};
use vfiod::model::time::Time;

use crate::tables::{at, desired, entry, function, snapshot, x};

const NIC: &str = "0000:01:00.0";

#[test]
fn it_is_another_chance_when_another_object_or_another_driver_is_seen_although_no_event_came() {
    let nic = || function(NIC, "vfio-pci", 1);
    let another = || {
        let mut nic = nic();
        Arc::make_mut(&mut nic.card).object = 8;
        nic
    };
    let on = |driver: Fact<&str>| {
        let mut nic = nic();
        nic.driver = match driver {
            Fact::Is(name) => Fact::Is(x(name)),
            Fact::Absent => Fact::Absent,
            Fact::Unreadable(why) => Fact::Unreadable(why),
        };
        nic
    };
    let cases: [(Option<Function>, bool); 6] = [
        (Some(nic()), true),
        (Some(on(Fact::Unreadable("no answer".to_owned()))), true),
        (None, true),
        (Some(another()), false),
        (Some(on(Fact::Is("e1000e"))), false),
        (Some(on(Fact::Absent)), false),
    ];
    for (number, (then, remembered)) in cases.into_iter().enumerate() {
        let mut keeper = Keeper::new(desired([entry("nic", at(NIC))]), Policy::default(), Memory::default());
        let before = snapshot([(NIC, nic())]);
        keeper.learn(&before, Time(1));
        keeper.note_recovery(Some(&before), x(NIC), true);
        let after = snapshot(then.map(|function| (NIC, function)));
        keeper.learn(&after, Time(2));
        assert_eq!(!keeper.memory.unrecovered.is_empty(), remembered, "{number}");
    }
}

#[test]
fn what_is_remembered_lasts_as_long_as_the_boot_and_a_recovery_ends_it() {
    let mut keeper = Keeper::new(desired([entry("nic", at(NIC))]), Policy::default(), Memory::default());
    let seen = snapshot([(NIC, function(NIC, "vfio-pci", 1))]);
    keeper.note_recovery(Some(&seen), x("0000:09:00.0"), true);
    assert!(keeper.memory.unrecovered.is_empty(), "nobody knows that one");
    keeper.note_recovery(Some(&seen), x(NIC), true);
    let text = serde_json::to_string(&keeper.memory).unwrap();
    keeper.memory = serde_json::from_str(&text).unwrap();
    assert_eq!(keeper.memory.unrecovered.len(), 1);
    keeper.note_recovery(Some(&seen), x(NIC), false);
    assert!(keeper.memory.unrecovered.is_empty());
    // What an earlier vfiod has written knows nothing of it.
    let old = text.replace("unrecovered", "of_another_version");
    assert!(serde_json::from_str::<Memory>(&old).unwrap().unrecovered.is_empty());
}
