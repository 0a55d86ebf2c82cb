//! What the host itself needs: whoever passes it on loses a disk or the network.
//!
//! The guards hold the same back. The sentences are short of numbers and names on purpose, since the
//! daemon tells of each that changes: those are evidence.

use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::needed::{Need, needed, root_disk};
use super::report::Role;
use super::survey::{Function, Survey};
use crate::model::pci::Address;

/// How many uses are named.
const SHOWN: usize = 4;

/// All findings about what the host needs; the console is `display`'s.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let endpoints = survey.functions.iter().filter(|(_, function)| Role::of(&function.card) == Role::Endpoint);
    endpoints.flat_map(|(address, function)| of_one(survey, *address, function)).collect()
}

fn of_one(survey: &Survey, address: Address, function: &Function) -> Vec<Finding> {
    let mut found = Vec::new();
    let uses = survey.uses.get(&address);
    let said = |sentences: Option<&Vec<String>>, source: &str| -> Vec<Evidence> {
        let mut shown: Vec<&String> = sentences.into_iter().flatten().collect();
        // An administrator looks for the default route.
        shown.sort_by_key(|sentence| !sentence.contains("default route"));
        shown.into_iter().take(SHOWN).map(|sentence| Evidence::new(source, sentence.clone())).collect()
    };
    let disks = said(uses.and_then(|uses| uses.storage.is()), "the host's disks");
    let traffic = said(uses.and_then(|uses| uses.network.is()), "the host's network");
    let about = About::Device(address);
    if root_disk(survey, address, function) {
        let why = "The root disk is on it: this machine stops when a guest has it.";
        let way = format!("/ is on a disk behind {address}");
        found.push(
            Finding::new(Severity::Warning, about, Code::MountedDisk, why)
                .because("/proc/1/mountinfo", way)
                .by(disks)
                .step("Pass another one on; the host cannot do without this."),
        );
    } else if !disks.is_empty() {
        let why = "The host has disks in use that are on it: they are gone, with what was not written yet, when a guest has it.";
        found.push(
            Finding::new(Severity::Warning, about, Code::MountedDisk, why)
                .by(disks)
                .step(
                    "First unmount them, and take them out of swap, arrays and volume groups; or pass another one on.",
                )
                .step("vfiod leaves it alone unless the entry says `allow = [\"mounted-disk\"]`."),
        );
    } else if needed(survey, address, function) == Some(Need::PerhapsRootDisk)
        && function.driver.is().is_some()
        && !survey.on_vfio(function)
    {
        let why = "It may have the root disk: nobody could tell which disk that is.";
        let unknown = survey.root_disk.unknown.clone().unwrap_or_default();
        found.push(
            Finding::new(Severity::Note, about, Code::MountedDisk, why)
                .because("the root disk", unknown)
                .step("Look what is on it before a guest gets it: `lsblk`, `findmnt /`."),
        );
    }
    if !traffic.is_empty() {
        let why =
            "The host's traffic needs it: what goes by it, perhaps the way to this machine, ends when a guest has it.";
        found.push(
            Finding::new(Severity::Warning, about, Code::CarriesRoute, why)
                .by(traffic)
                .step("First give the host another way (an address and routes on another interface, another port of the bridge or bond), and be sure that you reach this machine by that.")
                .step("vfiod leaves it alone unless the entry says `allow = [\"carries-route\"]`."),
        );
    }
    found
}
