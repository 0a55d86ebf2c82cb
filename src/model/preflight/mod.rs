//! What stands between a device and a virtual machine, and what to do about it.
//!
//! Bound is not assignable: the kernel binds a device that it will then refuse to open. Here that is
//! said before anybody opens it, from facts alone.
//!
//! * [`survey`]: the facts, three-valued, and what is [`asked`] of them; [`claim`]: those of other managers; [`firmware`]: what the ACPI tables reserve
//! * [`code`]: the stable names of all findings; [`finding`]: one of them, with evidence and remedy
//! * [`report`]: what [`check()`] makes of a survey; [`predict`]: what opening a device would come to
//! * the findings, one file a family: [`remapping`] (whether there is an IOMMU), [`reserved`]
//!   (1:1 regions), [`interrupts`], [`grouping`], [`slots`], [`behind`] (a controller), [`hardware`], [`display`],
//!   [`parts`] (of the host), [`sriov`], [`mediated`], [`modules`], [`options`], [`nodes`], [`others`] (other managers), [`bars`] without an
//!   address, [`token`]s of VFs, [`igd`] (Intel's graphics), [`acs`] overrides, [`uses`] of the host
//! * [`make`] of an IOMMU, [`release`] of a kernel: what their names tell; [`parameters`], [`cmdline`]: the kernel's options
//! * [`arch`], [`hypervisor`], [`boot`], [`system`]: whose words a remedy must be in; [`absent`]: that there is no IOMMU, in those
//! * [`needed`]: what the host lives on
//! * [`passthrough`]: names for devices that are unique over the host
//! * [`blockers`]: the part that a pass of the daemon needs

pub mod absent;
pub mod acs;
pub mod arch;
pub mod asked;
pub mod bars;
pub mod behind;
pub mod blockers;
pub mod boot;
pub mod check;
pub mod claim;
pub mod cmdline;
pub mod code;
pub mod display;
pub mod finding;
pub mod firmware;
pub mod grouping;
pub mod hardware;
pub mod hypervisor;
pub mod igd;
pub mod interrupts;
pub mod make;
pub mod mediated;
pub mod modules;
pub mod needed;
pub mod nodes;
pub mod options;
pub mod others;
pub mod parameters;
pub mod parts;
pub mod passthrough;
pub mod predict;
pub mod release;
pub mod remapping;
pub mod report;
pub mod reserved;
pub mod slots;
pub mod sriov;
pub mod survey;
pub mod system;
pub mod token;
pub mod uses;

pub use check::check;
pub use code::Code;
pub use finding::{About, Evidence, Finding, Severity};
pub use report::Report;
pub use survey::Survey;
