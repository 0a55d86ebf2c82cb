//! The public picture: what D-Bus, `--json` and the text views show, in their shapes and units.
//!
//! Made from [`super::status::Status`] and what is remembered. Points in time are realtime
//! microseconds (0 = never), words are those of [`super::state`]. It only grows; `schema` counts
//! what could not be added compatibly.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::concern::Concern;
use super::group_state::GroupState;
use super::module::ModuleState;
use super::pci::{Address, Driver, Ids, Module};
use super::policy::Mode;
use super::printable::clean;
use super::state::{Health, State};
use super::time::Time;

/// The version of the JSON's shape.
pub const SCHEMA: u32 = 1;

/// The moment of boot in realtime microseconds, by which times since boot become points in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// Microseconds from 1970 to the moment of boot, as the clock says now.
    pub boot_usec: u64,
}

impl Clock {
    /// A point in time, in realtime microseconds.
    #[must_use]
    pub fn realtime_usec(self, time: Time) -> u64 {
        self.boot_usec.saturating_add(time.0)
    }
}

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of the vfiod that says so.
    pub version: String,
    /// The worst of the parts.
    pub health: Health,
    /// Whether repairs are made.
    pub mode: Mode,
    /// The longest time between two passes.
    pub interval_usec: u64,
    /// What was counted.
    pub counters: Counters,
    /// The IOMMU.
    pub iommu: Iommu,
    /// What the last check found about the whole machine, but for notes; the worst first.
    #[serde(default)]
    pub findings: Vec<Concern>,
    /// Why releases, holds and what else is to last are not on disk, or for this boot only; empty: they
    /// are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state_trouble: String,
    /// Holds and inhibitors in force, by id.
    pub holds: Vec<HoldView>,
    /// The entries of the configuration, by name.
    pub entries: BTreeMap<String, EntryView>,
    /// The functions that are declared or on a VFIO driver, by address.
    pub devices: BTreeMap<Address, DeviceView>,
    /// Their groups, by number.
    pub groups: BTreeMap<u32, GroupView>,
    /// The required modules, by name.
    pub modules: BTreeMap<Module, ModuleView>,
}

impl Picture {
    /// Makes its words printable: a NUL in one of them would end the session on the bus, and names of
    /// processes, files and regions are anybody's. What is parsed (addresses, ids, modules, names of
    /// entries) is so already.
    #[must_use]
    pub fn printable(mut self) -> Picture {
        let concerns = self.findings.iter_mut().map(|concern| &mut concern.why);
        concerns.chain(&mut self.iommu.kinds).for_each(clean);
        for HoldView { target, who, why, .. } in &mut self.holds {
            [target, who, why].into_iter().for_each(clean);
        }
        for EntryView { reason, remedy, .. } in self.entries.values_mut() {
            [reason, remedy].into_iter().for_each(clean);
        }
        self.devices.values_mut().for_each(DeviceView::clean);
        for GroupView { members, blockers, reserved, .. } in self.groups.values_mut() {
            let kinds = reserved.iter_mut().map(|(_, _, kind)| kind);
            members.iter_mut().chain(blockers).chain(kinds).for_each(clean);
        }
        for ModuleView { reason, used_by, last_unload_by, .. } in self.modules.values_mut() {
            [reason, last_unload_by].into_iter().chain(used_by).for_each(clean);
        }
        self
    }
}

impl DeviceView {
    fn clean(&mut self) {
        let DeviceView { class, description, reason, remedy, passthrough_id, last_cause, .. } = self;
        [class, description, reason, remedy, passthrough_id, last_cause].into_iter().for_each(clean);
        let users = self.users.iter_mut().flat_map(|user| [&mut user.comm, &mut user.unit]);
        let concerns = self.findings.iter_mut().map(|concern| &mut concern.why);
        users.chain(&mut self.nodes).chain(concerns).for_each(clean);
    }
}

/// What was counted: passes since the start, the rest in this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Passes made.
    pub passes: u64,
    /// Losses of devices and modules.
    pub drifts: u64,
    /// Devices and modules brought back.
    pub repairs: u64,
    /// Repairs that did not help.
    pub failures: u64,
    /// How long what was brought back last had been lost.
    pub last_repair_latency_usec: u64,
}

/// The machine's IOMMU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Iommu {
    /// `intel`, `amd`, `arm-smmu`, `virtio`, `riscv`, `s390`, `power`, `apple-dart`, `tegra`, or other names of /sys/class/iommu; none where there is none.
    pub kinds: Vec<String>,
    /// How many groups there are.
    pub groups: u32,
}

/// A hold or an inhibitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// Its id, unique on this machine.
    pub id: u64,
    /// `all`, `module:NAME`, an entry or an address.
    pub target: String,
    /// Who asked for it, in the caller's words.
    pub who: String,
    /// Why, in the caller's words.
    pub why: String,
    /// When it ends; 0: with its owner.
    pub until_usec: u64,
    /// The owner's user.
    pub uid: u32,
    /// The owner's process, as it was then.
    pub pid: u32,
}

/// An entry of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// The worst of its devices.
    pub state: State,
    /// Why, in a sentence; may be empty.
    pub reason: String,
    /// What a person can do; may be empty.
    pub remedy: String,
    /// Since when it stands so.
    pub since_usec: u64,
    /// When it is tried again, where time is what it waits for; else 0.
    pub not_before_usec: u64,
    /// Its devices, as far as they are there.
    pub devices: Vec<Address>,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// The entry that declares it; none where it is only on VFIO.
    pub entry: Option<String>,
    /// Vendor and device.
    pub ids: Ids,
    /// Subsystem vendor and device.
    pub subsystem: Option<Ids>,
    /// The class code, six hexadecimal digits.
    pub class: String,
    /// Vendor and device in words, from the system's pci.ids; may be empty.
    pub description: String,
    /// The driver it is on.
    pub driver: Option<Driver>,
    /// Whether it is on VFIO: that driver hands it to virtual machines.
    #[serde(default)]
    pub on_vfio: bool,
    /// The driver it should be on.
    pub wanted: Option<Driver>,
    /// How it stands.
    pub state: State,
    /// Why, in a sentence; may be empty.
    pub reason: String,
    /// What a person can do; may be empty.
    pub remedy: String,
    /// Since when it stands so.
    pub since_usec: u64,
    /// When it is tried again, where time is what it waits for; else 0.
    pub not_before_usec: u64,
    /// Its group.
    pub group: Option<u32>,
    /// `vfio_device_<group>_<index>`, index by address within the group; empty without a group.
    pub passthrough_id: String,
    /// Its nodes.
    pub nodes: Vec<String>,
    /// Who had it open when that was last looked for.
    pub users: Vec<UserView>,
    /// How often it was lost.
    pub drifts: u64,
    /// How often it was brought back.
    pub repairs: u64,
    /// When it was lost last.
    pub last_drift_usec: u64,
    /// Why, and by whom as far as that is known.
    pub last_cause: String,
    /// What the last check found about it and its group, but for notes, where it is declared; the
    /// worst first.
    #[serde(default)]
    pub findings: Vec<Concern>,
}

/// A process that has a device open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UserView {
    /// Its id; 0 where only the reference count tells that there is one.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its unit or container; may be empty.
    pub unit: String,
    /// Its user.
    pub uid: u32,
}

/// An IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Addresses of its functions, and names of members that are no PCI functions.
    pub members: Vec<String>,
    /// How it stands.
    #[serde(default)]
    pub state: GroupState,
    /// Whether a virtual machine may have it as things are: no member is on a host driver.
    pub viable: bool,
    /// Members that stand against that, each with its driver: `0000:01:00.1 (snd_hda_intel)`.
    pub blockers: Vec<String>,
    /// Reserved regions: first and last address, type.
    pub reserved: Vec<(u64, u64, String)>,
}

/// A required module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleView {
    /// Its state.
    pub state: ModuleState,
    /// Why, in a sentence; may be empty.
    pub reason: String,
    /// Since when it is so.
    pub since_usec: u64,
    /// When a load is tried again, where time is what it waits for; else 0.
    pub not_before_usec: u64,
    /// Its reference count, where the kernel tells.
    pub refcount: Option<u32>,
    /// The modules that use it.
    pub used_by: Vec<String>,
    /// Whether it is kept.
    pub required: bool,
    /// Whether nothing that vfiod can do will bring it.
    pub blocked: bool,
    /// Whether the breaker is open for it.
    pub fighting: bool,
    /// When it was last unloaded.
    pub last_unload_usec: u64,
    /// Who did; empty: never unloaded in this boot.
    pub last_unload_by: String,
}
