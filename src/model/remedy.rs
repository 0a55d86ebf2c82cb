//! What a person can do about what does not stand as it should: one sentence for each case.

use super::desired::VfRange;
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

/// What a person can do where VFs that an entry wants are not there, by how many the PF has and can have.
#[must_use]
pub fn make_vfs(range: VfRange, has: usize, most: Option<u32>) -> String {
    let VfRange { pf, last, .. } = range;
    let wanted = last.saturating_add(1);
    let (file, by) = (
        format!("/sys/bus/pci/devices/{pf}/sriov_numvfs"),
        format!("for every boot by a udev rule or systemd-networkd (SR-IOVVirtualFunctions={wanted} in a .link file)"),
    );
    match (most, has) {
        (None | Some(0), _) => format!(
            "{pf} can have no VFs as it is: switch SR-IOV on in the firmware setup and in the card's own settings, or correct the entry."
        ),
        (Some(most), _) if most < wanted => {
            format!("{pf} can have {most} VFs: correct the entry, or have the card offer more (its own settings).")
        }
        (Some(_), 0) => {
            format!("Make them: `echo {wanted} >{file}` while the PF is on its host driver; {by}.")
        }
        (Some(_), has) => format!(
            "Their number changes only when all are made anew: while neither a guest nor the host uses one of the {has}, `echo 0 >{file}` and `echo {wanted} >{file}`; {by}."
        ),
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
        Guard::Bridge => {
            "Take it out of the configuration, and declare endpoints, each by its function: a bridge, or a controller that others are behind, is not passed through with them."
        }
        Guard::SriovPfWithVfs => "Declare its VFs instead, or take them away first (sriov_numvfs).",
        Guard::MediatedDevices => {
            "Give its mediated devices to guests and take it out of the configuration, or have them stopped by whoever manages them (mdevctl, libvirt)."
        }
        Guard::GroupShared => {
            "See vfiodctl check: it tells which other members of its group may be declared, too, and which must stay with the host."
        }
        Guard::IdentityMismatch => {
            "If the card was moved or replaced, correct address or id of the entry (lspci -Dnn)."
        }
        Guard::BeingReleased => {
            "Wait for, or end, whoever has it open: somebody's unbind or removal is waiting for that. Write no rescan meanwhile: where it is a removal, that waits with it."
        }
        Guard::Hold => "It is repaired when the hold ends; to end it now: vfiodctl unhold, with its number.",
        Guard::Unreadable | Guard::Unknown => "Look into what could not be read (dmesg, systemctl status vfiod).",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_vfs_are_made_and_no_seat_is_checked() {
        let range = VfRange { pf: "0000:03:00.0".parse().unwrap(), first: 0, last: 3 };
        for (has, most, words) in [
            (0, Some(64), "`echo 4 >/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs`"),
            (3, Some(64), "while neither a guest nor the host uses one of the 3, `echo 0 >"),
            (0, Some(2), "can have 2 VFs"),
            (0, Some(0), "can have no VFs"),
            (0, None, "can have no VFs"),
        ] {
            let said = make_vfs(range, has, most);
            assert!(said.contains(words) && !said.contains("seated"), "{said}");
        }
    }
}
