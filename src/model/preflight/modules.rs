//! VFIO's modules: whether they can be had, and what a reload would change.

use std::collections::BTreeMap;

use super::arch::Arch;
use super::asked::CONTAINER;
use super::boot::without_rule;
use super::check::unread;
use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::survey::{Machine, ModuleSurvey, Survey};
use super::system::more_modules;
use crate::model::module::ModuleState;
use crate::model::pci::Module;
use crate::model::snapshot::Fact;

/// All findings about modules.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = lacking(survey);
    found.extend(without_container(survey));
    found.extend(blacklisted(survey));
    found.extend(unknown(survey));
    found.extend(install_rules(survey));
    for (module, about) in &survey.modules {
        found.extend(state(survey, module, about));
    }
    if survey.module("vfio_pci").is_some_and(|module| module.facts.state == ModuleState::Builtin) {
        let why = "VFIO's drivers are part of this kernel: there is nothing to load, and nobody can unload them.";
        let evidence = survey.module("vfio_pci").map(|module| module.facts.evidence.clone()).unwrap_or_default();
        found.push(Finding::new(Severity::Note, About::Host, Code::ModuleBuiltin, why).because("vfio_pci", evidence));
    }
    if let Fact::Is(mode) = &survey.lockdown {
        let why = format!(
            "The kernel is locked down ({mode}): only modules that are signed for it are loaded, and unsafe parameters may be refused."
        );
        found.push(
            Finding::new(Severity::Note, About::Host, Code::Lockdown, why)
                .because("/sys/kernel/security/lockdown", mode.as_str())
                .step("Nothing, if VFIO's modules are the distribution's. Modules of your own must be signed (`mokutil --import`)."),
        );
    }
    if survey.autoprobe == Fact::Is(false) {
        let why = "`drivers_autoprobe` is 0: a driver that is loaded takes no device, so a module that is loaded again brings none back.";
        found.push(
            Finding::new(Severity::Warning, About::Host, Code::AutoprobeOff, why)
                .because("/sys/bus/pci/drivers_autoprobe", "0")
                .step("Find out who switched it off (scripts of SR-IOV do, to keep VFs unbound), then `echo 1 >/sys/bus/pci/drivers_autoprobe`."),
        );
    }
    found
}

/// Modules that cannot be had, together where the reason is the same.
fn lacking(survey: &Survey) -> Vec<Finding> {
    let mut found: BTreeMap<(Lost, Code, String), Vec<&str>> = BTreeMap::new();
    for (module, about) in &survey.modules {
        let facts = &about.facts;
        let lost = match facts.state.serves() {
            true => Lost::Later,
            false if is_old_interface(survey, module) => Lost::OldInterface,
            false => Lost::All,
        };
        let reason = match (&about.forbidden, facts.state) {
            (_, ModuleState::Builtin | ModuleState::NotApplicable) => continue,
            (Some(why), _) => (lost, Code::ModuleProhibited, why.clone()),
            (None, ModuleState::NotInstalled) if is_told(survey, module) => continue,
            (None, ModuleState::NotInstalled) => (lost, Code::ModuleMissing, facts.evidence.clone()),
            (None, ModuleState::TreeMissing) => (lost, Code::ModuleTreeMissing, facts.evidence.clone()),
            // Loaded from a tree that has gone since.
            (None, ModuleState::Live) if about.tree_gone => {
                (lost, Code::ModuleTreeMissing, "there is none for the running kernel".to_owned())
            }
            _ => continue,
        };
        found.entry(reason).or_default().push(module.as_str());
    }
    found
        .into_iter()
        .map(|((lost, code, why), modules)| lack(lost, code, &why, &modules.join(", "), &survey.machine))
        .collect()
}

/// That nothing can give a container its IOMMU: kernels build `vfio_iommu_type1` for x86, Arm and s390
/// alone (drivers/vfio/Kconfig; RISC-V seen on 7.2). Where iommufd serves it is not needed.
fn without_container(survey: &Survey) -> Option<Finding> {
    let arch = survey.machine.arch.filter(|arch| matches!(arch, Arch::RiscV | Arch::Loongarch))?;
    let module = survey.module("vfio_iommu_type1")?;
    let none = matches!(module.facts.state, ModuleState::NotInstalled | ModuleState::NotApplicable);
    if !none || survey.iommufd.is().is_some() || survey.module("iommufd").is_some_and(|it| it.facts.state.serves()) {
        return None;
    }
    let why = format!(
        "Kernels for {} have no vfio_iommu_type1, and this one has no iommufd either: binding may succeed, and nothing can open a device.",
        arch.as_str()
    );
    Some(
        Finding::new(Severity::Blocker, About::Host, Code::ModuleMissing, why)
            .because("the module tree", module.facts.evidence.as_str())
            .step("Boot a kernel with CONFIG_IOMMUFD, CONFIG_VFIO_DEVICE_CDEV and a driver for this machine's IOMMU, and use a virtual machine monitor that opens devices by iommufd."),
    )
}

/// Whether [`without_container`] tells of a module.
fn is_told(survey: &Survey, module: &Module) -> bool {
    module.as_str() == "vfio_iommu_type1" && without_container(survey).is_some()
}

/// What goes with a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lost {
    /// Everything.
    All,
    /// Nothing yet: it is loaded.
    Later,
    /// What iommufd serves as well.
    OldInterface,
}

/// Whether a module serves only those who open devices by their group, where iommufd serves, too.
fn is_old_interface(survey: &Survey, module: &Module) -> bool {
    CONTAINER.contains(&module.as_str()) && survey.has_iommufd()
}

/// How the evidence begins where nobody tells which modules are loaded.
const NO_LIST: &str = "/proc/modules is not there";

fn lack(lost: Lost, code: Code, why: &str, modules: &str, machine: &Machine) -> Finding {
    let (severity, lost) = match lost {
        Lost::All => (Severity::Blocker, "without it no device can be passed through"),
        Lost::Later => (Severity::Warning, "it is loaded now, and once it is unloaded it cannot come back"),
        Lost::OldInterface => (
            Severity::Warning,
            "without it no device can be passed through by the old interface, its group's node; iommufd serves",
        ),
    };
    let finding = |sentence: String| Finding::new(severity, About::Host, code, sentence);
    match code {
        Code::ModuleProhibited => {
            let (source, rule) = why.split_once(": ").unwrap_or((why, "forbids it"));
            finding(format!("Loading {modules} is prohibited: {lost}.")).because(source, rule).step(prohibited_step(machine, why))
        }
        Code::ModuleMissing => finding(format!("This kernel has no {modules}: {lost}."))
            .because("the module tree", why)
            .step(match why.starts_with(NO_LIST) {
                true => "Look for /proc/modules on the machine itself: if it is missing there, boot a kernel with CONFIG_MODULES, or one with VFIO built in.".to_owned(),
                false => more_modules(machine),
            }),
        _ => finding(format!("The module tree of the running kernel is gone, as after an upgrade; {modules}: {lost}."))
            .because("the module tree", why)
            .step("Reboot into the installed kernel."),
    }
}

/// Modules that a blacklist line names, together where it is the same one.
fn blacklisted(survey: &Survey) -> Vec<Finding> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (module, about) in &survey.modules {
        let part_of_the_kernel = matches!(about.facts.state, ModuleState::Builtin | ModuleState::NotApplicable);
        if let Some(why) = about.blacklisted.as_deref().filter(|_| !part_of_the_kernel) {
            found.entry(why).or_default().push(module.as_str());
        }
    }
    let finding = |(why, modules): (&str, Vec<&str>)| {
        let (source, rule) = why.split_once(": ").unwrap_or((why, "blacklists it"));
        let sentence = format!(
            "{} is on a blacklist: `modprobe -b`, udev and libvirt do not load it, and vfiod neither, unless `ignore_blacklist` is set; `modprobe` by name does.",
            modules.join(", ")
        );
        Finding::new(Severity::Warning, About::Host, Code::ModuleProhibited, sentence)
            .because(source, rule)
            .step(prohibited_step(&survey.machine, why))
            .step("Or set `ignore_blacklist = true` below [modules] in vfiod.toml.")
    };
    found.into_iter().map(finding).collect()
}

/// Modules of which nobody knows, together where the reason is the same.
fn unknown(survey: &Survey) -> Vec<Finding> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let unknown = survey.modules.iter().filter(|(_, about)| about.facts.state == ModuleState::Unreadable);
    for (module, about) in unknown {
        found.entry(about.facts.evidence.as_str()).or_default().push(module.as_str());
    }
    let finding = |(why, modules): (&str, Vec<&str>)| {
        let are = if modules.len() == 1 { "is loaded or can be" } else { "are loaded or can be" };
        unread(About::Host, &format!("whether {} {are}", modules.join(", ")), why)
    };
    found.into_iter().map(finding).collect()
}

/// What else a module's state means.
fn state(survey: &Survey, module: &Module, about: &ModuleSurvey) -> Option<Finding> {
    let facts = &about.facts;
    match facts.state {
        ModuleState::Absent if CONTAINER.contains(&module.as_str()) => {
            let loaded = survey.module("vfio_pci").is_some_and(|vfio| vfio.facts.state == ModuleState::Live);
            let (severity, fails) = match is_old_interface(survey, module) {
                true => (
                    Severity::Warning,
                    "a guest that uses the old interface, its group's node, fails to start with ENODEV; iommufd serves",
                ),
                false => (Severity::Blocker, "a guest's start fails with ENODEV"),
            };
            let why = format!("vfio_pci is loaded and {module} is not: nothing loads it by itself, and {fails}.");
            loaded.then(|| {
                Finding::new(severity, About::Host, Code::ModuleUnloaded, why)
                    .because("/proc/modules", format!("no {module}"))
                    .step(format!("`modprobe {module}`; where something is declared, vfiod does it."))
            })
        }
        _ => None,
    }
}

/// Rules that forbid nothing, each with all modules that it is for. What is part of the kernel is never
/// loaded.
fn install_rules(survey: &Survey) -> Vec<Finding> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (module, about) in survey.modules.iter().filter(|(_, about)| about.facts.state != ModuleState::Builtin) {
        if let Some(rule) = &about.facts.install_rule {
            found.entry(rule).or_default().push(module.as_str());
        }
    }
    let finding = |(rule, modules): (&str, Vec<&str>)| {
        let (source, command) = rule.split_once(": ").unwrap_or((rule, "install"));
        let why = format!(
            "An install rule has modprobe run a command in place of loading {}. vfiod loads without running it, unless `allow_install` is set.",
            modules.join(", ")
        );
        Finding::new(Severity::Note, About::Host, Code::InstallRule, why)
            .because(source, command)
            .step("Nothing, if all it does is to pin devices that are declared here. Else set `allow_install = true` below [modules] in vfiod.toml, or take the line out.")
    };
    found.into_iter().map(finding).collect()
}

fn prohibited_step(machine: &Machine, why: &str) -> String {
    if why.contains("modules_disabled") {
        "`kernel.modules_disabled` cannot be taken back: find who sets it (sysctl.d, a hardening tool), have it set after the modules are loaded, and boot again.".to_owned()
    } else if why.contains("/proc/cmdline") {
        "Take the module off that list on the kernel command line and boot again.".to_owned()
    } else {
        without_rule(machine).to_owned()
    }
}
