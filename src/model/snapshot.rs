//! What the kernel says now: whole, and three-valued, because an empty answer is not a "no".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::module::ModuleFacts;
use super::pci::{Address, BridgePath, Driver, Ids, Module};
use super::preflight::survey::Region;
use super::time::Time;
use super::variant::{Drivers, Known};

/// One thing asked of the kernel: an answer, the answer "there is none", or no answer.
///
/// `Unreadable` never leads to a write: a scan without rights, a read that did not return, a file
/// that makes no sense and one that was never looked at all end here, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact<T> {
    /// The kernel said so.
    Is(T),
    /// The kernel said that there is none.
    Absent,
    /// Nobody knows, and why.
    Unreadable(String),
}

/// Why a fact is unreadable that was not asked for yet.
pub const NOT_LOOKED: &str = "not looked at yet";

impl<T> Fact<T> {
    /// The answer, if there is one.
    pub fn is(&self) -> Option<&T> {
        match self {
            Fact::Is(value) => Some(value),
            Fact::Absent | Fact::Unreadable(_) => None,
        }
    }

    /// Whether the kernel said that there is none.
    pub fn is_absent(&self) -> bool {
        matches!(self, Fact::Absent)
    }

    /// Why nobody knows, if nobody does.
    pub fn unreadable(&self) -> Option<&str> {
        match self {
            Fact::Unreadable(why) => Some(why),
            Fact::Is(_) | Fact::Absent => None,
        }
    }

    /// A fact that was not asked for yet.
    #[must_use]
    pub fn not_looked() -> Fact<T> {
        Fact::Unreadable(NOT_LOOKED.to_owned())
    }

    /// Whether it was not asked for yet.
    #[must_use]
    pub fn is_not_looked(&self) -> bool {
        self.unreadable() == Some(NOT_LOOKED)
    }
}

/// All that one pass knows. The plan is made from it alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken.
    pub taken: Time,
    /// The modules that were asked about, by name.
    pub modules: BTreeMap<Module, ModuleFacts>,
    /// Variant drivers that this kernel's module tree offers (lines `alias vfio_pci:… module`); where
    /// there is no tree to read, those at work.
    pub variants: Arc<Vec<Variant>>,
    /// PCI drivers that are there, and their modules.
    #[serde(default)]
    pub drivers: Drivers,
    /// The PCI functions of interest: what the selectors may mean, the members of their groups,
    /// what is on a VFIO driver, and what the next load of a VFIO driver would bind.
    pub functions: BTreeMap<Address, Function>,
    /// Declared bridge paths of which it could not be told where they lead, and why.
    #[serde(default)]
    pub unclear_paths: BTreeMap<BridgePath, String>,
    /// The IOMMU groups of those functions, by number. Group 0 is a real group.
    pub groups: BTreeMap<u32, Group>,
    /// Those of them that are on a bus which another function makes, with that function: it is no bridge
    /// and has a driver of its own (Intel VMD), and without that driver the bus is gone, and all on it.
    #[serde(default)]
    pub above: BTreeMap<Address, Address>,
    /// Those of them that can have VFs, with how many (`sriov_totalvfs`).
    #[serde(default)]
    pub most_vfs: BTreeMap<Address, u32>,
    /// `/sys/bus/pci/drivers_autoprobe`: `Is(false)` means that a driver that is loaded
    /// takes no device; one that appears gets its driver all the same.
    pub autoprobe: Fact<bool>,
    /// Functions without a driver whose `driver_override` names one: what a load of that driver's
    /// module would bind, declared or not. Unreadable while nobody looked.
    pub pinned: Fact<BTreeMap<Address, Driver>>,
    /// What holds for all devices.
    #[serde(default)]
    pub platform: Platform,
}

/// What holds for all devices of a machine. Only what matters to those of the snapshot is looked at;
/// what is absent here keeps nothing from being opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Whether any device has an IOMMU group, these or others.
    pub has_groups: bool,
    /// The version of the kernel.
    pub kernel: (u32, u32),
    /// Whether interrupts go through a remapping controller.
    pub remapping: Fact<bool>,
    /// Whether VFIO goes without that: `allow_unsafe_interrupts` of the modules that have it.
    pub unsafe_interrupts: Fact<bool>,
    /// `disable_denylist` of vfio_pci.
    pub denylist_disabled: Fact<bool>,
}

impl Default for Platform {
    fn default() -> Platform {
        Platform {
            has_groups: true,
            kernel: (0, 0),
            remapping: Fact::Absent,
            unsafe_interrupts: Fact::Absent,
            denylist_disabled: Fact::Absent,
        }
    }
}

impl Snapshot {
    /// The group that a function is in.
    #[must_use]
    pub fn group_of(&self, address: Address) -> Option<(u32, &Group)> {
        let number = *self.functions.get(&address)?.group.is()?;
        Some((number, self.groups.get(&number)?))
    }

    /// What is known of drivers.
    #[must_use]
    pub fn known(&self) -> Known<'_> {
        Known { variants: &self.variants, drivers: &self.drivers }
    }

    /// Whether a driver does nothing but hand devices to user space: vfio-pci, or a variant of it.
    #[must_use]
    pub fn is_vfio(&self, driver: &Driver) -> bool {
        self.known().is_vfio(driver)
    }

    /// Whether a function is on VFIO, by a driver of VFIO's or by its vendor's own.
    #[must_use]
    pub fn on_vfio(&self, function: &Function) -> bool {
        self.known().on_vfio(&function.driver, function.registered)
    }

    /// The module that a driver is of.
    #[must_use]
    pub fn module_of(&self, driver: &Driver) -> Module {
        self.drivers.module_of(driver)
    }

    /// Whether a module's driver is there to take devices, as far as the module tells.
    #[must_use]
    pub fn serves(&self, module: &Module) -> bool {
        self.modules.get(module).is_none_or(|facts| facts.state.serves())
    }
}

/// A line `alias vfio_pci:<pattern> <module>` of `modules.alias`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The pattern for a device's modalias, beginning with `vfio_pci:`; `*` stands for anything.
    /// Empty where nothing tells which devices it suits: it matches none.
    pub pattern: String,
    /// The module that holds the driver.
    pub module: Module,
}

/// One PCI function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// What does not change while this device object lives.
    pub card: Arc<Card>,
    /// The `driver` link. It is gone already while an unbind is still under way.
    pub driver: Fact<Driver>,
    /// Whether it is registered with VFIO: there is a `vfio-dev` directory below it (from 6.1 on).
    /// Looked at where its driver is none of VFIO's: a vendor's own may do what those do.
    #[serde(default)]
    pub registered: bool,
    /// The `iommu_group` link.
    pub group: Fact<u32>,
    /// For a PF: its VFs (`virtfnN` links) by index.
    pub vfs: BTreeMap<u32, Address>,
    /// `driver_override` as it was last read: by a child, because on 6.1 reading it can block.
    pub pin: Fact<Driver>,
    /// Whether it is being removed: somebody wrote to its `remove`, which is the first thing that goes.
    /// Hot-unplug by its slot does not show so.
    #[serde(default)]
    pub leaving: bool,
    /// What a closer look found, when one was taken for this pass.
    pub look: Option<Arc<Look>>,
}

/// What stays as it is while a device object lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The inode of the device's directory: another number means another device object at the
    /// same address (hot-plug, remove and rescan, a VF made again).
    pub object: u64,
    /// `vendor` and `device`.
    pub ids: Ids,
    /// `subsystem_vendor` and `subsystem_device`; absent for bridges without them.
    pub subsystem: Fact<Ids>,
    /// `class`, 24 bits: base class, subclass, programming interface.
    pub class: u32,
    /// The serial number capability, `00-00-00-ff-ff-00-00-00` as lspci shows it; read, by a
    /// child, only where an entry declares one: reading `config` wakes a device in D3hot, and waits for
    /// the end of a reset.
    pub serial: Fact<String>,
    /// `modalias`, for variant drivers.
    pub modalias: String,
    /// The bridges above it.
    pub path: BridgePath,
    /// Whether it is a PCI bridge (class 0x0604xx) or another kind of bridge that vfio refuses.
    pub bridge: bool,
    /// `boot_vga` is 1: the console is on it.
    pub boot_vga: bool,
    /// For a VF: its PF (`physfn` link).
    pub physfn: Option<Address>,
}

impl Card {
    /// Whether it is the security processor of AMD's processors, or Hygon's.
    #[must_use]
    pub fn is_amd_psp(&self) -> bool {
        matches!(self.ids.vendor, 0x1022 | 0x1d94) && self.class >> 8 == 0x1080
    }
}

/// One IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The functions in `devices/`, each also in [`Snapshot::functions`].
    pub members: BTreeSet<Address>,
    /// Members that are no PCI functions (platform devices), by name.
    pub others: BTreeSet<String>,
    /// Whether `/dev/vfio/<group>` (or `noiommu-<group>`) is there.
    pub node: Fact<()>,
    /// `reserved_regions`: memory that the IOMMU does not translate as a guest would have it. Read once
    /// while the group stands.
    pub reserved: Fact<Vec<Region>>,
    /// Memory that the kernel keeps mapped 1:1 for a member, by `reserved_regions`, where it refuses
    /// to open the group for that. Read once while the group stands.
    pub insisted: Fact<Vec<Region>>,
}

/// What a closer look at one function found. Taken in a child, with a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The device object that was looked at; facts about another one do not count.
    pub object: u64,
    /// `driver_override`; absent is `(null)`. Not readable in time: somebody unbinds it (6.1).
    pub pin: Fact<Driver>,
    /// `DRIVER=` in `uevent`: stays until an unbind under way has ended, while the link is gone.
    pub uevent_driver: Fact<Driver>,
    /// Whoever has one of its nodes open: VFIO's, or any node below it for a host driver.
    pub holders: Fact<Vec<Holder>>,
    /// Traffic the host needs: one sentence each (a route, an upper device, another namespace).
    pub network: Fact<Vec<String>>,
    /// Block devices in use: one sentence each (mounted at, swap, md, dm, held exclusively).
    pub storage: Fact<Vec<String>>,
    /// VFs that are there although they are not in the snapshot (`sriov_numvfs`); 0 = none.
    pub vfs: Fact<u32>,
    /// Whoever has its memory, ROM or configuration open by the kernel's own files about it or a member of
    /// its group (`resource0`, `rom`, `config` for writing, `/proc/bus/pci`).
    #[serde(default = "Fact::not_looked")]
    pub raw: Fact<Vec<Holder>>,
    /// Mediated devices that its driver carries, by name: they go with it.
    #[serde(default = "Fact::not_looked")]
    pub mediated: Fact<Vec<String>>,
}

impl Look {
    /// A look that found nothing out.
    #[must_use]
    pub fn blind(object: u64, why: &str) -> Look {
        Look {
            object,
            pin: Fact::Unreadable(why.to_owned()),
            uevent_driver: Fact::Unreadable(why.to_owned()),
            holders: Fact::Unreadable(why.to_owned()),
            network: Fact::Unreadable(why.to_owned()),
            storage: Fact::Unreadable(why.to_owned()),
            vfs: Fact::Unreadable(why.to_owned()),
            raw: Fact::Unreadable(why.to_owned()),
            mediated: Fact::Unreadable(why.to_owned()),
        }
    }
}

/// A process that has a device open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name, `/proc/<pid>/comm`, at most 15 bytes.
    pub comm: String,
    /// Its unit or container by `/proc/<pid>/cgroup`, empty when unknown.
    pub unit: String,
    /// Its real user id.
    pub uid: u32,
    /// The node it has open, such as `/dev/vfio/15`.
    pub node: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)?;
        if !self.unit.is_empty() {
            write!(f, " of {}", self.unit)?;
        }
        write!(f, " has {} open", self.node)
    }
}
