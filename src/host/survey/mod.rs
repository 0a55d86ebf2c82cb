//! Reads every fact that a preflight check needs, on this machine or from a saved tree.
//!
//! Nothing here takes a device's lock, opens a node of VFIO or wakes a sleeping device. What could
//! block all the same (configuration space, the kernel's log) has a deadline.
//!
//! * [`take()`]: the whole; [`read`]: files as facts
//! * [`functions`] and [`config`]: PCI functions; [`groups`]: IOMMU groups and their nodes
//! * [`remapping`]: IOMMUs; [`isolation`]: interrupts; [`acpi`], [`dmar`], [`ivrs`], [`iort`]: what the firmware reserves;
//!   [`madt`], [`device_tree`]: what else it tells
//! * [`modules`]: VFIO's modules and their parameters
//! * [`iomem`]: framebuffers; [`machine`]: the machine, its system ([`arch`], [`hypervisor`], [`system`]); [`usb`]: what people use;
//!   [`root_disk`], [`behind`]: the disks that is on
//! * [`needs`], [`net_files`]: what the host uses
//! * [`claims`]: other managers; [`ids`]: what vfio-pci is told to take by itself; [`libvirt`], [`libvirt_network`]: the definitions of libvirt; [`private`]: what of them only root may read
//! * [`log`], `log_ends`, [`kmsg`]: what the kernel has said, and what of it still stands

pub mod acpi;
pub mod arch;
pub mod behind;
pub mod claims;
pub mod config;
pub mod device_tree;
pub mod dmar;
pub mod functions;
pub mod groups;
pub mod hypervisor;
pub mod ids;
pub mod iomem;
pub mod iort;
pub mod isolation;
pub mod ivrs;
pub mod kmsg;
pub mod libvirt;
pub mod libvirt_network;
pub mod log;
mod log_ends;
pub mod machine;
pub mod madt;
pub mod modules;
pub mod needs;
pub mod net_files;
pub mod private;
pub mod read;
pub mod remapping;
pub mod root_disk;
pub mod system;
pub mod take;
pub mod usb;

pub use take::take;
