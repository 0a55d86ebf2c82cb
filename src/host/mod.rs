//! The only code that touches the kernel.
//!
//! * [`port`]: what the loop needs of a kernel; [`live`] is the machine, [`sim`] a small kernel in memory for tests
//! * [`root`], [`dir`]: where files are looked up; [`budget`]: how much of somebody's tree is read
//! * [`kernel`]: the boot and the clock
//! * [`observe`]: one pass over the devices, their groups and the modules; made of
//!   [`pass`], [`bridges`] (paths through them), [`card`] and [`serial`] (what stays while a device object lives),
//!   [`regions`] (what stays while a group does)
//! * [`proc_modules`], [`module_tree`], [`modprobe_d`] ([`modprobe_files`], [`options`]), [`install_rule`], [`kernel_policy`]: evidence
//!   about modules; [`module_facts`] judges it, [`module_watch`] keeps it, [`stamp`] dates it
//! * [`drivers`]: what drivers are called, and of which modules they are
//! * [`mediated`]: parts of functions that their drivers give to virtual machines
//! * [`machine`]: what holds for all devices
//! * [`elsewhere`]: what other programs' files give to VFIO
//! * [`seen`]: what one pass has looked at more closely
//! * [`pci_ids`]: names of devices and classes in words
//! * [`look`]: what the guards must know of single functions, read in a child
//! * [`iommu`]: who drives it
//! * [`survey`]: every fact that a preflight check needs, read once; [`surveyor`]: in a child
//! * [`saved`]: the machine as a tree of files that can be looked at elsewhere
//! * [`uevents`]: the kernel's wake-up calls
//! * [`witness`]: who unloads modules, by the kernel's trace
//! * [`act`]: the actor, the one process that writes
//! * [`intent`]: what actors were sent to do, kept until they are back
//! * [`children`], [`readers`]: actors and readers, begun, awaited and adopted; [`process`] is what they share

#![allow(clippy::disallowed_methods, reason = "the kernel is reached through files and children, all of them here")]

pub mod act;
pub mod bridges;
pub mod budget;
pub mod card;
pub mod children;
pub mod dir;
pub mod drivers;
pub mod elsewhere;
pub mod install_rule;
pub mod intent;
pub mod iommu;
pub mod kernel;
pub mod kernel_policy;
pub mod live;
pub mod look;
pub mod machine;
pub mod mediated;
pub mod modprobe_d;
pub mod modprobe_files;
pub mod module_facts;
pub mod module_tree;
pub mod module_watch;
pub mod observe;
pub mod options;
pub mod pass;
pub mod pci_ids;
pub mod port;
pub mod proc_modules;
pub mod process;
pub mod readers;
pub mod regions;
pub mod root;
pub mod saved;
pub mod seen;
pub mod serial;
pub mod sim;
pub mod stamp;
pub mod survey;
pub mod surveyor;
pub mod uevents;
pub mod unsaved;
pub mod witness;
