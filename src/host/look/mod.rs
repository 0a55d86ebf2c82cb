//! The closer look at single functions: what the guards must know before anything is written.
//!
//! It runs in a child process (`vfiod look`), because some of it can block for ever.
//!
//! * [`ask`]: the question and the answer, one JSON value each
//! * [`patience`]: waiting for the kernel only so long
//! * [`attributes`]: what must be read under the device's lock: override, driver, number of VFs

pub mod ask;
pub mod attributes;
pub mod patience;
