//! vfiod keeps PCI passthrough ready.
//!
//! The flow, in one line: wake → `host::observe` → [`model`] decides → `host::act` in a child → observe again → `service` reports.
//!
//! Imports run one way: `names ◄ model ◄ {config, host} ◄ service ◄ bin/vfiod`. `config` and `host` do not know each other.
//!
//! * [`names`]: every string the outside depends on
//! * [`model`]: the pure core
//! * [`config`]: what the files ask for, validated
//! * [`host`]: the only code that touches the kernel
//! * [`service`]: the loop and what is around it

pub mod config;
pub mod host;
pub mod model;
pub mod names;
pub mod service;
