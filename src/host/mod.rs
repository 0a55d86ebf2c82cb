//! The only code that touches the kernel.
//!
//! * [`root`]: where its files are looked up
//! * [`sim`]: a small kernel in memory, for tests

pub mod root;
pub mod sim;
