//! Snapshots of fake machines.
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::tree::{Device, MODULES_DEP, NIC, RELEASE, Tree};
use vfiod::host::look::{ask::Ask, look};
use vfiod::host::observe::Observer;
use vfiod::host::port::{Closer, Scope};
use vfiod::host::root::Root;
use vfiod::model::desired::{Desired, Entry, Identity, Keep, Select, VfRange, Wanted};
use vfiod::model::keeper::Keeper;
use vfiod::model::memory::Memory;
use vfiod::model::module::ModuleState;
use vfiod::model::pci::{Address, Module};
use vfiod::model::policy::Policy;
use vfiod::model::snapshot::{Fact, Function, Snapshot};
use vfiod::model::time::Time;

static NOTHING: BTreeSet<Address> = BTreeSet::new();

fn scope<'a>(desired: &'a Desired, policy: &'a Policy, needs_vfio: bool) -> Scope<'a> {
    Scope { desired, policy, needs_vfio, besides: &NOTHING }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn module(text: &str) -> Module {
    text.parse().unwrap()
}

fn entry(select: Select) -> Entry {
    Entry {
        name: "it".to_owned(),
        select,
        identity: Identity::default(),
        driver: Wanted::Named("vfio-pci".parse().unwrap()),
        whole_group: false,
        allow: BTreeSet::new(),
    }
}

fn by_address(text: &str) -> Entry {
    entry(Select { address: Some(address(text)), ..Select::default() })
}

fn desired(entries: Vec<Entry>) -> Desired {
    Desired { modules: Keep::Auto, entries }
}

struct Look {
    observer: Observer,
    now: Time,
}

impl Look {
    fn at(tree: &Tree) -> Look {
        Look { observer: Observer::new(Root::trusted(tree.path())), now: Time::BOOT }
    }

    fn observe(&mut self, desired: &Desired) -> Snapshot {
        self.now = self.now + Duration::from_secs(5);
        self.observer.observe(scope(desired, &Policy::default(), false), self.now)
    }
}

fn observe(tree: &Tree, entries: Vec<Entry>) -> Snapshot {
    Look::at(tree).observe(&desired(entries))
}

fn addresses(snapshot: &Snapshot) -> Vec<String> {
    snapshot.functions.keys().map(ToString::to_string).collect()
}

fn function<'s>(snapshot: &'s Snapshot, text: &str) -> &'s Function {
    &snapshot.functions[&address(text)]
}

#[test]
fn a_declared_device_is_seen_with_its_card_links_and_group() {
    let tree = Tree::new();
    tree.add_device(Device { driver: Some("vfio-pci"), group: Some(0), ..NIC });
    tree.set_attribute(NIC.address, "boot_vga", "1\n");
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    let nic = function(&snapshot, NIC.address);
    assert_eq!(nic.driver, Fact::Is("vfio-pci".parse().unwrap()));
    assert_eq!(nic.group, Fact::Is(0));
    assert_eq!(nic.card.ids.to_string(), "8086:10d3");
    assert_eq!(nic.card.subsystem, Fact::Is("8086:0001".parse().unwrap()));
    assert_eq!(nic.card.path.to_string(), NIC.address);
    assert!(nic.card.boot_vga && !nic.card.bridge);
    assert!(nic.pin.unreadable().is_some() && nic.card.serial.unreadable().is_some());
    let group = &snapshot.groups[&0];
    assert_eq!((group.node.clone(), group.members.len()), (Fact::Is(()), 1));
    assert_eq!(snapshot.autoprobe, Fact::Is(true));
    assert!(snapshot.pinned.unreadable().is_some());
}

#[test]
fn an_absent_device_is_not_in_the_snapshot() {
    let tree = Tree::new();
    assert!(observe(&tree, vec![by_address(NIC.address)]).functions.is_empty());
}

#[test]
fn members_of_a_group_come_with_it_and_platform_devices_by_name() {
    let tree = Tree::new();
    tree.add_device(Device { group: Some(7), ..NIC });
    tree.add_device(Device { address: "0000:00:04.0", driver: Some("e1000e"), group: Some(7), ..NIC });
    tree.set("sys/kernel/iommu_groups/7/devices/fd800000.smmu", "");
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    assert_eq!(addresses(&snapshot), ["0000:00:03.0", "0000:00:04.0"]);
    assert_eq!(snapshot.groups[&7].others, BTreeSet::from(["fd800000.smmu".to_owned()]));
    assert_eq!(snapshot.groups[&7].node, Fact::Absent);
}

#[test]
fn what_is_on_vfio_is_seen_without_being_declared() {
    let tree = Tree::new();
    tree.module_file("modules.alias", "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n");
    tree.add_module_line("mlx5_vfio_pci 16384 0 - Live 0x0");
    tree.add_device(Device { driver: Some("vfio-pci"), group: Some(1), ..NIC });
    tree.add_device(Device { address: "0000:00:04.0", driver: Some("mlx5_vfio_pci"), group: Some(2), ..NIC });
    tree.add_device(Device { address: "0000:00:05.0", driver: Some("e1000e"), group: Some(3), ..NIC });
    let snapshot = observe(&tree, vec![]);
    assert_eq!(addresses(&snapshot), ["0000:00:03.0", "0000:00:04.0"]);
    assert_eq!(snapshot.variants.len(), 1);
    assert_eq!(snapshot.modules[&module("vfio_pci")].state, ModuleState::Live);
}

#[test]
fn a_slot_means_all_its_functions() {
    let tree = Tree::new();
    for (function, group) in [("0000:00:05.0", 5), ("0000:00:05.1", 6), ("0000:00:06.0", 7)] {
        tree.add_device(Device { address: function, group: Some(group), ..NIC });
    }
    let select = Select { slot: Some("0000:00:05".parse().unwrap()), ..Select::default() };
    assert_eq!(addresses(&observe(&tree, vec![entry(select)])), ["0000:00:05.0", "0000:00:05.1"]);
}

#[test]
fn a_bridge_path_leads_to_the_function_wherever_buses_are_numbered_and_never_to_a_vf() {
    let tree = Tree::new();
    tree.add_device(Device { address: "0000:00:1c.0", class: 0x06_04_00, ..NIC });
    tree.add_device(Device { address: "0000:03:00.0", below: Some("0000:00:1c.0"), ..NIC });
    tree.add_device(Device { address: "0000:03:01.0", below: Some("0000:00:1c.0"), ..NIC });
    tree.add_device(Device { address: "0000:04:00.0", below: Some("0000:00:1c.0"), ..NIC });
    tree.make_vf("0000:03:00.0", 0, "0000:04:00.0");
    let select = Select { path: Some("0000:00:1c.0/00.0".parse().unwrap()), ..Select::default() };
    let snapshot = observe(&tree, vec![entry(select)]);
    assert_eq!(addresses(&snapshot), ["0000:03:00.0"]);
    let card = &function(&snapshot, "0000:03:00.0").card;
    assert_eq!(card.path.to_string(), "0000:00:1c.0/00.0");
}

#[test]
fn a_bridge_that_cannot_be_listed_leaves_the_path_unclear_and_one_that_is_gone_does_not() {
    let tree = Tree::new();
    tree.add_device(Device { address: "0000:00:1c.0", class: 0x06_04_00, ..NIC });
    tree.add_device(Device { address: "0000:03:00.0", below: Some("0000:00:1c.0"), ..NIC });
    let path = "0000:00:1c.0/00.0".parse().unwrap();
    let select = || Select { path: Some("0000:00:1c.0/00.0".parse().unwrap()), ..Select::default() };
    assert!(observe(&tree, vec![entry(select())]).unclear_paths.is_empty());
    let bridge = tree.path().join("sys/bus/pci/devices/0000:00:1c.0");
    std::fs::remove_file(&bridge).unwrap();
    let gone = observe(&tree, vec![entry(select())]);
    assert!(gone.functions.is_empty() && gone.unclear_paths.is_empty());
    std::os::unix::fs::symlink("0000:00:1c.0", &bridge).unwrap();
    let snapshot = observe(&tree, vec![entry(select())]);
    assert!(snapshot.unclear_paths[&path].starts_with("list /sys/bus/pci/devices/0000:00:1c.0: "), "{snapshot:?}");
    // Nor is anything known to be absent where no device can be listed at all.
    let devices = tree.path().join("sys/bus/pci/devices");
    std::fs::remove_dir_all(&devices).unwrap();
    std::os::unix::fs::symlink("devices", &devices).unwrap();
    assert!(observe(&tree, vec![entry(select())]).unclear_paths.contains_key(&path));
}

#[test]
fn a_domain_of_five_digits_behind_vmd_is_reached_by_its_own_path() {
    let tree = Tree::new();
    tree.add_device(Device { address: "0000:00:0e.0", class: 0x01_04_00, ..NIC });
    tree.add_device(Device { address: "10000:e0:06.0", class: 0x06_04_00, ..NIC });
    tree.add_device(Device { address: "10000:e1:00.0", below: Some("10000:e0:06.0"), ..NIC });
    let select = Select { path: Some("10000:e0:06.0/00.0".parse().unwrap()), ..Select::default() };
    assert_eq!(addresses(&observe(&tree, vec![entry(select)])), ["10000:e1:00.0"]);
}

#[test]
fn virtual_functions_are_seen_as_they_come_and_go() {
    let tree = Tree::new();
    let (pf, vf) = ("0000:00:03.0", "0000:00:03.1");
    tree.add_device(NIC);
    tree.set_attribute(pf, "sriov_totalvfs", "8\n");
    let range = VfRange { pf: address(pf), first: 0, last: 3 };
    let desired = desired(vec![entry(Select { vf: Some(range), ..Select::default() })]);
    let mut look = Look::at(&tree);
    assert_eq!(addresses(&look.observe(&desired)), [pf]);
    tree.add_device(Device { address: vf, ..NIC });
    tree.make_vf(pf, 1, vf);
    let snapshot = look.observe(&desired);
    assert_eq!(addresses(&snapshot), [pf, vf]);
    assert_eq!(function(&snapshot, pf).vfs, BTreeMap::from([(1, address(vf))]));
    assert_eq!(function(&snapshot, vf).card.physfn, Some(address(pf)));
    tree.remove_vf(pf, 1, vf);
    let snapshot = look.observe(&desired);
    assert!(function(&snapshot, pf).vfs.is_empty());
}

#[test]
fn another_card_at_the_address_is_another_object() {
    let tree = Tree::new();
    tree.add_device(NIC);
    let desired = desired(vec![by_address(NIC.address)]);
    let mut look = Look::at(&tree);
    let before = look.observe(&desired);
    let same = look.observe(&desired);
    assert!(std::sync::Arc::ptr_eq(&function(&before, NIC.address).card, &function(&same, NIC.address).card));
    tree.remove_device(NIC.address);
    tree.add_device(Device { ids: "10de:2684", ..NIC });
    let after = look.observe(&desired);
    assert_eq!(function(&after, NIC.address).card.ids.to_string(), "10de:2684");
}

#[test]
fn a_remembered_pin_is_shown_for_its_object_only() {
    let tree = Tree::new();
    tree.add_device(NIC);
    let desired = desired(vec![by_address(NIC.address)]);
    let mut look = Look::at(&tree);
    let object = function(&look.observe(&desired), NIC.address).card.object;
    let pin = Fact::Is("vfio-pci".parse().unwrap());
    look.observer.remember_pins(BTreeMap::from([(address(NIC.address), (object, pin.clone()))]));
    assert_eq!(function(&look.observe(&desired), NIC.address).pin, pin);
    look.observer.remember_pins(BTreeMap::from([(address(NIC.address), (object + 1, pin))]));
    assert!(function(&look.observe(&desired), NIC.address).pin.unreadable().is_some());
}

#[test]
fn a_serial_number_is_asked_for_once_an_object_and_only_where_one_is_declared() {
    let tree = Tree::new();
    tree.add_device(NIC);
    let path = tree.path().join("sys/bus/pci/devices/0000:00:03.0/config");
    let mut config = vec![0_u8; 4096];
    config[0x100..0x10c].copy_from_slice(&[3, 0, 1, 0, 0x56, 0x34, 0x12, 0xff, 0xff, 0, 0x54, 0x52]);
    std::fs::write(&path, &config).unwrap();
    let nic = address(NIC.address);
    let mut declared = by_address(NIC.address);
    let serial = Fact::Is("52-54-00-ff-ff-12-34-56".to_owned());
    declared.identity.serial = serial.is().cloned();
    let mut look = Look::at(&tree);
    let asked = |look: &mut Look, entry: &Entry, all| {
        let desired = desired(vec![entry.clone()]);
        let snapshot = look.observe(&desired);
        let keeper = Keeper::new(desired, Policy::default(), Memory::default());
        let serials = keeper.unread_serials(&keeper.pass(&snapshot), all);
        (function(&snapshot, NIC.address).card.serial.clone(), Closer { serials, ..Closer::default() })
    };
    assert!(asked(&mut look, &by_address(NIC.address), true).1.is_empty());
    // Until it was read nobody knows which card it is.
    let (shown, closer) = asked(&mut look, &declared, false);
    assert!(shown.is_not_looked() && closer.serials == BTreeSet::from([nic]));
    let answer = |closer: &Closer| look::look(&Root::trusted(tree.path()), &Ask::of(closer, Duration::from_secs(5)));
    look.observer.take_in(answer(&closer));
    assert_eq!(asked(&mut look, &declared, true), (serial, Closer::default()));
    // After a reload, of another object, and where it could not be read at the interval.
    look.observer.forget();
    let (_, closer) = asked(&mut look, &declared, false);
    look.observer.take_silence(&closer, "no answer".to_owned());
    let (shown, never) = asked(&mut look, &declared, false);
    assert_eq!((shown.unreadable(), never), (Some("no answer"), Closer::default()));
    assert_eq!(asked(&mut look, &declared, true).1, closer);
    let late = answer(&closer);
    tree.remove_device(NIC.address);
    tree.add_device(NIC);
    assert_eq!(asked(&mut look, &declared, false).1, closer);
    look.observer.take_in(late);
    assert_eq!(asked(&mut look, &declared, false).1, closer);
}

#[test]
fn what_cannot_be_read_is_there_and_unreadable() {
    let tree = Tree::new();
    tree.add_device(Device { group: Some(1), ..NIC });
    tree.set_attribute(NIC.address, "vendor", "garbage\n");
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    let why = function(&snapshot, NIC.address).driver.unreadable().unwrap();
    assert_eq!(why, "read /sys/bus/pci/devices/0000:00:03.0/vendor: it makes no sense");
    tree.set_attribute(NIC.address, "vendor", "0x8086\n");
    std::fs::write(tree.path().join("sys/bus/pci/devices/0000:00:03.0/driver"), "").unwrap();
    tree.remove("sys/kernel/iommu_groups/1/devices");
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    let nic = function(&snapshot, NIC.address);
    assert!(nic.driver.unreadable().unwrap().starts_with("read link /sys/bus/pci/devices/0000:00:03.0/driver: "));
    assert!(nic.group.unreadable().unwrap().starts_with("list /sys/kernel/iommu_groups/1/devices: "));
}

#[test]
fn a_member_that_is_off_the_bus_and_still_in_the_group_makes_the_group_doubtful() {
    let tree = Tree::new();
    tree.add_device(Device { group: Some(7), ..NIC });
    tree.set("sys/kernel/iommu_groups/7/devices/0000:00:04.0", "");
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    let group = &function(&snapshot, NIC.address).group;
    assert_eq!(group.unreadable(), Some("group 7: 0000:00:04.0 is being removed"));
    assert_eq!(snapshot.groups[&7].members.len(), 1);
}

#[test]
fn modules_are_required_once_something_needs_them() {
    let tree = Tree::new();
    let mut observer = Observer::new(Root::trusted(tree.path()));
    let nothing = Desired::default();
    let policy = Policy::default();
    assert!(observer.observe(scope(&nothing, &policy, false), Time::BOOT).modules.is_empty());
    let names = |snapshot: &Snapshot| snapshot.modules.keys().map(ToString::to_string).collect::<Vec<_>>();
    let all = ["irqbypass", "vfio", "vfio_iommu_type1", "vfio_pci", "vfio_pci_core", "vfio_virqfd"];
    assert_eq!(names(&observer.observe(scope(&nothing, &policy, true), Time::BOOT)), all);
    let listed = Desired { modules: Keep::List(vec![module("vfio_pci"), module("kvmgt")]), entries: vec![] };
    let snapshot = observer.observe(scope(&listed, &policy, false), Time::BOOT);
    assert_eq!(snapshot.modules[&module("kvmgt")].state, ModuleState::NotInstalled);
    tree.add_device(NIC);
    let snapshot = observer.observe(scope(&desired(vec![by_address(NIC.address)]), &policy, false), Time::BOOT);
    assert_eq!(names(&snapshot), all);
}

#[test]
fn the_module_of_the_best_variant_driver_is_required_for_auto() {
    let tree = Tree::new();
    tree.module_file("modules.alias", "alias vfio_pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e_vfio_pci\n");
    let dep = "kernel/drivers/net/e1000e.ko:\nkernel/drivers/vfio/pci/e1000e-vfio-pci.ko: kernel/drivers/net/e1000e.ko kernel/drivers/vfio/pci/vfio-pci-core.ko\n";
    tree.module_file("modules.dep", &format!("{MODULES_DEP}{dep}"));
    tree.add_device(NIC);
    let mut declared = by_address(NIC.address);
    assert!(!observe(&tree, vec![declared.clone()]).modules.contains_key(&module("e1000e_vfio_pci")));
    declared.driver = Wanted::Auto;
    let snapshot = observe(&tree, vec![declared]);
    for name in ["e1000e_vfio_pci", "e1000e"] {
        assert_eq!(snapshot.modules[&module(name)].state, ModuleState::Absent, "{name}");
    }
}

#[test]
fn everything_unloaded_is_absent_and_nothing_of_it_not_installed() {
    let tree = Tree::new();
    for name in ["vfio_pci", "vfio_pci_core", "vfio_virqfd", "vfio_iommu_type1", "vfio", "irqbypass"] {
        tree.unload(name);
    }
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    assert_eq!(snapshot.modules.len(), 6);
    for (name, facts) in &snapshot.modules {
        assert_eq!(facts.state, ModuleState::Absent, "{name}: {}", facts.evidence);
    }
}

#[test]
fn evidence_is_read_again_when_it_changes_and_its_stamp_changes_with_it() {
    let tree = Tree::new();
    tree.add_device(NIC);
    let desired = desired(vec![by_address(NIC.address)]);
    let mut look = Look::at(&tree);
    let state = |look: &mut Look| {
        let facts = look.observe(&desired).modules[&module("vfio_pci")].clone();
        (facts.state, facts.stamp)
    };
    let (live, at_rest) = state(&mut look);
    assert_eq!(live, ModuleState::Live);
    tree.unload("vfio_pci");
    assert_eq!(state(&mut look), (ModuleState::Absent, at_rest));
    tree.set("etc/modprobe.d/no.conf", "blacklist vfio-pci\n");
    let (prohibited, stamp) = state(&mut look);
    assert_eq!(prohibited, ModuleState::Prohibited);
    assert_ne!(stamp, at_rest);
    assert_eq!(state(&mut look), (ModuleState::Prohibited, stamp));
    tree.remove("etc/modprobe.d/no.conf");
    assert_eq!(state(&mut look).0, ModuleState::Absent);
    tree.lose_module_tree();
    let (missing, stamp) = state(&mut look);
    assert_eq!(missing, ModuleState::TreeMissing);
    tree.module_file("modules.dep", MODULES_DEP);
    let (absent, after) = state(&mut look);
    assert_eq!(absent, ModuleState::Absent);
    assert_ne!(stamp, after);
    tree.set("proc/sys/kernel/modules_disabled", "1\n");
    assert_eq!(state(&mut look).0, ModuleState::Prohibited);
}

#[test]
fn at_rest_no_evidence_but_proc_modules_is_read() {
    let tree = Tree::new();
    tree.add_device(NIC);
    let desired = desired(vec![by_address(NIC.address)]);
    let mut look = Look::at(&tree);
    let before = look.observe(&desired);
    tree.remove("lib");
    tree.remove("proc/sys");
    tree.remove("proc/cmdline");
    assert_eq!(look.observe(&desired).modules, before.modules);
    look.observer.forget();
    assert_ne!(look.observe(&desired).modules, before.modules);
}

#[test]
fn built_in_vfio_is_witnessed_without_any_file() {
    let tree = Tree::new();
    tree.set("proc/modules", "kvm 1 0 - Live 0x0\n");
    tree.set("sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n");
    tree.lose_module_tree();
    tree.add_device(Device { driver: Some("vfio-pci"), group: Some(1), ..NIC });
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    for facts in snapshot.modules.values() {
        assert_eq!(facts.state, ModuleState::Builtin, "{}", facts.evidence);
    }
}

#[test]
fn a_hostile_tree_gives_the_same_snapshot_and_its_links_lead_nowhere() {
    let tree = Tree::new();
    tree.add_device(Device { driver: Some("vfio-pci"), group: Some(4), ..NIC });
    tree.make_vf(NIC.address, 0, NIC.address);
    let desired = desired(vec![by_address(NIC.address)]);
    let trusted = Look::at(&tree).observe(&desired);
    let mut hostile = Observer::new(Root::hostile(tree.path()).unwrap());
    let snapshot = hostile.observe(scope(&desired, &Policy::default(), false), trusted.taken);
    assert_eq!(snapshot, trusted);
    tree.remove("proc/modules");
    std::os::unix::fs::symlink("/proc/self/environ", tree.path().join("proc/modules")).unwrap();
    std::os::unix::fs::symlink("0000:00:09.0", tree.path().join("sys/bus/pci/devices/0000:00:09.0")).unwrap();
    let looping = self::desired(vec![by_address("0000:00:09.0")]);
    let snapshot = hostile.observe(scope(&looping, &Policy::default(), false), Time::BOOT);
    let facts = &snapshot.modules[&module("vfio_pci")];
    let told = (facts.state, facts.evidence.as_str());
    assert_eq!(told, (ModuleState::Unreadable, "the saved tree has no /proc/modules"));
    assert!(function(&snapshot, "0000:00:09.0").driver.unreadable().is_some());
}

#[test]
fn a_release_that_is_a_path_is_no_tree() {
    let tree = Tree::new();
    tree.set("proc/sys/kernel/osrelease", &format!("../modules/{RELEASE}"));
    tree.unload("vfio_pci");
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    assert_eq!(snapshot.modules[&module("vfio_pci")].state, ModuleState::Unreadable);
}

/// A kernel that has a variant for the NIC, whose driver is called otherwise than its module.
fn with_variant(tree: &Tree) {
    tree.module_file("modules.alias", "alias vfio_pci:v00008086d000010D3sv*sd*bc*sc*i* lab_vfio_pci\n");
    let dep = "kernel/drivers/vfio/pci/lab-vfio-pci.ko: kernel/drivers/vfio/pci/vfio-pci-core.ko\n";
    tree.module_file("modules.dep", &format!("{MODULES_DEP}{dep}"));
}

#[test]
fn what_a_variants_driver_is_called_is_known_once_its_module_is_loaded() {
    let tree = Tree::new();
    with_variant(&tree);
    tree.add_device(NIC);
    for wanted in [Wanted::Auto, Wanted::Named("lab_vfio_pci".parse().unwrap())] {
        let mut declared = by_address(NIC.address);
        declared.driver = wanted;
        let chosen = |snapshot: &Snapshot| {
            let nic = function(snapshot, NIC.address);
            snapshot.known().choice(&declared.driver, &nic.card.modalias, &nic.driver, nic.registered)
        };
        let before = observe(&tree, vec![declared.clone()]);
        assert!(!chosen(&before).known);
        assert_eq!(before.modules[&module("lab_vfio_pci")].state, ModuleState::Absent);
        tree.add_module_line("lab_vfio_pci 16384 0 - Live 0x0");
        tree.set("sys/module/lab_vfio_pci/drivers/pci:for-guests/uevent", "");
        let after = observe(&tree, vec![declared.clone()]);
        assert_eq!((chosen(&after).driver.as_str(), chosen(&after).known), ("for-guests", true));
        tree.unload("lab_vfio_pci");
        tree.remove("sys/module/lab_vfio_pci/drivers/pci:for-guests/uevent");
        std::fs::remove_dir_all(tree.path().join("sys/module/lab_vfio_pci")).unwrap();
    }
}

#[test]
fn a_device_on_a_variant_of_any_name_is_on_vfio_and_its_module_is_kept() {
    let tree = Tree::new();
    with_variant(&tree);
    tree.add_driver("for-guests");
    std::os::unix::fs::symlink(
        "../../../../module/lab_vfio_pci",
        tree.path().join("sys/bus/pci/drivers/for-guests/module"),
    )
    .unwrap();
    tree.add_module_line("lab_vfio_pci 16384 0 - Live 0x0");
    tree.add_device(Device { driver: Some("for-guests"), ..NIC });
    // Nobody declares it: it is found by its driver.
    let snapshot = observe(&tree, vec![]);
    let nic = function(&snapshot, NIC.address);
    assert!(snapshot.on_vfio(nic) && !nic.registered);
    let mut declared = by_address(NIC.address);
    declared.driver = Wanted::Any;
    let snapshot = observe(&tree, vec![declared]);
    assert_eq!(snapshot.modules[&module("lab_vfio_pci")].refcount, Some(0));
}

#[test]
fn what_a_vendors_driver_has_registered_with_vfio_is_found_and_is_on_vfio() {
    let tree = Tree::new();
    tree.add_driver("nvidia");
    tree.add_device(Device { driver: Some("nvidia"), ..NIC });
    assert!(observe(&tree, vec![]).functions.is_empty());
    let snapshot = observe(&tree, vec![by_address(NIC.address)]);
    assert!(!snapshot.on_vfio(function(&snapshot, NIC.address)));
    tree.set_attribute(NIC.address, "vfio-dev/vfio3/dev", "511:3\n");
    let class = tree.path().join("sys/class/vfio-dev");
    std::fs::create_dir_all(&class).unwrap();
    let devices = "../../devices/pci0000:00";
    std::os::unix::fs::symlink(format!("{devices}/{}/vfio-dev/vfio3", NIC.address), class.join("vfio3")).unwrap();
    // A mediated device's is below a directory of its own.
    let mediated = "0000:00:02.0/c0b26072-dd1b-4340-84fe-bf338c510818/vfio-dev/vfio4";
    std::os::unix::fs::symlink(format!("{devices}/{mediated}"), class.join("vfio4")).unwrap();
    for entries in [vec![], vec![by_address(NIC.address)]] {
        let snapshot = observe(&tree, entries);
        assert_eq!(addresses(&snapshot), [NIC.address]);
        let nic = function(&snapshot, NIC.address);
        assert!(snapshot.on_vfio(nic) && nic.registered && !snapshot.is_vfio(nic.driver.is().unwrap()));
        assert!(!snapshot.modules.contains_key(&module("nvidia")));
    }
    // Of itself it makes none of vfio-pci's modules needed.
    assert!(observe(&tree, vec![]).modules.is_empty());
}
