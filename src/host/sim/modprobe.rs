//! Loading and removing modules, as kmod 30 does it (Debian 12).

use nix::errno::Errno;

use crate::model::pci::{Address, Driver, Module};

use super::answer::{Answer, Traced, Uevent};
use super::faults::Fault;
use super::jobs::{Op, Progress};
use super::kernel::{Kernel, Loaded};
use super::spec::{Installed, Rule};
use super::tree::name;

/// Options of modprobe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// `-b`: heed blacklist lines, as udev does.
    pub blacklist: bool,
    /// `-i`: run no install rule for the module itself.
    pub ignore_install: bool,
}

impl Kernel {
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

    /// The third column of `/proc/modules`; a load counts itself until it is over.
    #[must_use]
    pub fn refcount(&self, module: &Module) -> Option<u32> {
        let loading = !self.loaded.get(module)?.live;
        u32::try_from(self.used_by(module).len() + self.pins_of(module) + usize::from(loading)).ok()
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
        if flags.blacklist && self.rules.get(module) == Some(&Rule::Blacklist) {
            return Progress::Done(Answer::Exit(0));
        }
        for (next, required) in self.load_order(module, &entry) {
            if self.is_live(&next) || self.is_builtin(&next) {
                continue;
            }
            // Asked for each in turn: what a refused module needs is loaded by then, and stays.
            let ignored = flags.ignore_install && next == *module;
            let refused = !ignored && self.rules.get(&next) == Some(&Rule::Refuse);
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
        self.traced.extend(self.outsider.as_ref().map(|_| Traced::Loaded(module.clone())));
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
        // Traced when the exit function has returned, and before the event.
        self.traced.extend(self.outsider.clone().map(|by| Traced::Freed(module.clone(), by)));
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
