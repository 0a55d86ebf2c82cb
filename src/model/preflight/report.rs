//! What a check makes of a survey.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::code::Code;
use super::finding::{About, Evidence, Finding};
use super::make::Make;
use super::survey::Region;
use crate::model::group_state::GroupState;
use crate::model::pci::{Address, Driver, Ids};
use crate::model::snapshot::Card;

/// The version of the JSON form. It only grows; a number beyond this one means a break.
pub const SCHEMA: u32 = 1;

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form.
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The IOMMUs' makes.
    pub iommu: BTreeSet<Make>,
    /// Their names in `/sys/class/iommu`.
    #[serde(default)]
    pub iommu_units: BTreeSet<String>,
    /// One for each PCI function.
    pub devices: BTreeMap<Address, Verdict>,
    /// One for each IOMMU group.
    pub groups: BTreeMap<u32, GroupReport>,
    /// Everything, the worst first, then by what it is about.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What of it is about these functions, their groups and the host.
    #[must_use]
    pub fn about(mut self, functions: &BTreeSet<Address>) -> Report {
        let groups: BTreeSet<u32> = functions.iter().filter_map(|address| self.devices.get(address)?.group).collect();
        self.findings.retain(|finding| match finding.about {
            About::Host => true,
            About::Group(number) => groups.contains(&number),
            About::Device(device) => functions.contains(&device),
        });
        self.devices.retain(|address, _| functions.contains(address));
        self.groups.retain(|number, _| groups.contains(number));
        self
    }

    /// Without what only root may read: the names of virtual machines, and what else is in such files.
    /// A finding's sentence and remedy have nothing of it.
    #[must_use]
    pub fn for_everybody(mut self) -> Report {
        for finding in &mut self.findings {
            finding.evidence = std::mem::take(&mut finding.evidence).into_iter().map(Evidence::for_everybody).collect();
            finding.evidence.dedup();
        }
        // Two virtual machines that want the same device look the same now.
        self.findings.dedup();
        self
    }

    /// Without the advice to declare a variant driver for what is declared for one: `wanted` is the
    /// driver that the configuration wants, for each function that it names.
    #[must_use]
    pub fn beside(mut self, wanted: &BTreeMap<Address, Driver>) -> Report {
        let done = |address: &Address| wanted.get(address).is_some_and(|driver| *driver != Driver::vfio_pci());
        self.findings.retain(|finding| match finding.about {
            About::Device(device) => finding.code != Code::VariantDriver || !done(&device),
            About::Host | About::Group(_) => true,
        });
        for (_, verdict) in self.devices.iter_mut().filter(|(address, _)| done(address)) {
            verdict.codes.retain(|code| *code != Code::VariantDriver);
        }
        self
    }

    /// What keeps a function from a virtual machine or should be known of it: its own findings,
    /// its group's, and the host's.
    pub fn findings_of(&self, address: Address) -> impl Iterator<Item = &Finding> {
        let group = self.devices.get(&address).and_then(|verdict| verdict.group);
        self.findings.iter().filter(move |finding| match finding.about {
            About::Host => true,
            About::Group(number) => group == Some(number),
            About::Device(device) => device == address,
        })
    }
}

/// virtio-iommu's PCI function.
pub const VIRTIO_IOMMU: Ids = Ids { vendor: 0x1af4, device: 0x1057 };

/// What a function is to VFIO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It can be passed through, as far as its kind goes.
    Endpoint,
    /// It leads to others; it is never passed through.
    Bridge,
    /// It is an IOMMU itself.
    Iommu,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl Role {
    /// By the class, `0806` being an IOMMU, and by the ids of virtio-iommu, whose class is another.
    #[must_use]
    pub fn of(card: &Card) -> Role {
        if card.ids == VIRTIO_IOMMU || card.class >> 8 == 0x0806 {
            Role::Iommu
        } else if card.bridge {
            Role::Bridge
        } else {
            Role::Endpoint
        }
    }

    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Endpoint => "endpoint",
            Role::Bridge => "bridge",
            Role::Iommu => "iommu",
            Role::Unknown => "unknown",
        }
    }
}

/// How one function stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Vendor and device.
    pub ids: Ids,
    /// Its class, 24 bits.
    pub class: u32,
    /// What it is to VFIO.
    pub role: Role,
    /// Its driver.
    pub driver: Option<Driver>,
    /// Its group.
    pub group: Option<u32>,
    /// The make of the IOMMU it is behind.
    pub iommu: Option<Make>,
    /// Its name that is unique over the host.
    pub passthrough_id: Option<String>,
    /// Nothing that was found keeps it from a virtual machine.
    pub assignable: bool,
    /// What comes of binding and opening it as things are.
    pub predicted: Predicted,
    /// What was found about it and its group, the worst first; what concerns the whole machine is
    /// not repeated here.
    pub codes: Vec<Code>,
}

/// What comes of binding a function to its VFIO driver and opening it, leaving all else as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicted {
    /// Whether it can be opened; none when a fact is missing or nobody has tried such a thing.
    pub opens: Option<bool>,
    /// Where it fails.
    pub stage: Option<Stage>,
    /// With which error, as `errno(3)` names it.
    pub errno: Option<String>,
}

/// The steps to an open device, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The VFIO driver is there.
    Driver,
    /// The device is bound to it (`bind`).
    Bind,
    /// The group is opened (`open` of `/dev/vfio/<group>`).
    Open,
    /// The group joins a container (`VFIO_GROUP_SET_CONTAINER`): all its members must be VFIO's, and
    /// none may need a mapping that the firmware has asked for.
    Group,
    /// The container gets its IOMMU (`VFIO_SET_IOMMU`).
    Iommu,
    /// The device itself is opened (`VFIO_GROUP_GET_DEVICE_FD`, `VFIO_DEVICE_BIND_IOMMUFD`).
    Device,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl Stage {
    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Driver => "driver",
            Stage::Bind => "bind",
            Stage::Open => "open",
            Stage::Group => "group",
            Stage::Iommu => "iommu",
            Stage::Device => "device",
            Stage::Unknown => "unknown",
        }
    }
}

impl Predicted {
    /// It opens.
    #[must_use]
    pub fn opens() -> Predicted {
        Predicted { opens: Some(true), stage: None, errno: None }
    }

    /// It fails there, with this error.
    #[must_use]
    pub fn fails(stage: Stage, errno: Option<&str>) -> Predicted {
        Predicted { opens: Some(false), stage: Some(stage), errno: errno.map(str::to_owned) }
    }

    /// Whether only its user keeps it from being opened.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.stage == Some(Stage::Open) && self.errno.as_deref() == Some("EBUSY")
    }

    /// Nobody knows.
    #[must_use]
    pub fn unknown() -> Predicted {
        Predicted { opens: None, stage: None, errno: None }
    }
}

impl fmt::Display for Predicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.opens, self.stage) {
            (Some(true), _) => f.write_str("opens"),
            (None, _) | (_, None) => f.write_str("unknown"),
            (Some(false), Some(stage)) => {
                write!(f, "fails at {}", stage.as_str())?;
                self.errno.as_ref().map_or(Ok(()), |errno| write!(f, " ({errno})"))
            }
        }
    }
}

/// How one group stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// `DMA`, `DMA-FQ`, `identity` …
    pub kind: Option<String>,
    /// Its PCI functions.
    pub members: BTreeMap<Address, Member>,
    /// Members that are no PCI functions.
    pub others: BTreeSet<String>,
    /// Whose it is and whether a virtual machine can have it, by the drivers of its members; unknown from an older version.
    #[serde(default)]
    pub state: GroupState,
    /// Whether every member is without a driver, on VFIO, or on a driver that does no harm.
    pub viable: bool,
    /// What makes it not viable: the member and its driver.
    pub blockers: Vec<String>,
    /// What is reserved in it.
    pub reserved: Vec<Region>,
    /// Who has it open.
    pub holders: Vec<String>,
    /// Lines of vfiod.toml that declare all its endpoints; empty where there is nothing to declare.
    pub declare: Vec<String>,
    /// Lines for a shell that detach what is on host drivers; empty where the host lives on one of them.
    pub detach: Vec<String>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it is to VFIO.
    pub role: Role,
    /// Its driver.
    pub driver: Option<Driver>,
    /// Whether it keeps the group from being viable.
    pub blocks: bool,
}
