//! The only code that touches the kernel.
//!
//! * [`root`]: where its files are looked up
//! * [`look`]: the closer look at single functions, taken in a child process

pub mod look;
pub mod root;
