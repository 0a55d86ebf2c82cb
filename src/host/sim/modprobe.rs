//! Loading and removing modules, as kmod 30 does it (Debian 12).

use nix::errno::Errno;

use crate::model::pci::{Address, Driver, Module};

use super::answer::{Answer, Uevent};
use super::faults::Fault;
use super::jobs::{Op, Progress};
use super::kernel::{Kernel, Loaded, Version};
use super::spec::{Installed, Rule};

/// Options of modprobe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// `-b`: heed blacklist lines, as udev does.
    pub blacklist: bool,
    /// `-i`: run no install rule for the module itself.
    pub ignore_install: bool,
}

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

    /// `modprobe M`, counted.
    pub fn modprobe(&mut self, module: &Module, flags: Flags) -> Answer {
        *self.loads.entry(self.writer).or_default() += 1;
        self.submit(Op::Load { module: module.clone(), flags })
    }

    /// `modprobe -r M`.
    pub fn modprobe_r(&mut self, module: &Module) -> Answer {
        let mut answer = self.modprobe_r_slowly(module);
        while let Answer::Blocks(job) = answer {
            answer = self.advance(job);
        }
        answer
    }

    /// `modprobe -r M` that pauses after each module it removes (some 40 ms, seen on both
    /// kernels): [`Kernel::advance`] lets it take the next.
    pub fn modprobe_r_slowly(&mut self, module: &Module) -> Answer {
        self.submit(Op::Unload { module: module.clone(), left: None })
    }

    /// `rmmod M`: this one only.
    pub fn rmmod(&mut self, module: &Module) -> Answer {
        let answer = Answer::Exit(u8::from(self.unload(module).is_err()));
        self.settle();
        answer
    }

    /// The third column of `/proc/modules`.
    #[must_use]
    pub fn refcount(&self, module: &Module) -> Option<u32> {
        self.loaded.get(module)?;
        u32::try_from(self.used_by(module).len() + self.pins_of(module)).ok()
    }

    /// The fourth column of `/proc/modules`: the newest user first.
    #[must_use]
    pub fn used_by(&self, module: &Module) -> Vec<Module> {
        let uses = |user: &&Module| self.installed.get(*user).is_some_and(|user| user.uses.contains(module));
        let mut users: Vec<_> = self.loaded.keys().filter(uses).cloned().collect();
        users.sort_by_key(|user| std::cmp::Reverse(self.loaded.get(user).map(|loaded| loaded.order)));
        users
    }

    /// Whether a module is in the kernel and its init function has returned.
    #[must_use]
    pub fn is_live(&self, module: &Module) -> bool {
        self.loaded.get(module).is_some_and(|loaded| loaded.live)
    }

    pub(super) fn loaded_live(&self, module: &str) -> Option<()> {
        name(module).filter(|module| self.is_live(module) || self.is_builtin(module)).map(|_| ())
    }

    fn is_builtin(&self, module: &Module) -> bool {
        self.installed.get(module).is_some_and(|module| module.builtin)
    }

    pub(super) fn run_load(&mut self, module: &Module, flags: Flags) -> Progress {
        let failure = self.faults.iter().find_map(|fault| match fault {
            Fault::ModprobeFails(of, status) if of == module => Some(*status),
            Fault::ModprobeLies(of) if of == module => Some(0),
            _ => None,
        });
        if let Some(status) = failure {
            return Progress::Done(Answer::Exit(status));
        }
        let Some(entry) = self.installed.get(module).filter(|_| !self.tree_missing).cloned() else {
            return Progress::Done(Answer::Exit(1));
        };
        if entry.builtin || self.is_live(module) {
            return Progress::Done(Answer::Exit(0));
        }
        match self.rules.get(module) {
            Some(Rule::Blacklist) if flags.blacklist => return Progress::Done(Answer::Exit(0)),
            Some(Rule::Refuse) if !flags.ignore_install => return Progress::Done(Answer::Exit(1)),
            _ => {}
        }
        for (next, required) in self.load_order(module, &entry) {
            if self.is_live(&next) || self.is_builtin(&next) {
                continue;
            }
            let refused = next != *module && self.rules.get(&next) == Some(&Rule::Refuse);
            if refused || self.modules_disabled || !self.installed.contains_key(&next) {
                if required {
                    return Progress::Done(Answer::Exit(1));
                }
                continue;
            }
            if self.insert(&next).is_none() {
                return Progress::Sleeps;
            }
        }
        Progress::Done(Answer::Exit(0))
    }

    /// The deepest need first; right after each module what `softdep … post:` names, which need
    /// not succeed.
    fn load_order(&self, module: &Module, entry: &Installed) -> Vec<(Module, bool)> {
        let mut order = Vec::new();
        for next in entry.needs.iter().rev().chain([module]) {
            order.push((next.clone(), true));
            let posts = self.installed.get(next).map(|next| next.post.as_slice()).unwrap_or_default();
            order.extend(posts.iter().map(|post| (post.clone(), false)));
        }
        order
    }

    /// finit_module: registers the drivers, which take what they match, then is live. None when it
    /// sleeps on the way.
    fn insert(&mut self, module: &Module) -> Option<()> {
        let order = self.loaded.values().map(|loaded| loaded.order + 1).max().unwrap_or(0);
        self.loaded.entry(module.clone()).or_insert(Loaded { live: false, order });
        if self.faults.contains(&Fault::LoadHangs(module.clone())) {
            return None;
        }
        for driver in self.installed.get(module).map(|entry| entry.drivers.clone()).unwrap_or_default() {
            if self.autoprobe {
                self.driver_attach(&driver)?;
            }
        }
        self.loaded.get_mut(module)?.live = true;
        self.uevents.push(Uevent::ModuleAdd(module.clone()));
        Some(())
    }

    pub(super) fn run_unload(&mut self, module: &Module, left: Option<&[Module]>) -> Progress {
        let Some(left) = left else { return self.begin_unload(module) };
        // Somebody loaded it again meanwhile: what is left to remove is in use, and modprobe says so.
        if self.loaded.contains_key(module) {
            return Progress::Done(Answer::Exit(1));
        }
        let Some((next, rest)) = left.split_first() else { return Progress::Done(Answer::Exit(0)) };
        if self.refcount(next) == Some(0) {
            // What happens to a need does not change the status.
            let _ = self.unload(next);
        }
        if rest.is_empty() {
            return Progress::Done(Answer::Exit(0));
        }
        Progress::Left(Op::Unload { module: module.clone(), left: Some(rest.to_vec()) })
    }

    fn begin_unload(&mut self, module: &Module) -> Progress {
        let known = self.installed.get(module).filter(|_| !self.tree_missing).cloned();
        let Some(entry) = known.filter(|entry| !entry.builtin) else { return Progress::Done(Answer::Exit(1)) };
        if !self.loaded.contains_key(module) {
            return Progress::Done(Answer::Exit(0));
        }
        for post in entry.post.iter().rev() {
            let _ = self.unload(post);
        }
        if self.unload(module).is_err() {
            return Progress::Done(Answer::Exit(1));
        }
        // kmod goes through the needs deepest first, each one once: so vfio_pci_core goes, and what
        // only it had used (vfio_virqfd) was passed by already and stays.
        let left: Vec<_> = entry.needs.iter().rev().cloned().collect();
        match left.is_empty() {
            true => Progress::Done(Answer::Exit(0)),
            false => Progress::Left(Op::Unload { module: module.clone(), left: Some(left) }),
        }
    }

    /// delete_module: every device of its drivers is unbound.
    fn unload(&mut self, module: &Module) -> Result<(), Errno> {
        if self.modules_disabled {
            return Err(Errno::EPERM);
        }
        if self.refcount(module).ok_or(Errno::ENOENT)? > 0 {
            return Err(Errno::EAGAIN);
        }
        let drivers = self.installed.get(module).map(|entry| entry.drivers.clone()).unwrap_or_default();
        let on_it = |kernel: &Kernel| -> Vec<Address> {
            let of = |device: &&Address| {
                let bound = kernel.devices.get(*device).and_then(|device| device.bound.as_ref());
                bound.is_some_and(|bound| drivers.contains(bound))
            };
            kernel.devices.keys().filter(of).copied().collect()
        };
        for address in on_it(self) {
            self.detach(address);
        }
        self.dynamic_ids.retain(|(driver, _)| !drivers.contains(driver));
        self.loaded.remove(module);
        self.uevents.push(Uevent::ModuleRemove(module.clone()));
        Ok(())
    }

    /// What udev does when a function appears: `modprobe -b` by its modalias.
    pub(super) fn udev_loads(&mut self, driver: &Driver) {
        let module = self.installed.iter().find(|(_, entry)| entry.drivers.contains(driver));
        if let Some(module) = module.map(|(module, _)| module.clone()).filter(|_| self.udev) {
            self.run_load(&module, Flags { blacklist: true, ignore_install: false });
        }
    }
}

fn name(module: &str) -> Option<Module> {
    module.parse().ok()
}
