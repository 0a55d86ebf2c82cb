//! The observer: whole snapshots, quickly, without taking a device's lock.
//!
//! Never read here: `driver_override` and `uevent` (on 6.1 they block while somebody's unbind of
//! the device waits for its user), `sriov_numvfs` (the same lock). `/dev/vfio/<group>` is never
//! opened: opening is exclusive, and a VM's start would fail by it.

use std::collections::{BTreeMap, BTreeSet};

use super::drivers;
use super::look::ask::Looked;
use super::machine::Machine;
use super::module_facts::{Asked, VFIO};
use super::module_watch::ModuleWatch;
use super::pass::{Found, Memory, Pass, unknown};
use super::port::{self, Closer, Scope};
use super::proc_modules::ProcModules;
use super::root::{Root, is_absent};
use crate::model::desired::{Desired, Keep, Select, Wanted};
use crate::model::pci::{Address, BridgePath, Driver, Module};
use crate::model::resolve::wanted_driver;
use crate::model::snapshot::{Fact, Function, Snapshot, Variant};
use crate::model::time::Time;
use crate::model::variant::{Drivers, Known};

/// Takes snapshots of one root; remembers what does not change between them.
#[derive(Debug)]
pub struct Observer {
    root: Root,
    memory: Memory,
    modules: ModuleWatch,
    platform: Machine,
}

impl Observer {
    /// An observer that knows nothing yet.
    #[must_use]
    pub fn new(root: Root) -> Observer {
        Observer { root, memory: Memory::default(), modules: ModuleWatch::default(), platform: Machine::default() }
    }

    /// The root it looks at.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Pins (`driver_override`) that a child has read, each with the object that it was read of.
    /// They are shown while the same object is at the address.
    pub fn remember_pins(&mut self, pins: BTreeMap<Address, (u64, Fact<Driver>)>) {
        self.memory.remember_pins(pins);
    }

    /// Takes in what a child has read. Overrides and serial numbers are shown while the device object
    /// that they were read of is at the address.
    pub fn take_in(&mut self, looked: Looked) -> port::Found {
        let pins = looked.pins.into_iter().map(|(address, pin)| (address, (pin.object, pin.pin)));
        self.remember_pins(pins.collect());
        self.memory.remember_serials(looked.serials);
        port::Found { looks: looked.looks, pinned: looked.pinned }
    }

    /// A child was to look, and has not answered.
    pub fn take_silence(&mut self, closer: &Closer, why: String) -> port::Found {
        let asked: BTreeSet<Address> = closer.looks.union(&closer.pins).copied().collect();
        self.memory.doubt_pins(&asked, &why);
        self.memory.doubt_serials(&closer.serials, &why);
        port::Found { looks: BTreeMap::new(), pinned: Fact::Unreadable(why) }
    }

    /// Pins that could not be read: what was remembered of them does not hold any more.
    pub fn doubt_pins(&mut self, of: &BTreeSet<Address>, why: &str) {
        self.memory.doubt_pins(of, why);
    }

    /// Reads everything again at the next pass: after a reload, or when a person asks.
    pub fn forget(&mut self) {
        self.memory.forget();
        self.modules.forget();
        self.platform = Machine::default();
    }

    /// Takes a snapshot of what the scope names.
    ///
    /// What it cannot know stays open: `look` is none, `pinned` not looked at, and `pin` too unless
    /// it was remembered.
    pub fn observe(&mut self, scope: Scope<'_>, now: Time) -> Snapshot {
        let Scope { desired, policy, needs_vfio, besides } = scope;
        // Before the drivers' directories: where no module can be loaded, a driver that is there
        // although its module was not is built in.
        let loaded = ProcModules::told(&self.root);
        let tree = self.modules.tree(&self.root, &loaded);
        let variants = drivers::variants(&self.root, tree, loaded.as_ref().ok());
        let offered = |module: &&Module| {
            tree.builtin.contains(*module) || loaded.as_ref().is_ok_and(|loaded| !loaded.get(module).is_absent())
        };
        let mut drivers = Drivers::default();
        for module in modules_of(&variants).into_iter().filter(offered).filter(|module| module.as_str() != "vfio_pci") {
            drivers::add_module(&self.root, module, &mut drivers);
        }
        let mut vfio: BTreeSet<Driver> = drivers.0.keys().cloned().collect();
        vfio.insert(Driver::vfio_pci());
        for entry in &desired.entries {
            if let Wanted::Named(driver) = &entry.driver {
                drivers::add_named(&self.root, driver, &mut drivers);
            }
        }
        let found = self.devices(desired, &vfio, besides);
        let bound: BTreeSet<&Driver> = found.functions.values().filter_map(|function| function.driver.is()).collect();
        for driver in bound.into_iter().filter(|driver| !matches!(driver.as_str(), "pcieport" | "vfio-pci")) {
            drivers::add_at_work(&self.root, driver, &mut drivers);
        }
        let known = Known { variants: &variants, drivers: &drivers };
        let on_vfio = |function: &Function| function.driver.is().is_some_and(|driver| known.is_vfio(driver));
        let used = needs_vfio || found.functions.values().any(on_vfio);
        let required = required(desired, used, known, &found);
        let modules = self.modules.facts(&self.root, &loaded, required, policy.ignore_blacklist);
        let platform = self.platform.facts(&self.root, &found.functions);
        let Found { functions, unclear_paths, groups, above, most_vfs } = found;
        Snapshot {
            taken: now,
            modules,
            variants,
            drivers,
            functions,
            unclear_paths,
            groups,
            above,
            most_vfs,
            autoprobe: autoprobe(&self.root),
            pinned: Fact::not_looked(),
            platform,
        }
    }

    fn devices(&mut self, desired: &Desired, vfio: &BTreeSet<Driver>, besides: &BTreeSet<Address>) -> Found {
        match Pass::begin(&self.root, &mut self.memory) {
            Ok(mut pass) => {
                vfio.iter().for_each(|driver| pass.add_bound(driver.as_str()));
                pass.add_registered();
                desired.entries.iter().for_each(|entry| pass.add_entry(entry));
                besides.iter().for_each(|address| pass.add(*address));
                pass.finish()
            }
            Err(e) if is_absent(&e) => Found::default(),
            Err(e) => {
                // Not known to be absent: what is declared by an address is there, and unreadable.
                let why = format!("open /sys/bus/pci/devices: {e}");
                let selects = || desired.entries.iter().map(|entry| &entry.select);
                let declared = selects().flat_map(|select| {
                    let slot = select.slot.map(|slot| slot.function(0));
                    [select.address, slot, select.vf.map(|range| range.pf)].into_iter().flatten()
                });
                let functions = declared.map(|address| (address, unknown(address, &why))).collect();
                let paths = selects().filter_map(|select| select.path.clone());
                let unclear_paths = paths.map(|path| (path, why.clone())).collect();
                Found { functions, unclear_paths, ..Found::default() }
            }
        }
    }
}

/// The modules that must serve, before what they need is added.
fn required(desired: &Desired, used: bool, known: Known<'_>, found: &Found) -> BTreeMap<Module, Asked> {
    match &desired.modules {
        Keep::List(modules) => modules.iter().map(|module| (module.clone(), Asked::Listed)).collect(),
        Keep::Auto if desired.entries.is_empty() && !used => BTreeMap::new(),
        Keep::Auto => {
            let mut required: BTreeMap<Module, Asked> =
                VFIO.iter().filter_map(|name| Some((name.parse().ok()?, Asked::Auto))).collect();
            required.extend(drivers_modules(desired, known, found).into_iter().map(|module| (module, Asked::Auto)));
            required
        }
    }
}

/// The modules of the drivers that entries want.
fn drivers_modules(desired: &Desired, known: Known<'_>, found: &Found) -> BTreeSet<Module> {
    let mut modules = BTreeSet::new();
    let paths: BTreeMap<&BridgePath, &Function> = match known.variants.is_empty() {
        true => BTreeMap::new(),
        false => found.functions.values().map(|function| (&function.card.path, function)).collect(),
    };
    for entry in &desired.entries {
        match &entry.driver {
            // vfio-pci's is there already; a name that is no plain one is not asked for.
            Wanted::Named(driver) if driver.is_plain() && driver.as_str() != "vfio-pci" => {
                modules.insert(known.choice(&entry.driver, "", &Fact::Absent, false).module);
            }
            Wanted::Named(_) => {}
            Wanted::Auto | Wanted::Any if known.variants.is_empty() => {}
            // By the functions that are there; what is absent needs no driver yet.
            Wanted::Auto | Wanted::Any => {
                let mut functions = meant(&entry.select, &found.functions);
                functions.extend(entry.select.path.as_ref().and_then(|path| paths.get(path).copied()));
                if entry.whole_group {
                    let numbers: BTreeSet<u32> = functions.iter().filter_map(|f| f.group.is().copied()).collect();
                    let members = numbers.iter().filter_map(|number| found.groups.get(number)).flat_map(|g| &g.members);
                    functions
                        .extend(members.filter_map(|member| found.functions.get(member)).filter(|f| !f.card.bridge));
                }
                let chosen = functions.into_iter().map(|function| wanted_driver(entry, function, known));
                // A vendor's own driver is not VFIO's to keep.
                modules.extend(chosen.map(|choice| choice.module).filter(|module| known.is_vfios(module)));
            }
        }
    }
    modules
}

/// The functions that a selector means by an address.
fn meant<'f>(select: &Select, functions: &'f BTreeMap<Address, Function>) -> Vec<&'f Function> {
    let mut meant: Vec<&Function> = select.address.iter().filter_map(|address| functions.get(address)).collect();
    meant.extend(
        select.slot.iter().flat_map(|slot| functions.range(slot.function(0)..=slot.function(7))).map(|(_, f)| f),
    );
    if let Some(range) = select.vf
        && let Some(pf) = functions.get(&range.pf)
        && range.first <= range.last
    {
        meant.extend(pf.vfs.range(range.first..=range.last).filter_map(|(_, vf)| functions.get(vf)));
    }
    meant
}

fn modules_of(variants: &[Variant]) -> Vec<&Module> {
    let mut modules: Vec<&Module> = variants.iter().map(|variant| &variant.module).collect();
    modules.sort_unstable();
    modules.dedup();
    modules
}

fn autoprobe(root: &Root) -> Fact<bool> {
    let path = "/sys/bus/pci/drivers_autoprobe";
    match root.read_text(path) {
        Ok(text) => match text.trim() {
            "0" => Fact::Is(false),
            "1" => Fact::Is(true),
            other => Fact::Unreadable(format!("read {path}: `{other}`")),
        },
        Err(e) if is_absent(&e) => Fact::Absent,
        Err(e) => Fact::Unreadable(format!("read {path}: {e}")),
    }
}
