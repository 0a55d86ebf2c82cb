//! `driver_override`, `drivers_probe`, `bind`, `unbind`, `new_id`.

use nix::errno::Errno;

use crate::model::pci::{Address, Driver, Ids};

use super::answer::{Answer, Job, Uevent};
use super::jobs::{Op, Progress};
use super::kernel::{Device, Iommu, Kernel, Version};

/// A probe that did not succeed.
struct Unbound {
    errno: Errno,
    /// It failed before the driver was asked: `drivers_probe` passes that on, as EINVAL.
    early: bool,
}

impl Kernel {
    /// Writes `driver_override`; none writes a newline, which clears it. Makes no uevent.
    pub fn write_override(&mut self, address: Address, pin: Option<Driver>) -> Answer {
        self.wrote(address);
        self.submit(Op::Pin { address, pin })
    }

    /// Reads `driver_override`: `(null)` when unset. On 6.1 that sleeps while an unbind does, as
    /// does writing it.
    pub fn read_override(&mut self, address: Address) -> Answer {
        self.submit(Op::ReadPin { address })
    }

    /// Reads `uevent`, of which the answer is what follows `DRIVER=`, or `none`.
    pub fn read_uevent(&mut self, address: Address) -> Answer {
        self.submit(Op::ReadUevent { address })
    }

    /// Writes the address to `drivers_probe`.
    pub fn drivers_probe(&mut self, address: Address) -> Answer {
        self.wrote(address);
        self.submit(Op::Probe { address })
    }

    /// Writes the address to a driver's `bind`.
    pub fn bind(&mut self, address: Address, driver: &Driver) -> Answer {
        self.wrote(address);
        self.submit(Op::Bind { address, driver: driver.clone() })
    }

    /// Writes the address to a driver's `unbind`.
    pub fn unbind(&mut self, address: Address, driver: &Driver) -> Answer {
        self.wrote(address);
        self.submit(Op::Unbind { address, driver: driver.clone() })
    }

    /// Writes ids to a driver's `new_id`: it takes every driverless device that has them.
    pub fn new_id(&mut self, driver: &Driver, ids: Ids) -> Answer {
        self.submit(Op::NewId { driver: driver.clone(), ids })
    }

    /// Writes `drivers_autoprobe`.
    pub fn set_autoprobe(&mut self, on: bool) -> Answer {
        self.autoprobe = on;
        Answer::Ok
    }

    pub(super) fn run_pin(&mut self, address: Address, pin: Option<&Driver>, job: Job) -> Progress {
        if self.pin_needs_lock() && self.locked(address, job) {
            return Progress::Sleeps;
        }
        let Some(device) = self.devices.get_mut(&address) else { return Progress::no(Errno::ENOENT) };
        device.pin = pin.cloned();
        Progress::ok()
    }

    pub(super) fn run_read_pin(&mut self, address: Address, job: Job) -> Progress {
        if self.pin_needs_lock() && self.locked(address, job) {
            return Progress::Sleeps;
        }
        let Some(device) = self.devices.get(&address) else { return Progress::no(Errno::ENOENT) };
        Progress::Done(Answer::Text(device.pin.as_ref().map_or("(null)".to_owned(), Driver::to_string)))
    }

    pub(super) fn run_read_uevent(&mut self, address: Address, job: Job) -> Progress {
        if self.pin_needs_lock() && self.locked(address, job) {
            return Progress::Sleeps;
        }
        let Some(device) = self.devices.get(&address) else { return Progress::no(Errno::ENOENT) };
        Progress::Done(Answer::Text(device.bound.as_ref().map_or("none".to_owned(), Driver::to_string)))
    }

    pub(super) fn run_probe(&mut self, address: Address, job: Job) -> Progress {
        let Some(device) = self.devices.get(&address) else { return Progress::no(Errno::ENODEV) };
        // Looked at without the lock: a device that is being unbound still has its driver.
        if device.bound.is_some() {
            return Progress::ok();
        }
        if self.locked(address, job) {
            return Progress::Sleeps;
        }
        match self.device_attach(address) {
            Ok(()) => Progress::ok(),
            Err(_) => Progress::no(Errno::EINVAL),
        }
    }

    pub(super) fn run_bind(&mut self, address: Address, driver: &Driver, job: Job) -> Progress {
        // Whether they match is asked once, before the lock.
        if !self.slept(job) {
            if !self.registered().contains(driver) {
                return Progress::no(Errno::ENOENT);
            }
            if !self.devices.get(&address).is_some_and(|device| self.matches(device, driver)) {
                return Progress::no(Errno::ENODEV);
            }
        }
        if self.locked(address, job) {
            return Progress::Sleeps;
        }
        let Some(device) = self.devices.get(&address) else { return Progress::no(Errno::ENODEV) };
        if device.bound.is_some() {
            return Progress::no(Errno::EBUSY);
        }
        match self.probe_by(address, driver) {
            Ok(()) => Progress::ok(),
            Err(unbound) => Progress::no(unbound.errno),
        }
    }

    pub(super) fn run_unbind(&mut self, address: Address, driver: &Driver, job: Job) -> Progress {
        let resumed = self.slept(job);
        if !resumed && !self.registered().contains(driver) {
            return Progress::no(Errno::ENOENT);
        }
        let ours = self.devices.get(&address).is_some_and(|device| device.bound.as_ref() == Some(driver));
        if !ours {
            // One that waited for the lock finds nothing to do any more, and that is no error.
            return if resumed { Progress::ok() } else { Progress::no(Errno::ENODEV) };
        }
        if self.locked(address, job) || self.must_wait(address, job) {
            return Progress::Sleeps;
        }
        self.detach(address);
        Progress::ok()
    }

    pub(super) fn run_new_id(&mut self, driver: &Driver, ids: Ids) -> Progress {
        if !self.registered().contains(driver) {
            return Progress::no(Errno::ENOENT);
        }
        if !self.dynamic_ids.insert((driver.clone(), ids)) {
            return Progress::no(Errno::EEXIST);
        }
        match self.driver_attach(driver) {
            Some(()) => Progress::ok(),
            None => Progress::Sleeps,
        }
    }

    /// Whether `driver_override` and `uevent` are behind the device lock: not any more in 6.12.
    pub(super) fn pin_needs_lock(&self) -> bool {
        self.version == Version::V6_1
    }

    /// Whether a call slept before.
    fn slept(&self, job: Job) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Begins to take a device from its driver; whether that has to wait for a holder. While it
    /// does, the links are gone and the lock is taken.
    pub(super) fn must_wait(&mut self, address: Address, job: Job) -> bool {
        let opened = self.is_opened(address);
        if let Some(device) = self.devices.get_mut(&address).filter(|device| opened && device.bound.is_some()) {
            device.releasing = true;
            device.lock = Some(job);
            return true;
        }
        false
    }

    /// The driver lets go of a device.
    pub(super) fn detach(&mut self, address: Address) {
        let vfio = self.devices.get(&address).is_some_and(|device| self.on_vfio(device));
        let Some(device) = self.devices.get_mut(&address) else { return };
        device.releasing = false;
        device.lock = None;
        device.uses.clear();
        if device.bound.take().is_none() {
            return;
        }
        // vfio-pci takes the VFs of a PF away with it; nvme and others leave them.
        let vfs: Vec<_> = if vfio { std::mem::take(&mut device.vfs).into_values().collect() } else { Vec::new() };
        for vf in vfs {
            self.disappear(vf);
        }
        self.uevents.push(Uevent::Unbind(address));
    }

    /// A driver looks for devices, after it was registered or got new ids. None when it sleeps.
    pub(super) fn driver_attach(&mut self, driver: &Driver) -> Option<()> {
        for address in self.devices.keys().copied().collect::<Vec<_>>() {
            let Some(device) = self.devices.get(&address) else { continue };
            if !self.matches(device, driver) {
                continue;
            }
            // The lock is waited for before it is known whether the device has a driver.
            if device.lock.is_some() || self.is_stuck(address) {
                return None;
            }
            if device.bound.is_none() {
                // A probe that fails is in the log only.
                let _ = self.probe_by(address, driver);
            }
        }
        Some(())
    }

    /// A device looks for a driver: the first that matches and does not refuse.
    pub(super) fn device_attach(&mut self, address: Address) -> Result<(), Errno> {
        for driver in self.registered() {
            if !self.devices.get(&address).is_some_and(|device| self.matches(device, &driver)) {
                continue;
            }
            match self.probe_by(address, &driver) {
                Ok(()) => return Ok(()),
                Err(Unbound { errno, early: true }) => return Err(errno),
                Err(Unbound { early: false, .. }) => {}
            }
        }
        Ok(())
    }

    /// An override matches the driver of that name and no other, whatever the ids are.
    fn matches(&self, device: &Device, driver: &Driver) -> bool {
        match &device.pin {
            Some(pin) => pin == driver,
            None => {
                device.spec.native.as_ref() == Some(driver)
                    || self.dynamic_ids.contains(&(driver.clone(), device.spec.ids))
            }
        }
    }

    /// Drivers in the order in which they were registered.
    pub(super) fn registered(&self) -> Vec<Driver> {
        let builtin = self.installed.values().filter(|module| module.builtin);
        let mut loaded: Vec<_> = self.loaded.iter().collect();
        loaded.sort_by_key(|(_, loaded)| loaded.order);
        let modules = loaded.into_iter().filter_map(|(module, _)| self.installed.get(module));
        builtin.chain(modules).flat_map(|module| module.drivers.iter().cloned()).collect()
    }

    /// Whether a driver manages DMA by itself, or does none: it may stay in a group that is in use.
    pub(super) fn leaves_dma_alone(&self, driver: &Driver) -> bool {
        matches!(driver.as_str(), "pcieport" | "pci-stub") || self.is_vfio(driver)
    }

    fn probe_by(&mut self, address: Address, driver: &Driver) -> Result<(), Unbound> {
        let early = |errno| Unbound { errno, early: true };
        let late = |errno| Unbound { errno, early: false };
        let Some(device) = self.devices.get(&address) else { return Err(early(Errno::ENODEV)) };
        if self.iommu == Iommu::Waiting {
            return Err(early(Errno::EAGAIN));
        }
        if device.group.is_some_and(|group| self.is_claimed(group)) && !self.leaves_dma_alone(driver) {
            return Err(early(Errno::EBUSY));
        }
        if let Some(errno) = self.probe_fails(address) {
            return Err(late(errno));
        }
        if self.is_vfio(driver) {
            if device.spec.denylisted || device.spec.bridge || device.group.is_none() {
                return Err(late(Errno::EINVAL));
            }
            if !device.vfs.is_empty() {
                return Err(late(Errno::EBUSY));
            }
        }
        // An override makes it match; the driver does not take hardware that is not its own.
        let foreign = device.spec.native.as_ref() != Some(driver) && driver.as_str() != "pci-stub";
        if !self.is_vfio(driver) && foreign && !self.dynamic_ids.contains(&(driver.clone(), device.spec.ids)) {
            return Err(late(Errno::ENODEV));
        }
        let given_up = device.spec.given_up && device.spec.native.as_ref() == Some(driver);
        if given_up && self.version == Version::V6_12 {
            return Err(late(Errno::ENODEV));
        }
        if let Some(device) = self.devices.get_mut(&address) {
            device.bound = Some(driver.clone());
        }
        self.uevents.push(Uevent::Bind(address, driver.clone()));
        if given_up {
            // nvme of 6.1 probes in the background and lets go of what did not come up.
            self.detach(address);
        }
        Ok(())
    }
}
