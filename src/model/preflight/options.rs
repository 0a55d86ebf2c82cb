//! Parameters of VFIO's modules: what a reload would change, what nobody hears, what the kernel refuses.

use std::collections::BTreeMap;

use super::boot::{added, modprobe_place, module_options};
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::survey::{Machine, ModuleSurvey, Survey};
use crate::model::module::ModuleState;
use crate::model::parameter::{Given, number, same_name, switch};
use crate::model::pci::Module;
use crate::model::vfio_ids::{Idle, is_strayed};

/// What the parameters are when nobody says anything. All of them are switches.
pub const DEFAULTS: [(&str, &str, &str); 9] = [
    ("vfio_pci", "disable_vga", "N"),
    ("vfio_pci", "disable_idle_d3", "N"),
    ("vfio_pci", "nointxmask", "N"),
    ("vfio_pci", "enable_sriov", "N"),
    ("vfio_pci", "disable_denylist", "N"),
    ("vfio_iommu_type1", "allow_unsafe_interrupts", "N"),
    ("vfio_iommu_type1", "disable_hugepages", "N"),
    ("iommufd", "allow_unsafe_interrupts", "N"),
    ("vfio", "enable_unsafe_noiommu_mode", "N"),
];

/// Those that are numbers, of 32 bits.
const NUMBERS: [(&str, &str); 1] = [("vfio_iommu_type1", "dma_entry_limit")];

/// All findings about parameters.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for (module, about) in &survey.modules {
        found.extend(changed(survey, module, about));
        found.extend(unheard(&survey.machine, module, about));
        found.extend(refused(survey, module, about));
    }
    found.extend(overruled(survey));
    found.extend(senseless(survey));
    found.extend(strayed(survey));
    found
}

fn is_switch(module: &Module, parameter: &str) -> bool {
    DEFAULTS.iter().any(|(of, name, _)| module.as_str() == *of && same_name(name, parameter))
}

fn is_number(module: &Module, parameter: &str) -> bool {
    NUMBERS.iter().any(|(of, name)| module.as_str() == *of && same_name(name, parameter))
}

/// Whether the kernel refuses such a value of a parameter that is known.
fn is_refused(module: &Module, parameter: &str, value: Option<&str>, kernel: (u32, u32)) -> bool {
    let fits = |value| number(value).is_some_and(|number| u32::try_from(number).is_ok());
    is_switch(module, parameter) && switch(value, kernel).is_none()
        || is_number(module, parameter) && !value.is_some_and(fits)
}

/// Parameters that a reload would change.
fn changed(survey: &Survey, module: &Module, about: &ModuleSurvey) -> Vec<Finding> {
    let mut found = Vec::new();
    if about.facts.state != ModuleState::Live {
        return found;
    }
    for (parameter, live) in &about.live {
        let default =
            DEFAULTS.iter().find(|(m, p, _)| module.as_str() == *m && p == parameter).map(|(_, _, value)| *value);
        let (after, source) = match about.configured.get(parameter) {
            Some((value, source)) => (value.as_str(), source.as_str()),
            None => match default {
                Some(value) => (value, "nothing in modprobe.d"),
                None => continue,
            },
        };
        let bool = default.is_some();
        // What the kernel refuses is another finding.
        if same(survey, bool, live, after) || is_refused(module, parameter, Some(after), survey.machine.version()) {
            continue;
        }
        let why = format!(
            "{module} runs with {parameter}={live}, and a reload would make that {after}: what works now may not work after it."
        );
        found.push(
            Finding::new(Severity::Warning, About::Host, Code::ModuleOptions, why)
                .because(format!("/sys/module/{module}/parameters/{parameter}"), live.as_str())
                .because(source, format!("{parameter}={after}"))
                .step(format!(
                    "Write down what you want: {}.",
                    module_options(&survey.machine, module.as_str(), &format!("{parameter}=…"))
                )),
        );
    }
    found
}

/// Whether two texts mean the same value of a parameter.
fn same(survey: &Survey, bool: bool, one: &str, other: &str) -> bool {
    let kernel = survey.machine.version();
    let alike = if bool {
        switch(Some(one), kernel).is_some_and(|on| switch(Some(other), kernel) == Some(on))
    } else {
        number(one).is_some_and(|value| number(other) == Some(value))
    };
    alike || one == other
}

/// What modprobe.d says to a part of the kernel.
fn unheard(machine: &Machine, module: &Module, about: &ModuleSurvey) -> Option<Finding> {
    let unheard: Vec<&Given> = about.given.iter().filter(|given| !given.heard).collect();
    let last = unheard.last()?;
    let why = format!(
        "{module} is part of this kernel, so what modprobe.d says to it does nothing: it hears the kernel command line only."
    );
    let option = format!("{module}.{}", last.text());
    let mut finding = Finding::new(Severity::Warning, About::Host, Code::OptionIgnored, why)
        .by(unheard.iter().map(|given| Evidence::new(given.source.as_str(), given.text())))
        .step(format!("Add `{option}` {} and boot again.", added(machine, &option)));
    if unheard.iter().any(|given| given.is("ids")) {
        finding = finding.step("Or declare the devices by their addresses: vfiod needs no ids.");
    }
    Some(finding.step(format!("Take the line out of {}.", modprobe_place(machine))))
}

/// What the kernel refuses. A part of it keeps what it had; a module is not loaded at all.
fn refused(survey: &Survey, module: &Module, about: &ModuleSurvey) -> Option<Finding> {
    let kernel = survey.machine.version();
    let is_wrong = |given: &&Given| {
        let value = given.parameter.value.as_deref();
        given.heard && is_refused(module, &given.parameter.name, value, kernel)
    };
    let mut wrong: Vec<&Given> = about.given.iter().filter(is_wrong).collect();
    if module.as_str() == "vfio_pci" {
        wrong.extend(survey.ids().idle.iter().filter(|(_, why)| *why == Idle::Refused).map(|(given, _)| *given));
    }
    let first = wrong.first()?;
    let (severity, code, comes) = match about.facts.state {
        ModuleState::Builtin => (Severity::Warning, Code::OptionIgnored, "it keeps the value it had.".to_owned()),
        ModuleState::Live => (
            Severity::Warning,
            Code::OptionRefused,
            format!("{module} is loaded now, and once it is unloaded it cannot come back."),
        ),
        _ => (Severity::Blocker, Code::OptionRefused, format!("{module} cannot be loaded.")),
    };
    let why = format!("The kernel refuses `{}` for {module}: {comes}", first.parameter.name);
    let step = match (first.is("ids"), &first.parameter.value) {
        (true, None) => {
            "Write the list behind `ids=` without a blank, or declare the devices by their addresses and take it out."
        }
        (true, Some(_)) => {
            "Give it a list of at most 1023 characters, or declare the devices by their addresses and take it out."
        }
        (false, _) if is_number(module, &first.parameter.name) => {
            "Write a number: decimal digits, or `0x` and hexadecimal ones."
        }
        (false, _) => "Write 1 or 0, y or n, on or off.",
    };
    let evidence = wrong.iter().map(|given| Evidence::new(given.source.as_str(), given.text()));
    Some(Finding::new(severity, About::Host, code, why).by(evidence).step(step))
}

/// Lists of ids whose place a later one takes.
fn overruled(survey: &Survey) -> Option<Finding> {
    let lists = survey.ids();
    let earlier: Vec<&Given> =
        lists.idle.iter().filter(|(_, why)| *why == Idle::Overruled).map(|(given, _)| *given).collect();
    let in_force = lists.in_force.filter(|_| !earlier.is_empty())?;
    let why = "vfio-pci is given several lists of ids and keeps only the last one: the others have no effect.";
    let evidence =
        earlier.iter().map(|given| Evidence::new(given.source.as_str(), format!("{}, without effect", given.text())));
    Some(
        Finding::new(Severity::Warning, About::Host, Code::OptionIgnored, why)
            .by(evidence)
            .because(in_force.source.as_str(), format!("{}, in force", in_force.text()))
            .step("Declare the devices by their addresses and take the ids out; or write all ids into one list, with commas between them."),
    )
}

/// Entries of the list in force that mean nothing.
fn senseless(survey: &Survey) -> Option<Finding> {
    let lists = survey.ids();
    let senseless: BTreeMap<&str, ()> =
        lists.entries().filter(|(_, pattern)| pattern.is_none()).map(|(entry, _)| (entry, ())).collect();
    let in_force = lists.in_force.filter(|_| !senseless.is_empty())?;
    let why = "What vfio-pci's `ids=` has there is no vendor and device id: the kernel passes over it (its log says `invalid id string`).";
    let evidence = senseless.keys().map(|entry| Evidence::new(in_force.source.as_str(), format!("`{entry}`")));
    Some(
        Finding::new(Severity::Warning, About::Host, Code::OptionIgnored, why)
            .by(evidence)
            .step("Write `vendor:device` in hexadecimal digits, as `lspci -nn` shows it, or take it out."),
    )
}

/// Ids that a blank has parted from their list.
fn strayed(survey: &Survey) -> Option<Finding> {
    let given = survey.modules.iter().find(|(module, _)| module.as_str() == "vfio_pci").map(|(_, about)| &about.given);
    let mut strayed = given.into_iter().flatten().filter(|given| is_strayed(given)).peekable();
    strayed.peek()?;
    let why = "What stands behind a blank is no part of vfio-pci's `ids=`: the kernel passes over it (its log says `unknown parameter`).";
    Some(
        Finding::new(Severity::Warning, About::Host, Code::OptionIgnored, why)
            .by(strayed.map(|given| Evidence::new(given.source.as_str(), format!("`{}`", given.text()))))
            .step("Write the list without blanks, or in double quotes."),
    )
}
