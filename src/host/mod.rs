//! The only code that touches the kernel.
//!
//! * [`root`], [`dir`]: where its files are looked up
//! * [`kernel`]: the boot and the clock
//! * [`observe`]: one pass over the devices, their groups and the modules; made of
//!   [`pass`], [`card`] and [`serial`] (what stays while a device object lives)
//! * [`proc_modules`], [`module_tree`], [`modprobe_d`], [`install_rule`], [`kernel_policy`]: evidence
//!   about modules; [`module_facts`] judges it, [`module_watch`] keeps it, [`stamp`] dates it
//! * [`uevents`]: the kernel's wake-up calls
//! * [`glob`]: patterns of module aliases and modprobe.d

pub mod card;
pub mod dir;
pub mod glob;
pub mod install_rule;
pub mod kernel;
pub mod kernel_policy;
pub mod modprobe_d;
pub mod module_facts;
pub mod module_tree;
pub mod module_watch;
pub mod observe;
pub mod pass;
pub mod proc_modules;
pub mod root;
pub mod serial;
pub mod stamp;
pub mod uevents;
