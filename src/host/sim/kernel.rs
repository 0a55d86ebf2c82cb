//! The [`Kernel`], and how it is built.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::cause::Culprit;
use crate::model::pci::{Address, Driver, Module};
use crate::model::snapshot::{Fact, Variant};

use super::answer::{Job, Traced, Uevent};
use super::faults::Fault;
use super::holding::Hold;
use super::jobs::Sleeper;
use super::spec::{Installed, Rule, Spec, Use};

/// Which kernel is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Debian's 6.1: `vfio_virqfd` is a module, reading the override of a device being unbound blocks.
    V6_1,
    /// Debian's 6.12.
    V6_12,
}

/// Whether devices have IOMMU groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Iommu {
    /// Every device is in a group.
    On,
    /// There is none: no groups.
    Off,
    /// Its driver is not there yet: no groups, and every probe is deferred.
    Waiting,
}

/// A small kernel in memory.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub(super) version: Version,
    pub(super) iommu: Iommu,
    /// What a rescan finds, plugged in or removed in software.
    pub(super) slots: BTreeMap<Address, Spec>,
    pub(super) devices: BTreeMap<Address, Device>,
    pub(super) groups: BTreeMap<u32, Members>,
    pub(super) installed: BTreeMap<Module, Installed>,
    pub(super) loaded: BTreeMap<Module, Loaded>,
    pub(super) rules: BTreeMap<Module, Rule>,
    pub(super) modules_disabled: bool,
    pub(super) tree_missing: bool,
    /// Whether udev loads the module of a function that appears.
    pub(super) udev: bool,
    /// `/sys/bus/pci/drivers_autoprobe`.
    pub(super) autoprobe: bool,
    /// Interrupts go through a remapping controller; without it no container takes a group, unless
    /// VFIO was told to go without (`allow_unsafe_interrupts`).
    pub(super) remapping: bool,
    pub(super) unsafe_interrupts: bool,
    pub(super) variants: Arc<Vec<Variant>>,
    pub(super) dynamic_ids: BTreeSet<(Driver, crate::model::pci::Ids)>,
    pub(super) holds: Vec<Hold>,
    pub(super) jobs: BTreeMap<Job, Sleeper>,
    pub(super) next_job: u32,
    /// Who has the machine-wide lock of remove and rescan.
    pub(super) rescan_lock: Option<Job>,
    pub(super) uevents: Vec<Uevent>,
    /// What a trace would show of modules, and whose name it would show.
    pub(super) traced: Vec<Traced>,
    pub(super) outsider: Option<Culprit>,
    pub(super) writes: BTreeMap<(Writer, Address), u32>,
    pub(super) loads: BTreeMap<Writer, u32>,
    pub(super) writer: Writer,
    pub(super) next_object: u64,
    pub(super) stamp: u64,
    pub(super) faults: BTreeSet<Fault>,
    /// What the observer remembers of `driver_override`, by device object.
    pub(super) pins_read: BTreeMap<u64, Fact<Driver>>,
}

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// A step of a plan.
    Plan,
    /// Anybody else.
    Outsider,
}

/// A function that is there now.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub spec: Spec,
    /// Inode of its directory.
    pub object: u64,
    /// `dev->driver`: still set while an unbind waits.
    pub bound: Option<Driver>,
    /// An unbind waits for a holder: the links are gone already.
    pub releasing: bool,
    /// Whose call has the device lock across a sleep.
    pub lock: Option<Job>,
    pub pin: Option<Driver>,
    pub group: Option<u32>,
    pub vfs: BTreeMap<u32, Address>,
    pub uses: Vec<Use>,
}

impl Device {
    /// What the `driver` link says.
    pub fn link(&self) -> Option<&Driver> {
        self.bound.as_ref().filter(|_| !self.releasing)
    }
}

/// An IOMMU group.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    pub tag: Option<String>,
    pub functions: BTreeSet<Address>,
    pub others: BTreeSet<String>,
}

/// A module in the kernel.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub live: bool,
    /// In which order they came: drivers are asked in that order.
    pub order: u64,
}

impl Kernel {
    /// A kernel with an IOMMU, the VFIO modules installed and not loaded, and no device.
    #[must_use]
    pub fn new(version: Version) -> Kernel {
        let mut kernel = Kernel {
            version,
            iommu: Iommu::On,
            slots: BTreeMap::new(),
            devices: BTreeMap::new(),
            groups: BTreeMap::new(),
            installed: BTreeMap::new(),
            loaded: BTreeMap::new(),
            rules: BTreeMap::new(),
            modules_disabled: false,
            tree_missing: false,
            udev: true,
            autoprobe: true,
            remapping: true,
            unsafe_interrupts: false,
            variants: Arc::default(),
            dynamic_ids: BTreeSet::new(),
            holds: Vec::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            rescan_lock: None,
            uevents: Vec::new(),
            traced: Vec::new(),
            outsider: None,
            writes: BTreeMap::new(),
            loads: BTreeMap::new(),
            writer: Writer::Outsider,
            next_object: 1000,
            stamp: 1,
            faults: BTreeSet::new(),
            pins_read: BTreeMap::new(),
        };
        kernel.install_vfio();
        kernel
    }

    /// Which kernel it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Sets whether there is an IOMMU; before devices are added.
    #[must_use]
    pub fn with_iommu(mut self, iommu: Iommu) -> Kernel {
        self.iommu = iommu;
        self
    }

    /// Sets whether udev loads the modules of functions that appear.
    pub fn set_udev(&mut self, on: bool) {
        self.udev = on;
    }

    /// Plugs a function in, as at boot: it gets a group, and udev loads its native driver.
    pub fn add_device(&mut self, spec: Spec) {
        if let Some(native) = spec.native.clone() {
            self.install_native(&native);
        }
        if let Some(native) = spec.sriov.as_ref().and_then(|sriov| sriov.native.clone()) {
            self.install_native(&native);
        }
        self.slots.insert(spec.address, spec.clone());
        self.appear(spec);
        self.settle();
    }

    /// Firmware wants a 1:1 region for this function: binding works, opening does not.
    pub fn reserve_region(&mut self, address: Address) {
        let device = self.devices.get_mut(&address).map(|device| &mut device.spec);
        for spec in device.into_iter().chain(self.slots.get_mut(&address)) {
            spec.direct_region = true;
        }
    }

    /// A machine that does not remap interrupts.
    pub fn stop_remapping(&mut self) {
        self.remapping = false;
    }

    /// Somebody writes `allow_unsafe_interrupts` of vfio_iommu_type1.
    pub fn allow_unsafe_interrupts(&mut self, allow: bool) {
        self.unsafe_interrupts = allow;
    }

    /// Adds something to the group of a function that is no PCI function.
    pub fn add_group_other(&mut self, address: Address, name: &str) {
        let group = self.devices.get(&address).and_then(|device| device.group);
        if let Some(members) = group.and_then(|number| self.groups.get_mut(&number)) {
            members.others.insert(name.to_owned());
        }
    }

    /// Says what the host does with a device that its host driver has. Ends with the unbind.
    pub fn set_use(&mut self, address: Address, what: Use) {
        if let Some(device) = self.devices.get_mut(&address) {
            device.uses.push(what);
        }
    }

    /// The host needs it for nothing any more.
    pub fn clear_uses(&mut self, address: Address) {
        if let Some(device) = self.devices.get_mut(&address) {
            device.uses.clear();
        }
    }

    /// Who unloads modules from now on: then the trace names him. Nobody traces without one.
    pub fn set_outsider(&mut self, outsider: Option<Culprit>) {
        self.outsider = outsider;
    }

    /// Lines `alias vfio_pci:… module` of the module tree.
    pub fn set_variants(&mut self, variants: Vec<Variant>) {
        self.variants = Arc::new(variants);
    }
}
