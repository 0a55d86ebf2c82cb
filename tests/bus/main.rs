//! `org.vfiod1` on a bus of our own: dbus-daemon, a polkit and a loop that the tests play.

#![allow(missing_docs, reason = "tests")]

mod authorities;
mod calls;
mod contract;
mod door;
mod greedy;
mod loops;
mod manager;
mod pictures;
mod policy;
mod polkit;
mod private;
mod proxy;
mod resilience;
mod signals;
