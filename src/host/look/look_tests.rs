//! Looks at functions of written trees.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

const NIC: &str = "0000:03:00.0";

fn nic() -> Address {
    NIC.parse().unwrap()
}

fn write(tree: &Path, path: &str, text: &str) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn link(tree: &Path, path: &str, target: &str) {
    fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
    symlink(target, tree.join(path)).unwrap();
}

/// A function on vfio-pci in group 15, whose node's number is /dev/null's, and one process.
fn assigned(holder: &str) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let device = format!("sys/bus/pci/devices/{NIC}");
    for (name, text) in [("class", "0x020000\n"), ("driver_override", "vfio-pci\n"), ("uevent", "DRIVER=vfio-pci\n")] {
        write(tree.path(), &format!("{device}/{name}"), text);
    }
    write(tree.path(), &format!("{device}/vfio-dev/vfio0/uevent"), "");
    link(tree.path(), &format!("{device}/driver"), "../../../bus/pci/drivers/vfio-pci");
    link(tree.path(), &format!("{device}/iommu_group"), "../../../kernel/iommu_groups/15");
    link(tree.path(), "sys/bus/pci/drivers/vfio-pci/module", "../../../../module/vfio_pci");
    write(tree.path(), "sys/module/vfio_pci/refcnt", "0\n");
    write(tree.path(), "sys/class/vfio/15/dev", "1:3\n");
    write(tree.path(), "proc/8/comm", "qemu\n");
    link(tree.path(), "proc/8/fd/0", holder);
    tree
}

fn ask(pinned: bool, pins_only: bool) -> Ask {
    let wanted = BTreeSet::from([nic(), "0000:0f:00.0".parse().unwrap()]);
    let (functions, pins) = if pins_only { (BTreeSet::new(), wanted) } else { (wanted, BTreeSet::new()) };
    let closer = Closer { looks: functions, pins, pinned, ..Closer::default() };
    Ask::of(&closer, Duration::from_millis(300))
}

#[test]
fn a_function_is_looked_at_and_one_that_is_not_there_is_left_out() {
    let tree = assigned("/dev/null");
    let root = Root::trusted(tree.path());
    let looked = look(&root, &ask(false, false));
    assert_eq!(looked.looks.keys().collect::<Vec<_>>(), [&nic()]);
    let found = &looked.looks[&nic()];
    assert_eq!(found.object, root.inode(&directory(nic())).unwrap());
    assert_eq!(found.pin, Fact::Is(Driver::vfio_pci()));
    assert_eq!(found.uevent_driver, Fact::Is(Driver::vfio_pci()));
    assert_eq!((&found.network, &found.storage), (&Fact::Is(vec![]), &Fact::Is(vec![])));
    assert_eq!(found.vfs, Fact::Is(0));
    assert_eq!(found.holders.is().unwrap()[0].to_string(), "qemu[8] has /dev/null open");
    assert!(looked.pinned.unreadable().is_some());
    assert_eq!(guards_again(&root, nic(), Duration::from_secs(9)).as_ref(), Some(found));
}

#[test]
fn a_count_without_a_holder_is_a_holder_and_no_count_is_nobody() {
    let tree = assigned("socket:[1]");
    let root = Root::trusted(tree.path());
    let holders = || look(&root, &ask(false, false)).looks[&nic()].holders.clone();
    assert_eq!(holders(), Fact::Is(vec![]));
    write(tree.path(), "sys/module/vfio_pci/refcnt", "1\n");
    assert_eq!(holders().is().unwrap()[0].comm, "unknown");
}

#[test]
fn a_device_that_was_handed_over_to_a_holder_of_another_group_is_held_until_it_is_disabled() {
    let tree = assigned("anon_inode:[vfio-device]");
    link(tree.path(), "proc/8/fd/1", "/dev/vfio/16");
    write(tree.path(), "sys/kernel/iommu_groups/16/devices/0000:04:00.0", "");
    write(tree.path(), "sys/bus/pci/devices/0000:04:00.0/enable", "0\n");
    write(tree.path(), "sys/module/vfio_pci/refcnt", "1\n");
    let enable = format!("sys/bus/pci/devices/{NIC}/enable");
    let root = Root::trusted(tree.path());
    let holders = || look(&root, &ask(false, false)).looks[&nic()].holders.clone();
    write(tree.path(), &enable, "1\n");
    assert_eq!(holders().is().unwrap()[0].to_string(), "qemu[8] has a VFIO device (nothing says which) open");
    write(tree.path(), &enable, "0\n");
    assert_eq!(holders(), Fact::Is(vec![]));
}

#[test]
fn while_the_kernel_blocks_the_reads_the_rest_is_answered_in_time() {
    let tree = assigned("/dev/null");
    let device = tree.path().join("sys/bus/pci/devices").join(NIC);
    // As on 6.1 during an unbind: the link is gone, and both files block.
    fs::remove_file(device.join("driver")).unwrap();
    for name in ["driver_override", "uevent"] {
        fs::remove_file(device.join(name)).unwrap();
        nix::unistd::mkfifo(&device.join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    write(tree.path(), "sys/bus/pci/devices/0000:04:00.0/driver_override", "vfio-pci\n");
    let began = Instant::now();
    let looked = look(&Root::trusted(tree.path()), &ask(true, false));
    assert!(began.elapsed() < Duration::from_secs(5));
    let found = &looked.looks[&nic()];
    for why in [found.pin.unreadable(), found.uevent_driver.unreadable(), looked.pinned.unreadable()] {
        assert!(why.unwrap().ends_with("did not return within 300ms: an unbind is under way"), "{why:?}");
    }
    assert!(looked.pinned.unreadable().unwrap().starts_with(NIC));
    assert_eq!(found.holders.is().unwrap().len(), 1);
    assert_eq!(found.vfs, Fact::Is(0));
    assert!(looked.late.of(Part::Locked).eq([nic()]));
    // The next one is told, and leaves nobody behind.
    let spared = look(&Root::trusted(tree.path()), &Ask { spare: looked.late, ..ask(true, false) });
    assert!(spared.late.is_empty());
    assert!(spared.looks[&nic()].pin.unreadable().unwrap().contains("an earlier read"));
    assert!(spared.pinned.unreadable().unwrap().starts_with(NIC));
}

#[test]
fn a_config_that_does_not_return_is_unreadable_and_spared_the_next_time() {
    let tree = assigned("/dev/null");
    let device = format!("sys/bus/pci/devices/{NIC}");
    let closer = Closer { serials: BTreeSet::from([nic()]), ..Closer::default() };
    let ask = Ask::of(&closer, Duration::from_millis(300));
    let root = Root::trusted(tree.path());
    let config = tree.path().join(format!("{device}/config"));
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let looked = look(&root, &ask);
    let why = looked.serials[&nic()].serial.unreadable().unwrap().to_owned();
    assert!(why.ends_with("config did not return within 300ms"), "{why}");
    assert!(looked.looks.is_empty() && looked.late.of(Part::Config).eq([nic()]));
    let spared = look(&root, &Ask { spare: looked.late, ..ask.clone() });
    assert!(spared.late.is_empty());
    assert!(spared.serials[&nic()].serial.unreadable().unwrap().contains("an earlier read of config"));
    fs::remove_file(&config).unwrap();
    fs::write(&config, [0; 256]).unwrap();
    assert_eq!(look(&root, &ask).serials[&nic()].serial, Fact::Absent);
}

#[test]
fn what_kept_a_reader_is_left_out_by_the_next_one_and_the_rest_is_asked() {
    const GPU: &str = "0000:0b:00.0";
    let tree = assigned("/dev/null");
    let gpu: Address = GPU.parse().unwrap();
    write(tree.path(), &format!("sys/bus/pci/devices/{GPU}/uevent"), "DRIVER=nvidia\n");
    link(tree.path(), &format!("sys/bus/pci/devices/{GPU}/driver"), "../../../bus/pci/drivers/nvidia");
    let information = tree.path().join(format!("proc/driver/nvidia/gpus/{GPU}/information"));
    fs::create_dir_all(information.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&information, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let root = Root::trusted(tree.path());
    let closer = Closer { looks: BTreeSet::from([gpu, nic()]), ..Closer::default() };
    let ask = Ask::of(&closer, Duration::from_millis(300));
    let looked = look(&root, &ask);
    assert!(looked.late.of(Part::Nodes).eq([gpu]), "{:?}", looked.late);
    assert!(looked.looks[&gpu].holders.unreadable().is_some());
    assert_eq!(looked.looks[&nic()].holders.is().unwrap().len(), 1);
    let spared = look(&root, &Ask { spare: looked.late, ..ask.clone() });
    assert!(spared.late.is_empty());
    assert!(spared.looks[&gpu].holders.unreadable().unwrap().contains("an earlier read of NVIDIA"));

    // What cannot be made to block here.
    write(tree.path(), &format!("sys/bus/pci/devices/{NIC}/net/eth0/ifindex"), "2\n");
    write(tree.path(), &format!("sys/bus/pci/devices/{GPU}/block/vda/dev"), "254:0\n");
    link(tree.path(), &format!("sys/bus/pci/devices/{GPU}/block/vda/subsystem"), "../../../../class/block");
    let mut spare = Parts::default();
    [Part::Disks, Part::Network, Part::Nodes].into_iter().for_each(|part| spare.add(gpu, part));
    let looks = look(&root, &Ask { spare, ..ask }).looks;
    assert!(looks[&gpu].storage.unreadable().unwrap().contains("an earlier open of its disks"));
    assert!(looks[&nic()].network.unreadable().unwrap().contains("an earlier question to rtnetlink"));
    assert_eq!(looks[&nic()].storage, Fact::Is(vec![]));
}

#[test]
fn asked_for_pins_it_reads_nothing_but_pins() {
    let tree = assigned("/dev/null");
    fs::remove_dir_all(tree.path().join("proc")).unwrap();
    write(tree.path(), "sys/bus/pci/devices/0000:04:00.0/driver_override", "vfio-pci\n");
    let looked = look(&Root::trusted(tree.path()), &ask(true, true));
    assert!(looked.looks.is_empty());
    assert_eq!(looked.pins[&nic()].pin, Fact::Is(Driver::vfio_pci()));
    let pinned = BTreeMap::from([("0000:04:00.0".parse().unwrap(), Driver::vfio_pci())]);
    assert_eq!(looked.pinned, Fact::Is(pinned));
}

#[test]
fn a_saved_tree_knows_neither_holders_nor_traffic_nor_disks() {
    let tree = assigned("/dev/null");
    let device = format!("sys/bus/pci/devices/{NIC}");
    write(tree.path(), &format!("{device}/net/eth0/ifindex"), "2\n");
    write(tree.path(), &format!("{device}/block/vda/dev"), "254:0\n");
    link(tree.path(), &format!("{device}/block/vda/subsystem"), "../../../../class/block");
    fs::remove_dir_all(tree.path().join("proc")).unwrap();
    let looked = look(&Root::hostile(tree.path()).unwrap(), &ask(false, false));
    let found = &looked.looks[&nic()];
    for why in [found.holders.unreadable(), found.network.unreadable(), found.storage.unreadable()] {
        assert!(why.is_some(), "{found:?}");
    }
}

/// A PF whose VF, in group 16, is in the hands of process 8, which has its node: /dev/null's number.
fn with_vf() -> tempfile::TempDir {
    let tree = assigned("/dev/null");
    let (pf, vf) = (format!("sys/bus/pci/devices/{NIC}"), "sys/bus/pci/devices/0000:03:10.0");
    write(tree.path(), "sys/class/vfio/15/dev", "243:1\n");
    write(tree.path(), "sys/class/vfio/16/dev", "1:3\n");
    write(tree.path(), &format!("{vf}/class"), "0x020000\n");
    link(tree.path(), &format!("{vf}/iommu_group"), "../../../kernel/iommu_groups/16");
    link(tree.path(), &format!("{pf}/virtfn0"), "../0000:03:10.0");
    tree
}

#[test]
fn whoever_has_a_vf_open_holds_its_pf() {
    let tree = with_vf();
    let looked = look(&Root::trusted(tree.path()), &ask(false, false));
    let holders = looked.looks[&nic()].holders.is().unwrap();
    assert_eq!(holders[0].to_string(), "qemu[8] has /dev/null (of 0000:03:10.0) open");
    // A mediated device of the VF, as vGPUs are.
    let mdev = "sys/bus/pci/devices/0000:03:10.0/1a9995f6-0000-4000-8000-000000000001";
    fs::remove_file(tree.path().join("sys/bus/pci/devices/0000:03:10.0/iommu_group")).unwrap();
    link(tree.path(), &format!("{mdev}/iommu_group"), "../../../../kernel/iommu_groups/16");
    let looked = look(&Root::trusted(tree.path()), &ask(false, false));
    let said = looked.looks[&nic()].holders.is().unwrap()[0].to_string();
    assert!(said.contains("(of 1a9995f6-0000-4000-8000-000000000001 on 0000:03:10.0)"), "{said}");
}

#[test]
fn whoever_has_the_memory_of_a_function_or_of_one_of_its_group_open_uses_it() {
    let tree = assigned("socket:[1]");
    let other = "sys/bus/pci/devices/0000:04:00.0";
    write(tree.path(), &format!("{other}/resource0"), "");
    for member in [NIC, "0000:04:00.0"] {
        write(tree.path(), &format!("sys/bus/kernel/iommu_groups/15/devices/{member}"), "");
    }
    let path = tree.path().join(other).join("resource0");
    link(tree.path(), "proc/8/fd/1", path.to_str().unwrap());
    let looked = look(&Root::trusted(tree.path()), &ask(false, false));
    let found = &looked.looks[&nic()];
    assert_eq!(found.holders, Fact::Is(Vec::new()));
    assert!(found.raw.is().unwrap()[0].to_string().ends_with("resource0 open"), "{found:?}");
}

#[test]
fn the_mediated_devices_of_a_driver_are_found() {
    let tree = assigned("socket:[1]");
    let device = "1a9995f6-0000-4000-8000-000000000001";
    fs::create_dir_all(tree.path().join(format!("sys/bus/pci/devices/{NIC}/{device}"))).unwrap();
    let looked = look(&Root::trusted(tree.path()), &ask(false, false));
    assert_eq!(looked.looks[&nic()].mediated, Fact::Is(vec![device.to_owned()]));
}

#[test]
fn an_interface_that_left_its_directory_empty_is_in_use() {
    let tree = assigned("/dev/null");
    fs::create_dir_all(tree.path().join(format!("sys/bus/pci/devices/{NIC}/virtio0/net"))).unwrap();
    let looked = look(&Root::trusted(tree.path()), &ask(false, false));
    assert!(looked.looks[&nic()].network.is().unwrap()[0].contains("another network namespace"));
}

#[test]
fn what_changed_below_a_function_while_it_could_not_be_read_is_looked_at_again() {
    let tree = assigned("/dev/null");
    let device = format!("sys/bus/pci/devices/{NIC}");
    write(tree.path(), &format!("{device}/net/eth0/ifindex"), "3\n");
    let root = Root::trusted(tree.path());
    let site = || site(&root, nic(), root.inode(&directory(nic())).unwrap(), &Readings::new());
    let clear = || {
        let (mut look, none) = (Look::blind(7, ""), || Fact::Is(Vec::new()));
        (look.network, look.storage, look.holders) = (none(), none(), Fact::Is(Vec::new()));
        look
    };
    let before = site();
    let mut vanished = clear();
    vanished.network = Fact::Unreadable("read net/eth0/ifindex: No such file or directory".to_owned());
    assert!(!has_moved(&root, &before, &vanished), "unreadable as it stands is unreadable");
    // udev renames it.
    fs::rename(tree.path().join(&device).join("net/eth0"), tree.path().join(&device).join("net/enp3s0")).unwrap();
    assert!(has_moved(&root, &before, &vanished));
    assert!(!has_moved(&root, &before, &clear()), "what was read is not asked for again");
    assert!(!has_moved(&root, &site(), &vanished));
    // Between the two names the list may have neither: that is no interface elsewhere.
    fs::rename(tree.path().join(&device).join("net/enp3s0"), tree.path().join("elsewhere")).unwrap();
    let empty = site();
    assert_eq!(empty.below.as_ref().unwrap().empty_nets.len(), 1);
    assert!(!has_moved(&root, &empty, &clear()));
    fs::rename(tree.path().join("elsewhere"), tree.path().join(&device).join("net/enp3s0")).unwrap();
    assert!(has_moved(&root, &empty, &clear()));
}

#[test]
fn a_function_that_goes_on_changing_is_looked_at_again_a_few_times_and_then_doubted() {
    let looked = |network: &str| Looked {
        looks: BTreeMap::from([(nic(), Look::blind(7, network))]),
        pins: BTreeMap::new(),
        pinned: Fact::not_looked(),
        serials: BTreeMap::new(),
        late: Parts::default(),
    };
    for (settles, expected) in [(0, 0), (1, 1), (2, 2), (100, AGAIN)] {
        let mut asked = Vec::new();
        let last = until_it_stays(&ask(true, false), |ask| {
            let number = asked.len();
            asked.push(ask.clone());
            let moved = if number < settles { BTreeSet::from([nic()]) } else { BTreeSet::new() };
            (looked(&number.to_string()), moved)
        });
        assert_eq!(asked.len(), expected + 1);
        assert_eq!(last.looks[&nic()].network, Fact::Unreadable(expected.to_string()));
        for again in &asked[1..] {
            assert_eq!((&again.functions, again.pinned), (&BTreeSet::from([nic()]), false));
        }
    }
}

#[test]
fn a_vf_that_nvidias_driver_gives_to_guests_has_no_node_of_a_gpu() {
    let tree = assigned("/dev/null");
    let driver = format!("sys/bus/pci/devices/{NIC}/driver");
    fs::remove_file(tree.path().join(&driver)).unwrap();
    link(tree.path(), &driver, "../../../bus/pci/drivers/nvidia");
    let root = Root::trusted(tree.path());
    let holders = || look(&root, &ask(false, false)).looks[&nic()].holders.clone();
    assert_eq!(holders().is().unwrap()[0].to_string(), "qemu[8] has /dev/null open");
    fs::remove_dir_all(tree.path().join(format!("sys/bus/pci/devices/{NIC}/vfio-dev"))).unwrap();
    assert!(holders().unreadable().is_some());
}
