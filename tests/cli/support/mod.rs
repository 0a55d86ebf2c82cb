//! What the tests of the command line share: a private bus, a fake daemon on it, and the command.

pub mod bus;
pub mod command;
pub mod daemon;
