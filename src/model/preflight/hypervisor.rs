//! Virtual machines: whose they are, and what their hypervisor can give them.

use serde::{Deserialize, Serialize};

use super::arch::Arch;

/// What a virtual machine runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hypervisor {
    /// Xen, and this is the domain that has the hardware.
    XenDom0,
    /// Xen, and this is a guest.
    XenGuest,
    /// Xen; which domain this is cannot be told.
    Xen,
    /// Microsoft's Hyper-V, and Azure.
    HyperV,
    /// Amazon's Nitro.
    Aws,
    /// Google's cloud.
    Google,
    /// VMware's.
    Vmware,
    /// VirtualBox.
    VirtualBox,
    /// QEMU, with KVM or without.
    Qemu,
    /// QEMU of a cloud, whose customers do not choose its devices.
    Cloud,
    /// Another one.
    #[serde(other)]
    Other,
}

impl Hypervisor {
    /// Whether it is Xen: then no domain has an IOMMU, neither dom0.
    #[must_use]
    pub fn is_xen(self) -> bool {
        matches!(self, Hypervisor::XenDom0 | Hypervisor::XenGuest | Hypervisor::Xen)
    }

    /// Why there is no IOMMU, in one sentence.
    #[must_use]
    pub fn why_none(self) -> &'static str {
        match self {
            Hypervisor::XenDom0 => {
                "This is Xen's dom0: Xen has the IOMMU for itself, no device has a group, and vfio-pci takes none."
            }
            Hypervisor::XenGuest => {
                "This is a guest of Xen, which gives its guests no IOMMU: no device has a group, and vfio-pci takes none."
            }
            Hypervisor::Xen => {
                "This runs on Xen, which has the IOMMU for itself: no device has a group, and vfio-pci takes none."
            }
            _ => "This virtual machine has no IOMMU: no device has a group, and vfio-pci takes none.",
        }
    }

    /// What to do where a virtual machine has no IOMMU.
    #[must_use]
    pub fn give_iommu(self, arch: Option<Arch>) -> Vec<&'static str> {
        match self {
            Hypervisor::XenDom0 => vec![XEN_DOM0, "To use VFIO, start this machine without Xen."],
            Hypervisor::XenGuest => vec![XEN_GUEST],
            Hypervisor::Xen => vec![XEN_DOM0, XEN_GUEST],
            Hypervisor::HyperV => vec![
                "Hyper-V and Azure give a Linux guest no IOMMU: nothing can be passed on from here. Assign the device to the guest that needs it from the Hyper-V host (Discrete Device Assignment).",
                "DPDK needs no VFIO here: it works on the host's driver (netvsc, with mlx5 or mana below).",
            ],
            Hypervisor::Aws => vec![
                "AWS gives its virtual machines no IOMMU: nothing can be passed on from here. Use a bare-metal instance (its type ends in .metal).",
            ],
            Hypervisor::Google => vec![
                "Google Cloud gives its virtual machines no IOMMU: nothing can be passed on from here. Use a bare-metal machine type (its name ends in -metal).",
            ],
            Hypervisor::Vmware => vec![
                "Switch \"Expose IOMMU to the guest operating system\" on in the settings of the virtual machine's processor (Workstation: \"Virtualize IOMMU\"; in its .vmx file: vvtd.enable = \"TRUE\"), with EFI firmware, and start it again.",
            ],
            Hypervisor::VirtualBox => vec![
                "Give the virtual machine an IOMMU (VirtualBox 7.0 and later, an experiment there: `VBoxManage modifyvm NAME --chipset=ich9 --iommu=automatic`), and start it again.",
            ],
            Hypervisor::Qemu => vec![of_qemu(arch)],
            Hypervisor::Cloud => vec![
                "This is a cloud's virtual machine: whoever runs the cloud would have to give it an IOMMU. Use a bare-metal machine of theirs, if they have one.",
            ],
            Hypervisor::Other => vec![
                "Whoever runs the hypervisor has to give this virtual machine an IOMMU, if it has one to give; else nothing can be passed on from here.",
            ],
        }
    }

    /// What to do where a virtual machine's IOMMU does not keep interrupts apart.
    #[must_use]
    pub fn give_remapping(self, arch: Option<Arch>) -> &'static str {
        match (self, arch) {
            (Hypervisor::Qemu, Some(Arch::X86) | None) => {
                "This is a virtual machine: switch interrupt remapping of its IOMMU on (QEMU: intel-iommu,intremap=on and kernel-irqchip=split)."
            }
            (Hypervisor::Qemu, Some(Arch::Arm)) => {
                "This is a virtual machine: give it a GICv3 with ITS (QEMU: -M virt,gic-version=3,its=on; libvirt: <gic version='3'/>), and start it again."
            }
            _ => {
                "This is a virtual machine: whoever runs the hypervisor has to switch interrupt remapping of its IOMMU on, if it has that."
            }
        }
    }
}

const XEN_DOM0: &str = "Pass devices by Xen's own means from dom0: `xl pci-assignable-add ADDRESS` puts one on xen-pciback, and pci = [ \"ADDRESS\" ] in a guest's configuration gives it away (XCP-ng and Qubes have commands of their own for both).";
const XEN_GUEST: &str =
    "From a guest nothing can be passed on: have dom0 give the device to the guest that needs it (xen-pciback).";

fn of_qemu(arch: Option<Arch>) -> &'static str {
    match arch {
        Some(Arch::X86) | None => {
            "Give the virtual machine, of machine type q35, an IOMMU that remaps interrupts (libvirt: <iommu model='intel'><driver intremap='on' caching_mode='on'/></iommu>, and <ioapic driver='qemu'/>; Proxmox VE: `qm set ID --machine q35,viommu=intel`), and start it again."
        }
        Some(Arch::Arm) => {
            "Give the virtual machine, of machine type virt, an SMMU and a GICv3 with ITS (libvirt: <iommu model='smmuv3'/> and <gic version='3'/>; QEMU: -M virt,gic-version=3,its=on,iommu=smmuv3), and start it again."
        }
        Some(_) => {
            "Whoever runs the hypervisor has to give this virtual machine an IOMMU, if QEMU has one for this architecture; else nothing can be passed on from here."
        }
    }
}
