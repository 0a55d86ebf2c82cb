//! VFIO's modules: their states, what forbids them, their parameters now and after a reload.

use std::collections::BTreeMap;

use super::read;
use crate::host::kernel_policy::{KernelPolicy, LOCKDOWN};
use crate::host::module_facts::{Asked, VFIO};
use crate::host::module_tree::{ModuleTree, Place};
use crate::host::module_watch::ModuleWatch;
use crate::host::options;
use crate::host::proc_modules::ProcModules;
use crate::host::root::Root;
use crate::model::module::ModuleState;
use crate::model::parameter::Given;
use crate::model::pci::Module;
use crate::model::preflight::options::DEFAULTS;
use crate::model::preflight::survey::ModuleSurvey;
use crate::model::snapshot::Fact;

/// More parameters than any module has.
const MANY: usize = 256;

/// Reads all about VFIO's modules and what they need.
#[must_use]
pub fn read(root: &Root, cmdline: &str, tree: &ModuleTree, unread: &mut Vec<String>) -> BTreeMap<Module, ModuleSurvey> {
    let loaded = ProcModules::told(root);
    let required = VFIO.iter().filter_map(|name| Some((name.parse().ok()?, Asked::Auto))).collect();
    // A blacklist line is no prohibition: loading by name is not stopped by it (seen, 6.1 and 6.12).
    let facts = ModuleWatch::default().facts(root, &loaded, required, true);
    let policy = KernelPolicy::read(root);
    unread.extend(policy.rules.notes.iter().chain(&policy.rules.trouble).cloned());
    let tree_gone = matches!(tree.place, Place::Missing(_));
    facts
        .into_iter()
        .map(|(module, facts)| {
            let prohibited = (facts.state == ModuleState::Prohibited).then(|| facts.evidence.clone());
            let live = live(root, &module);
            let builtin = facts.state == ModuleState::Builtin;
            let given = options::given(&policy.rules, cmdline, module.as_str(), builtin);
            // Before it is loaded it shows none: those that are known can be told all the same.
            let known = DEFAULTS.iter().filter(|(of, _, _)| live.is_empty() && module.as_str() == *of);
            let configured = live
                .keys()
                .cloned()
                .chain(known.map(|(_, name, _)| (*name).to_owned()))
                .filter_map(|name| Some((name.clone(), configured(&given, &name)?)))
                .collect();
            let forbidden = policy.forbids(&module, true).or(prohibited);
            (
                module.clone(),
                ModuleSurvey {
                    blacklisted: policy.forbids(&module, false).filter(|_| forbidden.is_none()),
                    forbidden,
                    tree_gone,
                    live,
                    configured,
                    given,
                    facts,
                },
            )
        })
        .collect()
}

/// The parameters of a module as they are now. Those that are not shown cannot be compared.
fn live(root: &Root, module: &Module) -> BTreeMap<String, String> {
    let directory = format!("/sys/module/{module}/parameters");
    let names = root.list(&directory).unwrap_or_default();
    let value =
        |name: String| Some((name.clone(), read::shortened(read::text(root, &format!("{directory}/{name}")).is()?)));
    names.into_iter().take(MANY).filter_map(value).collect()
}

/// What a load gives a parameter, and what says so: file and line, or the command line.
fn configured(given: &[Given], parameter: &str) -> Option<(String, String)> {
    let last = given.iter().rev().find(|given| given.heard && given.is(parameter))?;
    // A bare name of a switch is on, as the kernel has it.
    Some((last.parameter.value.clone().unwrap_or_else(|| "1".to_owned()), last.source.clone()))
}

/// `integrity` or `confidentiality`; absent when the kernel is not locked down or cannot be.
#[must_use]
pub fn lockdown(root: &Root) -> Fact<String> {
    match (KernelPolicy::read(root).lockdown, read::text(root, LOCKDOWN)) {
        (Some(mode), _) => Fact::Is(mode),
        (None, Fact::Unreadable(why)) => Fact::Unreadable(why),
        (None, Fact::Is(_) | Fact::Absent) => Fact::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_after_a_reload_is_the_last_one_configured() {
        let mut rules = crate::host::modprobe_d::Rules::default();
        rules.add("/etc/modprobe.d/a.conf", "options vfio-pci disable_vga=1 ids=10de:1 nointxmask\n");
        rules.add("/etc/modprobe.d/b.conf", "\noptions vfio_pci disable-vga=0\n");
        let found = |cmdline: &str, builtin, parameter: &str| {
            configured(&options::given(&rules, cmdline, "vfio_pci", builtin), parameter)
        };
        let is = |value: &str, source: &str| Some((value.to_owned(), source.to_owned()));
        assert_eq!(found("quiet", false, "disable_vga"), is("0", "/etc/modprobe.d/b.conf:2"));
        assert_eq!(found("quiet", false, "nointxmask"), is("1", "/etc/modprobe.d/a.conf:1"));
        assert_eq!(found("quiet vfio-pci.disable_vga=1", false, "disable_vga"), is("1", "/proc/cmdline"));
        assert_eq!(found("", false, "enable_sriov"), None);
        assert_eq!(found("", true, "disable_vga"), None);
    }
}
