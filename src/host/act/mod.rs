//! The actor: `vfiod act`, the one process that writes to the kernel.
//!
//! A write can block for ever, and unkillably (an `unbind` while a process holds the device), so it
//! is made here and not in the daemon. The errand comes in on stdin, one line a step goes out.
//!
//! * `errand`: the errand, step by step
//! * `kernel`: what the actor needs of the kernel besides reading
//! * `expect`: what is looked at again right before a write
//! * `bind`: pin, unbind, probe; `back`: unpin, give back
//! * `load`: modules
//! * [`modprobe`]: the program, and what its complaints mean

mod back;
mod bind;
mod errand;
mod expect;
mod kernel;
mod load;
pub mod modprobe;

#[cfg(test)]
mod tests;

pub use errand::{Errand, Line, NONE_CAME, SecondLook, perform, run, stand_alone};
