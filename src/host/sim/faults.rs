//! What a test can make go wrong.

use nix::errno::Errno;

use crate::model::pci::{Address, Module};

use super::kernel::Kernel;

/// Something that goes wrong until it is mended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// This fact about a function cannot be read.
    Unreadable(Address, About),
    /// `/proc/modules` cannot be read.
    ModulesUnreadable,
    /// `drivers_autoprobe` cannot be read.
    AutoprobeUnreadable,
    /// Looking for what a load would bind does not succeed.
    PinnedUnreadable,
    /// Every driver's probe of this function fails; the errno as a number.
    ProbeFails(Address, i32),
    /// Somebody sits on the device lock: every write to the function sleeps, its link stays.
    Stuck(Address),
    /// The driver's remove function does not return: an unbind sleeps, the link gone already.
    RemoveHangs(Address),
    /// A load of this module sleeps in its init function.
    LoadHangs(Module),
    /// modprobe exits with this status and loads nothing.
    ModprobeFails(Module, u8),
    /// modprobe exits with 0 and loads nothing.
    ModprobeLies(Module),
}

/// A fact that can be unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The `driver` link.
    Driver,
    /// The `iommu_group` link.
    Group,
    /// `/dev/vfio/<group>` of its group.
    Node,
    /// `driver_override`.
    Pin,
    /// `uevent`.
    Uevent,
    /// Who has it open.
    Holders,
    /// Routes and the like.
    Network,
    /// Mounts and the like.
    Storage,
    /// `sriov_numvfs`.
    Vfs,
    /// Its serial number.
    Serial,
}

impl Kernel {
    /// Something goes wrong from now on.
    pub fn break_it(&mut self, fault: Fault) {
        self.faults.insert(fault);
    }

    /// It does not any more; whatever slept on it goes on.
    pub fn mend(&mut self, fault: &Fault) {
        self.faults.remove(fault);
        self.settle();
    }

    pub(super) fn is_stuck(&self, address: Address) -> bool {
        self.faults.contains(&Fault::Stuck(address))
    }

    pub(super) fn remove_hangs(&self, address: Address) -> bool {
        self.faults.contains(&Fault::RemoveHangs(address))
    }

    pub(super) fn unreadable(&self, address: Address, about: About) -> bool {
        self.faults.contains(&Fault::Unreadable(address, about))
    }

    pub(super) fn probe_fails(&self, address: Address) -> Option<Errno> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::ProbeFails(of, errno) if *of == address => Some(Errno::from_raw(*errno)),
            _ => None,
        })
    }
}
