//! Who has a device open.
//!
//! To VFIO a process opens the group's node, attaches it to a container, sets its IOMMU and takes
//! the device; the answer is that of the first of these that fails.

use std::collections::BTreeSet;

use nix::errno::Errno;

use crate::model::pci::{Address, Module};

use super::answer::Answer;
use super::kernel::{Kernel, Version};
use super::spec::Process;

/// One open device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    pub who: Process,
    pub address: Address,
    pub node: String,
    /// Open by way of VFIO: pins the driver, makes an unbind wait.
    pub vfio: Option<Opened>,
}

/// What is open by way of VFIO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub group: u32,
    /// The device too, not only its group.
    pub device: bool,
}

impl Kernel {
    /// A process opens the group of a function, attaches it to a container and takes the device,
    /// as a virtual machine does.
    pub fn open(&mut self, address: Address, who: &Process) -> Answer {
        self.open_by_vfio(address, who, true)
    }

    /// A process opens the group and attaches it to a container, without taking a device.
    pub fn open_group(&mut self, address: Address, who: &Process) -> Answer {
        self.open_by_vfio(address, who, false)
    }

    fn open_by_vfio(&mut self, address: Address, who: &Process, device: bool) -> Answer {
        let Some(group) = self.group(address).filter(|number| self.group_node(*number)) else {
            return Answer::No(Errno::ENOENT);
        };
        let others = |hold: &Hold| hold.vfio.is_some_and(|opened| opened.group == group) && hold.who.pid != who.pid;
        if self.holds.iter().any(others) {
            return Answer::No(Errno::EBUSY);
        }
        if !self.is_viable(group) {
            return Answer::No(Errno::EPERM);
        }
        if self.loaded_live("vfio_iommu_type1").is_none() {
            return Answer::No(Errno::ENODEV);
        }
        let members = self.groups.get(&group).into_iter().flat_map(|members| &members.functions);
        if members.filter_map(|member| self.devices.get(member)).any(|device| device.spec.direct_region) {
            // The same refusal from the IOMMU driver (6.1) and from the core (6.12).
            return Answer::No(if self.version == Version::V6_1 { Errno::EPERM } else { Errno::EINVAL });
        }
        if !self.remapping && !self.unsafe_interrupts {
            return Answer::No(Errno::EPERM);
        }
        if device && !self.devices.get(&address).is_some_and(|device| self.on_vfio(device) && !device.releasing) {
            return Answer::No(Errno::ENODEV);
        }
        let opened = Opened { group, device };
        self.holds.push(Hold { who: who.clone(), address, node: format!("/dev/vfio/{group}"), vfio: Some(opened) });
        Answer::Ok
    }

    /// A process opens a node of a host driver (`/dev/nvme0n1`): nothing waits for it.
    pub fn open_node(&mut self, address: Address, node: &str, who: &Process) {
        self.holds.push(Hold { who: who.clone(), address, node: node.to_owned(), vfio: None });
    }

    /// A process closes all it has of one function; what waited for that goes on.
    pub fn close(&mut self, address: Address, who: &Process) {
        self.holds.retain(|hold| hold.address != address || hold.who.pid != who.pid);
        self.settle();
    }

    /// A process ends, and closes all it has.
    pub fn exit(&mut self, who: &Process) {
        self.holds.retain(|hold| hold.who.pid != who.pid);
        self.settle();
    }

    /// Whether the device itself is open by way of VFIO, or its driver does not let go of it.
    pub(super) fn is_opened(&self, address: Address) -> bool {
        let open = |hold: &Hold| hold.address == address && hold.vfio.is_some_and(|opened| opened.device);
        self.holds.iter().any(open) || self.remove_hangs(address)
    }

    /// Whether somebody owns the DMA of a group: no host driver may have a member of it then.
    pub(super) fn is_claimed(&self, group: u32) -> bool {
        self.holds.iter().any(|hold| hold.vfio.is_some_and(|opened| opened.group == group))
    }

    /// Whether no member is on a host driver. One that manages DMA by itself does not count.
    #[must_use]
    pub fn is_viable(&self, group: u32) -> bool {
        let members = self.groups.get(&group).into_iter().flat_map(|members| &members.functions);
        let drivers = members.filter_map(|member| self.devices.get(member)?.bound.as_ref());
        drivers.into_iter().all(|driver| self.leaves_dma_alone(driver))
    }

    /// Opened devices and files that pin a module, beside the modules that use it. A process has
    /// one container, however many groups it attached to it.
    pub(super) fn pins_of(&self, module: &Module) -> usize {
        let by_vfio = || self.holds.iter().filter_map(|hold| Some((hold, hold.vfio?)));
        let containers = || by_vfio().map(|(hold, _)| hold.who.pid).collect::<BTreeSet<_>>().len();
        match module.as_str() {
            "vfio_iommu_type1" => containers(),
            // Two for each container, one for each group and each device; and from 6.10 on, one for
            // the file system that holds the inodes of bound devices.
            "vfio" => {
                let groups: BTreeSet<_> = by_vfio().map(|(_, opened)| opened.group).collect();
                let files = 2 * containers() + groups.len() + by_vfio().filter(|(_, opened)| opened.device).count();
                let mounted =
                    self.version == Version::V6_12 && self.devices.values().any(|device| self.on_vfio(device));
                files + usize::from(mounted)
            }
            _ => {
                let drivers = self.installed.get(module).map(|module| module.drivers.as_slice()).unwrap_or_default();
                let on_it = |address: &Address| {
                    let bound = self.devices.get(address).and_then(|device| device.bound.as_ref());
                    bound.is_some_and(|driver| drivers.contains(driver))
                };
                by_vfio().filter(|(hold, opened)| opened.device && on_it(&hold.address)).count()
            }
        }
    }
}
