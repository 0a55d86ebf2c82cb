//! Pin, unbind and probe.

use std::collections::BTreeSet;

use nix::errno::Errno;

use super::sim::*;
use crate::model::plan::{Outcome, Step};

#[test]
fn a_device_without_a_driver_is_pinned_and_probed() {
    let sim = Sim::new(None, "(null)");
    assert_eq!(sim.act(vec![pin(&sim, None), probe(&sim)]), [(0, DONE), (1, DONE)]);
    assert_eq!(sim.writes(), wrote(&[(OVERRIDE, "vfio-pci"), (PROBE, ADDRESS)]));
}

#[test]
fn a_device_on_its_host_driver_is_pinned_before_it_is_unbound() {
    let sim = Sim::new(Some("e1000"), "(null)");
    let steps = vec![pin(&sim, Some("e1000")), unbind(&sim, &[]), probe(&sim)];
    assert_eq!(sim.act(steps), [(0, DONE), (1, DONE), (2, DONE)]);
    assert_eq!(sim.writes(), wrote(&[(OVERRIDE, "vfio-pci"), (UNBIND, ADDRESS), (PROBE, ADDRESS)]));
}

#[test]
fn a_device_stays_on_its_driver_when_the_other_one_does_not_exist() {
    let sim = Sim::new(Some("e1000"), "(null)");
    let (driver, pin) = (Some("e1000".parse().unwrap()), "vfio_pci".parse().unwrap());
    let pinned = Step::Pin { target: sim.target(), driver, pin };
    let probed = Step::Probe { target: sim.target(), driver: "vfio_pci".parse().unwrap() };
    let told = sim.act(vec![pinned, unbind(&sim, &[]), probed]);
    assert!(matches!(&told[..], [(2, Outcome::Refused { why })] if why.contains("no such driver")), "{told:?}");
    assert_eq!(sim.writes(), []);
}

#[test]
fn a_wrong_override_is_written_over_and_nothing_else_is_touched() {
    let sim = Sim::new(Some("vfio-pci"), "pci-stub");
    assert_eq!(sim.act(vec![pin(&sim, Some("vfio-pci"))]), [(0, DONE)]);
    assert_eq!(sim.writes(), wrote(&[(OVERRIDE, "vfio-pci")]));
}

#[test]
fn what_is_so_already_is_not_written() {
    let sim = Sim::new(Some("vfio-pci"), "vfio-pci");
    let told = sim.act(vec![pin(&sim, Some("vfio-pci")), probe(&sim)]);
    assert_eq!(told, [(0, Outcome::AlreadySo), (1, Outcome::AlreadySo)]);
    assert_eq!(sim.writes(), []);
}

#[test]
fn another_device_object_at_the_address_is_left_alone() {
    for step in [0, 1, 2, 3] {
        let sim = Sim::new(if step == 1 { Some("e1000") } else { None }, "vfio-pci");
        let mut target = sim.target();
        target.object += 1;
        let driver = "vfio-pci".parse().unwrap();
        let step = match step {
            0 => Step::Pin { target, driver: None, pin: driver },
            1 => Step::Unbind { target, driver: "e1000".parse().unwrap(), allow: BTreeSet::new() },
            2 => Step::Probe { target, driver },
            _ => load(vec![target], false),
        };
        assert_stale(&sim, &sim.act(vec![step]), "another device object");
    }
}

#[test]
fn a_device_that_changed_its_driver_since_the_plan_is_left_alone() {
    let sim = Sim::new(Some("e1000"), "(null)");
    assert_stale(&sim, &sim.act(vec![pin(&sim, None)]), "is on e1000, was without a driver");
    assert_stale(&sim, &sim.act(vec![probe(&sim)]), "is on e1000");
    assert_stale(&sim, &sim.act(vec![load(vec![sim.target()], false)]), "is on e1000");
    let sim = Sim::new(None, "(null)");
    assert_stale(&sim, &sim.act(vec![unbind(&sim, &[])]), "is without a driver, was on e1000");
}

#[test]
fn a_device_being_released_is_neither_pinned_nor_probed_nor_loaded_for() {
    let sim = Sim::new(None, "vfio-pci");
    sim.put(&format!("{DEVICE}/uevent"), "DRIVER=vfio-pci\n");
    for step in [pin(&sim, None), probe(&sim), load(vec![sim.target()], false)] {
        assert_stale(&sim, &sim.act(vec![step]), "is being released from vfio-pci");
    }
}

#[test]
fn a_device_whose_override_was_cleared_is_not_probed() {
    let sim = Sim::new(None, "(null)");
    assert_stale(&sim, &sim.act(vec![probe(&sim)]), "driver_override is (null)");
}

#[test]
fn bind_tells_why_the_probe_did_not_take() {
    let cases = [
        (Errno::EBUSY, "(EBUSY): it is bound already"),
        (Errno::ENODEV, "(ENODEV): the driver does not take"),
        (Errno::EINVAL, "(EINVAL): it has no IOMMU group"),
        (Errno::EAGAIN, "(EAGAIN): probe deferred"),
        (Errno::ENOENT, "(ENOENT): there is no such driver"),
        (Errno::EROFS, "Read-only file system (EROFS)"),
    ];
    for (errno, words) in cases {
        let sim = Sim::new(None, "vfio-pci");
        sim.deaf.borrow_mut().insert(PROBE.to_owned());
        sim.refuses.borrow_mut().insert(BIND.to_owned(), errno);
        let (kind, why) = only(&sim.act(vec![probe(&sim)]));
        assert!(kind == 'r' && why.contains(words), "{kind}: {why}");
        assert_eq!(sim.writes(), wrote(&[(PROBE, ADDRESS), (BIND, ADDRESS)]));
    }
}

#[test]
fn a_refused_probe_is_no_failure_when_bind_takes_the_device() {
    let sim = Sim::new(None, "vfio-pci");
    sim.refuses.borrow_mut().insert(PROBE.to_owned(), Errno::EINVAL);
    assert_eq!(sim.act(vec![probe(&sim)]), [(0, DONE)]);
}

#[test]
fn what_is_read_back_counts_and_not_what_the_write_returned() {
    let sim = Sim::new(Some("e1000"), "(null)");
    sim.deaf.borrow_mut().extend([OVERRIDE, UNBIND, PROBE, BIND].map(str::to_owned));
    let (kind, why) = only(&sim.act(vec![pin(&sim, Some("e1000")), unbind(&sim, &[])]));
    assert!(kind == 'f' && why.contains("reads (null) after vfio-pci was written"), "{why}");
    let (kind, why) = only(&sim.act(vec![unbind(&sim, &[])]));
    assert!(kind == 'f' && why.contains("is on e1000 after"), "{why}");
    sim.unlink();
    sim.put(OVERRIDE, "vfio-pci\n");
    let (kind, why) = only(&sim.act(vec![probe(&sim)]));
    assert!(kind == 'f' && why.contains("is without a driver after it was probed"), "{why}");
}

#[test]
fn a_bound_device_without_a_node_has_failed_and_one_with_a_groups_node_has_not() {
    let sim = Sim::new(None, "e1000");
    let step = Step::Probe { target: sim.target(), driver: "e1000".parse().unwrap() };
    let (kind, why) = only(&sim.act(vec![step.clone()]));
    assert!(kind == 'f' && why.contains("no VFIO node"), "{why}");
    sim.unlink();
    sim.put("/dev/vfio/15", "");
    assert_eq!(sim.act(vec![step]), [(0, DONE)]);
}

#[test]
fn a_name_that_is_not_plain_is_never_written() {
    let sim = Sim::new(None, "(null)");
    let step = Step::Pin { target: sim.target(), driver: None, pin: "vfio pci".parse().unwrap() };
    assert_eq!(only(&sim.act(vec![step])).0, 'r');
    assert_eq!(sim.writes(), []);
}
