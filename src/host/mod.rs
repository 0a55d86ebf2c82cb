//! The only code that touches the kernel.
//!
//! * [`root`]: where its files are looked up

pub mod root;
