//! The pure core: what is, what is asked for, and what to do about it.
//!
//! Nothing here reads a file, asks the time or logs; facts and time come in as values.
//!
//! * [`pci`]: addresses, ids, driver and module names, parsed once, shown one way
//! * [`time`]: a point in time since boot
//! * [`snapshot`]: what the kernel says now, three-valued
//! * [`module`]: the state of a module and the evidence for it; [`parameter`]: what it is given when it is loaded, and [`vfio_ids`]: vfio-pci's `ids=`
//! * [`desired`]: what the configuration asks
//! * [`resolve`]: which functions that is now
//! * [`variant`]: the best VFIO driver for a device; [`glob`]: patterns of module aliases and modprobe.d
//! * [`drift`]: how a declared device differs from what was declared
//! * [`guard`]: why a device must not be touched now; [`viable`]: what keeps a group from being given away;
//!   [`group_state`]: how a group stands, in one word; [`group_blockers`]: what the check adds to that
//! * [`policy`]: how repairs are paced, and [`pace`]: how one goes
//! * [`memory`]: what is remembered from pass to pass
//! * [`cause`]: who did it, as far as that is known
//! * [`plan`]: steps, what they expect, and what came of them; [`plan_view`]: how the public sees them
//! * [`state`]: the words for how things stand, [`status`]: how they do after a pass, and [`picture`]: how that is shown to the public
//! * [`event`]: one transition, for all who are told; [`history`]: how it is kept; [`record`]: what is counted; [`alert`]: what is raised once
//! * [`hold`]: what keeps vfiod from writing for a while; [`target`]: what a person names; [`remedy`]: what a person can do
//! * [`printable`]: what may be shown of anybody's text; [`words`]: numbers and users in sentences
//! * [`preflight`]: what stands between a device and a virtual machine; [`concern`]: what the daemon keeps of it
//! * [`keeper`]: learns from a snapshot and decides

pub mod alert;
pub mod cause;
pub mod concern;
pub mod desired;
pub mod drift;
pub mod event;
pub mod glob;
pub mod group_blockers;
pub mod group_state;
pub mod guard;
pub mod history;
pub mod hold;
pub mod keeper;
pub mod memory;
pub mod module;
pub mod pace;
pub mod parameter;
pub mod pci;
pub mod picture;
pub mod plan;
pub mod plan_view;
pub mod policy;
pub mod preflight;
pub mod printable;
pub mod record;
pub mod remedy;
pub mod resolve;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod target;
pub mod time;
pub mod variant;
pub mod vfio_ids;
pub mod viable;
pub mod words;
