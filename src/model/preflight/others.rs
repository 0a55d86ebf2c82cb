//! Other managers that have a say in a device's driver.

use super::claim::{Claim, Target};
use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::survey::Survey;

/// All findings about other managers.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found: Vec<Finding> = survey
        .claims
        .iter()
        .filter(|claim| claim.target == Target::Host)
        .map(|claim| finding(survey, About::Host, claim))
        .collect();
    for (address, function) in &survey.functions {
        let mine = |claim: &&Claim| match claim.target {
            Target::Device(device) => device == *address,
            Target::Ids(ids) => ids.takes(&function.card) && !function.card.bridge,
            Target::Host => false,
        };
        found.extend(survey.claims.iter().filter(mine).map(|claim| finding(survey, About::Device(*address), claim)));
    }
    found
}

fn finding(survey: &Survey, about: About, claim: &Claim) -> Finding {
    let device = match about {
        About::Device(address) => address.to_string(),
        About::Host | About::Group(_) => String::new(),
    };
    let vfio = claim.text.parse().is_ok_and(|driver| survey.is_vfio(&driver));
    let (severity, why, step) = match claim.manager.as_str() {
        "driverctl" if vfio => (
            Severity::Note,
            "driverctl gives it a VFIO driver at each boot and whenever it appears, as vfiod would.",
            String::new(),
        ),
        "driverctl" => (
            Severity::Warning,
            "driverctl gives it a driver at each boot and whenever it appears: if that is another one than is declared, the two fight.",
            format!("Leave it to one of them: `driverctl unset-override {device}`, or do not declare it here."),
        ),
        "libvirt" => (
            Severity::Note,
            "A libvirt domain wants it: with managed='yes' libvirt takes it from its driver at the start and gives it back at the end; one that is on its VFIO driver already it leaves there.",
            String::new(),
        ),
        "Harvester" => (
            Severity::Warning,
            "This is a Harvester node: its controller binds devices with a PCIDeviceClaim, and unbinds others it finds on vfio-pci when it starts.",
            "Declare here only what has a claim there.".to_owned(),
        ),
        _ => (
            Severity::Note,
            "vfio-pci takes all devices with these ids by itself when it is loaded, also those nobody declared; one that is bound so is not pinned, and stays unbound after a reload when another driver is faster.",
            "Declare the device by its address, and take the ids out.".to_owned(),
        ),
    };
    let finding = Finding::new(severity, about, Code::ClaimedByAnother, why)
        .because(claim.source.as_str(), format!("{}: {}", claim.manager, claim.text));
    if step.is_empty() { finding } else { finding.step(step) }
}
