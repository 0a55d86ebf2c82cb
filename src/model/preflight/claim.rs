//! What other managers (driverctl, libvirt, modprobe, Harvester) say about devices, as it was read.

use serde::{Deserialize, Serialize};

use crate::model::pci::{Address, Ids};
use crate::model::snapshot::{Card, Fact};

/// What another manager says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who: `driverctl`, `libvirt`, `modprobe`, `kernel command line`, `Harvester`.
    pub manager: String,
    /// The file, with the line where that helps.
    pub source: String,
    /// About what.
    pub target: Target,
    /// What it says.
    pub text: String,
}

/// What a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// One function.
    Device(Address),
    /// All functions that an entry of `ids=` takes.
    Ids(Pattern),
    /// The whole machine.
    Host,
}

/// An entry of vfio-pci's `ids=`, each number of 32 bits as the kernel takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// Vendor, device, subsystem's vendor and device; [`Pattern::ANY`] stands for any.
    pub ids: [u32; 4],
    /// The class, of which the bits in `mask` count.
    pub class: u32,
    /// No bits: the class does not count.
    pub mask: u32,
}

impl Pattern {
    /// `PCI_ANY_ID`.
    pub const ANY: u32 = u32::MAX;

    /// Whether the kernel takes such a function (`pci_match_one_device`). A subsystem that nobody
    /// could read is taken to fit.
    #[must_use]
    pub fn takes(&self, card: &Card) -> bool {
        let subsystem = match &card.subsystem {
            Fact::Is(ids) => Some(*ids),
            Fact::Absent => Some(Ids { vendor: 0, device: 0 }),
            Fact::Unreadable(_) => None,
        };
        let is =
            [Some(card.ids.vendor), Some(card.ids.device), subsystem.map(|s| s.vendor), subsystem.map(|s| s.device)];
        let fits =
            |(wanted, is): (&u32, Option<u16>)| *wanted == Pattern::ANY || is.is_none_or(|is| *wanted == u32::from(is));
        self.ids.iter().zip(is).all(fits) && (self.class ^ card.class) & self.mask == 0
    }
}
