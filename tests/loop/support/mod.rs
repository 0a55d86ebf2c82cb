//! The loop on a machine in memory.
//!
//! * [`machine`]: the simulated kernel with a clock, actors and events: what a `Host` is made of
//! * [`host`]: one run's view of that machine
//! * [`ears`]: what was told, kept and notified
//! * [`ask`]: what is asked of it, in short
//! * [`lab`]: a daemon on the machine, and what a test does to both

pub mod ask;
pub mod ears;
pub mod host;
pub mod lab;
pub mod machine;

pub use ears::Said;
pub use lab::{Lab, addr, by, module, run};
