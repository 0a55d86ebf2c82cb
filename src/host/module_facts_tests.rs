//! Tables of evidence and the state each gives.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::host::kernel_policy::Cmdline;
use crate::host::module_tree::dependencies;
use ModuleState::{Absent, Builtin, Live, Loading, NotApplicable, NotInstalled, Prohibited, TreeMissing, Unloading};

/// Debian 12, kernel 6.1.
const DEP_6_1: &str = "\
kernel/drivers/vfio/pci/vfio-pci.ko: kernel/drivers/vfio/pci/vfio-pci-core.ko kernel/drivers/vfio/vfio_virqfd.ko kernel/drivers/vfio/vfio.ko kernel/virt/lib/irqbypass.ko
kernel/drivers/vfio/pci/vfio-pci-core.ko: kernel/drivers/vfio/vfio_virqfd.ko kernel/drivers/vfio/vfio.ko kernel/virt/lib/irqbypass.ko
kernel/drivers/vfio/vfio_iommu_type1.ko: kernel/drivers/vfio/vfio.ko
kernel/drivers/vfio/vfio.ko:";
/// Before 5.15, and without CONFIG_VFIO_CONTAINER.
const DEP_OLD: &str = "kernel/drivers/vfio/pci/vfio-pci.ko: kernel/drivers/vfio/vfio.ko\nkernel/drivers/vfio/vfio.ko:";
const LIVE: &str = " 16384 0 - Live 0x0\n";

fn module(name: &str) -> Module {
    name.parse().unwrap()
}

fn tree(dep: &str, builtin: &[&str]) -> ModuleTree {
    ModuleTree {
        place: Place::At("/lib/modules/6.1.0".to_owned()),
        files: dep.lines().filter_map(|line| dependencies(line, |_| true)).collect(),
        builtin: builtin.iter().map(|name| module(name)).collect::<BTreeSet<_>>(),
        variants: Arc::default(),
    }
}

fn missing() -> ModuleTree {
    ModuleTree { place: Place::Missing("6.1.0".to_owned()), ..tree("", &[]) }
}

fn forbidding(cmdline: &str, rules: &str) -> KernelPolicy {
    let mut kernel = KernelPolicy { cmdline: Cmdline::parse(cmdline), ..KernelPolicy::default() };
    kernel.rules.add("/etc/modprobe.d/x.conf", rules);
    kernel
}

struct Case {
    loaded: Result<ProcModules, String>,
    tree: ModuleTree,
    kernel: KernelPolicy,
    witnesses: Witnesses,
}

fn case(loaded: &str, tree: ModuleTree) -> Case {
    Case {
        loaded: Ok(ProcModules::parse(loaded)),
        tree,
        kernel: KernelPolicy::default(),
        witnesses: Witnesses::default(),
    }
}

impl Case {
    fn ask(&self, name: &str, asked: Asked) -> ModuleFacts {
        let Case { loaded, tree, kernel, witnesses } = self;
        facts(&module(name), asked, &Evidence { loaded, tree, kernel, witnesses, stamp: 7 }, false)
    }
}

#[test]
fn a_loaded_module_is_what_proc_modules_says_whatever_forbids_it() {
    for (line, expected) in [
        ("vfio_pci 1 2 a,b, Live 0x0", Live),
        ("vfio_pci 1 2 a,b, Loading 0x0", Loading),
        // Nobody uses it any more.
        ("vfio_pci 1 -1 a,b, Unloading 0x0", Unloading),
    ] {
        let mut case = case(line, tree(DEP_6_1, &[]));
        case.kernel = forbidding("module_blacklist=vfio_pci", "");
        let facts = case.ask("vfio_pci", Asked::Auto);
        let count = if expected == Unloading { 0 } else { 2 };
        assert_eq!((facts.state, facts.refcount), (expected, Some(count)), "{line}");
        assert_eq!(facts.used_by, [module("a"), module("b")]);
        assert_eq!(facts.needs, ["vfio_pci_core", "vfio_virqfd", "vfio", "irqbypass"].map(module));
        assert_eq!(facts.stamp, 7);
    }
}

#[test]
fn a_line_that_makes_no_sense_is_not_taken_for_an_absent_module() {
    let facts = case("vfio_pci 1 2 a,b, Frozen 0x0", tree(DEP_6_1, &[])).ask("vfio_pci", Asked::Auto);
    let why = "/proc/modules has a line \"vfio_pci 1 2 a,b, Frozen 0x0\"";
    assert_eq!((facts.state, facts.evidence.as_str()), (ModuleState::Unreadable, why));
}

#[test]
fn what_is_not_loaded_is_told_apart_by_the_tree() {
    use Asked::{Auto, Listed};
    for (dep, builtin, name, asked, expected) in [
        (DEP_6_1, &[][..], "vfio_pci", Auto, Absent),
        (DEP_6_1, &[], "vfio_virqfd", Auto, NotApplicable),
        ("", &["vfio_pci", "vfio"], "vfio_pci", Auto, Builtin),
        ("", &[], "vfio_pci", Auto, NotInstalled),
        (DEP_OLD, &[], "vfio_pci_core", Auto, NotApplicable),
        (DEP_OLD, &[], "vfio_pci_core", Listed, NotInstalled),
        (DEP_OLD, &[], "vfio_iommu_type1", Auto, NotApplicable),
        (DEP_OLD, &[], "vfio_iommu_type1", Listed, NotInstalled),
        (DEP_OLD, &[], "mlx5_vfio_pci", Auto, NotInstalled),
    ] {
        let facts = case("kvm 1 0 - Live 0x0\n", tree(dep, builtin)).ask(name, asked);
        assert_eq!(facts.state, expected, "{name} {asked:?}: {}", facts.evidence);
    }
}

#[test]
fn without_a_tree_only_a_witness_makes_a_module_builtin() {
    let mut case = case("", missing());
    let facts = case.ask("vfio_pci", Asked::Auto);
    assert_eq!(facts.state, TreeMissing);
    assert_eq!(facts.evidence, "/lib/modules/6.1.0/modules.dep is not there: reboot into an installed kernel");
    case.witnesses.builtin.insert(module("vfio_pci"), "/sys/bus/pci/drivers/vfio-pci".to_owned());
    let facts = case.ask("vfio_pci", Asked::Auto);
    assert_eq!(
        (facts.state, facts.evidence.as_str()),
        (Builtin, "/sys/bus/pci/drivers/vfio-pci is there, and no module")
    );
}

#[test]
fn a_listed_type1_is_not_applicable_where_something_else_serves_the_container() {
    let mut case = case("", tree(DEP_OLD, &[]));
    case.witnesses.container = true;
    assert_eq!(case.ask("vfio_iommu_type1", Asked::Listed).state, NotApplicable);
}

#[test]
fn what_forbids_a_module_is_named_also_when_it_is_what_it_needs() {
    for (loaded, cmdline, rules, expected, evidence) in [
        ("", "", "blacklist vfio-pci", Prohibited, "/etc/modprobe.d/x.conf:1: blacklist vfio_pci"),
        (
            "",
            "",
            "install vfio /bin/false",
            Prohibited,
            "needs vfio; /etc/modprobe.d/x.conf:1: install vfio /bin/false",
        ),
        ("vfio", "", "install vfio /bin/false", Absent, ""),
        (
            "",
            "module_blacklist=irqbypass",
            "",
            Prohibited,
            "needs irqbypass; /proc/cmdline: module_blacklist=irqbypass",
        ),
        ("", "", "install vfio-pci /bin/true; modprobe -i vfio-pci", Absent, ""),
    ] {
        let loaded = if loaded.is_empty() { String::new() } else { format!("{loaded}{LIVE}") };
        let mut case = case(&loaded, tree(DEP_6_1, &[]));
        case.kernel = forbidding(cmdline, rules);
        let facts = case.ask("vfio_pci", Asked::Auto);
        assert_eq!((facts.state, facts.evidence.as_str()), (expected, evidence), "{cmdline} {rules}");
    }
}

#[test]
fn an_install_rule_that_does_not_forbid_is_shown() {
    let mut case = case("", tree(DEP_6_1, &[]));
    case.kernel = forbidding("", "install vfio-pci /srv/script");
    let facts = case.ask("vfio_pci", Asked::Auto);
    assert_eq!((facts.state, facts.install_rule.as_deref()), (Absent, Some("/etc/modprobe.d/x.conf:1: /srv/script")));
}

#[test]
fn what_could_not_be_read_is_unreadable_and_never_absent() {
    let mut case = case("", tree(DEP_6_1, &[]));
    case.kernel.trouble = Some("read /proc/cmdline: permission denied".to_owned());
    assert_eq!(case.ask("vfio_pci", Asked::Auto).state, ModuleState::Unreadable);
    case.loaded = Err("read /proc/modules: permission denied".to_owned());
    assert_eq!(case.ask("vfio_pci", Asked::Auto).evidence, "read /proc/modules: permission denied");
    case.loaded = Ok(ProcModules::default());
    assert_eq!(case.ask("vfio_pci", Asked::Auto).state, NotInstalled);
    case.loaded = Ok(ProcModules::parse(""));
    case.tree = ModuleTree { place: Place::Unreadable("read x: denied".to_owned()), ..tree("", &[]) };
    assert_eq!(case.ask("vfio_pci", Asked::Auto).state, ModuleState::Unreadable);
}

#[test]
fn lockdown_is_a_note_and_no_prohibition() {
    let mut case = case("", tree(DEP_6_1, &[]));
    case.kernel.lockdown = Some("integrity".to_owned());
    let facts = case.ask("vfio_pci", Asked::Auto);
    assert_eq!((facts.state, facts.evidence.as_str()), (Absent, "lockdown is integrity: the module must be signed"));
}

#[test]
fn the_required_set_is_closed_over_what_modules_need() {
    let mut required = VFIO.map(|name| (module(name), Asked::Auto)).into_iter().collect();
    close(&mut required, &tree(DEP_6_1, &[]));
    let names: Vec<&str> = required.keys().map(Module::as_str).collect();
    assert_eq!(names, ["irqbypass", "vfio", "vfio_iommu_type1", "vfio_pci", "vfio_pci_core", "vfio_virqfd"]);
}
