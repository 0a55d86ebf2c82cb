//! The only code that touches the kernel.
//!
//! * [`root`]: where its files are looked up
//! * [`port`]: what the loop needs of a kernel
//! * [`look`]: what the guards must know of single functions, read in a child
//! * [`sim`]: a small kernel in memory, for tests

#![allow(clippy::disallowed_methods, reason = "the kernel is reached through files and children, all of them here")]

pub mod look;
pub mod port;
pub mod root;
pub mod sim;
