//! Who unloads modules: vfiod's own instance of the kernel's trace, read as it is written.
//!
//! `module_free` is traced early in an unload, which then waits for RCU: for some milliseconds (tens
//! of them in the lab) `/proc` still answers for the process, also for a bare `rmmod`. The start of a
//! modprobe is traced besides, so that one that is quicker was asked while it lived.
//!
//! * [`instance`]: the directory in tracefs, made, used again after a crash or a restart, removed at the end
//! * [`line`](mod@line): one line of it
//! * [`pipe`]: its lines, without waiting
//! * [`suspect`]: what /proc says of a process
//! * [`cmdline`]: its command line, which only a child may read
//! * `ledger`: what was seen, and of whom
//! * [`watch`]: all of it put together

pub mod cmdline;
pub mod instance;
mod ledger;
pub mod line;
pub mod pipe;
pub mod suspect;
pub mod watch;

pub use watch::Witness;
