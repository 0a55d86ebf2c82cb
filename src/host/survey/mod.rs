//! Reads every fact that a preflight check needs, on this machine or from a saved tree.
//!
//! Nothing here takes a device's lock, opens a node of VFIO or wakes a sleeping device. What could
//! block all the same (configuration space, the kernel's log) has a deadline.
//!
//! * [`take()`]: the whole; [`read`]: files as facts
//! * [`functions`] and [`config`]: PCI functions; [`groups`]: IOMMU groups and their nodes
//! * [`remapping`]: IOMMUs and interrupts; [`acpi`], [`dmar`], [`ivrs`]: what the firmware reserves
//! * [`modules`]: VFIO's modules and their parameters
//! * [`iomem`]: framebuffers; [`machine`]: the machine, its system; [`root_disk`], [`behind`]: the disks that is on
//! * [`needs`], [`net_files`]: what the host uses
//! * [`claims`]: other managers; [`libvirt`], [`libvirt_network`]: the definitions of libvirt; [`private`]: what of them only root may read
//! * [`log`], `log_ends`, [`kmsg`]: what the kernel has said, and what of it still stands

pub mod acpi;
pub mod behind;
pub mod claims;
pub mod config;
pub mod dmar;
pub mod functions;
pub mod groups;
pub mod iomem;
pub mod ivrs;
pub mod kmsg;
pub mod libvirt;
pub mod libvirt_network;
pub mod log;
mod log_ends;
pub mod machine;
pub mod modules;
pub mod needs;
pub mod net_files;
pub mod private;
pub mod read;
pub mod remapping;
pub mod root_disk;
pub mod take;

pub use take::take;
