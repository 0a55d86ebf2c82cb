//! A small kernel in memory: what the model and the loop are tested against.
//!
//! Pure and deterministic: no I/O, no clock, no thread. It knows PCI devices, drivers, modules,
//! IOMMU groups, the processes that hold devices open, and which writes block. What it answers is
//! compared with Debian's 6.1 and 6.12 by the traces in `tests/traces`; where they differ, the
//! real kernel is right.
//!
//! * [`kernel`]: the [`Kernel`], and how it is built
//! * [`ask`]: what is asked of it
//! * [`spec`]: what a device, a module, a process is
//! * [`answer`]: what an action answers, and the uevents it makes
//! * [`tree`]: what can be loaded, and what forbids it
//! * [`modprobe`]: loading and removing modules
//! * [`binding`]: `driver_override`, `drivers_probe`, `bind`, `unbind`, `new_id`
//! * [`hotplug`]: remove, rescan, virtual functions
//! * [`holding`]: who has a device open
//! * [`jobs`]: writes that block, and what becomes of them
//! * [`faults`]: what a test can make go wrong
//! * [`view`]: the snapshot and the closer look
//! * [`perform`]: a step of a plan, as the actor does it
//! * [`machine`]: the lab's machine

pub mod answer;
pub mod ask;
pub mod binding;
pub mod faults;
pub mod holding;
pub mod hotplug;
pub mod jobs;
pub mod kernel;
pub mod machine;
pub mod modprobe;
pub mod perform;
pub mod spec;
pub mod tree;
pub mod view;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Job, Traced, Uevent};
pub use faults::Fault;
pub use kernel::{Kernel, Version};
pub use perform::Performed;
pub use spec::{Installed, Process, Rule, Spec, Use};
pub use view::Scope;
