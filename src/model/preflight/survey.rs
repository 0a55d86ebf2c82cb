//! The facts that a check needs, as they were read once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::arch::Arch;
use super::boot::Boot;
use super::claim::Claim;
use super::finding::Evidence;
use super::firmware::Table;
use super::hypervisor::Hypervisor;
use crate::model::module::ModuleFacts;
use crate::model::parameter::Given;
use crate::model::pci::{Address, Driver, Module};
use crate::model::snapshot::{Card, Fact, Holder, Variant};
use crate::model::variant::Drivers;

/// Begins the reason why nobody knows what a saved tree leaves out.
pub const NOT_SAVED: &str = "the saved tree has no ";

/// All facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The machine and what runs on it.
    pub machine: Machine,
    /// Its IOMMUs.
    pub iommu: Iommu,
    /// All PCI functions.
    pub functions: BTreeMap<Address, Function>,
    /// All IOMMU groups.
    pub groups: BTreeMap<u32, Group>,
    /// The modules of VFIO and what they need.
    pub modules: BTreeMap<Module, ModuleSurvey>,
    /// Variant drivers of this kernel.
    pub variants: Vec<Variant>,
    /// PCI drivers that are there, and their modules.
    #[serde(default)]
    pub drivers: Drivers,
    /// `integrity` or `confidentiality`; absent when the kernel is not locked down.
    pub lockdown: Fact<String>,
    /// `/sys/bus/pci/drivers_autoprobe`.
    pub autoprobe: Fact<bool>,
    /// Framebuffers of the firmware or the boot loader in `/proc/iomem`.
    pub framebuffers: Fact<Vec<Framebuffer>>,
    /// What other managers say about devices.
    pub claims: Vec<Claim>,
    /// What the kernel's log says about VFIO.
    pub log: Fact<Vec<Said>>,
    /// What the root file system's disks are behind.
    pub root_disk: RootDisk,
    /// What the host uses functions for, of those of which that is listed, and of those that were looked at.
    #[serde(default)]
    pub uses: BTreeMap<Address, Uses>,
    /// What people use by controllers of USB: keyboards, mice.
    #[serde(default)]
    pub people: BTreeMap<Address, Fact<Vec<String>>>,
    /// `/dev/vfio/vfio`.
    pub container: Fact<Node>,
    /// `/dev/vfio/devices`: nodes for each device, beside or instead of those for groups.
    pub device_nodes: Fact<()>,
    /// `/dev/iommu`, of iommufd.
    #[serde(default = "Fact::not_looked")]
    pub iommufd: Fact<Node>,
    /// `allow_unsafe_interrupts` of iommufd, which has one of its own.
    #[serde(default = "Fact::not_looked")]
    pub iommufd_unsafe: Fact<bool>,
    /// Who has a group open, by its number.
    pub holders: Fact<BTreeMap<u32, Vec<Holder>>>,
    /// Mediated devices, by the function whose driver carries them, each with its group.
    #[serde(default = "Fact::not_looked")]
    pub mediated: Fact<BTreeMap<Address, BTreeMap<String, Option<u32>>>>,
    /// What else could not be read, a sentence each.
    pub unread: Vec<String>,
    /// Files and directories of these facts that only root may read: what they say, and the names in
    /// them, are not for everybody.
    #[serde(default)]
    pub private: BTreeSet<String>,
    /// Whether it was read from a saved tree, which has neither processes nor rights.
    #[serde(default)]
    pub saved: bool,
}

/// The machine and what runs on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's release: `6.1.0-50-amd64`.
    pub release: String,
    /// The kernel's command line.
    pub cmdline: String,
    /// The processor's vendor: `GenuineIntel`, `AuthenticAMD`; empty elsewhere.
    pub processor: String,
    /// The board's or system's vendor by DMI.
    pub vendor: String,
    /// The system's product name by DMI.
    pub product: String,
    /// What tells that this is a virtual machine, if it is one.
    pub hypervisor: Option<String>,
    /// `ID` and `ID_LIKE` of os-release, nearest first.
    pub distribution: Vec<String>,
    /// `PRETTY_NAME` of os-release.
    pub system: String,
    /// What is there to build an initramfs.
    #[serde(default)]
    pub builders: BTreeSet<Builder>,
    /// The processor's architecture; none where nothing tells.
    #[serde(default)]
    pub arch: Option<Arch>,
    /// What it runs on, if this is a virtual machine or Xen's dom0.
    #[serde(default)]
    pub platform: Option<Hypervisor>,
    /// Whether a device tree describes the machine, and not ACPI.
    #[serde(default)]
    pub device_tree: bool,
    /// What keeps the kernel's options.
    #[serde(default)]
    pub boot: Option<Boot>,
    /// `CONFIG_INTEL_IOMMU_DEFAULT_ON`, where the kernel's configuration is kept.
    #[serde(default)]
    pub intel_by_default: Option<bool>,
}

/// What builds an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builder {
    /// Debian's and Ubuntu's initramfs-tools.
    InitramfsTools,
    /// Dracut, of Fedora, SUSE and others.
    Dracut,
    /// Arch's mkinitcpio.
    Mkinitcpio,
}

/// What the root file system's disks are behind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootDisk {
    /// Functions; none where it is on no disk of this machine, or on one that is no PCI function's.
    pub behind: BTreeSet<Address>,
    /// Why there may be others.
    pub unknown: Option<String>,
}

/// What the host uses a function for, one sentence each; absent where nothing is listed and nobody looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses {
    /// Traffic that needs it.
    pub network: Fact<Vec<String>>,
    /// Disks on it that are in use.
    pub storage: Fact<Vec<String>>,
}

/// The IOMMUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iommu {
    /// The names in `/sys/class/iommu`.
    pub units: Fact<BTreeSet<String>>,
    /// Whether a device can send no interrupts but its own (see `host::survey::isolation`).
    pub remapping: Fact<bool>,
    /// What tells so.
    #[serde(default)]
    pub remapping_by: Option<Evidence>,
    /// The DMAR table (Intel).
    pub dmar: Fact<Table>,
    /// The IVRS table (AMD).
    pub ivrs: Fact<Table>,
    /// The IORT table (Arm).
    #[serde(default = "Fact::not_looked")]
    pub iort: Fact<Table>,
    /// The VIOT table (virtio-iommu) is there.
    pub viot: Fact<()>,
    /// virtio-iommu's driver in this kernel: `builtin`, `module`; absent when there is none.
    pub virtio_driver: Fact<String>,
}

/// One PCI function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// What it is.
    pub card: Card,
    /// The function that makes the bus it is on, where that is no bridge (Intel VMD).
    #[serde(default)]
    pub above: Option<Address>,
    /// Its driver.
    pub driver: Fact<Driver>,
    /// Whether it is registered with VFIO: there is a `vfio-dev` directory below it (from 6.1 on).
    #[serde(default)]
    pub registered: bool,
    /// Its IOMMU group.
    pub group: Fact<u32>,
    /// The IOMMU that it is behind: a name of `/sys/class/iommu`.
    pub unit: Fact<String>,
    /// `power_state`: `D0`, `D3hot`, `D3cold`, `unknown`.
    pub power: Fact<String>,
    /// `reset_method`, best first; absent when there is no way.
    pub reset: Fact<Vec<String>>,
    /// Whether it answers: its vendor id in `config` is not all ones. Asked only while it is awake,
    /// and never of a VF, which has none there.
    pub answers: Fact<bool>,
    /// Its memory BARs that have an address, first and last byte.
    pub bars: Fact<Vec<(u64, u64)>>,
    /// What `resource` says of its BARs and those of its VFs.
    #[serde(default = "Fact::not_looked")]
    pub resources: Fact<Vec<Resource>>,
    /// `sriov_totalvfs`.
    pub most_vfs: Fact<u32>,
    /// Its VFs by index.
    pub vfs: BTreeMap<u32, Address>,
    /// Errors that it has reported.
    pub errors: Fact<Errors>,
    /// `devices_deferred`: its driver waits for something, such as the IOMMU's driver. Without
    /// debugfs nobody tells.
    pub waiting: Fact<bool>,
}

/// A line of `resource` that is not all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The kernel's number: BARs are 0 to 5, the ROM 6, the BARs of its VFs 7 to 12.
    pub number: u8,
    /// The first byte; 0 where it has no address.
    pub start: u64,
    /// The last byte.
    pub end: u64,
    /// `IORESOURCE_…` (`include/linux/ioport.h`).
    pub flags: u64,
}

/// PCI Express errors that a function has reported since it appeared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Errors {
    /// The link is unreliable from then on.
    pub fatal: u64,
    /// A transaction is lost.
    pub nonfatal: u64,
    /// Those of the non-fatal ones that are no more than an unsupported request (`UnsupReq`).
    #[serde(default)]
    pub unsupported: u64,
    /// Nothing is lost.
    pub correctable: u64,
}

/// One IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its PCI functions.
    pub members: BTreeSet<Address>,
    /// Members that are no PCI functions, by name.
    pub others: BTreeSet<String>,
    /// `type`: `DMA`, `DMA-FQ`, `identity` …
    pub kind: Fact<String>,
    /// `reserved_regions`.
    pub reserved: Fact<Vec<Region>>,
    /// Whether it is one of VFIO's mode without an IOMMU.
    pub noiommu: bool,
    /// `/dev/vfio/<group>`, `/dev/vfio/noiommu-<group>`.
    pub node: Fact<Node>,
    /// The path of that.
    #[serde(default)]
    pub path: String,
}

impl Group {
    /// Where the kernel says which number the group's node has.
    #[must_use]
    pub fn number_file(&self) -> String {
        format!("/sys/class/vfio/{}/dev", self.path.rsplit('/').next().unwrap_or_default())
    }
}

/// A line of `reserved_regions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Region {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub end: u64,
    /// `direct`, `direct-relaxable`, `reserved`, `msi`.
    pub kind: String,
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:x}-0x{:x}", self.start, self.end)
    }
}

/// A device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its permissions, nine bits; none on a saved tree, where they are the copy's.
    pub mode: Option<u32>,
    /// Whether it is a character device.
    pub character: bool,
    /// What it is instead of the node that the kernel made; only a running system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Foreign>,
}

/// Something in the place of a group's node. The kernel makes no node where there is something
/// already, so one that was made by hand stays when the group goes and comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// Its number, major and minor; none when it is no character device.
    pub is: Option<(u64, u64)>,
    /// The number of the group's own node.
    pub own: (u64, u64),
    /// Whether any device has the number that it has.
    pub served: bool,
}

/// What is known of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleSurvey {
    /// Its state.
    pub facts: ModuleFacts,
    /// What forbids loading it, also while it is loaded.
    pub forbidden: Option<String>,
    /// The blacklist line that names it, where nothing worse does: it can be loaded by name.
    #[serde(default)]
    pub blacklisted: Option<String>,
    /// Whether there is no module tree for the running kernel, so that it could not be loaded again.
    pub tree_gone: bool,
    /// Its parameters as they are now.
    pub live: BTreeMap<String, String>,
    /// Parameters that a load would give it, with the place that says so; the last one counts.
    pub configured: BTreeMap<String, (String, String)>,
    /// All parameters that it is given, by whom, in order.
    #[serde(default)]
    pub given: Vec<Given>,
}

/// A framebuffer's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framebuffer {
    /// Its name: `BOOTFB`, `simplefb`, `efifb`.
    pub name: String,
    /// The first byte.
    pub start: u64,
    /// The last byte; 0 where the addresses are hidden.
    pub end: u64,
    /// The function whose memory it lies in, as the file shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Address>,
}

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    /// What it means.
    pub meaning: Meaning,
    /// The function that it names.
    pub device: Option<Address>,
    /// The BAR that it names, by the kernel's number (see [`Resource::number`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bar: Option<u8>,
    /// The message.
    pub text: String,
}

/// What a message of the kernel means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// Opening was refused because of a 1:1 region.
    ReservedRegion,
    /// A patched kernel ignores reservations.
    RelaxedPatch,
    /// Opening was refused because interrupts are not remapped.
    NoInterruptRemapping,
    /// A BAR could not be reserved.
    BarTaken,
    /// vfio-pci refused the device.
    Denylisted,
    /// The device did not come back, and nothing later says that it has.
    Dead,
    /// There was no room for a BAR, and nothing later says that there is.
    BarUnassigned,
    /// Virtual functions could not be made for want of room or of bus numbers.
    NoVfs,
    /// vfio-pci refused to open Intel graphics.
    NoIgd,
    /// A VF was not opened, for want of a VF token.
    NoToken,
    /// A patched kernel takes devices for kept apart.
    AcsOverride,
    /// The kernel does not know `pcie_acs_override`.
    AcsUnknown,
    /// A device was started without its IOMMU, whose driver had not come in time.
    ProbeTimedOut,
    /// A device looks to the SMMU like another one, which has the group.
    StreamShared,
}
