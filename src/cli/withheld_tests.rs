use std::sync::Arc;

use super::*;
use crate::host::card::unknown;
use crate::model::snapshot::{Group, Look, Platform};
use crate::model::time::Time;
use crate::model::variant::Drivers;

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

/// Functions, each with its driver and group, all looked at and at rest.
fn machine(functions: &[(&str, Option<&str>, u32)]) -> Snapshot {
    let mut snapshot = Snapshot {
        taken: Time(1),
        modules: BTreeMap::new(),
        variants: Arc::default(),
        functions: BTreeMap::new(),
        unclear_paths: BTreeMap::new(),
        groups: BTreeMap::new(),
        autoprobe: Fact::Is(true),
        pinned: Fact::Absent,
        platform: Platform::default(),
        drivers: Drivers::default(),
        above: BTreeMap::new(),
        most_vfs: BTreeMap::new(),
    };
    for (address, driver, number) in functions {
        let address = at(address);
        let card = unknown(address, 1, "");
        let look = Look {
            object: 1,
            pin: Fact::Absent,
            uevent_driver: Fact::Absent,
            holders: Fact::Is(Vec::new()),
            network: Fact::Is(Vec::new()),
            storage: Fact::Is(Vec::new()),
            vfs: Fact::Absent,
            raw: Fact::Is(Vec::new()),
            mediated: Fact::Absent,
        };
        let function = Function {
            card: Arc::new(card),
            driver: driver.map_or(Fact::Absent, |driver| Fact::Is(driver.parse().unwrap())),
            group: Fact::Is(*number),
            vfs: BTreeMap::new(),
            pin: Fact::Absent,
            registered: false,
            leaving: false,
            look: Some(Arc::new(look)),
        };
        snapshot.functions.insert(address, function);
        let group = snapshot.groups.entry(*number).or_insert_with(|| Group {
            members: BTreeSet::new(),
            others: BTreeSet::new(),
            node: Fact::Absent,
            reserved: Fact::Is(Vec::new()),
            insisted: Fact::Is(Vec::new()),
        });
        group.members.insert(address);
    }
    snapshot
}

fn look(snapshot: &mut Snapshot, address: &str, change: impl FnOnce(&mut Look)) {
    let function = snapshot.functions.get_mut(&at(address)).unwrap();
    change(Arc::make_mut(function.look.as_mut().unwrap()));
}

fn stays(snapshot: &Snapshot, wanted: &[&str]) -> Vec<String> {
    let wanted = wanted.iter().map(|address| (at(address), Driver::vfio_pci())).collect();
    withheld(snapshot, false, wanted).into_iter().map(|(address, why)| format!("{address} {why}")).collect()
}

#[test]
fn what_the_host_is_using_stays_with_it() {
    let (gpu, nic, disk) = ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0");
    let mut snapshot = machine(&[(gpu, Some("amdgpu"), 1), (nic, Some("e1000e"), 2), (disk, Some("nvme"), 3)]);
    assert_eq!(stays(&snapshot, &[gpu, nic, disk]), Vec::<String>::new(), "all at rest");
    Arc::make_mut(&mut snapshot.functions.get_mut(&at(gpu)).unwrap().card).boot_vga = true;
    look(&mut snapshot, nic, |look| look.network = Fact::Is(vec!["default route by eth0".to_owned()]));
    look(&mut snapshot, disk, |look| look.storage = Fact::Is(vec!["/ is on nvme0n1".to_owned()]));
    let expected = [
        "0000:01:00.0 is on amdgpu, and the host needs it: the console is on it (boot_vga is 1)",
        "0000:02:00.0 is on e1000e, and the host needs it: default route by eth0",
        "0000:03:00.0 is on nvme, and the host needs it: / is on nvme0n1",
    ];
    assert_eq!(stays(&snapshot, &[gpu, nic, disk]), expected);
}

#[test]
fn what_cannot_be_told_stays_with_the_host() {
    let gpu = "0000:01:00.0";
    let mut snapshot = machine(&[(gpu, Some("amdgpu"), 1)]);
    look(&mut snapshot, gpu, |look| look.holders = Fact::Unreadable("list /proc/1/fd: EACCES".to_owned()));
    let expected =
        "0000:01:00.0 is on amdgpu, and whether the host is using it cannot be told: list /proc/1/fd: EACCES";
    assert_eq!(stays(&snapshot, &[gpu]), [expected]);
    snapshot.functions.get_mut(&at(gpu)).unwrap().look = None;
    assert_eq!(stays(&snapshot, &[gpu]).len(), 1);
}

#[test]
fn one_that_stays_keeps_the_rest_of_its_group_with_it() {
    let (gpu, audio) = ("0000:01:00.0", "0000:01:00.1");
    let mut snapshot = machine(&[(gpu, Some("amdgpu"), 1), (audio, Some("snd_hda_intel"), 1)]);
    assert_eq!(stays(&snapshot, &[gpu, audio]), Vec::<String>::new());
    look(&mut snapshot, audio, |look| look.holders = Fact::Unreadable("why".to_owned()));
    let stay = stays(&snapshot, &[gpu, audio]);
    assert!(stay.len() == 2 && stay[0].starts_with("0000:01:00.0 is on amdgpu: 0000:01:00.1 shares"), "{stay:?}");
}

#[test]
fn what_is_on_vfio_or_on_no_driver_does_not_stay() {
    let (on, none) = ("0000:01:00.0", "0000:02:00.0");
    let mut snapshot = machine(&[(on, Some("vfio-pci"), 1), (none, None, 2), ("0000:02:00.1", Some("ahci"), 2)]);
    assert_eq!(stays(&snapshot, &[on, none]), Vec::<String>::new());
    // A firmware's framebuffer has the console without a driver.
    Arc::make_mut(&mut snapshot.functions.get_mut(&at(none)).unwrap().card).boot_vga = true;
    let expected = "0000:02:00.0 has no driver, and the host needs it: the console is on it (boot_vga is 1)";
    assert_eq!(stays(&snapshot, &[on, none]), [expected]);
}

#[test]
fn in_a_saved_tree_what_is_on_a_host_driver_may_be_in_use() {
    let snapshot = machine(&[("0000:01:00.0", Some("amdgpu"), 1), ("0000:02:00.0", None, 2)]);
    let wanted = snapshot.functions.keys().map(|address| (*address, Driver::vfio_pci())).collect();
    let stays = withheld(&snapshot, true, wanted);
    assert_eq!(stays.keys().collect::<Vec<_>>(), [&at("0000:01:00.0")]);
    assert!(stays[&at("0000:01:00.0")].contains("a saved tree does not tell"), "{stays:?}");
}
