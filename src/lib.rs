//! vfiod keeps PCI passthrough ready.
//!
//! The flow, in one line: wake → `host::observe` → [`model`] decides → `host::act` in a child → observe again → `service` reports.
//!
//! Imports run one way: `names ◄ model ◄ {config, host, bus} ◄ service ◄ bin/vfiod`. `config`, `host` and `bus` do not know each other.
//!
//! * [`names`]: every string the outside depends on
//! * [`model`]: the pure core
//! * [`config`]: what the files ask for, validated
//! * [`host`]: the only code that touches the kernel
//! * [`bus`]: `org.vfiod1` on the system bus, and the way to it
//! * [`cli`]: the command line, `vfiodctl`
//! * [`service`]: the loop and what is around it

#![cfg_attr(
    not(test),
    warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, clippy::expect_used)
)]

pub mod bus;
pub mod cli;
pub mod config;
pub mod host;
pub mod model;
pub mod names;
pub mod service;
