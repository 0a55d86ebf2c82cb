//! What the host lives on: no remedy may take it away.

use super::survey::{Function, Survey};
use crate::model::pci::Address;
use crate::model::snapshot::{Card, Fact};

/// Why a function stays with the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The root disk is on it or behind it.
    RootDisk,
    /// Traffic of the host needs it; which, in a sentence.
    Route(String),
    /// A disk on it is in use; by what, in a sentence.
    Mounted(String),
    /// The root disk may be on it: nobody knows where that is, and this is storage.
    PerhapsRootDisk,
    /// People use it by a keyboard or a mouse; which, in a sentence.
    People(String),
    /// The console is on it; another card could have that.
    Console,
}

/// Whether the host lives on a function, as far as a survey tells.
#[must_use]
pub fn needed(survey: &Survey, address: Address, function: &Function) -> Option<Need> {
    if root_disk(survey, address, function) {
        return Some(Need::RootDisk);
    }
    let perhaps = survey.root_disk.unknown.is_some() && function.card.class >> 16 == STORAGE;
    used(survey, address)
        .or(people(survey, address, function).map(Need::People))
        .or(perhaps.then_some(Need::PerhapsRootDisk))
        .or(function.card.boot_vga.then_some(Need::Console))
}

/// Whether the root disk is on a function or behind it.
#[must_use]
pub fn root_disk(survey: &Survey, address: Address, function: &Function) -> bool {
    survey.root_disk.behind.iter().any(|disk| *disk == address || leads_to(survey, function, *disk))
}

/// The keyboards and mice on a controller of USB that is the host's.
pub(super) fn people(survey: &Survey, address: Address, function: &Function) -> Option<String> {
    let people = survey.people.get(&address)?.is()?.join(", ");
    (!people.is_empty() && !survey.on_vfio(function)).then_some(people)
}

/// What a function is to the machine itself, where it is a part of it and no device that guests use.
#[must_use]
pub fn platform_part(card: &Card) -> Option<&'static str> {
    match (card.ids.vendor, card.class >> 8) {
        _ if card.is_amd_psp() => Some("the processor's security processor (PSP)"),
        (_, 0x0c05) => Some("the board's SMBus"),
        (0x8086, 0x0c80) => Some("the flash of the firmware (SPI)"),
        (0x8086, 0x0780) => Some("Intel's management engine"),
        (_, 0x0500 | 0x0580 | 0x0800..=0x0805) => Some("a part of the chipset"),
        _ => None,
    }
}

fn used(survey: &Survey, address: Address) -> Option<Need> {
    let uses = survey.uses.get(&address)?;
    let said = |fact: &Fact<Vec<String>>| {
        let sentences = fact.is()?;
        let (first, more) = sentences.split_first()?;
        Some(if more.is_empty() { first.clone() } else { format!("{first} (and {} more)", more.len()) })
    };
    said(&uses.network).map(Need::Route).or_else(|| said(&uses.storage).map(Need::Mounted))
}

/// The class of storage, and that of networks.
const STORAGE: u32 = 0x01;
pub(super) const NETWORK: u32 = 0x02;

/// What nobody has told of a function: whether the host's traffic or its disks need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt<'s> {
    /// Whether traffic may.
    pub traffic: bool,
    /// Whether disks may.
    pub disks: bool,
    /// Whether people may: by a keyboard.
    pub people: bool,
    /// Why a look has not told, where there was one.
    pub why: Option<&'s str>,
}

/// Whether a function may be needed for all that is known. Where nobody has looked, on a saved tree,
/// its class tells what it could be needed for.
#[must_use]
pub fn doubt<'s>(survey: &'s Survey, address: Address, function: &Function) -> Option<Doubt<'s>> {
    let usb = function.card.class >> 8 == 0x0c03;
    let people = usb && survey.people.get(&address).is_none_or(|people| people.unreadable().is_some());
    let found = match survey.uses.get(&address) {
        // Listed is what is in use; what is not listed nobody has looked at.
        Some(uses) if uses.network.is_absent() || uses.storage.is_absent() => {
            let class = function.card.class >> 16;
            let of = |class_of: u32, fact: &Fact<Vec<String>>| class == class_of && fact.is_absent();
            Doubt { traffic: of(NETWORK, &uses.network), disks: of(STORAGE, &uses.storage), people, why: None }
        }
        Some(uses) => {
            let (traffic, disks) = (uses.network.unreadable(), uses.storage.unreadable());
            Doubt { traffic: traffic.is_some(), disks: disks.is_some(), people, why: traffic.or(disks) }
        }
        None => {
            let class = function.card.class >> 16;
            Doubt { traffic: class == NETWORK, disks: class == STORAGE, people, why: None }
        }
    };
    (found.traffic || found.disks || found.people).then_some(found)
}

/// Whether the way to another function goes through this one.
fn leads_to(survey: &Survey, function: &Function, below: Address) -> bool {
    let path = &function.card.path;
    survey.path_of(below).is_some_and(|below| below.root == path.root && below.hops.starts_with(&path.hops))
}
