//! The simulation itself, where the traces do not reach: steps, faults, snapshots, races.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::str::FromStr;

use nix::errno::Errno;

use super::faults::About;
use super::kernel::{Iommu, Writer};
use super::machine::lab;
use super::modprobe::Flags;
use super::*;
use crate::model::module::ModuleState;
use crate::model::pci::{Address, Driver, Module};
use crate::model::plan::{Outcome, Step, Target};
use crate::model::snapshot::Fact;
use crate::model::time::Time;

const NIC: &str = "0000:00:03.0";
const BOTH: [Version; 2] = [Version::V6_1, Version::V6_12];

fn x<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn target(kernel: &Kernel, address: &str) -> Target {
    Target { address: x(address), object: kernel.object(x(address)).unwrap() }
}

fn vm() -> Process {
    Process::new(4242, "qemu", 64055)
}

/// The steps that bring a function from its host driver to vfio-pci.
fn steps(kernel: &Kernel, address: &str) -> Vec<Step> {
    let target = target(kernel, address);
    let driver: Driver = kernel.driver(x(address)).unwrap().clone();
    vec![
        Step::LoadModule { module: x("vfio_pci"), ignore_install: false, binds: vec![] },
        Step::Pin { target, driver: Some(driver.clone()), pin: Driver::vfio_pci() },
        Step::Unbind { target, driver, allow: BTreeSet::new() },
        Step::Probe { target, driver: Driver::vfio_pci() },
    ]
}

fn bound(version: Version) -> Kernel {
    let mut kernel = lab(version);
    for step in steps(&kernel, NIC) {
        assert_eq!(kernel.perform(&step), Performed::Done(Outcome::Changed), "{step}");
    }
    kernel.take_uevents();
    kernel
}

fn stale(performed: Performed) -> String {
    match performed {
        Performed::Done(Outcome::Stale { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plan_brings_a_nic_to_vfio_and_a_second_run_finds_nothing_to_do() {
    for version in BOTH {
        let mut kernel = lab(version);
        let steps = steps(&kernel, NIC);
        for step in &steps {
            assert_eq!(kernel.perform(step), Performed::Done(Outcome::Changed), "{step}");
        }
        assert_eq!(kernel.driver(x(NIC)), Some(&Driver::vfio_pci()));
        assert!(kernel.node(x(NIC)));
        assert_eq!(kernel.perform(&steps[0]), Performed::Done(Outcome::AlreadySo));
        assert_eq!(kernel.perform(&steps[3]), Performed::Done(Outcome::AlreadySo));
        assert_eq!(kernel.written_by_plan(), BTreeSet::from([x(NIC)]));
        assert_eq!(kernel.modprobes(Writer::Plan), 1);
    }
}

#[test]
fn a_step_meant_for_another_device_object_writes_nothing() {
    let mut kernel = lab(Version::V6_12);
    let steps = steps(&kernel, NIC);
    kernel.remove(x(NIC));
    kernel.rescan();
    for step in &steps[1..] {
        assert!(stale(kernel.perform(step)).contains("another device"));
    }
    assert_eq!(kernel.writes(Writer::Plan, x(NIC)), 0);
}

#[test]
fn an_unbind_looks_once_more_and_leaves_what_is_in_use() {
    let uses = [Use::Network("default route via eth0".to_owned()), Use::Storage("mounted at /srv".to_owned())];
    for what in uses {
        let mut kernel = lab(Version::V6_1);
        let steps = steps(&kernel, NIC);
        kernel.set_use(x(NIC), what.clone());
        stale(kernel.perform(&steps[2]));
        assert_eq!(kernel.driver(x(NIC)), Some(&x("e1000e")), "{what:?}");
    }
    let mut kernel = lab(Version::V6_1);
    let steps = steps(&kernel, NIC);
    kernel.open_node(x(NIC), "/dev/ptp0", &Process::new(7, "ptp4l", 0));
    assert!(stale(kernel.perform(&steps[2])).contains("ptp4l[7] has /dev/ptp0 open"));
    kernel.break_it(Fault::Unreadable(x(NIC), About::Holders));
    kernel.exit(&Process::new(7, "ptp4l", 0));
    stale(kernel.perform(&steps[2]));
    assert_eq!(kernel.writes(Writer::Plan, x(NIC)), 0);
}

#[test]
fn a_load_binds_what_is_pinned_and_modprobe_r_lets_go_of_it() {
    for version in BOTH {
        let mut kernel = bound(version);
        assert_eq!(kernel.modprobe_r(&x("vfio_pci")), Answer::Exit(0));
        assert_eq!(kernel.driver(x(NIC)), None);
        assert!(!kernel.node(x(NIC)));
        let left = kernel
            .snapshot(&everything(), Time::BOOT)
            .modules
            .into_iter()
            .filter(|(_, m)| m.state == ModuleState::Live);
        let left: Vec<_> = left.map(|(m, _)| m.to_string()).collect();
        match version {
            Version::V6_1 => assert_eq!(left, ["vfio", "vfio_iommu_type1", "vfio_virqfd"]),
            Version::V6_12 => assert_eq!(left, ["vfio", "vfio_iommu_type1"]),
        }
        let Fact::Is(pinned) = kernel.snapshot(&everything(), Time::BOOT).pinned else { panic!() };
        assert_eq!(pinned.keys().map(Address::to_string).collect::<Vec<_>>(), [NIC]);
        kernel.take_uevents();
        kernel.modprobe(&x("vfio_pci"), Flags::default());
        let events: Vec<_> = kernel.take_uevents().iter().map(ToString::to_string).collect();
        assert_eq!(events, ["add module vfio_pci_core", "bind 0000:00:03.0 vfio-pci", "add module vfio_pci"]);
    }
}

/// Everything there is to see.
fn everything() -> Scope {
    let modules = ["vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "vfio_virqfd"];
    Scope { modules: modules.iter().map(|m| x(m)).collect(), pinned: true, ..Scope::default() }
}

#[test]
fn a_reload_while_an_outsider_unloads_makes_his_command_fail() {
    let mut kernel = bound(Version::V6_1);
    let Answer::Blocks(outsider) = kernel.modprobe_r_slowly(&x("vfio_pci")) else { panic!() };
    assert_eq!(kernel.modprobe(&x("vfio_pci"), Flags::default()), Answer::Exit(0));
    assert_eq!(kernel.advance(outsider), Answer::Exit(1));
    assert!(kernel.is_live(&x("vfio_pci_core")));
}

#[test]
fn a_device_being_released_looks_like_drift_and_reads_differ_by_kernel() {
    for version in BOTH {
        let mut kernel = bound(version);
        assert_eq!(kernel.open(x(NIC), &vm()), Answer::Ok);
        let Answer::Blocks(job) = kernel.unbind(x(NIC), &Driver::vfio_pci()) else { panic!() };
        let mut scope = Scope { look: BTreeSet::from([x(NIC)]), ..Scope::default() };
        let snapshot = kernel.observe(&scope, Time(5));
        let function = &snapshot.functions[&x(NIC)];
        assert!(function.driver.is_absent());
        assert_eq!(snapshot.groups[function.group.is().unwrap()].node, Fact::Is(()));
        let look = function.look.as_ref().unwrap();
        assert_eq!(look.uevent_driver.is().is_some(), version == Version::V6_12);
        assert_eq!(look.pin.is().is_some(), version == Version::V6_12);
        assert_eq!(look.holders.is().unwrap()[0].comm, "qemu");
        let probe = Step::Probe { target: target(&kernel, NIC), driver: Driver::vfio_pci() };
        match version {
            // The actor sleeps on reading what it has to read before it writes.
            Version::V6_1 => assert!(matches!(kernel.perform(&probe), Performed::Blocks(_))),
            Version::V6_12 => assert!(stale(kernel.perform(&probe)).contains("being released")),
        }
        assert_eq!(kernel.writes(Writer::Plan, x(NIC)), 3);
        kernel.exit(&vm());
        assert_eq!(kernel.job(job), Answer::Ok);
        assert!(!kernel.node(x(NIC)));
        scope.look.clear();
        assert_eq!(kernel.observe(&scope, Time(6)).functions.len(), 0);
    }
}

#[test]
fn a_write_that_blocks_is_finished_once_it_is_told() {
    let mut kernel = lab(Version::V6_12);
    let steps = steps(&kernel, NIC);
    kernel.break_it(Fault::RemoveHangs(x(NIC)));
    let Performed::Blocks(job) = kernel.perform(&steps[2]) else { panic!() };
    assert_eq!(kernel.driver(x(NIC)), None);
    assert_eq!(kernel.finish(job, &steps[2]), Performed::Blocks(job));
    kernel.mend(&Fault::RemoveHangs(x(NIC)));
    assert_eq!(kernel.finish(job, &steps[2]), Performed::Done(Outcome::Changed));

    kernel.break_it(Fault::LoadHangs(x("vfio_pci")));
    let Performed::Blocks(job) = kernel.perform(&steps[0]) else { panic!() };
    assert_eq!(kernel.module_facts(&x("vfio_pci"), false).state, ModuleState::Loading);
    kernel.mend(&Fault::LoadHangs(x("vfio_pci")));
    assert_eq!(kernel.finish(job, &steps[0]), Performed::Done(Outcome::Changed));
}

#[test]
fn a_probe_that_does_nothing_is_told_apart_by_bind() {
    let mut kernel = lab(Version::V6_12);
    let steps = steps(&kernel, NIC);
    kernel.break_it(Fault::ProbeFails(x(NIC), Errno::EIO as i32));
    for step in &steps[..3] {
        kernel.perform(step);
    }
    let outcome = kernel.perform(&steps[3]).outcome().unwrap();
    assert_eq!(outcome, Outcome::Refused { why: "0000:00:03.0: bind to vfio-pci: EIO".to_owned() });
}

#[test]
fn each_prohibition_of_a_module_has_its_state_and_its_exit_status() {
    let module: Module = x("vfio_pci");
    let state = |kernel: &Kernel| kernel.module_facts(&module, false).state;
    let mut kernel = Kernel::new(Version::V6_12);
    assert_eq!(state(&kernel), ModuleState::Absent);
    assert_eq!(kernel.module_facts(&x("vfio_virqfd"), false).state, ModuleState::NotApplicable);
    kernel.set_rule(&module, Some(Rule::Refuse));
    assert_eq!(
        (state(&kernel), kernel.modprobe(&module, Flags::default())),
        (ModuleState::Prohibited, Answer::Exit(1))
    );
    kernel.set_rule(&module, None);
    kernel.set_modules_disabled(true);
    assert_eq!(
        (state(&kernel), kernel.modprobe(&module, Flags::default())),
        (ModuleState::Prohibited, Answer::Exit(1))
    );
    kernel.set_modules_disabled(false);
    kernel.set_tree_missing(true);
    assert_eq!(
        (state(&kernel), kernel.modprobe(&module, Flags::default())),
        (ModuleState::TreeMissing, Answer::Exit(1))
    );
    kernel.set_tree_missing(false);
    kernel.set_rule(&module, Some(Rule::Blacklist));
    assert_eq!(state(&kernel), ModuleState::Prohibited);
    assert_eq!(kernel.module_facts(&module, true).state, ModuleState::Absent);
    assert_eq!(kernel.modprobe(&module, Flags { blacklist: true, ignore_install: false }), Answer::Exit(0));
    assert!(!kernel.is_live(&module));
    assert_eq!(kernel.modprobe(&module, Flags::default()), Answer::Exit(0));
    assert!(kernel.is_live(&module));
}

#[test]
fn without_an_iommu_a_bind_is_refused_and_a_probe_says_nothing() {
    let mut kernel = Kernel::new(Version::V6_1).with_iommu(Iommu::Off);
    kernel.add_device(Spec::new(x(NIC), x("8086:10d3"), 0x02_0000).native(x("e1000e")));
    kernel.modprobe(&x("vfio_pci"), Flags::default());
    kernel.unbind(x(NIC), &x("e1000e"));
    kernel.write_override(x(NIC), Some(Driver::vfio_pci()));
    assert_eq!(kernel.drivers_probe(x(NIC)), Answer::Ok);
    assert_eq!(kernel.bind(x(NIC), &Driver::vfio_pci()), Answer::No(Errno::EINVAL));
}

#[test]
fn a_remembered_override_belongs_to_one_device_object() {
    let mut kernel = bound(Version::V6_12);
    let mut scope = Scope { functions: BTreeSet::from([x(NIC)]), ..Scope::default() };
    let pin = |kernel: &mut Kernel, scope: &Scope| kernel.observe(scope, Time::BOOT).functions[&x(NIC)].pin.clone();
    assert!(pin(&mut kernel, &scope).unreadable().is_some());
    scope.pins.insert(x(NIC));
    assert_eq!(pin(&mut kernel, &scope), Fact::Is(Driver::vfio_pci()));
    scope.pins.clear();
    kernel.write_override(x(NIC), None);
    assert_eq!(pin(&mut kernel, &scope), Fact::Is(Driver::vfio_pci()));
    kernel.remove(x(NIC));
    kernel.rescan();
    assert!(pin(&mut kernel, &scope).unreadable().is_some());
}

#[test]
fn a_pinned_undeclared_function_and_its_whole_group_are_in_the_snapshot() {
    let mut kernel = lab(Version::V6_12);
    kernel.unbind(x("0000:04:01.0"), &x("e1000"));
    kernel.write_override(x("0000:04:01.0"), Some(Driver::vfio_pci()));
    let snapshot = kernel.snapshot(&everything(), Time::BOOT);
    let seen: Vec<_> = snapshot.functions.keys().map(Address::to_string).collect();
    assert_eq!(seen, ["0000:03:00.0", "0000:04:01.0", "0000:04:02.0"]);
    assert_eq!(snapshot.functions[&x("0000:04:02.0")].card.path.to_string(), "0000:00:07.0/00.0/02.0");
    assert_eq!(snapshot.functions[&x("0000:04:01.0")].pin, Fact::not_looked());
}
