//! The module tree and modprobe.d: what can be loaded, what forbids it, and the state that makes.

use crate::model::module::{ModuleFacts, ModuleState};
use crate::model::pci::{Driver, Module};

use super::faults::Fault;
use super::kernel::{Kernel, Version};
use super::spec::{Installed, Rule};

impl Kernel {
    /// What Debian's kernels offer of VFIO: `vfio_virqfd` is a module of its own in 6.1 only.
    pub(super) fn install_vfio(&mut self) {
        self.install("irqbypass", &[], &[], &[]);
        self.install("vfio", &[], &[], &[]);
        self.install("vfio_iommu_type1", &["vfio"], &["vfio"], &[]);
        let (core, all): (&[&str], &[&str]) = if self.version == Version::V6_1 {
            self.install("vfio_virqfd", &[], &[], &[]);
            (&["vfio_virqfd", "vfio", "irqbypass"], &["vfio_pci_core", "vfio_virqfd", "vfio", "irqbypass"])
        } else {
            (&["vfio", "irqbypass"], &["vfio_pci_core", "vfio", "irqbypass"])
        };
        self.install("vfio_pci_core", core, core, &[]);
        self.install("vfio_pci", all, &["vfio_pci_core", "vfio"], &["vfio-pci"]);
        if let (Some(type1), Some(vfio)) = (name("vfio_iommu_type1"), self.entry("vfio")) {
            vfio.post.push(type1);
        }
    }

    /// Puts a module into the tree: what `modules.dep` says it needs (nearest first), which of
    /// those it uses itself, and the drivers it registers. Names that are none are left out.
    pub fn install(&mut self, module: &str, needs: &[&str], uses: &[&str], drivers: &[&str]) {
        let Some(module) = name(module) else { return };
        let modules = |names: &[&str]| names.iter().filter_map(|text| name(text)).collect();
        let drivers = drivers.iter().filter_map(|text| text.parse::<Driver>().ok()).collect();
        let (needs, uses) = (modules(needs), modules(uses));
        self.installed.insert(module, Installed { uses, needs, post: Vec::new(), drivers, builtin: false });
        self.stamp += 1;
    }

    /// A variant driver of VFIO, such as `mlx5_vfio_pci` with the driver `mlx5-vfio-pci`.
    pub fn install_variant(&mut self, module: &str, driver: &str) {
        let core = name("vfio_pci_core");
        let below = core.as_ref().and_then(|core| self.installed.get(core)).map(|core| core.needs.clone());
        self.install(module, &["vfio_pci_core"], &["vfio_pci_core"], &[driver]);
        if let Some(entry) = self.entry(module) {
            entry.needs.extend(below.unwrap_or_default());
        }
    }

    /// A module that is part of the kernel, with the drivers it registers.
    pub fn install_builtin(&mut self, module: &str, drivers: &[&str]) {
        self.install(module, &[], &[], drivers);
        if let Some(entry) = self.entry(module) {
            entry.builtin = true;
        }
    }

    /// Takes a module's file out of the tree.
    pub fn uninstall(&mut self, module: &Module) {
        self.installed.remove(module);
        self.stamp += 1;
    }

    fn entry(&mut self, module: &str) -> Option<&mut Installed> {
        self.installed.get_mut(&name(module)?)
    }

    pub(super) fn install_native(&mut self, driver: &Driver) {
        if !self.installed.values().any(|module| module.drivers.contains(driver)) {
            let module = driver.module();
            self.install(module.as_str(), &[], &[], &[driver.as_str()]);
        }
    }

    /// A line of modprobe.d, or none any more.
    pub fn set_rule(&mut self, module: &Module, rule: Option<Rule>) {
        match rule {
            Some(rule) => self.rules.insert(module.clone(), rule),
            None => self.rules.remove(module),
        };
        self.stamp += 1;
    }

    /// `kernel.modules_disabled`.
    pub fn set_modules_disabled(&mut self, on: bool) {
        self.modules_disabled = on;
        self.stamp += 1;
    }

    /// Whether the running kernel's module tree has gone.
    pub fn set_tree_missing(&mut self, on: bool) {
        self.tree_missing = on;
        self.stamp += 1;
    }

    /// What there is to know of a module.
    #[must_use]
    pub fn module_facts(&self, module: &Module, ignore_blacklist: bool) -> ModuleFacts {
        let installed = self.installed.get(module);
        let rule = self.rules.get(module);
        let (state, evidence) = self.module_state(module, ignore_blacklist);
        ModuleFacts {
            state,
            evidence: evidence.to_owned(),
            refcount: self.refcount(module),
            used_by: if self.loaded.contains_key(module) { self.used_by(module) } else { Vec::new() },
            needs: installed.map(|installed| installed.needs.clone()).unwrap_or_default(),
            install_rule: match rule {
                Some(Rule::Run(command)) => Some(format!("/etc/modprobe.d/sim.conf:1: {command}")),
                _ => None,
            },
            stamp: self.stamp,
        }
    }

    fn module_state(&self, module: &Module, ignore_blacklist: bool) -> (ModuleState, &'static str) {
        if self.faults.contains(&Fault::ModulesUnreadable) {
            return (ModuleState::Unreadable, "/proc/modules: input/output error");
        }
        if let Some(loaded) = self.loaded.get(module) {
            return (if loaded.live { ModuleState::Live } else { ModuleState::Loading }, "");
        }
        if self.version != Version::V6_1 && module.as_str() == "vfio_virqfd" {
            return (ModuleState::NotApplicable, "");
        }
        match self.installed.get(module) {
            Some(installed) if installed.builtin => (ModuleState::Builtin, ""),
            _ if self.tree_missing => (ModuleState::TreeMissing, "no module tree for the running kernel"),
            None => (ModuleState::NotInstalled, "not in modules.dep"),
            Some(_) if self.modules_disabled => (ModuleState::Prohibited, "kernel.modules_disabled=1"),
            Some(_) => match self.rules.get(module) {
                Some(Rule::Refuse) => (ModuleState::Prohibited, "/etc/modprobe.d/sim.conf:1: install /bin/false"),
                Some(Rule::Blacklist) if !ignore_blacklist => {
                    (ModuleState::Prohibited, "/etc/modprobe.d/sim.conf:1: blacklist")
                }
                _ => (ModuleState::Absent, ""),
            },
        }
    }
}

pub(super) fn name(module: &str) -> Option<Module> {
    module.parse().ok()
}
