//! The stable names of all findings.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a finding is about. Each is explained, with its cure, in vfiod-preflight(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// No IOMMU is at work: switched off in the firmware or on the kernel command line, or there is none.
    IommuOff,
    /// The IOMMU is a hypervisor's: this is a virtual machine, and passing on is nesting.
    IommuEmulated,
    /// There is an IOMMU, and its driver is not at work: devices wait for it, or do without.
    IommuDriverMissing,
    /// The IOMMU's driver is a module and the root disk is behind that IOMMU: without the module in the initramfs the next boot fails.
    IommuDriverInitramfs,
    /// Which kind of domain the host's own drivers use: either is fine.
    IommuDomain,
    /// The device has no IOMMU group although others have: no IOMMU covers it.
    NoGroup,
    /// The firmware reserves memory for this very device (RMRR, IVMD): opening it fails.
    Rmrr,
    /// The firmware reserves memory for the device that the kernel does not insist on.
    RmrrRelaxable,
    /// The firmware reserves one range for many unrelated devices: opening them fails.
    RmrrFirmwareRange,
    /// A patched kernel ignores the reservations of the firmware.
    RmrrRelaxedPatch,
    /// The IOMMU does not remap interrupts: opening any device fails.
    NoInterruptRemapping,
    /// `allow_unsafe_interrupts` is on: a guest can forge interrupts.
    UnsafeInterrupts,
    /// VFIO's mode without an IOMMU is on: whoever has a device has the machine's memory.
    Noiommu,
    /// Another member of the device's group is on a host driver: the group is not given away.
    GroupShared,
    /// The kernel takes devices for kept apart because it was told to.
    AcsOverride,
    /// Another member of the device's group is in use by a virtual machine.
    GroupAssigned,
    /// A process has the device's group open.
    InUse,
    /// Functions of one card are split between VFIO and the host.
    FunctionsSplit,
    /// The device is behind a controller (Intel VMD) that shares its group and without which it is gone.
    BehindController,
    /// vfio-pci refuses the device for known defects.
    Denylisted,
    /// A bridge is not passed through.
    Bridge,
    /// The device's virtual functions exist: vfio-pci refuses it.
    SriovPfWithVfs,
    /// The device's driver carries mediated devices: taking it away destroys them.
    MediatedDevices,
    /// The device cannot be passed through, and a virtual function of it could.
    SriovAlternative,
    /// There is no room for virtual functions: making them fails.
    SriovNoRoom,
    /// The virtual functions' physical one is on VFIO, too: opening one needs a token.
    VfToken,
    /// The kernel knows no way to reset the device.
    NoReset,
    /// The device does not answer.
    Unreachable,
    /// The device is switched off.
    #[serde(rename = "d3cold")]
    D3cold,
    /// A boot framebuffer holds a BAR of the device.
    Framebuffer,
    /// The kernel has found no room for a BAR of the device.
    BarUnassigned,
    /// vfio-pci does not find what it wants beside Intel's graphics.
    IgdHostBridge,
    /// The console is on the device.
    BootDisplay,
    /// The host has disks in use that are on the device.
    MountedDisk,
    /// The host's traffic needs the device.
    CarriesRoute,
    /// It is a part of the machine itself, or people use the machine by it.
    HostPart,
    /// This kernel has a better VFIO driver for the device than vfio-pci.
    VariantDriver,
    /// The device is on a driver of its vendor's that is itself VFIO.
    VendorDriver,
    /// The device has reported PCI Express errors.
    AerErrors,
    /// Something forbids loading a module of VFIO.
    ModuleProhibited,
    /// This kernel has no such module of VFIO.
    ModuleMissing,
    /// There is no module tree for the running kernel.
    ModuleTreeMissing,
    /// vfio_pci is loaded, and a module that opening needs is not.
    ModuleUnloaded,
    /// A parameter of a loaded module is not what modprobe would give it: a reload changes it.
    ModuleOptions,
    /// An option for a module of VFIO has no effect.
    OptionIgnored,
    /// The kernel refuses an option for a module of VFIO, and the module with it.
    OptionRefused,
    /// An install rule of modprobe.d runs a command in place of loading a module of VFIO.
    InstallRule,
    /// VFIO is part of this kernel: nothing to load, and nothing to lose.
    ModuleBuiltin,
    /// The kernel is locked down: only signed modules are loaded.
    Lockdown,
    /// The device is on a VFIO driver and its node in /dev/vfio is not there.
    NodeMissing,
    /// A node in /dev/vfio has rights that are wider or narrower than usual.
    NodePermissions,
    /// `drivers_autoprobe` is 0: a driver that is loaded takes no device.
    AutoprobeOff,
    /// Another manager has a say in the device's driver.
    ClaimedByAnother,
    /// Names by index alone would be the same for several devices.
    PassthroughIdCollision,
    /// A fact could not be read, so nothing is said about what it decides.
    Unreadable,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// All of them, in the order of the manual page.
    pub const ALL: &[Code] = &[
        Code::IommuOff,
        Code::IommuEmulated,
        Code::IommuDriverMissing,
        Code::IommuDriverInitramfs,
        Code::IommuDomain,
        Code::NoGroup,
        Code::Rmrr,
        Code::RmrrRelaxable,
        Code::RmrrFirmwareRange,
        Code::RmrrRelaxedPatch,
        Code::NoInterruptRemapping,
        Code::UnsafeInterrupts,
        Code::Noiommu,
        Code::GroupShared,
        Code::AcsOverride,
        Code::GroupAssigned,
        Code::InUse,
        Code::FunctionsSplit,
        Code::BehindController,
        Code::Denylisted,
        Code::Bridge,
        Code::SriovPfWithVfs,
        Code::MediatedDevices,
        Code::SriovAlternative,
        Code::SriovNoRoom,
        Code::VfToken,
        Code::NoReset,
        Code::Unreachable,
        Code::D3cold,
        Code::Framebuffer,
        Code::BarUnassigned,
        Code::IgdHostBridge,
        Code::BootDisplay,
        Code::MountedDisk,
        Code::CarriesRoute,
        Code::HostPart,
        Code::VariantDriver,
        Code::VendorDriver,
        Code::AerErrors,
        Code::ModuleProhibited,
        Code::ModuleMissing,
        Code::ModuleTreeMissing,
        Code::ModuleUnloaded,
        Code::ModuleOptions,
        Code::OptionIgnored,
        Code::OptionRefused,
        Code::InstallRule,
        Code::ModuleBuiltin,
        Code::Lockdown,
        Code::NodeMissing,
        Code::NodePermissions,
        Code::AutoprobeOff,
        Code::ClaimedByAnother,
        Code::PassthroughIdCollision,
        Code::Unreadable,
    ];

    /// The name, as everything shows it. Names never change; new ones come.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Code::IommuOff => "iommu-off",
            Code::IommuEmulated => "iommu-emulated",
            Code::IommuDriverMissing => "iommu-driver-missing",
            Code::IommuDriverInitramfs => "iommu-driver-initramfs",
            Code::IommuDomain => "iommu-domain",
            Code::NoGroup => "no-group",
            Code::Rmrr => "rmrr",
            Code::RmrrRelaxable => "rmrr-relaxable",
            Code::RmrrFirmwareRange => "rmrr-firmware-range",
            Code::RmrrRelaxedPatch => "rmrr-relaxed-patch",
            Code::NoInterruptRemapping => "no-interrupt-remapping",
            Code::UnsafeInterrupts => "unsafe-interrupts",
            Code::Noiommu => "noiommu",
            Code::GroupShared => "group-shared",
            Code::AcsOverride => "acs-override",
            Code::GroupAssigned => "group-assigned",
            Code::InUse => "in-use",
            Code::FunctionsSplit => "functions-split",
            Code::BehindController => "behind-controller",
            Code::Denylisted => "denylisted",
            Code::Bridge => "bridge",
            Code::SriovPfWithVfs => "sriov-pf-with-vfs",
            Code::MediatedDevices => "mediated-devices",
            Code::SriovAlternative => "sriov-alternative",
            Code::SriovNoRoom => "sriov-no-room",
            Code::VfToken => "vf-token",
            Code::NoReset => "no-reset",
            Code::Unreachable => "unreachable",
            Code::D3cold => "d3cold",
            Code::Framebuffer => "framebuffer",
            Code::BarUnassigned => "bar-unassigned",
            Code::IgdHostBridge => "igd-host-bridge",
            Code::BootDisplay => "boot-display",
            Code::MountedDisk => "mounted-disk",
            Code::CarriesRoute => "carries-route",
            Code::HostPart => "host-part",
            Code::VariantDriver => "variant-driver",
            Code::VendorDriver => "vendor-driver",
            Code::AerErrors => "aer-errors",
            Code::ModuleProhibited => "module-prohibited",
            Code::ModuleMissing => "module-missing",
            Code::ModuleTreeMissing => "module-tree-missing",
            Code::ModuleUnloaded => "module-unloaded",
            Code::ModuleOptions => "module-options",
            Code::OptionIgnored => "option-ignored",
            Code::OptionRefused => "option-refused",
            Code::InstallRule => "install-rule",
            Code::ModuleBuiltin => "module-builtin",
            Code::Lockdown => "lockdown",
            Code::NodeMissing => "node-missing",
            Code::NodePermissions => "node-permissions",
            Code::AutoprobeOff => "autoprobe-off",
            Code::ClaimedByAnother => "claimed-by-another",
            Code::PassthroughIdCollision => "passthrough-id-collision",
            Code::Unreadable => "unreadable",
            Code::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_one_name_the_same_in_words_and_in_json() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
        assert_eq!(serde_json::from_str::<Code>("\"of-a-newer-version\"").unwrap(), Code::Unknown);
        assert!(!Code::ALL.contains(&Code::Unknown));
    }
}
