//! What a person can do about what does not stand as it should: one sentence for each case.

use super::module::ModuleState;
use super::plan::Guard;
use super::state::State;

/// What a person can do; empty where nothing is to be done, or vfiod is at it.
#[must_use]
pub fn remedy(state: State, guard: Option<Guard>) -> &'static str {
    match (state, guard) {
        (State::Held, Some(guard)) => guarded(guard),
        (State::Missing, _) => {
            "Check that the card is seated and enabled in firmware, and its selector in the configuration (lspci -Dnn)."
        }
        (State::Ambiguous, _) => {
            "Make the selectors of the entries tell the devices apart: address, path, subsystem, serial."
        }
        (State::Mismatch, _) => "If the card was moved or replaced, correct address or id of the entry (lspci -Dnn).",
        (State::Released, _) => "To have it kept again: vfiodctl adopt.",
        (State::Stuck, _) => {
            "Find who has the device open and end it (vfiodctl show); the kernel's call returns by itself then."
        }
        (State::Fighting, _) => "Find who undoes it (vfiodctl history) and stop that; then: vfiodctl reset-failed.",
        (State::Held, None) | (State::Blocked, _) => "See vfiodctl check.",
        (State::Failing, _) => "See vfiodctl check and the kernel's log; it is tried again by itself.",
        (State::Drifted | State::Repairing | State::Assigned | State::Ready | State::Unmanaged, _) => "",
        (State::Unknown, _) => "Use a vfiodctl of the version that vfiod has.",
    }
}

/// The same of a required module.
#[must_use]
pub fn module_remedy(state: ModuleState) -> &'static str {
    match state {
        ModuleState::Prohibited => "Lift what forbids it: vfiodctl check tells how.",
        ModuleState::NotInstalled => {
            "Install the package that has the kernel's extra modules, or a kernel that has this one (vfiodctl check)."
        }
        ModuleState::TreeMissing => "Reboot into the kernel that is installed, or install this one's modules again.",
        ModuleState::Unreadable => "Look into what could not be read (dmesg, systemctl status vfiod).",
        ModuleState::Unknown => "Use a vfiodctl of the version that vfiod has.",
        ModuleState::Live
        | ModuleState::Loading
        | ModuleState::Unloading
        | ModuleState::Builtin
        | ModuleState::Absent
        | ModuleState::NotApplicable => "",
    }
}

fn guarded(guard: Guard) -> &'static str {
    match guard {
        Guard::InUse => "End whoever has it open; it is repaired as soon as it is free.",
        Guard::BootDisplay => "Take the console elsewhere, or add allow = [\"boot-display\"] to its entry.",
        Guard::MountedDisk => {
            "Unmount it (or take it out of swap, md, LVM), or correct the entry: the host uses this disk."
        }
        Guard::CarriesRoute => {
            "Take the host's address and routes off it, or correct the entry: the host uses this network."
        }
        Guard::Bridge => "Declare the endpoints behind the bridge instead: a bridge is never passed through.",
        Guard::SriovPfWithVfs => "Declare its VFs instead, or take them away first (sriov_numvfs).",
        Guard::GroupShared => {
            "Declare the other members of its group, too, or unbind them from the host (vfiodctl groups)."
        }
        Guard::IdentityMismatch => {
            "If the card was moved or replaced, correct address or id of the entry (lspci -Dnn)."
        }
        Guard::BeingReleased => "Wait for, or end, whoever has it open: somebody's unbind is waiting for that.",
        Guard::Hold => "It is repaired when the hold ends; to end it now: vfiodctl unhold.",
        Guard::Unreadable | Guard::Unknown => "Look into what could not be read (dmesg, systemctl status vfiod).",
    }
}
