//! Remove, rescan, virtual functions: devices come and go, and each time are other objects.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;

use crate::model::pci::Address;

use super::answer::{Answer, Job, Uevent};
use super::jobs::{Op, Progress};
use super::kernel::{Device, Iommu, Kernel};
use super::spec::{Spec, Sriov};

impl Kernel {
    /// A fatal PCI Express error, and how the kernel's recovery ends. Binding and node stay (7.3).
    pub fn fatal_error(&mut self, address: Address, recovered: bool) {
        if self.devices.contains_key(&address) {
            self.uevents.push(Uevent::Recovery(address, !recovered));
        }
    }

    /// Writes 1 to a function's `remove`: it and all below it go. Holds the machine-wide lock
    /// while it sleeps on a holder.
    pub fn remove(&mut self, address: Address) -> Answer {
        self.wrote(address);
        self.submit(Op::Remove { address })
    }

    /// Writes 1 to `/sys/bus/pci/rescan`: what is plugged in and not there appears.
    pub fn rescan(&mut self) -> Answer {
        self.submit(Op::Rescan)
    }

    /// Writes `sriov_numvfs`.
    pub fn set_vfs(&mut self, address: Address, number: u32) -> Answer {
        self.wrote(address);
        self.submit(Op::Vfs { address, number })
    }

    /// Pulls a card out: its functions are gone, and a rescan finds none of them.
    pub fn unplug(&mut self, address: Address) -> Answer {
        self.slots.remove(&address);
        self.submit(Op::Remove { address })
    }

    pub(super) fn run_remove(&mut self, address: Address, job: Job) -> Progress {
        if !self.devices.contains_key(&address) {
            return Progress::no(Errno::ENOENT);
        }
        if self.rescan_lock.is_some_and(|owner| owner != job) {
            return Progress::Sleeps;
        }
        self.rescan_lock = Some(job);
        let gone = self.below(address);
        if !self.take_from_drivers(&gone, job) {
            return Progress::Sleeps;
        }
        for address in gone {
            self.disappear(address);
        }
        self.rescan_lock = None;
        Progress::ok()
    }

    pub(super) fn run_rescan(&mut self, job: Job) -> Progress {
        if self.rescan_lock.is_some_and(|owner| owner != job) {
            return Progress::Sleeps;
        }
        while let Some(spec) = self.slots.values().find(|spec| self.can_appear(spec)).cloned() {
            self.appear(if spec.grouped_at_boot { Spec { group_tag: None, ..spec } } else { spec });
        }
        Progress::ok()
    }

    fn can_appear(&self, spec: &Spec) -> bool {
        !self.exists(spec.address) && spec.parent.is_none_or(|parent| self.exists(parent))
    }

    pub(super) fn run_vfs(&mut self, address: Address, number: u32, job: Job) -> Progress {
        let Some(device) = self.devices.get(&address) else { return Progress::no(Errno::ENOENT) };
        let Some(sriov) = device.spec.sriov.clone() else { return Progress::no(Errno::ENOENT) };
        if number > sriov.total {
            return Progress::no(Errno::ERANGE);
        }
        if self.locked(address, job) {
            return Progress::Sleeps;
        }
        let vfs: Vec<_> = device.vfs.values().copied().collect();
        if usize::try_from(number).is_ok_and(|number| number == vfs.len()) {
            return Progress::ok();
        }
        // vfio-pci has the callback, and says ENOENT too unless it was told otherwise (enable_sriov).
        if device.bound.is_none() || self.on_vfio(device) {
            return Progress::no(Errno::ENOENT);
        }
        if number == 0 {
            return self.destroy_vfs(address, &vfs, job);
        }
        if !vfs.is_empty() {
            return Progress::no(Errno::EBUSY);
        }
        for index in 0..number {
            let Some(spec) = self.vf(address, &sriov, index) else { return Progress::no(Errno::ENOMEM) };
            if self.exists(spec.address) {
                // One of a former PF object sits there still.
                return Progress::no(Errno::ENOENT);
            }
            if let Some(pf) = self.devices.get_mut(&address) {
                pf.vfs.insert(index, spec.address);
            }
            self.appear(spec);
        }
        Progress::ok()
    }

    fn destroy_vfs(&mut self, pf: Address, vfs: &[Address], job: Job) -> Progress {
        // One after the other: those before one that is held are gone already.
        for vf in vfs {
            let done = self.take_from_drivers(&[*vf], job);
            if let Some(pf) = self.devices.get_mut(&pf) {
                pf.lock = (!done).then_some(job);
            }
            if !done {
                return Progress::Sleeps;
            }
            self.disappear(*vf);
        }
        Progress::ok()
    }

    /// The VF's place: one routing id further for each.
    fn vf(&self, pf: Address, sriov: &Sriov, index: u32) -> Option<Spec> {
        let parent = self.devices.get(&pf)?.spec.parent;
        let id = (u32::from(pf.bus) << 8 | u32::from(pf.device) << 3 | u32::from(pf.function)) + 1 + index;
        let address = Address {
            domain: pf.domain,
            bus: u8::try_from(id >> 8).ok()?,
            device: u8::try_from(id >> 3 & 0x1f).ok()?,
            function: u8::try_from(id & 7).ok()?,
        };
        let class = self.devices.get(&pf)?.spec.class;
        let mut spec = Spec::new(address, sriov.ids, class);
        spec.subsystem = self.devices.get(&pf)?.spec.subsystem;
        spec.native = sriov.native.clone();
        spec.given_up = sriov.given_up;
        spec.parent = parent;
        spec.physfn = Some(pf);
        Some(spec)
    }

    /// A function and all below it, the lowest first. The VFs of a PF are beside it, and stay.
    fn below(&self, address: Address) -> Vec<Address> {
        let mut found = BTreeSet::from([address]);
        loop {
            let hangs = |device: &&Device| device.spec.parent.is_some_and(|parent| found.contains(&parent));
            let more: BTreeSet<_> = self.devices.values().filter(hangs).map(|device| device.spec.address).collect();
            if more.is_subset(&found) {
                return found.into_iter().rev().collect();
            }
            found.extend(more);
        }
    }

    /// Unbinds each; false when one of them waits for its holder.
    fn take_from_drivers(&mut self, all: &[Address], job: Job) -> bool {
        for address in all {
            if self.locked(*address, job) || self.must_wait(*address, job) {
                return false;
            }
            self.detach(*address);
        }
        true
    }

    /// A function is there: a new object in a group, without an override. A driver that is loaded
    /// takes it whatever `drivers_autoprobe` says (the PCI core attaches it itself); for one that
    /// is not, udev sees to it.
    pub(super) fn appear(&mut self, spec: Spec) {
        self.next_object += 1;
        let address = spec.address;
        let native = spec.native.clone();
        let group = (self.iommu == Iommu::On).then(|| self.join_group(&spec));
        let device = Device {
            spec,
            object: self.next_object,
            bound: None,
            releasing: false,
            lock: None,
            pin: None,
            group,
            vfs: BTreeMap::new(),
            uses: Vec::new(),
        };
        self.devices.insert(address, device);
        self.uevents.push(Uevent::Add(address));
        // A conflict is in the log only.
        let _ = self.device_attach(address);
        if let Some(native) = native {
            self.udev_loads(&native);
        }
    }

    fn join_group(&mut self, spec: &Spec) -> u32 {
        let shared = spec.group_tag.as_ref().and_then(|tag| {
            let same = self.groups.iter().find(|(_, members)| members.tag.as_ref() == Some(tag));
            same.map(|(number, _)| *number)
        });
        // Numbers are given out lowest first, so one that was given back comes again.
        let number = shared.unwrap_or_else(|| (0..).find(|number| !self.groups.contains_key(number)).unwrap_or(0));
        let members = self.groups.entry(number).or_default();
        members.tag.clone_from(&spec.group_tag);
        members.functions.insert(spec.address);
        number
    }

    /// A function is gone, with whatever was open of it.
    pub(super) fn disappear(&mut self, address: Address) {
        self.detach(address);
        let Some(device) = self.devices.remove(&address) else { return };
        self.holds.retain(|hold| hold.address != address);
        if let Some(number) = device.group
            && let Some(members) = self.groups.get_mut(&number)
        {
            members.functions.remove(&address);
            if members.functions.is_empty() {
                self.groups.remove(&number);
            }
        }
        for pf in self.devices.values_mut() {
            pf.vfs.retain(|_, vf| *vf != address);
        }
        self.pins_read.remove(&device.object);
        self.uevents.push(Uevent::Remove(address));
    }
}
