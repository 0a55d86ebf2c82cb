//! Unpin and give back.

use std::collections::BTreeSet;

use super::sim::*;
use crate::model::plan::{Outcome, Step};
use crate::model::snapshot::{Fact, Holder};

fn unpin(sim: &Sim, driver: Option<&str>) -> Step {
    Step::Unpin { target: sim.target(), driver: driver.map(|driver| driver.parse().unwrap()) }
}

fn unbind_vfio(sim: &Sim) -> Step {
    Step::Unbind { target: sim.target(), driver: "vfio-pci".parse().unwrap(), allow: BTreeSet::new() }
}

fn give(sim: &Sim) -> Step {
    Step::Return { target: sim.target(), driver: "e1000".parse().unwrap() }
}

#[test]
fn a_device_is_unpinned_before_it_is_unbound_and_given_back_last() {
    let sim = Sim::new(Some("vfio-pci"), "vfio-pci");
    let steps = vec![unpin(&sim, Some("vfio-pci")), unbind_vfio(&sim), give(&sim)];
    assert_eq!(sim.act(steps), [(0, DONE), (1, DONE), (2, DONE)]);
    assert_eq!(sim.writes(), wrote(&[(OVERRIDE, "\n"), (UNBIND_VFIO, ADDRESS), (PROBE, ADDRESS)]));
}

#[test]
fn a_device_that_somebody_has_open_is_not_even_unpinned() {
    let sim = Sim::new(Some("vfio-pci"), "vfio-pci");
    let holder = Holder { pid: 8, comm: "qemu".into(), unit: String::new(), uid: 107, node: "/dev/vfio/15".into() };
    sim.look.borrow_mut().holders = Fact::Is(vec![holder]);
    let told = sim.act(vec![unpin(&sim, Some("vfio-pci")), unbind_vfio(&sim), give(&sim)]);
    assert!(matches!(&told[..], [(1, Outcome::Stale { why })] if why.contains("qemu[8]")), "{told:?}");
    assert_eq!(sim.writes(), []);
}

#[test]
fn what_is_given_back_already_is_not_written() {
    let sim = Sim::new(Some("e1000"), "(null)");
    let told = sim.act(vec![unpin(&sim, Some("e1000")), give(&sim)]);
    assert_eq!(told, [(0, Outcome::AlreadySo), (1, Outcome::AlreadySo)]);
    assert_eq!(sim.writes(), []);
}

#[test]
fn a_device_that_somebody_has_pinned_meanwhile_is_not_given_to_him() {
    let sim = Sim::new(None, "vfio-pci");
    assert_stale(&sim, &sim.act(vec![give(&sim)]), "driver_override is vfio-pci");
}

#[test]
fn a_driver_that_does_not_take_it_back_and_an_override_that_stays_are_failures() {
    let sim = Sim::new(None, "(null)");
    sim.deaf.borrow_mut().extend([OVERRIDE, PROBE].map(str::to_owned));
    let (kind, why) = only(&sim.act(vec![give(&sim)]));
    assert!(kind == 'f' && why.contains("is without a driver after it was given back to e1000"), "{why}");
    sim.put(OVERRIDE, "vfio-pci\n");
    let (kind, why) = only(&sim.act(vec![unpin(&sim, None)]));
    assert!(kind == 'f' && why.contains("reads vfio-pci after it was cleared"), "{why}");
}
