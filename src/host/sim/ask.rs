//! What is asked of the [`Kernel`] by those who see through it: tests, traces.

use std::collections::BTreeSet;

use crate::model::pci::{Address, Driver};

use super::answer::{Answer, Job, Traced, Uevent};
use super::jobs::Sleeper;
use super::kernel::{Device, Kernel, Version, Writer};
use super::spec::Spec;

impl Kernel {
    /// The uevents since the last time they were taken, in order.
    pub fn take_uevents(&mut self) -> Vec<Uevent> {
        std::mem::take(&mut self.uevents)
    }

    /// What was traced since the last time it was taken, in order.
    pub fn take_traced(&mut self) -> Vec<Traced> {
        std::mem::take(&mut self.traced)
    }

    /// Whether there are uevents that nobody took.
    #[must_use]
    pub fn has_uevents(&self) -> bool {
        !self.uevents.is_empty()
    }

    /// What the `driver` link says; gone already while an unbind waits.
    #[must_use]
    pub fn driver(&self, address: Address) -> Option<&Driver> {
        self.devices.get(&address).and_then(Device::link)
    }

    /// `driver_override`, as no process could read it: without the lock.
    #[must_use]
    pub fn pin(&self, address: Address) -> Option<&Driver> {
        self.devices.get(&address).and_then(|device| device.pin.as_ref())
    }

    /// Whether the function is there.
    #[must_use]
    pub fn exists(&self, address: Address) -> bool {
        self.devices.contains_key(&address)
    }

    /// The inode of its directory, if it is there.
    #[must_use]
    pub fn object(&self, address: Address) -> Option<u64> {
        self.devices.get(&address).map(|device| device.object)
    }

    /// What was plugged in there, if it is there.
    #[must_use]
    pub fn spec(&self, address: Address) -> Option<&Spec> {
        self.devices.get(&address).map(|device| &device.spec)
    }

    /// Every function that is there.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.devices.keys().copied().collect()
    }

    /// The functions of its IOMMU group, itself among them; none without a group.
    #[must_use]
    pub fn members(&self, address: Address) -> Vec<Address> {
        let members = self.group(address).and_then(|number| self.groups.get(&number));
        members.into_iter().flat_map(|members| members.functions.iter().copied()).collect()
    }

    /// Its IOMMU group.
    #[must_use]
    pub fn group(&self, address: Address) -> Option<u32> {
        self.devices.get(&address).and_then(|device| device.group)
    }

    /// Whether `/dev/vfio/<group>` is there for its group.
    #[must_use]
    pub fn node(&self, address: Address) -> bool {
        self.group(address).is_some_and(|number| self.group_node(number))
    }

    pub(super) fn group_node(&self, number: u32) -> bool {
        let members = self.groups.get(&number).into_iter().flat_map(|members| &members.functions);
        members.filter_map(|member| self.devices.get(member)).any(|device| self.on_vfio(device))
    }

    /// Whether it has a `vfio-dev/` directory: 6.12 takes it away before it waits for a holder.
    #[must_use]
    pub fn vfio_dev(&self, address: Address) -> bool {
        let gone = |device: &Device| device.releasing && self.version == Version::V6_12;
        self.devices.get(&address).is_some_and(|device| self.on_vfio(device) && !gone(device))
    }

    /// How many writes to files of this function there were, by whom.
    #[must_use]
    pub fn writes(&self, who: Writer, address: Address) -> u32 {
        self.writes.get(&(who, address)).copied().unwrap_or(0)
    }

    /// Every function that a step of a plan wrote to.
    #[must_use]
    pub fn written_by_plan(&self) -> BTreeSet<Address> {
        self.writes.keys().filter(|(who, _)| *who == Writer::Plan).map(|(_, address)| *address).collect()
    }

    /// How often modprobe was run to load something, by whom.
    #[must_use]
    pub fn modprobes(&self, who: Writer) -> u32 {
        self.loads.get(&who).copied().unwrap_or(0)
    }

    pub(super) fn wrote(&mut self, address: Address) {
        *self.writes.entry((self.writer, address)).or_default() += 1;
    }

    /// Whether a VFIO driver has it, be it that an unbind waits.
    pub(super) fn on_vfio(&self, device: &Device) -> bool {
        device.bound.as_ref().is_some_and(|driver| self.is_vfio(driver))
    }

    /// Whether a driver is one of VFIO's: its module needs `vfio_pci_core`.
    pub(super) fn is_vfio(&self, driver: &Driver) -> bool {
        let module = self.installed.values().find(|module| module.drivers.contains(driver));
        module.is_some_and(|module| module.needs.iter().any(|need| need.as_str() == "vfio_pci_core"))
    }

    /// What became of a call that slept.
    #[must_use]
    pub fn job(&self, job: Job) -> Answer {
        match self.jobs.get(&job) {
            Some(Sleeper { answer: Some(answer), .. }) => answer.clone(),
            Some(_) => Answer::Blocks(job),
            None => Answer::No(nix::errno::Errno::ESRCH),
        }
    }
}
