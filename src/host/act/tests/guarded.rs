//! The second look before an unbind.

use super::sim::*;
use crate::model::plan::{Guard, Outcome};
use crate::model::snapshot::{Fact, Holder, Look};

#[test]
fn the_second_look_holds_a_device_that_somebody_uses() {
    type Change = fn(&mut Look);
    let cases: [(&str, Change); 14] = [
        ("in-use: qemu[7] has /dev/vfio/15 open", |look| {
            let (comm, node) = ("qemu".to_owned(), "/dev/vfio/15".to_owned());
            look.holders = Fact::Is(vec![Holder { pid: 7, comm, unit: String::new(), uid: 64055, node }]);
        }),
        ("in-use: mstflint[8] has /proc/bus/pci/03/00.0 open", |look| {
            let (comm, node) = ("mstflint".to_owned(), "/proc/bus/pci/03/00.0".to_owned());
            look.raw = Fact::Is(vec![Holder { pid: 8, comm, unit: String::new(), uid: 0, node }]);
        }),
        ("mediated-devices: its driver carries the mediated device x", |look| {
            look.mediated = Fact::Is(vec!["x".to_owned()]);
        }),
        ("unreadable: files: x", |look| look.raw = Fact::Unreadable("x".to_owned())),
        ("unreadable: mediated devices: x", |look| look.mediated = Fact::Unreadable("x".to_owned())),
        ("unreadable: holders: EACCES", |look| look.holders = Fact::Unreadable("EACCES".to_owned())),
        ("unreadable: network: x", |look| look.network = Fact::Unreadable("x".to_owned())),
        ("unreadable: storage: x", |look| look.storage = Fact::Unreadable("x".to_owned())),
        ("unreadable: VFs: x", |look| look.vfs = Fact::Unreadable("x".to_owned())),
        ("carries-route: default", |look| look.network = Fact::Is(vec!["default".to_owned()])),
        ("mounted-disk: /", |look| look.storage = Fact::Is(vec!["/".to_owned()])),
        ("sriov-pf-with-vfs: 4 VFs", |look| look.vfs = Fact::Is(4)),
        ("being-released", |look| look.uevent_driver = Fact::Absent),
        ("another device object", |look| look.object += 1),
    ];
    for (words, change) in cases {
        let sim = Sim::new(Some("e1000"), "vfio-pci");
        change(&mut sim.look.borrow_mut());
        assert_stale(&sim, &sim.act(vec![unbind(&sim, &[])]), words);
    }
}

#[test]
fn what_the_entry_allows_is_lifted_and_nothing_else() {
    let all = [Guard::CarriesRoute, Guard::MountedDisk, Guard::InUse, Guard::SriovPfWithVfs, Guard::Unreadable];
    let sim = Sim::new(Some("e1000"), "vfio-pci");
    sim.look.borrow_mut().network = Fact::Is(vec!["default".to_owned()]);
    sim.look.borrow_mut().storage = Fact::Is(vec!["/".to_owned()]);
    assert_eq!(sim.act(vec![unbind(&sim, &all)]), [(0, DONE)]);
    let sim = Sim::new(Some("e1000"), "vfio-pci");
    sim.look.borrow_mut().vfs = Fact::Is(1);
    assert_stale(&sim, &sim.act(vec![unbind(&sim, &all)]), "sriov-pf-with-vfs");
    sim.look.borrow_mut().network = Fact::Unreadable("x".to_owned());
    assert_stale(&sim, &sim.act(vec![unbind(&sim, &all)]), "unreadable");
}

#[test]
fn a_driver_that_leaves_during_the_second_look_ends_the_step() {
    let sim = Sim::new(Some("e1000"), "vfio-pci");
    *sim.meanwhile.borrow_mut() = Some(Box::new(Sim::unlink));
    assert_stale(&sim, &sim.act(vec![unbind(&sim, &[])]), "is without a driver");
}

#[test]
fn a_look_that_took_beyond_the_deadline_is_followed_by_no_write() {
    let sim = Sim::new(Some("e1000"), "vfio-pci");
    *sim.meanwhile.borrow_mut() = Some(Box::new(|sim| sim.clock.set(DEADLINE.0 + 1)));
    assert_eq!(sim.act(vec![unbind(&sim, &[]), probe(&sim)]), [(0, Outcome::Stalled)]);
    assert_eq!(sim.writes(), []);
}

#[test]
fn a_device_without_a_driver_that_a_program_works_on_is_not_given_one() {
    let (comm, node) = ("spdk".to_owned(), "/sys/devices/pci0000:00/0000:01:00.0/resource0".to_owned());
    let holder = Holder { pid: 9, comm, unit: String::new(), uid: 0, node };
    for (words, raw) in [
        ("in-use: spdk[9] has /sys/devices/pci0000:00/0000:01:00.0/resource0 open", Fact::Is(vec![holder])),
        ("unreadable: files: x", Fact::Unreadable("x".to_owned())),
    ] {
        let sim = Sim::new(None, "");
        sim.look.borrow_mut().raw = raw;
        // Nor is it pinned.
        let outcomes = sim.act(vec![pin(&sim, None), probe(&sim)]);
        assert!(matches!(outcomes.as_slice(), [(1, Outcome::Stale { why })] if why.contains(words)), "{outcomes:?}");
        assert_eq!(sim.writes(), []);
    }
}
