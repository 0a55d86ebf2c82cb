//! The snapshot and the closer look, as the observer of a real kernel would take them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::desired::{Desired, Entry, Keep, Select, Wanted};
use crate::model::pci::{Address, BridgePath, Driver, Hop, Module};
use crate::model::preflight::survey::Region;
use crate::model::snapshot::{Card, Fact, Function, Group, Holder, Look, Platform, Snapshot};
use crate::model::time::Time;
use crate::model::variant::{Drivers, Known};

use super::faults::{About, Fault};
use super::kernel::{Device, Kernel, Version};
use super::spec::{Installed, Use};

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Functions that a selector may mean. Members of their groups and what is on VFIO come along.
    pub functions: BTreeSet<Address>,
    /// Modules to ask about.
    pub modules: BTreeSet<Module>,
    /// Functions whose `driver_override` is read.
    pub pins: BTreeSet<Address>,
    /// Functions to take a closer look at; reads their `driver_override` too.
    pub look: BTreeSet<Address>,
    /// Whether to look for everything that a module load would bind.
    pub pinned: bool,
    /// `modules.ignore_blacklist`.
    pub ignore_blacklist: bool,
}

impl Kernel {
    /// What a configuration makes one look at, at rest. `used`: whether anything was on VFIO.
    #[must_use]
    pub fn scope(&self, desired: &Desired, used: bool) -> Scope {
        let functions = desired.entries.iter().flat_map(|entry| self.candidates(&entry.select)).collect();
        let mut modules: BTreeSet<Module> = match &desired.modules {
            Keep::List(list) => list.iter().cloned().collect(),
            Keep::Auto if desired.entries.is_empty() && !used => BTreeSet::new(),
            Keep::Auto => {
                let vfio = ["vfio_pci", "vfio_pci_core", "vfio_iommu_type1"].iter().filter_map(|m| m.parse().ok());
                vfio.chain(desired.entries.iter().flat_map(|entry| self.drivers_modules(entry))).collect()
            }
        };
        let needs: Vec<_> =
            modules.iter().filter_map(|module| self.installed.get(module)).flat_map(|m| m.needs.clone()).collect();
        modules.extend(needs);
        Scope { functions, modules, ..Scope::default() }
    }

    /// The modules of the drivers that an entry wants for the functions that are there.
    fn drivers_modules(&self, entry: &Entry) -> BTreeSet<Module> {
        match &entry.driver {
            Wanted::Named(_) => {
                let drivers = self.drivers();
                let known = Known { variants: &self.variants, drivers: &drivers };
                BTreeSet::from([known.choice(&entry.driver, "", &Fact::Absent, false).module])
            }
            Wanted::Auto | Wanted::Any => {
                let mut there = self.candidates(&entry.select);
                if entry.whole_group {
                    let groups: BTreeSet<u32> = there.iter().filter_map(|address| self.group(*address)).collect();
                    let groups = groups.iter().filter_map(|number| self.groups.get(number));
                    there.extend(groups.flat_map(|group| &group.functions));
                }
                let devices = there.iter().filter_map(|address| self.devices.get(address));
                let drivers = self.drivers();
                let known = Known { variants: &self.variants, drivers: &drivers };
                let chosen = devices.map(|device| {
                    let on = device.link().cloned().map_or(Fact::Absent, Fact::Is);
                    let registered = self.vfio_dev(device.spec.address);
                    known.choice(&entry.driver, &device.spec.shown_modalias(), &on, registered).module
                });
                chosen.filter(|module| known.is_vfios(module)).collect()
            }
        }
    }

    /// The drivers that are registered, and their modules.
    fn drivers(&self) -> Drivers {
        let there = self.installed.iter().filter(|(name, module)| module.builtin || self.loaded.contains_key(*name));
        let of = |(name, module): (&Module, &Installed)| {
            module.drivers.iter().map(|driver| (driver.clone(), name.clone())).collect::<Vec<_>>()
        };
        Drivers(there.flat_map(of).collect())
    }

    /// The functions that a selector may mean now.
    #[must_use]
    pub fn candidates(&self, select: &Select) -> BTreeSet<Address> {
        let by_vf = |device: &Device| {
            select.vf.is_some_and(|range| range.pf == device.spec.address || device.spec.physfn == Some(range.pf))
        };
        let means = |device: &&Device| {
            let address = device.spec.address;
            let path = select.path.as_ref().is_some_and(|path| *path == self.path(address));
            select.address == Some(address) || select.slot == Some(address.slot()) || path || by_vf(device)
        };
        self.devices.values().filter(means).map(|device| device.spec.address).collect()
    }

    /// Takes a snapshot and remembers the overrides it read, as the observer does.
    pub fn observe(&mut self, of: &Scope, now: Time) -> Snapshot {
        let snapshot = self.snapshot(of, now);
        for address in of.pins.union(&of.look) {
            if let Some(function) = snapshot.functions.get(address) {
                self.pins_read.insert(function.card.object, function.pin.clone());
            }
        }
        snapshot
    }

    /// What the kernel says now; an override that is not asked for is as it was last observed.
    #[must_use]
    pub fn snapshot(&self, of: &Scope, now: Time) -> Snapshot {
        let mut wanted: BTreeSet<Address> = of.functions.union(&of.look).chain(&of.pins).copied().collect();
        wanted.extend(self.devices.values().filter(|device| self.on_vfio(device)).map(|device| device.spec.address));
        let pinned = self.pinned(of.pinned);
        wanted.extend(pinned.is().into_iter().flat_map(|pinned| pinned.keys()));
        let numbers: BTreeSet<u32> = wanted.iter().filter_map(|address| self.group(*address)).collect();
        let groups: BTreeMap<u32, Group> =
            numbers.into_iter().map(|number| (number, self.group_facts(number))).collect();
        wanted.extend(groups.values().flat_map(|group| &group.members));
        let functions = wanted.into_iter().filter_map(|address| Some((address, self.function(address, of)?))).collect();
        let autoprobe = match self.faults.contains(&Fault::AutoprobeUnreadable) {
            true => Fact::Unreadable("drivers_autoprobe: input/output error".to_owned()),
            false => Fact::Is(self.autoprobe),
        };
        Snapshot {
            taken: now,
            modules: of.modules.iter().map(|m| (m.clone(), self.module_facts(m, of.ignore_blacklist))).collect(),
            variants: Arc::clone(&self.variants),
            drivers: self.drivers(),
            functions,
            unclear_paths: BTreeMap::new(),
            groups,
            above: BTreeMap::new(),
            most_vfs: BTreeMap::new(),
            autoprobe,
            pinned,
            platform: self.platform(),
        }
    }

    fn platform(&self) -> Platform {
        let live = |module: &str, switch: bool| match self.loaded_live(module) {
            Some(_) => Fact::Is(switch),
            None => Fact::Absent,
        };
        Platform {
            has_groups: !self.groups.is_empty(),
            kernel: match self.version {
                Version::V6_1 => (6, 1),
                Version::V6_12 => (6, 12),
            },
            remapping: Fact::Is(self.remapping),
            unsafe_interrupts: live("vfio_iommu_type1", self.unsafe_interrupts),
            denylist_disabled: live("vfio_pci", false),
        }
    }

    /// What a closer look at a function finds.
    #[must_use]
    pub fn look(&self, address: Address) -> Option<Look> {
        let device = self.devices.get(&address)?;
        let native = device.bound.is_some() && !self.on_vfio(device);
        let uses = || device.uses.iter().filter(|_| native);
        let network = uses().filter_map(|what| match what {
            Use::Network(sentence) | Use::Namespace(sentence) => Some(sentence.clone()),
            Use::Storage(_) | Use::Mediated(_) => None,
        });
        let storage = uses().filter_map(|what| match what {
            Use::Storage(sentence) => Some(sentence.clone()),
            Use::Network(_) | Use::Namespace(_) | Use::Mediated(_) => None,
        });
        let mediated = uses().filter_map(|what| match what {
            Use::Mediated(name) => Some(name.clone()),
            Use::Network(_) | Use::Namespace(_) | Use::Storage(_) => None,
        });
        let vfs = u32::try_from(device.vfs.len()).unwrap_or(u32::MAX);
        Some(Look {
            object: device.object,
            pin: self.pin_fact(device),
            uevent_driver: match self.blocks_reading(device) || self.unreadable(address, About::Uevent) {
                true => unreadable(address, "uevent"),
                false => device.bound.clone().map_or(Fact::Absent, Fact::Is),
            },
            holders: self.fact(address, About::Holders, "the processes' files", self.holders(address)),
            network: self.fact(address, About::Network, "net", network.collect()),
            storage: self.fact(address, About::Storage, "block", storage.collect()),
            vfs: self.fact(address, About::Vfs, "sriov_numvfs", vfs),
            raw: Fact::Is(Vec::new()),
            mediated: Fact::Is(mediated.collect()),
        })
    }

    /// Who has a node of the function open: its own, or its group's.
    fn holders(&self, address: Address) -> Vec<Holder> {
        let group = self.group(address);
        let of_it = |hold: &&super::holding::Hold| {
            hold.address == address || hold.vfio.is_some_and(|opened| Some(opened.group) == group)
        };
        let mut holders: Vec<_> = self
            .holds
            .iter()
            .filter(of_it)
            .map(|hold| Holder {
                pid: hold.who.pid,
                comm: hold.who.comm.clone(),
                unit: hold.who.unit.clone(),
                uid: hold.who.uid,
                node: hold.node.clone(),
            })
            .collect();
        holders.sort();
        holders.dedup();
        holders
    }

    fn fact<T>(&self, address: Address, about: About, file: &str, value: T) -> Fact<T> {
        if self.unreadable(address, about) { unreadable(address, file) } else { Fact::Is(value) }
    }

    /// Whether reading `driver_override` and `uevent` would sleep: 6.1 takes the device lock.
    fn blocks_reading(&self, device: &Device) -> bool {
        self.pin_needs_lock() && (device.lock.is_some() || self.is_stuck(device.spec.address))
    }

    fn pin_fact(&self, device: &Device) -> Fact<Driver> {
        if self.blocks_reading(device) || self.unreadable(device.spec.address, About::Pin) {
            return unreadable(device.spec.address, "driver_override");
        }
        device.pin.clone().map_or(Fact::Absent, Fact::Is)
    }

    fn pinned(&self, asked: bool) -> Fact<BTreeMap<Address, Driver>> {
        if !asked {
            return Fact::not_looked();
        }
        if self.faults.contains(&Fault::PinnedUnreadable) {
            return Fact::Unreadable("looking for overrides: input/output error".to_owned());
        }
        let mut pinned = BTreeMap::new();
        for device in self.devices.values().filter(|device| device.link().is_none()) {
            match self.pin_fact(device) {
                Fact::Is(pin) => drop(pinned.insert(device.spec.address, pin)),
                Fact::Absent => {}
                Fact::Unreadable(why) => return Fact::Unreadable(why),
            }
        }
        Fact::Is(pinned)
    }

    fn function(&self, address: Address, of: &Scope) -> Option<Function> {
        let device = self.devices.get(&address)?;
        let look = of.look.contains(&address).then(|| self.look(address)).flatten().map(Arc::new);
        let pin = match (&look, of.pins.contains(&address)) {
            (Some(look), _) => look.pin.clone(),
            (None, true) => self.pin_fact(device),
            (None, false) => self.pins_read.get(&device.object).cloned().unwrap_or_else(Fact::not_looked),
        };
        let link = |about, file, value: Option<_>| match self.unreadable(address, about) {
            true => unreadable(address, file),
            false => value.map_or(Fact::Absent, Fact::Is),
        };
        let group = match self.unreadable(address, About::Group) {
            true => unreadable(address, "iommu_group"),
            false => device.group.map_or(Fact::Absent, Fact::Is),
        };
        Some(Function {
            card: Arc::new(self.card(device)),
            driver: link(About::Driver, "driver", device.link().cloned()),
            registered: device.link().is_some() && self.vfio_dev(address),
            group,
            vfs: device.vfs.clone(),
            pin,
            leaving: device.link().is_none() && self.is_leaving(address),
            look,
        })
    }

    fn card(&self, device: &Device) -> Card {
        let spec = &device.spec;
        let serial = match self.unreadable(spec.address, About::Serial) {
            true => unreadable(spec.address, "config"),
            false => spec.serial.clone().map_or(Fact::Absent, Fact::Is),
        };
        Card {
            object: device.object,
            ids: spec.ids,
            subsystem: spec.subsystem.map_or(Fact::Absent, Fact::Is),
            class: spec.class,
            serial,
            modalias: spec.shown_modalias(),
            path: self.path(spec.address),
            bridge: spec.bridge || spec.class >> 8 == 0x0604,
            boot_vga: spec.boot_vga,
            physfn: spec.physfn,
        }
    }

    fn path(&self, address: Address) -> BridgePath {
        let mut hops = Vec::new();
        let mut root = address;
        while let Some(parent) = self.devices.get(&root).and_then(|device| device.spec.parent) {
            hops.push(Hop { device: root.device, function: root.function });
            root = parent;
        }
        hops.reverse();
        BridgePath { root, hops }
    }

    fn group_facts(&self, number: u32) -> Group {
        let members = self.groups.get(&number).cloned().unwrap_or_default();
        let node = match members.functions.iter().find(|member| self.unreadable(**member, About::Node)) {
            Some(_) => Fact::Unreadable(format!("/dev/vfio/{number}: permission denied")),
            None if self.group_node(number) => Fact::Is(()),
            None => Fact::Absent,
        };
        let direct = |member: &Address| self.devices.get(member).is_some_and(|device| device.spec.direct_region);
        let region = Region { start: 0xfffc_0000, end: 0xffff_ffff, kind: "direct".to_owned() };
        let insisted: Vec<Region> =
            members.functions.iter().find(|member| direct(member)).map(|_| region).into_iter().collect();
        let (reserved, insisted) = (Fact::Is(insisted.clone()), Fact::Is(insisted));
        Group { members: members.functions, others: members.others, node, reserved, insisted }
    }
}

fn unreadable<T>(address: Address, file: &str) -> Fact<T> {
    Fact::Unreadable(format!("{address}/{file}: no answer"))
}
