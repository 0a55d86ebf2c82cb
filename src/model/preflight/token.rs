//! VFs whose PF is on VFIO, too: the kernel opens one only for who knows the PF's token.
//!
//! The token is a UUID that nobody knows until the PF was opened with one
//! (`vfio_pci_validate_vf_token`, since 5.7): without it opening a VF fails with EACCES.

use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::survey::{Function, Meaning, Survey};
use crate::model::pci::Address;

/// All findings about tokens.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    let parents = survey.functions.iter().filter(|(_, pf)| !pf.vfs.is_empty() && survey.on_vfio(pf));
    for (pf, function) in parents {
        let why = "Its virtual functions were made while it is on VFIO: the kernel opens one of them only for who gives the same VF token as whoever has opened this one (else EACCES).";
        found.push(of_one(survey, *pf, *pf, function, why));
        let why = "Its physical function is on VFIO, too: opening it fails with EACCES, unless a VF token is given with it, the same as with the physical function.";
        let there = function.vfs.values().filter(|vf| survey.functions.contains_key(vf));
        found.extend(there.map(|vf| of_one(survey, *vf, *pf, function, why)));
    }
    found
}

fn of_one(survey: &Survey, about: Address, pf: Address, function: &Function, why: &str) -> Finding {
    let driver = function.driver.is().map_or_else(String::new, ToString::to_string);
    let vfs: Vec<String> = function.vfs.values().take(4).map(ToString::to_string).collect();
    let more = if function.vfs.len() > vfs.len() { ", …" } else { "" };
    let said = survey.said(Meaning::NoToken).find(|said| said.device == Some(about));
    Finding::new(Severity::Warning, About::Device(about), Code::VfToken, why)
        .because(format!("/sys/bus/pci/devices/{pf}/driver"), driver)
        .because(format!("/sys/bus/pci/devices/{pf}/virtfn*"), format!("{}{more}", vfs.join(", ")))
        .by(said.map(|said| Evidence::new("the kernel's log", said.text.clone())))
        .step(format!("Make up a UUID (`uuidgen`), and have the program that opens {pf} give it first: DPDK `--vfio-vf-token=UUID`, QEMU from 8.1 on `-device vfio-pci,host={pf},vf-token=UUID`."))
        .step("Give the same one to the virtual machine that gets a virtual function: QEMU `vf-token=UUID`. libvirt has no setting of its own for it; `<qemu:override>` (from 8.2 on) sets that property of the device.")
        .step(format!("Or do without: give {pf} back to its host driver (its virtual functions go with that) and make them from there; those need no token."))
}
