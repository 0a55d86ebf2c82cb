//! What the host lives on: no remedy may take it away.

use super::survey::{Function, Survey};
use crate::model::pci::Address;

/// Why a function stays with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The root disk is on it or behind it.
    RootDisk,
    /// It may be: nobody knows where the root disk is, and this is storage.
    PerhapsRootDisk,
    /// The console is on it; another card could have that.
    Console,
}

/// Whether the host lives on a function, as far as a survey tells.
#[must_use]
pub fn needed(survey: &Survey, address: Address, function: &Function) -> Option<Need> {
    let root_disk = &survey.root_disk;
    let disk = if root_disk.behind.iter().any(|disk| *disk == address || leads_to(survey, function, *disk)) {
        Some(Need::RootDisk)
    } else if root_disk.unknown.is_some() && function.card.class >> 16 == 0x01 {
        Some(Need::PerhapsRootDisk)
    } else {
        None
    };
    disk.or(function.card.boot_vga.then_some(Need::Console))
}

/// Whether the way to another function goes through this one.
fn leads_to(survey: &Survey, function: &Function, below: Address) -> bool {
    let path = &function.card.path;
    survey.path_of(below).is_some_and(|below| below.root == path.root && below.hops.starts_with(&path.hops))
}
