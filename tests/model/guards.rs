//! Guards, each on its own: a host driver's device that is free but for one fact.

use std::collections::BTreeSet;

use vfiod::model::drift::Drift;
use vfiod::model::guard::{Question, Verdict, verdict};
use vfiod::model::pci::Address;
use vfiod::model::plan::Guard;
use vfiod::model::resolve::resolve;
use vfiod::model::snapshot::{Fact, Function, Holder, Look, Snapshot};

use crate::tables::{at, desired, entry, function, look, snapshot, x};

const NIC: &str = "0000:01:00.0";
const OTHER: &str = "0000:01:00.1";

fn ask(seen: &Snapshot, drift: &Drift, allow: &[Guard], before_load: bool) -> Verdict {
    let found = resolve(&desired([entry("nic", at(NIC))]), seen);
    let allow: BTreeSet<Guard> = allow.iter().copied().collect();
    let question = Question { snapshot: seen, found: &found, allow: &allow, console_gone: false, before_load };
    verdict(question, x(NIC), drift)
}

fn on_host() -> Drift {
    Drift::WrongDriver(x("e1000e"))
}

fn guard_of(verdict: Verdict) -> Option<Guard> {
    match verdict {
        Verdict::Free => None,
        Verdict::Held(guard, reason) => {
            assert!(!reason.is_empty());
            Some(guard)
        }
        Verdict::LookFirst => panic!("it was looked at"),
    }
}

fn with_look(change: impl FnOnce(&mut Function, &mut Look)) -> Snapshot {
    let (mut nic, mut look) = (function(NIC, "e1000e", 1), look());
    change(&mut nic, &mut look);
    nic.look = Some(look.into());
    snapshot([(NIC, nic), (OTHER, function(OTHER, "-", 2))])
}

#[test]
fn one_fact_holds_a_device_and_allow_lifts_three() {
    type Change = fn(&mut Function, &mut Look);
    fn no<T>() -> Fact<T> {
        Fact::Unreadable("no answer".to_owned())
    }
    fn somebody() -> Fact<Vec<Holder>> {
        Fact::Is(vec![Holder { pid: 1, comm: "x".to_owned(), unit: String::new(), uid: 0, node: String::new() }])
    }
    let table: [(Change, Option<Guard>); 18] = [
        (|_, _| {}, None),
        (|_, look| look.holders = somebody(), Some(Guard::InUse)),
        (|_, look| look.raw = somebody(), Some(Guard::InUse)),
        (|_, look| look.mediated = Fact::Is(vec!["x".to_owned()]), Some(Guard::MediatedDevices)),
        (|_, look| look.network = Fact::Is(vec!["route".to_owned()]), Some(Guard::CarriesRoute)),
        (|_, look| look.storage = Fact::Is(vec!["mount".to_owned()]), Some(Guard::MountedDisk)),
        (|_, look| look.vfs = Fact::Is(2), Some(Guard::SriovPfWithVfs)),
        (|nic, _| _ = nic.vfs.insert(0, x(OTHER)), Some(Guard::SriovPfWithVfs)),
        (|nic, _| std::sync::Arc::make_mut(&mut nic.card).boot_vga = true, Some(Guard::BootDisplay)),
        (|nic, _| std::sync::Arc::make_mut(&mut nic.card).bridge = true, Some(Guard::Bridge)),
        (|nic, _| nic.driver = no(), Some(Guard::Unreadable)),
        (|_, look| look.holders = no(), Some(Guard::Unreadable)),
        (|_, look| look.network = no(), Some(Guard::Unreadable)),
        (|_, look| look.storage = no(), Some(Guard::Unreadable)),
        (|_, look| look.vfs = no(), Some(Guard::Unreadable)),
        (|_, look| look.pin = no(), Some(Guard::Unreadable)),
        (|_, look| look.raw = no(), Some(Guard::Unreadable)),
        (|_, look| look.mediated = no(), Some(Guard::Unreadable)),
    ];
    let lifts = [Guard::BootDisplay, Guard::CarriesRoute, Guard::MountedDisk];
    for (number, (change, expected)) in table.into_iter().enumerate() {
        let seen = with_look(change);
        assert_eq!(guard_of(ask(&seen, &on_host(), &[], false)), expected, "{number}");
        let lifted = expected.filter(|guard| !lifts.contains(guard));
        assert_eq!(guard_of(ask(&seen, &on_host(), &lifts, false)), lifted, "{number} allowed");
    }
    assert!(lifts.iter().all(|guard| guard.can_be_allowed()));
}

#[test]
fn a_pf_with_vfs_is_looked_at_for_whoever_has_one_of_them() {
    let vfs = |change: fn(&mut Look)| {
        with_look(|nic, look| {
            nic.vfs.insert(0, x(OTHER));
            change(look);
        })
    };
    let node = "/dev/vfio/2 (of 0000:00:04.0)".to_owned();
    let open = Holder { pid: 7, comm: "qemu".to_owned(), unit: String::new(), uid: 107, node };
    let mut seen = vfs(|_| {});
    let nic: Address = x(NIC);
    assert_eq!(guard_of(ask(&seen, &on_host(), &[], false)), Some(Guard::SriovPfWithVfs));
    let mut look = look();
    look.holders = Fact::Is(vec![open]);
    seen.functions.get_mut(&nic).unwrap().look = Some(look.into());
    for drift in [on_host(), Drift::Unbound] {
        let reason = "qemu[7] has /dev/vfio/2 (of 0000:00:04.0) open".to_owned();
        assert_eq!(ask(&seen, &drift, &[], false), Verdict::Held(Guard::InUse, reason));
    }
    let unknown = vfs(|look| look.holders = Fact::Unreadable("no answer".to_owned()));
    assert_eq!(guard_of(ask(&unknown, &on_host(), &[], false)), Some(Guard::SriovPfWithVfs));
    seen.functions.get_mut(&nic).unwrap().look = None;
    assert_eq!(ask(&seen, &on_host(), &[], false), Verdict::LookFirst);
    assert_eq!(guard_of(ask(&seen, &Drift::Unbound, &[], true)), Some(Guard::SriovPfWithVfs));
}

#[test]
fn a_device_without_a_driver_is_free_only_when_no_program_works_on_it() {
    let holder = Holder { pid: 7, comm: "dpdk".to_owned(), unit: String::new(), uid: 0, node: "resource0".to_owned() };
    let table = [
        (Fact::Is(vec![]), None),
        (Fact::Is(vec![holder]), Some(Guard::InUse)),
        (Fact::Unreadable("no answer".to_owned()), Some(Guard::Unreadable)),
    ];
    for (raw, expected) in table {
        let seen = with_look(|nic, look| {
            nic.driver = Fact::Absent;
            look.raw = raw;
        });
        assert_eq!(guard_of(ask(&seen, &Drift::Unbound, &[], false)), expected);
    }
}

#[test]
fn a_device_that_was_not_looked_at_or_was_another_object_is_looked_at_first() {
    let mut seen = with_look(|_, _| {});
    let nic: Address = x(NIC);
    seen.functions.get_mut(&nic).unwrap().look = None;
    assert_eq!(ask(&seen, &on_host(), &[], false), Verdict::LookFirst);
    let other = Look { object: 8, ..look() };
    seen.functions.get_mut(&nic).unwrap().look = Some(other.into());
    assert_eq!(ask(&seen, &on_host(), &[], false), Verdict::LookFirst);
}

#[test]
fn a_device_without_a_driver_is_free_only_when_no_unbind_is_under_way() {
    // /dev/vfio/<group>, a member on vfio, DRIVER= in uevent, what comes of it
    let free = None;
    let released = Some(Guard::BeingReleased);
    let table = [
        (Fact::Absent, "-", Fact::Absent, free),
        (Fact::Is(()), "-", Fact::Absent, released),
        (Fact::Is(()), "vfio-pci", Fact::Absent, free),
        (Fact::Is(()), "vfio-pci", Fact::Is(x("vfio-pci")), released),
        (Fact::Absent, "-", Fact::Is(x("e1000e")), released),
        (Fact::Absent, "-", Fact::Unreadable("blocks".to_owned()), Some(Guard::Unreadable)),
        (Fact::Unreadable("no".to_owned()), "-", Fact::Absent, Some(Guard::Unreadable)),
    ];
    for (number, (node, sibling, uevent_driver, expected)) in table.into_iter().enumerate() {
        let mut nic = function(NIC, "-", 1);
        nic.look = Some(Look { uevent_driver, ..look() }.into());
        let mut seen = snapshot([(NIC, nic), (OTHER, function(OTHER, sibling, 1))]);
        seen.groups.get_mut(&1).unwrap().node = node;
        assert_eq!(guard_of(ask(&seen, &Drift::Unbound, &[], false)), expected, "{number}");
    }
    let seen = snapshot([(NIC, function(NIC, "-", 1))]);
    assert_eq!(ask(&seen, &Drift::Unbound, &[], true), Verdict::Free, "the module comes first");
}

#[test]
fn a_group_is_shared_with_whoever_is_undeclared_and_on_a_host_driver() {
    for (driver, expected) in [
        ("-", None),
        ("vfio-pci", None),
        ("pci-stub", None),
        ("pcieport", None),
        ("e1000e", Some(Guard::GroupShared)),
        ("snd_hda_intel", Some(Guard::GroupShared)),
    ] {
        let mut nic = function(NIC, "e1000e", 1);
        nic.look = Some(look().into());
        let seen = snapshot([(NIC, nic), (OTHER, function(OTHER, driver, 1))]);
        assert_eq!(guard_of(ask(&seen, &on_host(), &[], false)), expected, "{driver}");
    }
    // All are named at once: nobody should have to come back for the next one.
    let third = "0000:01:00.2";
    let mut nic = function(NIC, "e1000e", 1);
    nic.look = Some(look().into());
    let drivers = [(OTHER, function(OTHER, "snd_hda_intel", 1)), (third, function(third, "xhci_hcd", 1))];
    let seen = snapshot(drivers.into_iter().chain([(NIC, nic)]));
    let reason = "0000:01:00.1 shares group 1, is on snd_hda_intel and is not declared; declare it too, or unbind it \
                  (in the way as well: 0000:01:00.2 on xhci_hcd)";
    assert_eq!(ask(&seen, &on_host(), &[], false), Verdict::Held(Guard::GroupShared, reason.to_owned()));
    let mut seen = with_look(|_, _| {});
    seen.groups.get_mut(&1).unwrap().others.insert("LNXSYBUS:00".to_owned());
    assert_eq!(guard_of(ask(&seen, &on_host(), &[], false)), Some(Guard::GroupShared));
}
