//! Mediated devices: what a host driver has made of a function goes when the driver goes.

use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::grouping::name;
use super::survey::{Function, Survey};
use crate::model::pci::Address;
use crate::model::snapshot::Holder;

/// All findings about functions whose drivers carry mediated devices. No remedy ends one.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let carriers = survey.functions.iter().filter(|(address, _)| carries(survey, **address));
    carriers.map(|(address, function)| carrier(survey, *address, function)).collect()
}

/// Whether a function's driver carries mediated devices, as far as a survey tells.
#[must_use]
pub fn carries(survey: &Survey, address: Address) -> bool {
    survey.mediated.is().and_then(|all| all.get(&address)).is_some_and(|devices| !devices.is_empty())
}

/// Who has a mediated device of a function open.
#[must_use]
pub fn holders(survey: &Survey, address: Address) -> Vec<&Holder> {
    let devices = survey.mediated.is().and_then(|all| all.get(&address));
    let groups = devices.into_iter().flatten().filter_map(|(_, group)| *group);
    groups.filter_map(|group| survey.holders.is()?.get(&group)).flatten().collect()
}

fn carrier(survey: &Survey, address: Address, function: &Function) -> Finding {
    let devices = survey.mediated.is().and_then(|all| all.get(&address));
    let count = devices.map_or(0, std::collections::BTreeMap::len);
    let (many, them) = if count == 1 { ("a mediated device", "it") } else { ("mediated devices", "them") };
    let why = format!(
        "Its driver {} carries {many} for virtual machines: taking the function from that driver destroys {them}, and does not return while a machine uses one.",
        name(function)
    );
    let mut finding = Finding::new(Severity::Warning, About::Device(address), Code::MediatedDevices, why);
    for (device, group) in devices.into_iter().flatten() {
        let held = group.and_then(|group| survey.holders.is()?.get(&group)).into_iter().flatten();
        let held: Vec<String> = held.map(ToString::to_string).collect();
        let group = group.map_or_else(|| "no group".to_owned(), |group| format!("group {group}"));
        let value = if held.is_empty() { group } else { format!("{group}: {}", held.join("; ")) };
        finding = finding.because(format!("/sys/bus/mdev/devices/{device}"), value);
    }
    finding
        .step("Leave this function to its driver, and pass a mediated device: it is a device of its own for a guest (in libvirt `<hostdev mode='subsystem' type='mdev' model='vfio-pci'>` with its UUID).")
        .step("To pass it whole, first see that nobody needs its mediated devices (`mdevctl list --defined`, the guests' definitions): while it carries one, vfiod leaves it to its driver.")
}
