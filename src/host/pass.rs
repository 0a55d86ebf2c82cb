//! One pass over the devices of interest: their links, their groups, their groups' members.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::bridges;
use super::card;
use super::dir::{Dir, last};
use super::look::ask::Serial;
use super::regions::Regions;
use super::root::{Root, is_absent};
use super::unsaved;
use crate::model::desired::{Entry, VfRange};
use crate::model::pci::{Address, BridgePath, Driver};
use crate::model::snapshot::{Card, Fact, Function, Group};

/// More entries than any machine has; a hostile tree may.
pub(super) const MANY: usize = 1 << 16;

/// What is known of devices from earlier passes.
#[derive(Debug, Default)]
pub struct Memory {
    known: BTreeMap<Address, Known>,
    pins: BTreeMap<Address, (u64, Fact<Driver>)>,
    /// What is reserved in a group, with the directory that it was read from.
    regions: BTreeMap<u32, Regions>,
    /// Drivers met so far: a handful of names for thousands of devices.
    drivers: Vec<Driver>,
    number: u64,
}

#[derive(Debug)]
struct Known {
    card: Arc<Card>,
    most_vfs: Option<u32>,
    above: Option<Address>,
    /// The last pass that met it.
    pass: u64,
}

impl Memory {
    /// Pins that a child has read, each with the device object that it read.
    pub fn remember_pins(&mut self, pins: BTreeMap<Address, (u64, Fact<Driver>)>) {
        self.pins.extend(pins);
    }

    /// Pins that could not be read are not known any more.
    pub fn doubt_pins(&mut self, of: &BTreeSet<Address>, why: &str) {
        for (address, (_, pin)) in &mut self.pins {
            if of.contains(address) {
                *pin = Fact::Unreadable(why.to_owned());
            }
        }
    }

    /// Serial numbers that a child has read, each with the device object that it read.
    pub fn remember_serials(&mut self, serials: BTreeMap<Address, Serial>) {
        for (address, Serial { object, serial }) in serials {
            if let Some(known) = self.known.get_mut(&address).filter(|known| known.card.object == object) {
                Arc::make_mut(&mut known.card).serial = serial;
            }
        }
    }

    /// Serial numbers that were to be read, and are not known all the same.
    pub fn doubt_serials(&mut self, of: &BTreeSet<Address>, why: &str) {
        for (address, known) in &mut self.known {
            if of.contains(address) && known.card.serial.unreadable().is_some() {
                Arc::make_mut(&mut known.card).serial = Fact::Unreadable(why.to_owned());
            }
        }
    }

    /// Cards and serial numbers are read again.
    pub fn forget(&mut self) {
        self.known.clear();
        self.regions.clear();
    }

    fn driver(drivers: &mut Vec<Driver>, name: &str) -> Option<Driver> {
        if let Some(driver) = drivers.iter().find(|driver| driver.as_str() == name) {
            return Some(driver.clone());
        }
        let driver: Driver = name.parse().ok()?;
        // A hostile tree may have a driver for each device; those beyond are not kept.
        if drivers.len() < 64 {
            drivers.push(driver.clone());
        }
        Some(driver)
    }
}

/// One pass.
pub struct Pass<'a> {
    root: &'a Root,
    memory: &'a mut Memory,
    devices: Dir<'a>,
    /// `/sys/kernel/iommu_groups` and `/dev/vfio`; absent without an IOMMU, without vfio.
    groups_dir: io::Result<Dir<'a>>,
    /// Why a saved tree tells of no device in which group, and on which driver it is.
    no_groups: Option<String>,
    no_drivers: Option<String>,
    nodes_dir: io::Result<Dir<'a>>,
    queue: Vec<Address>,
    /// VFIO's drivers, and how many functions are on them.
    vfio: Vec<String>,
    bound: usize,
    ranges: BTreeMap<Address, Vec<VfRange>>,
    unclear_paths: BTreeMap<BridgePath, String>,
    functions: Vec<(Address, Function)>,
    groups: BTreeMap<u32, Group>,
    above: BTreeMap<Address, Address>,
    most_vfs: BTreeMap<Address, u32>,
    /// Groups of which not everything could be told.
    doubtful: BTreeMap<u32, String>,
    /// Addresses without a device.
    gone: BTreeSet<Address>,
    path: String,
}

/// What a pass found.
#[derive(Debug, Default)]
pub struct Found {
    /// The functions.
    pub functions: BTreeMap<Address, Function>,
    /// Bridge paths that could not be followed, and why.
    pub unclear_paths: BTreeMap<BridgePath, String>,
    /// Their groups.
    pub groups: BTreeMap<u32, Group>,
    /// Those that are on a bus which another function makes, no bridge, with that function.
    pub above: BTreeMap<Address, Address>,
    /// Those that can have VFs, with how many.
    pub most_vfs: BTreeMap<Address, u32>,
}

/// What a saved tree leaves out of all devices is unknown of each.
fn or_untold<T>(fact: Fact<T>, why: Option<&String>) -> Fact<T> {
    match (fact, why) {
        (Fact::Absent, Some(why)) => Fact::Unreadable(why.clone()),
        (fact, _) => fact,
    }
}

impl<'a> Pass<'a> {
    /// Begins a pass.
    ///
    /// # Errors
    /// When `/sys/bus/pci/devices` cannot be opened.
    pub fn begin(root: &'a Root, memory: &'a mut Memory) -> io::Result<Pass<'a>> {
        let devices = Dir::open(root, "/sys/bus/pci/devices")?;
        memory.number += 1;
        Ok(Pass {
            root,
            devices,
            groups_dir: Dir::open(root, "/sys/kernel/iommu_groups"),
            no_groups: unsaved::iommu(root),
            no_drivers: unsaved::drivers(root),
            nodes_dir: Dir::open(root, "/dev/vfio"),
            queue: Vec::with_capacity(memory.known.len()),
            vfio: Vec::new(),
            bound: 0,
            ranges: BTreeMap::new(),
            unclear_paths: BTreeMap::new(),
            functions: Vec::with_capacity(memory.known.len()),
            groups: BTreeMap::new(),
            above: BTreeMap::new(),
            most_vfs: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            gone: BTreeSet::new(),
            path: String::with_capacity(64),
            memory,
        })
    }

    /// Adds whatever an entry's selector may mean.
    pub fn add_entry(&mut self, entry: &Entry) {
        let select = &entry.select;
        self.queue.extend(select.address);
        self.queue.extend(select.slot.iter().flat_map(|slot| (0..8).map(|function| slot.function(function))));
        if let Some(path) = &select.path {
            match bridges::follow(&self.devices, path) {
                Ok(found) => self.queue.extend(found),
                Err(e) => _ = self.unclear_paths.insert(path.clone(), e.to_string()),
            }
        }
        if let Some(range) = select.vf {
            self.queue.push(range.pf);
            self.ranges.entry(range.pf).or_default().push(range);
        }
    }

    /// Adds one function.
    pub fn add(&mut self, address: Address) {
        self.queue.push(address);
    }

    /// Adds what is bound to a driver of VFIO's.
    pub fn add_bound(&mut self, driver: &str) {
        self.vfio.push(driver.to_owned());
        let Ok(drivers) = Dir::open(self.root, "/sys/bus/pci/drivers") else { return };
        let before = self.queue.len();
        // A driver's directory that cannot be listed only hides functions nobody declared.
        let _ = drivers.each(driver, MANY, |name| self.queue.extend(name.parse::<Address>()));
        self.bound += self.queue.len() - before;
    }

    /// Adds what is registered with VFIO by other drivers than those that were added.
    pub fn add_registered(&mut self) {
        let Ok(class) = Dir::open(self.root, "/sys/class/vfio-dev") else { return };
        let mut names = Vec::new();
        // What cannot be listed only hides functions nobody declared.
        let _ = class.each(".", MANY, |name| names.push(name.to_owned()));
        // Each function on VFIO's drivers has one. Where there are no others, no link need be read.
        if names.len() == self.bound {
            return;
        }
        for name in names {
            // `…/0000:26:00.4/vfio-dev/vfio3`; that of a mediated device is below its own directory.
            let above = class.follow(&name, |target| {
                let mut steps = Path::new(target).components().rev().skip(1);
                let below = steps.next().is_some_and(|step| step.as_os_str() == "vfio-dev");
                steps.next().filter(|_| below)?.as_os_str().to_str()?.parse::<Address>().ok()
            });
            self.queue.extend(above.ok().flatten());
        }
    }

    /// Looks at everything added, and at the members of its groups.
    #[must_use]
    pub fn finish(mut self) -> Found {
        while let Some(address) = self.queue.pop() {
            self.visit(address);
        }
        let Pass { functions, unclear_paths, mut groups, above, most_vfs, mut doubtful, gone, memory, .. } = self;
        let number = memory.number;
        memory.known.retain(|_, known| known.pass == number);
        memory.regions.retain(|number, _| groups.contains_key(number));
        memory
            .pins
            .retain(|address, (object, _)| memory.known.get(address).is_none_or(|known| known.card.object == *object));
        if !gone.is_empty() {
            for (number, group) in &mut groups {
                // Removing a device takes it off the bus first and waits for its driver afterwards:
                // it may still be in use.
                for address in group.members.intersection(&gone) {
                    doubtful.insert(*number, format!("group {number}: {address} is being removed"));
                }
                group.members.retain(|address| !gone.contains(address));
            }
        }
        let mut functions: BTreeMap<Address, Function> = functions.into_iter().collect();
        if !doubtful.is_empty() {
            for function in functions.values_mut() {
                if let Some(why) = function.group.is().and_then(|group| doubtful.get(group)) {
                    function.group = Fact::Unreadable(why.clone());
                }
            }
        }
        Found { functions, unclear_paths, groups, above, most_vfs }
    }

    fn visit(&mut self, address: Address) {
        if self.memory.known.get(&address).is_some_and(|known| known.pass == self.memory.number) {
            return;
        }
        match self.function(address) {
            Ok(Some(function)) => {
                if let Fact::Is(number) = function.group
                    && !self.groups.contains_key(&number)
                {
                    self.group(number);
                }
                for range in self.ranges.get(&address).into_iter().flatten().filter(|range| range.first <= range.last) {
                    let named = function.vfs.range(range.first..=range.last).map(|(_, vf)| *vf);
                    self.queue.extend(named);
                }
                self.functions.push((address, function));
            }
            Ok(None) => {
                self.gone.insert(address);
            }
            Err(e) => self.functions.push((address, unknown(address, &e.to_string()))),
        }
    }

    /// Reads one function; none when there is no such device.
    fn function(&mut self, address: Address) -> io::Result<Option<Function>> {
        let path = &mut self.path;
        path.clear();
        let _ = write!(path, "{address}");
        let length = path.len();
        let object = match self.devices.inode(path) {
            Ok(object) => object,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(named("stat", &self.devices, path, &e)),
        };
        let memory = &mut *self.memory;
        if memory.known.get(&address).is_none_or(|known| known.card.object != object) {
            let read = match card::read(self.root, &self.devices, address, object) {
                Ok(read) => read,
                Err(_) if self.devices.inode(path).is_err_and(|e| is_absent(&e)) => return Ok(None),
                Err(e) => return Err(e),
            };
            let known = Known { card: Arc::new(read.card), most_vfs: read.most_vfs, above: read.above, pass: 0 };
            memory.known.insert(address, known);
        }
        let Some(known) = memory.known.get_mut(&address) else { return Ok(None) };
        known.pass = memory.number;
        path.push_str("/driver");
        let driver = link(&self.devices, path, |name| Memory::driver(&mut memory.drivers, name));
        path.truncate(length);
        path.push_str("/iommu_group");
        let group = link(&self.devices, path, |name| name.parse().ok());
        path.truncate(length);
        // A device that went just now has no links either; that is not a device without a group.
        if group.is_absent() && self.devices.inode(path).is_err_and(|e| is_absent(&e)) {
            memory.known.remove(&address);
            return Ok(None);
        }
        let group = or_untold(group, self.no_groups.as_ref());
        let driver = or_untold(driver, self.no_drivers.as_ref());
        let pin = match memory.pins.get(&address) {
            Some((read, pin)) if *read == object => pin.clone(),
            _ => Fact::not_looked(),
        };
        if let Some(above) = known.above {
            self.above.insert(address, above);
        }
        // A written tree has no such file at all.
        let leaving = driver.is_absent() && self.root.is_live() && {
            path.push_str("/remove");
            let gone = self.devices.inode(path).is_err_and(|e| is_absent(&e));
            path.truncate(length);
            gone
        };
        let card = Arc::clone(&known.card);
        let vfs = BTreeMap::new();
        let mut function = Function { card, driver, registered: false, group, vfs, pin, leaving, look: None };
        let others =
            |driver: &&Driver| driver.as_str() != "pcieport" && !self.vfio.iter().any(|v| v == driver.as_str());
        if function.driver.is().is_some_and(|driver| others(&driver)) {
            path.push_str("/vfio-dev");
            let found = self.devices.inode(path);
            match found {
                Ok(_) => function.registered = true,
                Err(e) if is_absent(&e) => {}
                // It may be a guest's.
                Err(e) => function.driver = Fact::Unreadable(named("stat", &self.devices, path, &e).to_string()),
            }
            path.truncate(length);
        }
        if let Some(most) = known.most_vfs {
            self.most_vfs.insert(address, most);
            match virtual_functions(&self.devices, path) {
                Ok(vfs) => function.vfs = vfs,
                // Without its VFs nothing may be done to a PF, and the driver is what tells so.
                Err(e) => function.driver = Fact::Unreadable(e.to_string()),
            }
        }
        Ok(Some(function))
    }

    fn group(&mut self, number: u32) {
        let path = &mut self.path;
        path.clear();
        let _ = write!(path, "{number}");
        let mut group = Group {
            members: BTreeSet::new(),
            others: BTreeSet::new(),
            node: node(&self.nodes_dir, path),
            reserved: Fact::Absent,
            insisted: Fact::Absent,
        };
        let object = self.groups_dir.as_ref().ok().and_then(|groups| groups.inode(path).ok());
        path.push_str("/devices");
        let listed = match &self.groups_dir {
            Ok(groups) => groups.each(path, MANY, |name| match name.parse() {
                Ok(member) => _ = group.members.insert(member),
                Err(_) => _ = group.others.insert(name.to_owned()),
            }),
            Err(e) => Err(io::Error::from(e.kind())),
        };
        // Also when it is not there: the device's link says that it is.
        if let Err(e) = listed {
            self.doubtful.insert(number, format!("list /sys/kernel/iommu_groups/{path}: {e}"));
        }
        if let Some(object) = object {
            let kept = self.memory.regions.get(&number).filter(|regions| regions.object == object).cloned();
            let regions = kept.unwrap_or_else(|| Regions::read(self.root, number, object, &group.members));
            group.reserved.clone_from(&regions.reserved);
            group.insisted.clone_from(&regions.insisted);
            self.memory.regions.insert(number, regions);
        }
        self.queue.extend(&group.members);
        self.groups.insert(number, group);
    }
}

/// The node of a group: `/dev/vfio/N`, or `noiommu-N`. It is never opened: opening is exclusive.
fn node(nodes: &io::Result<Dir<'_>>, number: &str) -> Fact<()> {
    let nodes = match nodes {
        Ok(nodes) => nodes,
        Err(e) if is_absent(e) => return Fact::Absent,
        Err(e) => return Fact::Unreadable(format!("open /dev/vfio: {e}")),
    };
    let there = |name: &str| match nodes.inode(name) {
        Ok(_) => Fact::Is(()),
        Err(e) if is_absent(&e) => Fact::Absent,
        Err(e) => Fact::Unreadable(named("stat", nodes, name, &e).to_string()),
    };
    match there(number) {
        Fact::Absent => there(&format!("noiommu-{number}")),
        known => known,
    }
}

/// A link by the last component of its target.
fn link<T>(dir: &Dir<'_>, path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Fact<T> {
    let read = dir.follow(path, |target| match last(target).and_then(parse) {
        Some(value) => Fact::Is(value),
        None => Fact::Unreadable(format!("read link {}: it leads to {}", dir.whole(path), target.display())),
    });
    match read {
        Ok(known) => known,
        Err(e) if is_absent(&e) => Fact::Absent,
        Err(e) => Fact::Unreadable(named("read link", dir, path, &e).to_string()),
    }
}

/// The `virtfnN` links of a PF. Listed and not counted up: VFs go one by one from 0.
fn virtual_functions(devices: &Dir<'_>, pf: &str) -> io::Result<BTreeMap<u32, Address>> {
    let mut links = Vec::new();
    devices
        .each(pf, MANY, |name| {
            links.extend(name.strip_prefix("virtfn").and_then(|index| index.parse::<u32>().ok()));
        })
        .map_err(|e| named("list", devices, pf, &e))?;
    let mut vfs = BTreeMap::new();
    for index in links {
        match link(devices, &format!("{pf}/virtfn{index}"), |name| name.parse::<Address>().ok()) {
            Fact::Is(vf) => _ = vfs.insert(index, vf),
            Fact::Absent => {}
            Fact::Unreadable(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        }
    }
    Ok(vfs)
}

/// A function of which nothing can be told but that it is there.
#[must_use]
pub fn unknown(address: Address, why: &str) -> Function {
    Function {
        card: Arc::new(card::unknown(address, 0, why)),
        driver: Fact::Unreadable(why.to_owned()),
        registered: false,
        group: Fact::Unreadable(why.to_owned()),
        vfs: BTreeMap::new(),
        pin: Fact::not_looked(),
        leaving: false,
        look: None,
    }
}

/// "verb path: cause", of something in a directory.
pub(super) fn named(op: &str, dir: &Dir<'_>, path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{op} {}: {error}", dir.whole(path)))
}
