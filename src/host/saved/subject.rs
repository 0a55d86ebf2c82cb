//! Which modules a saved tree is about; of all others not even a rule is taken.

use std::collections::BTreeSet;

use crate::host::module_facts::VFIO;
use crate::host::module_tree::{self, ModuleTree};
use crate::host::root::Root;
use crate::model::glob;
use crate::model::pci::Module;

/// The modules, and the kernel they are of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// VFIO's, those of the drivers that are declared, and what all these need.
    pub modules: BTreeSet<Module>,
    /// VFIO's own, and what they need.
    pub needed: BTreeSet<Module>,
    /// The running kernel's release; empty when it cannot be told.
    pub release: String,
}

impl Subject {
    /// What passing through is about on this machine, with the modules that are declared.
    #[must_use]
    pub fn of(root: &Root, declared: &BTreeSet<Module>) -> Subject {
        let parsed = |names: &[&str]| names.iter().filter_map(|name| name.parse().ok()).collect::<BTreeSet<Module>>();
        let (mut needed, mut modules) = (parsed(&VFIO), declared.clone());
        modules.extend(needed.iter().cloned());
        modules.extend(parsed(&["virtio_iommu", "iommufd"]));
        let tree = ModuleTree::read(root, &modules);
        modules.extend(tree.files.keys().chain(&tree.builtin).cloned());
        modules.extend(tree.files.values().flatten().cloned());
        modules.extend(tree.variants.iter().map(|variant| variant.module.clone()));
        needed.extend(VFIO.iter().filter_map(|name| name.parse().ok()).flat_map(|vfio| tree.needs(&vfio).to_vec()));
        needed.extend(parsed(&["iommufd"]));
        Subject { modules, needed, release: module_tree::release(root).unwrap_or_default() }
    }

    /// Whether a name is one of the modules; a `-` in it is a `_`.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        name.parse().is_ok_and(|module: Module| self.modules.contains(&module))
    }

    /// Whether a pattern of modprobe.d means one of the modules.
    #[must_use]
    pub fn is_meant(&self, pattern: &str) -> bool {
        self.modules.iter().any(|module| glob::matches(pattern, module.as_str()))
    }
}
