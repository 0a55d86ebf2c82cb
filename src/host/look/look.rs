//! Puts a closer look together: everything slow is asked once for all functions, each in its time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ask::{Ask, Looked, Pin, Serial};
use super::attributes::{self, Readings, directory, driver_link, locked_files, override_file, without_driver};
use super::holders::{Scan, Wanted, scan};
use super::network::Network;
use super::parts::{Part, Parts};
use super::patience::{Pending, Reading, Unanswered, failed, read_all, start};
use super::site::{Site, below_of, information, site};
use super::{ids, opened, storage, traffic};
use crate::host::port::Closer;
use crate::host::root::Root;
use crate::host::serial;
use crate::model::pci::{Address, Driver};
use crate::model::snapshot::{Fact, Holder, Look};

/// How often a function is looked at again because what lies below it has changed meanwhile.
const AGAIN: usize = 3;

/// Answers the question. While udev renames an interface, what was listed is not there a moment later:
/// that is looked at again, and not doubted.
#[must_use]
pub fn look(root: &Root, ask: &Ask) -> Looked {
    until_it_stays(ask, |ask| once(root, ask))
}

fn until_it_stays(ask: &Ask, mut once: impl FnMut(&Ask) -> (Looked, BTreeSet<Address>)) -> Looked {
    let (mut looked, mut moved) = once(ask);
    for _ in 0..AGAIN {
        if moved.is_empty() {
            break;
        }
        let mut again = Ask::of(&Closer { looks: moved, ..Closer::default() }, ask.patience);
        again.spare.extend(&ask.spare);
        again.spare.extend(&looked.late);
        let (second, still) = once(&again);
        looked.looks.extend(second.looks);
        looked.late.extend(&second.late);
        moved = still;
    }
    looked
}

/// Whether what lies below a function is not what it was when it could not be read, or its interfaces
/// were not all there.
fn has_moved(root: &Root, site: &Site, look: &Look) -> bool {
    let doubtful = look.network.unreadable().is_some()
        || look.storage.unreadable().is_some()
        || look.holders.unreadable().is_some()
        || site.below.as_ref().is_ok_and(|below| !below.empty_nets.is_empty() || !below.partial_nets.is_empty());
    doubtful && below_of(root, site.address).ok().as_ref() != site.below.as_ref().ok()
}

/// Looks once; answers also with the functions that have to be looked at again.
fn once(root: &Root, ask: &Ask) -> (Looked, BTreeSet<Address>) {
    let there = |address: &Address| Some((*address, root.inode(&directory(*address)).ok()?));
    let mut late = Parts::default();
    let configs = begin_serials(root, ask);
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
        .of(Part::Locked)
        .flat_map(locked_files)
        .filter(|path| files.remove(path))
        .map(|path| (path, Reading::Failed(Part::Locked.spared())))
        .collect();
    let reader = root.clone();
    let patience = ask.patience;
    // Twice the patience for the thread that waits for the readers: it is back after once.
    let reading = start("reading under the device's lock", patience * 2, move || {
        let mut readings = read_all(&reader, files, patience);
        readings.extend(spared);
        readings
    });
    let from_all_sides = || objects.iter().filter(|(address, _)| ask.functions.contains(address));
    let informations = informations(root, from_all_sides().map(|(address, _)| *address), ask, &mut late);
    let sites: Vec<Site> =
        from_all_sides().map(|(address, object)| site(root, *address, *object, &informations)).collect();
    let (readings, mut looks) = facts(root, &sites, ask, reading, &mut late);
    // What is at an address by now may be another device.
    let stays = |address: &Address, object: u64| root.inode(&directory(*address)).is_ok_and(|now| now == object);
    let moves = |site: &&Site| looks.get(&site.address).is_some_and(|look| has_moved(root, site, look));
    let moved = sites.iter().filter(moves).map(|site| site.address).collect();
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
    read.filter(|address| attributes::is_late(&readings, *address)).for_each(|one| late.add(one, Part::Locked));
    let mut serials = end_serials(configs, &mut late);
    serials.retain(|address, serial| stays(address, serial.object));
    (Looked { looks, pins, pinned, serials, late }, moved)
}

/// Reads NVIDIA's files, all within one span of time.
fn informations(root: &Root, of: impl Iterator<Item = Address>, ask: &Ask, late: &mut Parts) -> Readings {
    let files: BTreeMap<String, Address> = of.filter_map(|one| Some((information(root, one)?, one))).collect();
    let (spared, asked): (BTreeMap<_, _>, BTreeMap<_, _>) =
        files.iter().partition(|(_, address)| ask.spare.has(**address, Part::Nodes));
    let mut read = read_all(root, asked.keys().map(ToString::to_string).collect(), ask.patience);
    let held = asked.iter().filter(|(file, _)| matches!(read.get(**file), Some(Reading::Late(_))));
    held.for_each(|(_, address)| late.add(**address, Part::Nodes));
    read.extend(spared.keys().map(|file| ((*file).clone(), Reading::Failed(Part::Nodes.spared()))));
    read
}

type Serials = Vec<(Address, u64, Result<Pending<Fact<String>>, String>)>;

/// Begins to read serial numbers, each in its own time: the kernel holds a reader of `config` for
/// as long as the device is being reset, up to a minute.
fn begin_serials(root: &Root, ask: &Ask) -> Serials {
    let begin = |address: &Address| {
        let path = directory(*address);
        let object = root.inode(&path).ok()?;
        let pending = match ask.spare.has(*address, Part::Config) {
            true => Err(Part::Config.spared()),
            false => {
                let root = root.clone();
                start(format!("reading {path}/config"), ask.patience, move || serial::read(&root, &path))
            }
        };
        Some((*address, object, pending))
    };
    ask.serials.iter().filter_map(begin).collect()
}

fn end_serials(begun: Serials, late: &mut Parts) -> BTreeMap<Address, Serial> {
    let end = |(address, object, pending): (Address, u64, Result<Pending<_>, String>)| {
        let answer = pending.map_err(Unanswered::from).and_then(Pending::wait);
        let serial = noted(answer, late, [address], Part::Config).unwrap_or_else(Fact::Unreadable);
        (address, Serial { object, serial })
    };
    begun.into_iter().map(end).collect()
}

/// Takes note of what did not come back.
fn noted<T>(
    answer: Result<T, Unanswered>,
    late: &mut Parts,
    of: impl IntoIterator<Item = Address>,
    part: Part,
) -> Result<T, String> {
    answer.map_err(|unanswered| {
        if unanswered.late {
            of.into_iter().for_each(|address| late.add(address, part));
        }
        unanswered.why
    })
}

/// Looks at one function once more, right before a write. `None` when it is not there.
#[must_use]
pub fn guards_again(root: &Root, address: Address, patience: Duration) -> Option<Look> {
    let closer = Closer { looks: BTreeSet::from([address]), ..Closer::default() };
    look(root, &Ask::of(&closer, patience)).looks.remove(&address)
}

type Read = Result<Pending<Readings>, String>;

/// Asks everything that takes time, at the same time, and sorts the answers by function.
fn facts(
    root: &Root,
    sites: &[Site],
    ask: &Ask,
    reading: Read,
    late: &mut Parts,
) -> (Readings, BTreeMap<Address, Look>) {
    let networks = networks(root, sites, ask);
    let disks = begin_disks(root, sites, ask);
    let (holders, unlisted) = holders(root, sites);
    let (readings, unread) = match reading.and_then(|pending| Ok(pending.wait()?)) {
        Ok(readings) => (readings, None),
        Err(why) => (Readings::new(), Some(why)),
    };
    let networks = networks.map(|pending| {
        let answer = pending.map_err(Unanswered::from).and_then(Pending::wait);
        noted(answer, late, sites.iter().filter(|site| has_interface(site)).map(|site| site.address), Part::Network)?
    });
    let disks = end_disks(sites, disks, late);
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
            raw: raw(root, site, &holders, unlisted.get(&site.address)),
            mediated: match &site.below {
                Ok(below) => Fact::Is(below.mediated.iter().cloned().collect()),
                Err(why) => Fact::Unreadable(why.clone()),
            },
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

fn has_interface(site: &Site) -> bool {
    site.below.as_ref().is_ok_and(|below| !below.interfaces.is_empty())
}

/// Asks rtnetlink, once, if any of the functions has an interface.
fn networks(root: &Root, sites: &[Site], ask: &Ask) -> Networks {
    if !sites.iter().any(has_interface) {
        return None;
    }
    // A dump waits for the lock that a NIC's unbind may be holding: any other one would, too.
    if ask.spare.of(Part::Network).next().is_some() {
        return Some(Err(Part::Network.spared()));
    }
    let root = root.clone();
    Some(start("asking rtnetlink", ask.patience, move || Network::ask(&root)))
}

fn carried(root: &Root, site: &Site, network: Option<&Result<Network, String>>) -> Result<Vec<String>, String> {
    let below = site.below.as_ref().map_err(Clone::clone)?;
    let mut said = traffic::elsewhere(below);
    match network {
        Some(network) if !below.interfaces.is_empty() => {
            let network = network.as_ref().map_err(Clone::clone)?;
            let physfn = format!("{}/physfn", directory(site.address));
            let vf = root.exists(&physfn).map_err(|e| failed("find", &physfn, &e))?;
            said.extend(traffic::of_function(root, network, &below.interfaces, vf)?);
        }
        _ => {}
    }
    Ok(said)
}

type Disks = Vec<Result<Option<Pending<Result<Vec<String>, String>>>, String>>;

/// Opens the disks of each function, each in its own time: one dead disk says nothing of others.
fn begin_disks(root: &Root, sites: &[Site], ask: &Ask) -> Disks {
    let begin = |site: &Site| match &site.below {
        Err(why) => Err(why.clone()),
        Ok(below) if below.blocks.is_empty() => Ok(None),
        Ok(_) if ask.spare.has(site.address, Part::Disks) => Err(Part::Disks.spared()),
        Ok(below) => {
            let (root, blocks) = (root.clone(), below.blocks.clone());
            start("opening its disks", ask.patience, move || storage::uses(&root, &blocks)).map(Some)
        }
    };
    sites.iter().map(begin).collect()
}

fn end_disks(sites: &[Site], begun: Disks, late: &mut Parts) -> Vec<Result<Vec<String>, String>> {
    let end = |(site, pending): (&Site, Result<Option<Pending<_>>, String>)| match pending? {
        None => Ok(Vec::new()),
        Some(pending) => noted(pending.wait(), late, [site.address], Part::Disks)?,
    };
    sites.iter().zip(begun).map(end).collect()
}

/// One scan of /proc for all functions.
fn holders(root: &Root, sites: &[Site]) -> (Result<Scan<Address>, String>, BTreeMap<Address, String>) {
    let (mut wanted, mut unlisted) = (Wanted::default(), BTreeMap::new());
    for site in sites {
        site.nodes.iter().flatten().for_each(|held| wanted.add(&held.node, site.address, &held.of));
        for function in site.files.iter().flatten() {
            if let Err(e) = wanted.add_files(root, *function, site.address) {
                unlisted.insert(site.address, failed("list", &directory(*function), &e));
            }
        }
    }
    let scan = if wanted.is_empty() { Ok(Scan::default()) } else { scan(root, &wanted) };
    (scan, unlisted)
}

fn held(root: &Root, site: &Site, uevent: &Fact<Driver>, scan: &Result<Scan<Address>, String>) -> Fact<Vec<Holder>> {
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
    for process in &scan.opened {
        let ours = process.named.iter().find(|named| **named == site.address || site.children.contains(named));
        let known = found.iter().any(|holder| holder.pid == process.holder.pid);
        if let Some(named) = ours.filter(|_| !known) {
            found.push(Holder { node: format!("VFIO device {named}"), ..process.holder.clone() });
        }
    }
    if !found.is_empty() {
        return Fact::Is(found);
    }
    let vfio = site.below.as_ref().is_ok_and(|below| below.vfio);
    // While it is being released the link is gone; `uevent` still names the driver.
    let driver = site.driver.as_ref().or_else(|| uevent.is());
    if let Some(driver) = driver.filter(|driver| vfio || driver.module().as_str() == "vfio_pci") {
        found.extend(opened::perhaps(root, site.address, driver, &scan.opened));
    }
    for child in &site.children {
        match driver_link(root, *child) {
            Ok(Some(driver)) if is_vfio(root, *child, &driver) => {
                found.extend(opened::perhaps(root, *child, &driver, &scan.opened));
            }
            Ok(_) => {}
            Err(e) => return Fact::Unreadable(failed("read the driver of", &directory(*child), &e)),
        }
    }
    Fact::Is(found)
}

/// Whether a driver gives a function to user space.
fn is_vfio(root: &Root, address: Address, driver: &Driver) -> bool {
    driver.module().as_str() == "vfio_pci" || root.exists(&format!("{}/vfio-dev", directory(address))).unwrap_or(true)
}

/// Who has it open without a node. A saved tree without processes says nothing of what has no node either.
fn raw(root: &Root, site: &Site, scan: &Result<Scan<Address>, String>, unlisted: Option<&String>) -> Fact<Vec<Holder>> {
    if let Some(why) = site.files.as_ref().err().or(unlisted) {
        return Fact::Unreadable(why.clone());
    }
    match scan {
        Ok(scan) => Fact::Is(scan.raw.get(&site.address).into_iter().flatten().cloned().collect()),
        Err(_) if !root.is_live() && site.nodes.as_ref().is_ok_and(Vec::is_empty) => Fact::Is(Vec::new()),
        Err(why) => Fact::Unreadable(why.clone()),
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
