//! The modules of a pass: at rest nothing but `/proc/modules` is read, all other evidence is kept.

use std::collections::{BTreeMap, BTreeSet};

use super::kernel_policy::KernelPolicy;
use super::module_facts::{self, Asked, Evidence, SPAPR, VFIO, Witnesses};
use super::module_tree::ModuleTree;
use super::proc_modules::ProcModules;
use super::root::Root;
use super::stamp::Stamp;
use crate::model::module::{ModuleFacts, ModuleState};
use crate::model::pci::Module;

/// What was read of the module tree and of all that forbids, until something does not serve.
#[derive(Debug, Default)]
pub struct ModuleWatch {
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    stamp: u64,
    /// The modules that the tree was searched for.
    wanted: BTreeSet<Module>,
    tree: ModuleTree,
    kernel: KernelPolicy,
    witnesses: Witnesses,
}

impl ModuleWatch {
    /// Reads all evidence again in the next pass: a reload, a person's request.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// The module tree, as it was last read.
    pub fn tree(&mut self, root: &Root, loaded: &Result<ProcModules, String>) -> &ModuleTree {
        &self.kept.get_or_insert_with(|| Kept::read(root, BTreeSet::new(), loaded)).tree
    }

    /// What the required modules are. `required` is completed by what they need.
    pub fn facts(
        &mut self,
        root: &Root,
        loaded: &Result<ProcModules, String>,
        mut required: BTreeMap<Module, Asked>,
        ignore_blacklist: bool,
    ) -> BTreeMap<Module, ModuleFacts> {
        if required.is_empty() {
            return BTreeMap::new();
        }
        let asked = required.keys();
        if self.kept.as_ref().is_none_or(|kept| asked.into_iter().any(|module| !kept.wanted.contains(module))) {
            self.kept = Some(Kept::read(root, required.keys().cloned().collect(), loaded));
        }
        let Some(kept) = &mut self.kept else { return BTreeMap::new() };
        let declared = required.clone();
        let facts = kept.facts(loaded, &mut required, ignore_blacklist);
        let unread = |facts: &ModuleFacts| facts.state == ModuleState::Unreadable;
        if facts.values().all(|facts| facts.state.serves())
            || (Kept::stamp(root) == kept.stamp && !facts.values().any(unread))
        {
            return facts;
        }
        *kept = Kept::read(root, declared.keys().cloned().collect(), loaded);
        required = declared;
        kept.facts(loaded, &mut required, ignore_blacklist)
    }
}

impl Kept {
    fn read(root: &Root, mut wanted: BTreeSet<Module>, loaded: &Result<ProcModules, String>) -> Kept {
        wanted.extend(VFIO.iter().chain([&SPAPR]).filter_map(|name| name.parse().ok()));
        // The stamp comes first: what changes while the rest is read differs from it next time.
        let stamp = Kept::stamp(root);
        let tree = ModuleTree::read(root, &wanted);
        wanted.extend(tree.variants.iter().map(|variant| variant.module.clone()));
        let witnesses = witnesses(root, &tree, &wanted, loaded);
        Kept { stamp, wanted, tree, kernel: KernelPolicy::read(root), witnesses }
    }

    fn stamp(root: &Root) -> u64 {
        let mut stamp = Stamp::new();
        ModuleTree::stamp(root, &mut stamp);
        KernelPolicy::stamp(root, &mut stamp);
        stamp.number()
    }

    fn facts(
        &self,
        loaded: &Result<ProcModules, String>,
        required: &mut BTreeMap<Module, Asked>,
        ignore_blacklist: bool,
    ) -> BTreeMap<Module, ModuleFacts> {
        module_facts::close(required, &self.tree);
        let Kept { stamp, tree, kernel, witnesses, .. } = self;
        let evidence = Evidence { loaded, tree, kernel, witnesses, stamp: *stamp };
        required
            .iter()
            .map(|(module, asked)| (module.clone(), module_facts::facts(module, *asked, &evidence, ignore_blacklist)))
            .collect()
    }
}

/// Looks for modules that the tree does not offer and that are at work without being loaded.
///
/// `/dev/vfio/vfio` proves nothing: systemd-tmpfiles makes that node from `modules.devname` before
/// any module is loaded, and it stays when the module goes. Its class device is the kernel's own.
fn witnesses(
    root: &Root,
    tree: &ModuleTree,
    wanted: &BTreeSet<Module>,
    loaded: &Result<ProcModules, String>,
) -> Witnesses {
    let there = |path: &str| root.exists(path).unwrap_or(false);
    let mut witnesses = Witnesses { builtin: BTreeMap::new(), container: there("/sys/class/misc/vfio") };
    let Ok(loaded) = loaded else { return witnesses };
    let vfio_pci = "/sys/bus/pci/drivers/vfio-pci";
    let unloaded = |module: &str| module.parse().is_ok_and(|module| loaded.get(&module).is_absent());
    let driver = unloaded("vfio_pci") && there(vfio_pci);
    for module in wanted.iter().filter(|module| !tree.offers(module) && unloaded(module.as_str())) {
        // A built-in module has a directory only for its parameters, and never `initstate`.
        let directory = format!("/sys/module/{module}");
        let witness = match module.as_str() {
            // What a built-in driver needs is built in too.
            "vfio_pci" | "vfio_pci_core" if driver => vfio_pci.to_owned(),
            _ if there(&directory) && !there(&format!("{directory}/initstate")) => directory,
            _ => continue,
        };
        witnesses.builtin.insert(module.clone(), witness);
    }
    witnesses
}
