//! The pure core: what is, what is asked for, and what to do about it.
//!
//! Nothing here reads a file, asks the time or logs; facts and time come in as values.
//!
//! * [`pci`]: addresses, ids, driver and module names, parsed once, shown one way
//! * [`time`]: a point in time since boot
//! * [`snapshot`]: what the kernel says now, three-valued
//! * [`module`]: the state of a module, told from its evidence
//! * [`desired`]: what the configuration asks, and which function that is
//! * [`policy`]: how repairs are paced
//! * [`plan`]: steps, what they expect, and what came of them

pub mod desired;
pub mod module;
pub mod pci;
pub mod plan;
pub mod policy;
pub mod snapshot;
pub mod time;
