//! Puts the findings together and gives each function its verdict.

use std::collections::{BTreeMap, BTreeSet};

use super::arch::Arch;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::make::Make;
use super::predict::predict;
use super::report::{Report, Role, SCHEMA, Verdict};
use super::survey::{Function, NOT_SAVED, Survey};
use super::{
    acs, bars, behind, display, grouping, hardware, igd, interrupts, mediated, modules, nodes, options, others, parts,
    passthrough, remapping, reserved, sriov, token, uses,
};
use crate::model::pci::Address;

/// Checks every function, declared or not.
#[must_use]
pub fn check(survey: &Survey) -> Report {
    let mut findings: Vec<Finding> = [
        remapping::findings(survey),
        reserved::findings(survey),
        interrupts::findings(survey),
        grouping::findings(survey),
        acs::findings(survey),
        behind::findings(survey),
        hardware::findings(survey),
        bars::findings(survey),
        igd::findings(survey),
        display::findings(survey),
        uses::findings(survey),
        parts::findings(survey),
        sriov::findings(survey),
        token::findings(survey),
        mediated::findings(survey),
        modules::findings(survey),
        options::findings(survey),
        nodes::findings(survey),
        others::findings(survey),
        passthrough::findings(survey),
    ]
    .concat();
    let unsaved = unsaved(&mut findings);
    findings.extend(gaps(survey, unsaved));
    findings.iter_mut().flat_map(|finding| &mut finding.evidence).for_each(|evidence| mark(evidence, &survey.private));
    findings.sort();
    findings.dedup();
    let devices = survey
        .functions
        .iter()
        .map(|(address, function)| (*address, verdict(survey, *address, function, &findings)))
        .collect();
    Report {
        schema: SCHEMA,
        kernel: survey.machine.release.clone(),
        iommu: makes(survey),
        iommu_units: survey.iommu.units.is().cloned().unwrap_or_default(),
        devices,
        groups: survey.groups.keys().filter_map(|number| Some((*number, grouping::report(survey, *number)?))).collect(),
        findings,
    }
}

/// Marks what is from a place that only root may read.
fn mark(evidence: &mut Evidence, private: &BTreeSet<String>) {
    let from = |place: &&String| evidence.source.contains(place.as_str()) || evidence.value.contains(place.as_str());
    evidence.private = private.iter().find(from).cloned();
}

/// Before 6.4 POWER's IOMMU is not in `/sys/class/iommu` and has groups all the same
/// (arch/powerpc/kernel/iommu.c).
fn makes(survey: &Survey) -> BTreeSet<Make> {
    let unnamed = survey.machine.arch == Some(Arch::Power) && survey.has_iommu();
    let listed = survey.iommu.units.is().into_iter().flatten().map(|unit| Make::of(unit));
    listed.chain(unnamed.then_some(Make::Power)).collect()
}

fn verdict(survey: &Survey, address: Address, function: &Function, findings: &[Finding]) -> Verdict {
    let group = function.group.is().copied();
    let own = |finding: &&Finding| match finding.about {
        About::Host => false,
        About::Group(number) => group == Some(number),
        About::Device(device) => device == address,
    };
    let host = findings.iter().filter(|finding| finding.about == About::Host);
    let mut codes: Vec<Code> = Vec::new();
    for finding in findings.iter().filter(own) {
        if !codes.contains(&finding.code) {
            codes.push(finding.code);
        }
    }
    let blocked = findings.iter().filter(own).chain(host).any(Finding::blocks);
    let role = Role::of(&function.card);
    let predicted = predict(survey, address);
    Verdict {
        ids: function.card.ids,
        class: function.card.class,
        role,
        driver: function.driver.is().cloned(),
        group,
        iommu: function.unit.is().map(|unit| Make::of(unit)),
        passthrough_id: passthrough::id(survey, address),
        assignable: role == Role::Endpoint && !blocked && predicted.opens == Some(true),
        predicted,
        codes,
    }
}

/// Takes out the findings that only say what a saved tree leaves out: that is told once.
fn unsaved(findings: &mut Vec<Finding>) -> Vec<String> {
    let mut unsaved = Vec::new();
    findings.retain(|finding| {
        let only = finding.code == Code::Unreadable && finding.evidence.iter().all(|e| e.value.starts_with(NOT_SAVED));
        if only {
            unsaved.extend(finding.evidence.iter().map(|evidence| evidence.value.clone()));
        }
        !only
    });
    unsaved
}

/// What could not be read and decides little, or is not in a saved tree.
fn gaps(survey: &Survey, unsaved: Vec<String>) -> Option<Finding> {
    let mut gaps: Vec<String> = survey.unread.clone();
    gaps.extend(unsaved);
    for (name, table) in [("DMAR", &survey.iommu.dmar), ("IVRS", &survey.iommu.ivrs)] {
        gaps.extend(table.unreadable().map(str::to_owned));
        let trouble = table.is().and_then(|table| table.trouble.as_ref());
        gaps.extend(trouble.map(|why| format!("the table {name} makes no sense: {why}")));
    }
    let others = [
        survey.framebuffers.unreadable(),
        survey.log.unreadable(),
        survey.holders.unreadable(),
        survey.lockdown.unreadable(),
        survey.autoprobe.unreadable(),
        survey.container.unreadable(),
        survey.iommufd_unsafe.unreadable(),
        survey.mediated.unreadable(),
    ];
    gaps.extend(others.into_iter().flatten().map(str::to_owned));
    gaps.sort();
    gaps.dedup();
    if gaps.is_empty() {
        return None;
    }
    let why = "Not everything could be read: no finding about these does not mean that all is well.";
    let finding = Finding::new(Severity::Note, About::Host, Code::Unreadable, why);
    Some(finding.by(gaps.into_iter().map(|why| Evidence::new("reading", why))))
}

/// What could not be read, as one finding for each thing it is about.
pub(super) fn unread(about: About, what: &str, why: &str) -> Finding {
    Finding::new(
        Severity::Warning,
        about,
        Code::Unreadable,
        format!("Nobody knows {what}, so nothing is said about it: no finding here does not mean that all is well."),
    )
    .because("reading", why)
    .step("Run the check as root, on the machine itself.")
}

/// Functions by the slot they are in.
pub(super) fn by_slot(survey: &Survey) -> BTreeMap<crate::model::pci::Slot, Vec<(Address, &Function)>> {
    let mut slots: BTreeMap<_, Vec<(Address, &Function)>> = BTreeMap::new();
    for (address, function) in &survey.functions {
        slots.entry(address.slot()).or_default().push((*address, function));
    }
    slots
}
