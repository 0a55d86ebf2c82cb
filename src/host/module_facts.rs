//! Which modules are required on this kernel, and what each is, told from the evidence alone.

use std::collections::BTreeMap;

use super::kernel_policy::KernelPolicy;
use super::module_tree::{ModuleTree, Place};
use super::proc_modules::{LoadState, ProcModules};
use crate::model::module::{ModuleFacts, ModuleState};
use crate::model::pci::Module;
use crate::model::snapshot::Fact;

/// Why a module is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// `keep = "auto"`: as far as this kernel has it.
    Auto,
    /// Named in the configuration.
    Listed,
}

/// All that is known about modules.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// `/proc/modules`, or why it could not be read.
    pub loaded: &'a Result<ProcModules, String>,
    /// The module tree.
    pub tree: &'a ModuleTree,
    /// What forbids loading.
    pub kernel: &'a KernelPolicy,
    /// What else tells of modules that are part of the kernel.
    pub witnesses: &'a Witnesses,
    /// The stamp of all this.
    pub stamp: u64,
}

/// What `keep = "auto"` requires by itself; what these need is added from the tree.
pub const VFIO: [&str; 3] = ["vfio_pci", "vfio_pci_core", "vfio_iommu_type1"];
/// What POWER's kernels have in the place of `vfio_iommu_type1`.
pub const SPAPR: &str = "vfio_iommu_spapr_tce";

/// What else than the tree tells of modules that are part of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Witnesses {
    /// Modules that are not in `/proc/modules` and yet at work, and by which path.
    pub builtin: BTreeMap<Module, String>,
    /// `/dev/vfio/vfio` is served, by whichever part of the kernel.
    pub container: bool,
}

/// Adds what modules need, as far as the tree knows, and what this kernel has in a module's place.
pub fn close(required: &mut BTreeMap<Module, Asked>, tree: &ModuleTree) {
    if let (Ok(type1), Ok(spapr)) = ("vfio_iommu_type1".parse(), SPAPR.parse())
        && required.get(&type1) == Some(&Asked::Auto)
        && !tree.offers(&type1)
        && tree.offers(&spapr)
    {
        required.insert(spapr, Asked::Auto);
    }
    let needed: Vec<Module> = required.keys().flat_map(|module| tree.needs(module)).cloned().collect();
    for module in needed {
        required.entry(module).or_insert(Asked::Auto);
    }
}

/// What a module is.
#[must_use]
pub fn facts(module: &Module, asked: Asked, evidence: &Evidence<'_>, ignore_blacklist: bool) -> ModuleFacts {
    let mut facts = ModuleFacts {
        state: ModuleState::Unreadable,
        evidence: String::new(),
        refcount: None,
        used_by: Vec::new(),
        needs: evidence.tree.needs(module).to_vec(),
        install_rule: evidence.kernel.install_rule(module),
        stamp: evidence.stamp,
    };
    match evidence.loaded {
        Err(why) => facts.evidence.clone_from(why),
        Ok(loaded) => match loaded.get(module) {
            Fact::Is(line) => {
                facts.state = state(line.state);
                facts.refcount = line.refcount;
                facts.used_by = line.users();
            }
            Fact::Unreadable(why) => facts.evidence = why,
            Fact::Absent => (facts.state, facts.evidence) = unloaded(module, asked, loaded, evidence, ignore_blacklist),
        },
    }
    facts
}

fn state(state: LoadState) -> ModuleState {
    match state {
        LoadState::Live => ModuleState::Live,
        LoadState::Loading => ModuleState::Loading,
        LoadState::Unloading => ModuleState::Unloading,
    }
}

fn unloaded(
    module: &Module,
    asked: Asked,
    loaded: &ProcModules,
    evidence: &Evidence<'_>,
    ignore_blacklist: bool,
) -> (ModuleState, String) {
    let Evidence { tree, witnesses, .. } = evidence;
    if tree.builtin.contains(module) {
        return (ModuleState::Builtin, "listed in modules.builtin".to_owned());
    }
    if !tree.files.contains_key(module)
        && let Some(witness) = witnesses.builtin.get(module)
    {
        return (ModuleState::Builtin, format!("{witness} is there, and no module"));
    }
    if !loaded.is_present() {
        return (
            ModuleState::NotInstalled,
            "/proc/modules is not there: a kernel without loadable modules, or a tree or container without that file"
                .to_owned(),
        );
    }
    if tree.files.contains_key(module) {
        return loadable(module, loaded, evidence, ignore_blacklist);
    }
    let place = match &tree.place {
        Place::At(place) => place,
        Place::Unreadable(why) => return (ModuleState::Unreadable, why.clone()),
        Place::Missing(release) => {
            let evidence = format!("/lib/modules/{release}/modules.dep is not there: reboot into an installed kernel");
            return (ModuleState::TreeMissing, evidence);
        }
    };
    let vfio = || "vfio".parse().is_ok_and(|vfio| tree.offers(&vfio) || !loaded.get(&vfio).is_absent());
    let not_applicable = match module.as_str() {
        // Before 5.15 vfio_pci was one module.
        "vfio_pci_core" => asked == Asked::Auto,
        // Without CONFIG_VFIO_CONTAINER iommufd serves /dev/vfio/vfio.
        "vfio_iommu_type1" => asked == Asked::Auto || witnesses.container,
        // Part of vfio from 6.2 on.
        "vfio_virqfd" => vfio(),
        _ => false,
    };
    if not_applicable {
        (ModuleState::NotApplicable, format!("{place}: this kernel has no {module}"))
    } else {
        (ModuleState::NotInstalled, format!("{place}/modules.dep: no {module}"))
    }
}

/// A module with a file: whether anything forbids it, or something it needs that is not there yet.
fn loadable(
    module: &Module,
    loaded: &ProcModules,
    evidence: &Evidence<'_>,
    ignore_blacklist: bool,
) -> (ModuleState, String) {
    let Evidence { tree, kernel, .. } = evidence;
    if let Some(why) = kernel.forbids(module, ignore_blacklist) {
        return (ModuleState::Prohibited, why);
    }
    for needed in tree.needs(module) {
        if loaded.get(needed).is_absent()
            && !tree.builtin.contains(needed)
            && let Some(why) = kernel.forbids(needed, ignore_blacklist)
        {
            return (ModuleState::Prohibited, format!("needs {needed}; {why}"));
        }
    }
    if let Some(trouble) = &kernel.trouble {
        return (ModuleState::Unreadable, trouble.clone());
    }
    let note = kernel.lockdown.as_ref().map(|mode| format!("lockdown is {mode}: the module must be signed"));
    (ModuleState::Absent, note.unwrap_or_default())
}

#[cfg(test)]
#[path = "module_facts_tests.rs"]
mod tests;
