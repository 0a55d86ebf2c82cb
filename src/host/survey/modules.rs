//! VFIO's modules: their states, what forbids them, their parameters now and after a reload.

use std::collections::BTreeMap;

use super::read;
use crate::host::kernel_policy::{KernelPolicy, LOCKDOWN};
use crate::host::modprobe_d::{self, Rules};
use crate::host::module_facts::{Asked, VFIO};
use crate::host::module_tree::{ModuleTree, Place};
use crate::host::module_watch::ModuleWatch;
use crate::host::proc_modules::ProcModules;
use crate::host::root::Root;
use crate::model::module::ModuleState;
use crate::model::pci::Module;
use crate::model::preflight::modules::DEFAULTS;
use crate::model::preflight::survey::ModuleSurvey;
use crate::model::snapshot::Fact;

/// More parameters than any module has.
const MANY: usize = 256;

/// Reads all about VFIO's modules and what they need.
#[must_use]
pub fn read(root: &Root, cmdline: &str, tree: &ModuleTree) -> BTreeMap<Module, ModuleSurvey> {
    let loaded = ProcModules::told(root);
    let required = VFIO.iter().filter_map(|name| Some((name.parse().ok()?, Asked::Auto))).collect();
    // A blacklist line is no prohibition: loading by name is not stopped by it (seen, 6.1 and 6.12).
    let facts = ModuleWatch::default().facts(root, &loaded, required, true);
    let policy = KernelPolicy::read(root);
    let files = modprobe_files(root);
    let tree_gone = matches!(tree.place, Place::Missing(_));
    facts
        .into_iter()
        .map(|(module, facts)| {
            let prohibited = (facts.state == ModuleState::Prohibited).then(|| facts.evidence.clone());
            let live = live(root, &module);
            // Before it is loaded it shows none: those that are known can be told all the same.
            let known = DEFAULTS.iter().filter(|(of, _, _)| live.is_empty() && module.as_str() == *of);
            let configured = live
                .keys()
                .cloned()
                .chain(known.map(|(_, name, _)| (*name).to_owned()))
                .filter_map(|name| Some((name.clone(), configured(&files, cmdline, &module, &name)?)))
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
                    facts,
                },
            )
        })
        .collect()
}

fn modprobe_files(root: &Root) -> Vec<(String, String)> {
    let files = modprobe_d::files(root).unwrap_or_default();
    files.into_iter().filter_map(|file| Some((file.clone(), root.read_text(&file).ok()?))).collect()
}

/// The parameters of a module as they are now. Those that are not shown cannot be compared.
fn live(root: &Root, module: &Module) -> BTreeMap<String, String> {
    let directory = format!("/sys/module/{module}/parameters");
    let names = root.list(&directory).unwrap_or_default();
    let value =
        |name: String| Some((name.clone(), read::shortened(read::text(root, &format!("{directory}/{name}")).is()?)));
    names.into_iter().take(MANY).filter_map(value).collect()
}

/// What modprobe would give a parameter, and which file says so; the last one counts.
fn configured(files: &[(String, String)], cmdline: &str, module: &Module, parameter: &str) -> Option<(String, String)> {
    let mut by_cmdline = cmdline.split_ascii_whitespace().filter_map(|word| word.split_once('=')).filter(|(key, _)| {
        key.split_once('.').is_some_and(|(name, key)| name.replace('-', "_") == module.as_str() && key == parameter)
    });
    if let Some((_, value)) = by_cmdline.next_back() {
        return Some((value.to_owned(), "/proc/cmdline".to_owned()));
    }
    let of_file =
        |(file, text): &(String, String)| Some((Rules::options(text, module.as_str(), parameter).pop()?, file.clone()));
    files.iter().rev().find_map(of_file)
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
        let files = [
            ("/etc/modprobe.d/a.conf".to_owned(), "options vfio-pci disable_vga=1 ids=10de:1\n".to_owned()),
            ("/etc/modprobe.d/b.conf".to_owned(), "options vfio_pci disable_vga=0\n".to_owned()),
        ];
        let module = "vfio_pci".parse().unwrap();
        let found = configured(&files, "quiet", &module, "disable_vga").unwrap();
        assert_eq!(found, ("0".to_owned(), "/etc/modprobe.d/b.conf".to_owned()));
        let found = configured(&files, "quiet vfio-pci.disable_vga=1", &module, "disable_vga").unwrap();
        assert_eq!(found, ("1".to_owned(), "/proc/cmdline".to_owned()));
        assert_eq!(configured(&files, "", &module, "nointxmask"), None);
    }
}
