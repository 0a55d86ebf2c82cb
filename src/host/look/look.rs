//! Puts a closer look together: everything slow is asked once for all functions, each in its time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ask::{Ask, Looked, Pin};
use super::attributes::{self, Readings, directory, locked_files, override_file, without_driver};
use super::holders::{Scan, Wanted, scan};
use super::network::Network;
use super::patience::{Pending, Reading, read_all, start};
use super::site::{Site, site};
use super::{ids, refcount, storage, traffic};
use crate::host::root::Root;
use crate::model::pci::{Address, Driver};
use crate::model::snapshot::{Fact, Holder, Look};

/// Answers the question.
#[must_use]
pub fn look(root: &Root, ask: &Ask) -> Looked {
    let there = |address: &Address| Some((*address, root.inode(&directory(*address)).ok()?));
    let objects: BTreeMap<Address, u64> = ask.functions.union(&ask.pins).filter_map(there).collect();
    let unbound = if ask.pinned { without_driver(root) } else { Ok(BTreeSet::new()) };
    let mut files: BTreeSet<String> = unbound.iter().flatten().copied().map(override_file).collect();
    for address in objects.keys().copied() {
        match ask.functions.contains(&address) {
            true => files.extend(locked_files(address)),
            false => drop(files.insert(override_file(address))),
        }
    }
    // Those of the spared are not read, and read as not come back.
    let spared: Readings = ask
        .spare
        .iter()
        .flat_map(|address| locked_files(*address))
        .filter(|path| files.remove(path))
        .map(|path| {
            (path, Reading::Failed("an earlier read of it has not come back: an unbind is under way".to_owned()))
        })
        .collect();
    let reader = root.clone();
    let patience = ask.patience;
    // Twice the patience for the thread that waits for the readers: it is back after once.
    let reading = start("reading under the device's lock", patience * 2, move || {
        let mut readings = read_all(&reader, files, patience);
        readings.extend(spared);
        readings
    });
    let from_all_sides = objects.iter().filter(|(address, _)| ask.functions.contains(address));
    let sites: Vec<Site> = from_all_sides.map(|(address, object)| site(root, *address, *object, patience)).collect();
    let (readings, mut looks) = facts(root, &sites, patience, reading);
    // What is at an address by now may be another device.
    let stays = |address: &Address, object: u64| root.inode(&directory(*address)).is_ok_and(|now| now == object);
    looks.retain(|address, look| stays(address, look.object));
    let pin = |(address, object): (&Address, &u64)| {
        (*address, Pin { object: *object, pin: attributes::pin(&readings, *address) })
    };
    let pins = objects.iter().filter(|(address, object)| stays(address, **object)).map(pin).collect();
    let unbound_read: Vec<Address> = unbound.iter().flatten().copied().collect();
    let pinned = match (ask.pinned, unbound) {
        (false, _) => Fact::not_looked(),
        (true, Ok(unbound)) => match attributes::pinned(&readings, &unbound) {
            Fact::Is(pinned) => {
                let overridden = |address| attributes::pin(&readings, address).is().is_some();
                ids::add(root, &unbound, pinned, overridden).map_or_else(Fact::Unreadable, Fact::Is)
            }
            fact => fact,
        },
        (true, Err(why)) => Fact::Unreadable(why),
    };
    let read = objects.keys().copied().chain(unbound_read);
    let late = attributes::late(&readings, read);
    Looked { looks, pins, pinned, late }
}

/// Looks at one function once more, right before a write. `None` when it is not there.
#[must_use]
pub fn guards_again(root: &Root, address: Address, patience: Duration) -> Option<Look> {
    let ask = Ask {
        functions: BTreeSet::from([address]),
        pins: BTreeSet::new(),
        pinned: false,
        spare: BTreeSet::new(),
        patience,
    };
    look(root, &ask).looks.remove(&address)
}

type Read = Result<Pending<Readings>, String>;

/// Asks everything that takes time, at the same time, and sorts the answers by function.
fn facts(root: &Root, sites: &[Site], patience: Duration, reading: Read) -> (Readings, BTreeMap<Address, Look>) {
    let networks = networks(root, sites, patience);
    let disks = disks(root, sites, patience);
    let holders = holders(root, sites);
    let (readings, unread) = match reading.and_then(Pending::wait) {
        Ok(readings) => (readings, None),
        Err(why) => (Readings::new(), Some(why)),
    };
    let networks = networks.map(|pending| pending.and_then(Pending::wait).and_then(|network| network));
    let mut looks = BTreeMap::new();
    for (site, disks) in sites.iter().zip(disks) {
        let uevent_driver = attributes::uevent_driver(&readings, site.address);
        let mut look = Look {
            object: site.object,
            pin: attributes::pin(&readings, site.address),
            holders: held(root, site, &uevent_driver, &holders),
            network: carried(root, site, networks.as_ref()).map_or_else(Fact::Unreadable, Fact::Is),
            storage: disks.map_or_else(Fact::Unreadable, Fact::Is),
            vfs: attributes::vfs(&readings, site.address),
            uevent_driver,
        };
        if let Some(why) = &unread {
            look.pin = Fact::Unreadable(why.clone());
            look.uevent_driver = Fact::Unreadable(why.clone());
            look.vfs = Fact::Unreadable(why.clone());
        }
        looks.insert(site.address, look);
    }
    (readings, looks)
}

type Networks = Option<Result<Pending<Result<Network, String>>, String>>;

/// Asks rtnetlink, once, if any of the functions has an interface.
fn networks(root: &Root, sites: &[Site], patience: Duration) -> Networks {
    let any = sites.iter().any(|site| site.below.as_ref().is_ok_and(|below| !below.interfaces.is_empty()));
    // A dump waits for the lock that a NIC's unbind may be holding.
    let root = root.clone();
    any.then(|| start("asking rtnetlink", patience, move || Network::ask(&root)))
}

fn carried(root: &Root, site: &Site, network: Option<&Result<Network, String>>) -> Result<Vec<String>, String> {
    let below = site.below.as_ref().map_err(Clone::clone)?;
    let mut said = traffic::elsewhere(&below.empty_nets);
    match network {
        Some(network) if !below.interfaces.is_empty() => {
            let network = network.as_ref().map_err(Clone::clone)?;
            said.extend(traffic::of_function(root, network, &below.interfaces)?);
        }
        _ => {}
    }
    Ok(said)
}

/// Opens the disks of each function, each in its own time: one dead disk says nothing of others.
fn disks(root: &Root, sites: &[Site], patience: Duration) -> Vec<Result<Vec<String>, String>> {
    let begin = |site: &Site| match &site.below {
        Err(why) => Err(why.clone()),
        Ok(below) if below.blocks.is_empty() => Ok(None),
        Ok(below) => {
            let (root, blocks) = (root.clone(), below.blocks.clone());
            start("opening its disks", patience, move || storage::uses(&root, &blocks)).map(Some)
        }
    };
    let pending: Vec<_> = sites.iter().map(begin).collect();
    let finish = |pending: Result<Option<Pending<_>>, String>| match pending? {
        None => Ok(Vec::new()),
        Some(pending) => pending.wait()?,
    };
    pending.into_iter().map(finish).collect()
}

/// One scan of /proc for all functions; none when there is no node that anybody could have open.
fn holders(root: &Root, sites: &[Site]) -> Result<Scan, String> {
    let mut wanted = Wanted::default();
    for site in sites {
        site.nodes.iter().flatten().for_each(|node| wanted.add(node, site.address));
    }
    if wanted.is_empty() { Ok(Scan::default()) } else { scan(root, &wanted) }
}

fn held(root: &Root, site: &Site, uevent: &Fact<Driver>, scan: &Result<Scan, String>) -> Fact<Vec<Holder>> {
    let nodes = match &site.nodes {
        Err(why) => return Fact::Unreadable(why.clone()),
        Ok(nodes) => nodes,
    };
    if nodes.is_empty() {
        return Fact::Is(Vec::new());
    }
    let scan = match scan {
        Err(why) => return Fact::Unreadable(why.clone()),
        Ok(scan) => scan,
    };
    let mut found: Vec<Holder> = scan.holders.get(&site.address).into_iter().flatten().cloned().collect();
    let vfio = site.below.as_ref().is_ok_and(|below| below.vfio);
    // While it is being released the link is gone; `uevent` still names the driver.
    let driver = site.driver.as_ref().or_else(|| uevent.is());
    if let Some(driver) = driver.filter(|driver| found.is_empty() && (vfio || driver.module().as_str() == "vfio_pci")) {
        found.extend(scan.unplaced.iter().cloned());
        if found.is_empty() {
            let used = refcount::of(root, driver);
            found.extend(used.and_then(|(module, count)| refcount::unexplained(&module, count, scan.devices)));
        }
    }
    Fact::Is(found)
}

#[cfg(test)]
mod tests {
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
        for (name, text) in
            [("class", "0x020000\n"), ("driver_override", "vfio-pci\n"), ("uevent", "DRIVER=vfio-pci\n")]
        {
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
        Ask { functions, pins, pinned, spare: BTreeSet::new(), patience: Duration::from_millis(300) }
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
        assert_eq!(looked.late, BTreeSet::from([nic()]));
        // The next one is told, and leaves nobody behind.
        let spared = look(&Root::trusted(tree.path()), &Ask { spare: looked.late, ..ask(true, false) });
        assert!(spared.late.is_empty());
        assert!(spared.looks[&nic()].pin.unreadable().unwrap().contains("an earlier read"));
        assert!(spared.pinned.unreadable().unwrap().starts_with(NIC));
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

    #[test]
    fn an_interface_that_left_its_directory_empty_is_in_use() {
        let tree = assigned("/dev/null");
        fs::create_dir_all(tree.path().join(format!("sys/bus/pci/devices/{NIC}/virtio0/net"))).unwrap();
        let looked = look(&Root::trusted(tree.path()), &ask(false, false));
        assert!(looked.looks[&nic()].network.is().unwrap()[0].contains("another network namespace"));
    }
}
