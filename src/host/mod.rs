//! The only code that touches the kernel.
//!
//! * [`root`]: where its files are looked up
//! * [`clock`]: the time since boot
//! * [`act`]: the actor, the one process that writes

pub mod act;
pub mod clock;
pub mod root;
