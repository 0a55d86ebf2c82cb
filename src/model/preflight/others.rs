//! Other managers that have a say in a device's driver.

use super::claim::{Claim, Kind, Role, Target};
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::survey::Survey;

/// All findings about other managers. Claims of which the same is to be said are one finding.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for claim in survey.claims.iter().filter(|claim| claim.target == Target::Host) {
        add(&mut found, finding(survey, About::Host, claim));
    }
    for (address, function) in &survey.functions {
        let mine = |claim: &&Claim| match claim.target {
            Target::Ids(ids) => ids.takes(&function.card) && !function.card.bridge,
            // A slot or a bus has bridges in it that nobody means.
            Target::Within(..) => claim.target.holds(*address) && !function.card.bridge,
            Target::Device(_) => claim.target.holds(*address),
            Target::Host => false,
        };
        let mut of_device = Vec::new();
        for claim in survey.claims.iter().filter(mine) {
            add(&mut of_device, finding(survey, About::Device(*address), claim));
        }
        found.extend(of_device);
    }
    found
}

/// Adds a finding, or its evidence to one that says the same.
fn add(found: &mut Vec<Finding>, mut finding: Finding) {
    let same = |other: &&mut Finding| other.why == finding.why && other.remedy == finding.remedy;
    match found.iter_mut().find(same) {
        Some(other) => other.evidence.append(&mut finding.evidence),
        None => found.push(finding),
    }
}

fn finding(survey: &Survey, about: About, claim: &Claim) -> Finding {
    let device = match about {
        About::Device(address) => address.to_string(),
        About::Host | About::Group(_) => String::new(),
    };
    let (severity, why, step) = said(survey, claim, &device);
    let finding = Finding::new(severity, about, Code::ClaimedByAnother, why)
        .by([Evidence::new(claim.source.as_str(), claim.sentence())]);
    if step.is_empty() { finding } else { finding.step(step) }
}

/// How bad it is, one sentence, and what to do, if anything.
fn said(survey: &Survey, claim: &Claim, device: &str) -> (Severity, &'static str, String) {
    let to_vfio = matches!(&claim.role, Role::Binds(driver) if survey.is_vfio(driver));
    match (claim.manager.as_str(), &claim.role) {
        ("driverctl", _) if to_vfio => (
            Severity::Note,
            "driverctl gives it a VFIO driver at each boot and whenever it appears, as vfiod would.",
            String::new(),
        ),
        ("driverctl", _) => (
            Severity::Warning,
            "driverctl gives it a driver at each boot and whenever it appears: if that is another one than is declared, the two fight.",
            format!("Leave it to one of them: `driverctl unset-override {device}`, or do not declare it here."),
        ),
        ("DPDK", _) if to_vfio => (
            Severity::Note,
            "DPDK's init script binds it to a VFIO driver at boot, for a program on the host that opens it.",
            String::new(),
        ),
        ("DPDK", _) => (
            Severity::Warning,
            "DPDK's init script binds it to a driver for programs on the host at boot, where no virtual machine can have it.",
            "Take its line out of the file, or do not declare it here.".to_owned(),
        ),
        ("pci-stub", _) => (
            Severity::Note,
            "pci-stub takes all devices with these ids when it is loaded, to keep other drivers off; a virtual machine cannot have a device from there.",
            "Declare the device by its address, and take the ids out.".to_owned(),
        ),
        ("xen-pciback", _) => (
            Severity::Warning,
            "xen-pciback keeps it for guests of Xen. VFIO does not get it, and is not how Xen passes devices through.",
            "Take it out of `hide=`, or do not declare it here.".to_owned(),
        ),
        ("xl" | "libvirt (libxl)", Role::Takes) => (
            Severity::Note,
            "A domain of Xen wants it: Xen passes it through by xen-pciback, not by VFIO.",
            String::new(),
        ),
        ("Unraid", Role::Pool) => (
            Severity::Warning,
            "Unraid makes virtual functions of it at boot: on a VFIO driver it has none.",
            "Declare its virtual functions, not the device itself.".to_owned(),
        ),
        ("Unraid", _) => (Severity::Note, "Unraid binds it to vfio-pci at boot, as vfiod would.", String::new()),
        ("Proxmox", Role::Takes) => (
            Severity::Note,
            "A virtual machine of Proxmox wants it: Proxmox binds it to vfio-pci when the machine starts, and leaves it there when it ends.",
            String::new(),
        ),
        ("Proxmox", Role::Keeps) => (
            Severity::Warning,
            "A virtual machine of Proxmox wants it on the driver that it is on (driver=keep).",
            "Do not declare it here, unless with that driver.".to_owned(),
        ),
        ("Proxmox", Role::Names) => (
            Severity::Note,
            "Proxmox has a mapping for it: a virtual machine that names the mapping is given it.",
            String::new(),
        ),
        ("mdevctl", _) => (
            Severity::Warning,
            "mdevctl makes mediated devices of it: on vfio-pci it has none.",
            "Do not declare it here, or take its mediated devices out of mdevctl's keeping.".to_owned(),
        ),
        (_, Role::Parent) => (
            Severity::Warning,
            "A virtual machine wants a mediated device of it: on vfio-pci it has none.",
            "Do not declare it here.".to_owned(),
        ),
        ("libvirt", Role::Pool) => (
            Severity::Warning,
            "A network of libvirt hands out its virtual functions: on a VFIO driver it has none.",
            "Declare its virtual functions, not the device itself.".to_owned(),
        ),
        ("libvirt", Role::Takes) if of_network(claim) => (
            Severity::Note,
            "A network of libvirt hands it out to domains: with managed='yes' libvirt takes it from its driver when a domain starts and gives it back at the end; one that is on its VFIO driver already it leaves there.",
            String::new(),
        ),
        ("libvirt", Role::Takes) => (
            Severity::Note,
            "A libvirt domain wants it: with managed='yes' libvirt takes it from its driver at the start and gives it back at the end; one that is on its VFIO driver already it leaves there.",
            String::new(),
        ),
        ("libvirt" | "Proxmox", _) => (
            Severity::Note,
            "A virtual machine wants it as it is: nobody takes it from its driver, so it has to be on a VFIO driver before the machine starts.",
            String::new(),
        ),
        ("Harvester", _) => (
            Severity::Warning,
            "This is a Harvester node: its controller binds devices with a PCIDeviceClaim, and unbinds others it finds on vfio-pci when it starts.",
            "Declare here only what has a claim there.".to_owned(),
        ),
        _ => (
            Severity::Note,
            "vfio-pci takes all devices with these ids by itself when it is loaded, also those nobody declared; one that is bound so is not pinned, and stays unbound after a reload when another driver is faster.",
            "Declare the device by its address, and take the ids out.".to_owned(),
        ),
    }
}

fn of_network(claim: &Claim) -> bool {
    claim.guest.as_ref().is_some_and(|guest| guest.kind == Kind::Network)
}
