//! The pure core: what is, what is asked for, and what to do about it.
//!
//! Nothing here reads a file, asks the time or logs; facts and time come in as values.
//!
//! * [`pci`]: addresses, ids, driver and module names, parsed once, shown one way
//! * [`time`]: a point in time since boot
//! * [`snapshot`]: what the kernel says now, three-valued
//! * [`module`]: the state of a module and the evidence for it
//! * [`desired`]: what the configuration asks
//! * [`resolve`]: which functions that is now
//! * [`variant`]: the best VFIO driver for a device; [`glob`]: patterns of module aliases and modprobe.d
//! * [`drift`]: how a declared device differs from what was declared
//! * [`guard`]: why a device must not be touched now
//! * [`policy`]: how repairs are paced, and [`pace`]: how one goes
//! * [`memory`]: what is remembered from pass to pass
//! * [`plan`]: steps, what they expect, and what came of them
//! * [`state`]: the words for how things stand, and [`status`]: the public picture
//! * [`event`]: one transition, for all who are told
//! * [`keeper`]: learns from a snapshot and decides

pub mod desired;
pub mod drift;
pub mod event;
pub mod glob;
pub mod guard;
pub mod keeper;
pub mod memory;
pub mod module;
pub mod pace;
pub mod pci;
pub mod plan;
pub mod policy;
pub mod resolve;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod time;
pub mod variant;
