//! What is to be done: steps that say what they expect, what is held back and why, what came of it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::pci::{Address, Driver, Module};
use super::time::Time;

/// One write to the kernel, with what it takes for granted.
///
/// The actor checks the expectation again right before the write and answers `Stale` when it no
/// longer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Run modprobe for one module. Expects it not to be there, and every function that this will
    /// make the kernel bind (`binds`) to be without a driver still.
    LoadModule {
        /// The module.
        module: Module,
        /// Pass `--ignore-install`: load it without running an install rule's command.
        ignore_install: bool,
        /// Functions that the kernel will bind by itself, because they are pinned to its driver.
        binds: Vec<Target>,
    },
    /// Write `driver_override`. Expects the driver link to be `driver`.
    Pin {
        /// The function.
        target: Target,
        /// The driver link as the plan saw it; none = no driver.
        driver: Option<Driver>,
        /// What to write.
        pin: Driver,
    },
    /// Write the address to the present driver's `unbind`. Expects that driver, and that nobody
    /// uses the device: holders, network and storage are looked at once more.
    Unbind {
        /// The function.
        target: Target,
        /// The driver it is on.
        driver: Driver,
        /// Guards that the configuration lifts for this entry; the second look lifts them too.
        allow: BTreeSet<Guard>,
    },
    /// Write the address to `drivers_probe`; when the link is not there afterwards, to the
    /// driver's `bind`, which alone tells why. Expects no driver, and the override to be `driver`.
    Probe {
        /// The function.
        target: Target,
        /// The driver that is to take it.
        driver: Driver,
    },
    /// Clear `driver_override`, for a device that is given back. Expects the driver link to be `driver`.
    Unpin {
        /// The function.
        target: Target,
        /// The driver link as the plan saw it; none = no driver.
        driver: Option<Driver>,
    },
    /// Write the address to `drivers_probe`, so that the host's driver takes it again. Expects
    /// neither a driver nor an override.
    Return {
        /// The function.
        target: Target,
        /// The driver that it had.
        driver: Driver,
    },
}

/// A function as a step means it: the address and the very device object that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// The address.
    pub address: Address,
    /// The inode of its directory; another one is another device, and the step `Stale`.
    pub object: u64,
}

impl Step {
    /// The function it writes to, if it is one.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        match self {
            Step::LoadModule { .. } => None,
            Step::Pin { target, .. }
            | Step::Unbind { target, .. }
            | Step::Probe { target, .. }
            | Step::Unpin { target, .. }
            | Step::Return { target, .. } => Some(*target),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::LoadModule { module, .. } => write!(f, "load {module}"),
            Step::Pin { target, pin, .. } => write!(f, "{}: driver_override = {pin}", target.address),
            Step::Unbind { target, driver, .. } => write!(f, "{}: unbind from {driver}", target.address),
            Step::Probe { target, driver } => write!(f, "{}: bind to {driver}", target.address),
            Step::Unpin { target, .. } => write!(f, "{}: clear driver_override", target.address),
            Step::Return { target, driver } => write!(f, "{}: give back to {driver}", target.address),
        }
    }
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Written, and read back as wanted.
    Changed,
    /// Nothing to write: it was so already.
    AlreadySo,
    /// The expectation no longer held; nothing was written. This and all later steps are void.
    Stale {
        /// What was found instead.
        why: String,
    },
    /// The kernel (or modprobe) said no.
    Refused {
        /// Its words: operation, path, errno.
        why: String,
    },
    /// It said yes, and what was read back is not what was wanted.
    Failed {
        /// What was read back.
        why: String,
    },
    /// It came back only after the deadline; later steps were not begun.
    Stalled,
}

impl Outcome {
    /// What came of it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Outcome::Changed => "done".to_owned(),
            Outcome::AlreadySo => "it was so already".to_owned(),
            Outcome::Stale { why } => format!("not begun, because something changed: {why}"),
            Outcome::Refused { why } | Outcome::Failed { why } => why.clone(),
            Outcome::Stalled => "it came back only after the deadline".to_owned(),
        }
    }

    /// Whether the next step may begin.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(self, Outcome::Changed | Outcome::AlreadySo)
    }
}

/// What one actor works on: at most one actor a key, also over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub enum Key {
    /// Loading modules.
    Modules,
    /// The devices of an IOMMU group, and whatever must move together with them.
    Group(u32),
    /// A device without a group.
    Device(Address),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Modules => f.write_str("modules"),
            Key::Group(number) => write!(f, "group-{number}"),
            Key::Device(address) => write!(f, "device-{address}"),
        }
    }
}

impl std::str::FromStr for Key {
    type Err = super::pci::ParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || super::pci::ParseError {
            text: text.to_owned(),
            expected: "an actor's key (modules, group-N, device-ADDRESS)",
        };
        match text.split_once('-') {
            None if text == "modules" => Ok(Key::Modules),
            Some(("group", number)) => number.parse().map(Key::Group).map_err(|_| wrong()),
            Some(("device", address)) => address.parse().map(Key::Device),
            _ => Err(wrong()),
        }
    }
}

/// Work for one actor: steps in order; the first that does not go on ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// What it works on.
    pub key: Key,
    /// Every function that any step or any lock it may take touches; no second act may share one.
    pub functions: BTreeSet<Address>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Why a device must not be touched now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// A process has it open, or its driver says that it is in use.
    InUse,
    /// The console is on it.
    BootDisplay,
    /// A disk of it is mounted, swapped to, or part of md, dm or LVM.
    MountedDisk,
    /// A route, an upper network device or another network namespace needs it.
    CarriesRoute,
    /// It is a bridge.
    Bridge,
    /// It is a PF and its VFs exist: unbinding would destroy them.
    SriovPfWithVfs,
    /// Its driver carries mediated devices: unbinding would destroy them.
    MediatedDevices,
    /// A member of its group (or a function that must move with it) is not declared and in the
    /// host's hands, or is itself guarded.
    GroupShared,
    /// Another card than declared.
    IdentityMismatch,
    /// Somebody else's unbind is under way.
    BeingReleased,
    /// A person holds it, or has had it released.
    Hold,
    /// Something that must be known could not be read.
    Unreadable,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl Guard {
    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Guard::InUse => "in-use",
            Guard::BootDisplay => "boot-display",
            Guard::MountedDisk => "mounted-disk",
            Guard::CarriesRoute => "carries-route",
            Guard::Bridge => "bridge",
            Guard::SriovPfWithVfs => "sriov-pf-with-vfs",
            Guard::MediatedDevices => "mediated-devices",
            Guard::GroupShared => "group-shared",
            Guard::IdentityMismatch => "identity-mismatch",
            Guard::BeingReleased => "being-released",
            Guard::Hold => "hold",
            Guard::Unreadable => "unreadable",
            Guard::Unknown => "unknown",
        }
    }

    /// Whether an entry's `allow` may lift it. Nothing lifts the others.
    #[must_use]
    pub fn can_be_allowed(self) -> bool {
        matches!(self, Guard::BootDisplay | Guard::CarriesRoute | Guard::MountedDisk)
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a line of the plan or a transition is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// A module.
    Module(Module),
    /// A function.
    Device(Address),
    /// An entry of the configuration.
    Entry(String),
    /// The whole machine.
    Host,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Module(module) => write!(f, "module {module}"),
            About::Device(address) => write!(f, "{address}"),
            About::Entry(name) => write!(f, "entry {name}"),
            About::Host => f.write_str("host"),
        }
    }
}

/// Something that is wanted and held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What.
    pub about: About,
    /// The guard that holds it; none where pacing does (back-off, breaker, a stuck write).
    pub guard: Option<Guard>,
    /// Why, in words: the evidence.
    pub reason: String,
    /// The earliest time at which it will be tried, where time is what it waits for.
    pub not_before: Option<Time>,
}

/// What one pass decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Work, one act an actor.
    pub acts: Vec<Act>,
    /// What is held back, and why.
    pub held: Vec<Held>,
    /// Functions outside the configuration that a planned module load will make the kernel bind.
    pub also_binds: Vec<(Address, Driver)>,
    /// Install rules of modules that are to be loaded: module, `file:line: command`, whether it is run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub install_rules: Vec<(Module, String, bool)>,
    /// Functions to look at more closely before anything can be decided about them.
    pub look: BTreeSet<Address>,
    /// Whether to look for everything that a module load would bind ([`super::snapshot::Snapshot::pinned`]).
    pub look_for_pinned: bool,
}
