//! Functions on a bus that another function makes, which is no bridge and has a driver: Intel VMD.
//!
//! From 5.6 on all that is behind VMD sends DMA by VMD's number (`pci_real_dma_dev`), so it shares VMD's
//! group; and without the driver vmd there is no such bus.

use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::grouping::{in_the_way, name};
use super::needed::needed;
use super::report::Role;
use super::survey::{Function, Survey};
use crate::model::pci::Address;

/// The function that one is behind, where that shares its group and is on a host driver: then it cannot
/// be had by itself.
#[must_use]
pub fn controller<'s>(survey: &'s Survey, function: &Function) -> Option<(Address, &'s Function)> {
    let above = function.above?;
    let controller = survey.functions.get(&above)?;
    let together = function.group.is().is_some() && function.group.is() == controller.group.is();
    (together && in_the_way(survey, controller)).then_some((above, controller))
}

/// What is behind a function.
pub fn behind(survey: &Survey, address: Address) -> impl Iterator<Item = (Address, &Function)> {
    let behind = survey.functions.iter().filter(move |(_, function)| function.above == Some(address));
    behind.map(|(address, function)| (*address, function))
}

/// All findings about them.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let endpoints = || survey.functions.iter().filter(|(_, function)| Role::of(&function.card) == Role::Endpoint);
    let below = endpoints().filter_map(|(address, function)| below(survey, *address, function));
    let above = endpoints().filter_map(|(address, function)| above(survey, *address, function));
    below.chain(above).collect()
}

/// Intel's Volume Management Device.
fn is_vmd(function: &Function) -> bool {
    function.driver.is().is_some_and(|driver| driver.as_str() == "vmd")
}

fn below(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    let (above, controller) = controller(survey, function)?;
    let driver = name(controller);
    let what = if is_vmd(controller) { format!("{above}, an Intel VMD,") } else { format!("{above} ({driver})") };
    let why = format!(
        "It is behind {what} and shares its group: it cannot be had by itself, and taking {above} from {driver} removes it from the host."
    );
    let finding = Finding::new(Severity::Blocker, About::Device(address), Code::BehindController, why)
        .because(format!("/sys/bus/pci/devices/{address}"), format!("it is below {above}"))
        .because(format!("/sys/bus/pci/devices/{above}/driver"), driver);
    let finding = if is_vmd(controller) {
        finding.step("Switch VMD off for its slot in the firmware setup (\"VMD\", \"Intel RST with VMD\"): then it has a group of its own. Look first whether the system starts from a disk behind VMD.")
    } else {
        finding.step("Put it where it is not behind that controller.")
    };
    Some(finding.step(match needed(survey, above, controller) {
        Some(_) => format!("{above} as a whole must stay with the host, which needs what is behind it."),
        None => format!("Or pass {above} as a whole, if the host needs nothing behind it: declare it alone, and nothing that is behind it."),
    }))
}

fn above(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    let names: Vec<String> = behind(survey, address)
        .filter(|(_, f)| Role::of(&f.card) == Role::Endpoint)
        .map(|(below, f)| format!("{below} ({})", if f.driver.is_absent() { "no driver" } else { name(f) }))
        .collect();
    if names.is_empty() || !in_the_way(survey, function) {
        return None;
    }
    let names = names.join(", ");
    let why = format!("What is behind it goes with it and is gone from the host: {names}.");
    Some(
        Finding::new(Severity::Warning, About::Device(address), Code::BehindController, why)
            .because(format!("/sys/bus/pci/devices/{address}/driver"), name(function))
            .step("Look first that the host uses none of these, and that none of them is declared: vfiod takes it from its driver only then."),
    )
}
