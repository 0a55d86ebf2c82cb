//! The shell around the keeper: the loop, its signs and its pace, what is told and what is kept.
//!
//! * [`watch`]: the loop; everything that the outside decides is a parameter of it
//! * [`glance`]: looks that are remembered, so that what is left alone is left in peace
//! * [`pulse`]: when to pass next: quiet time after events, the poll, what is due
//! * [`pass`]: one pass of it
//! * [`seen`]: what one pass has looked at more closely
//! * [`calls`]: what is asked of the loop over the bus; [`waiting`]: what is answered after a pass
//! * [`holds`]: what is not to be touched meanwhile; [`leases`]: holds by descriptor
//! * [`check`]: the child that checks what keeps devices from virtual machines
//! * `checks`: who asked for that, and one survey for all of them
//! * [`tell`]: what is told, to whom: the journal, or a terminal
//! * [`show`]: the public picture, for the bus; [`picture`]: when a new one is due
//! * [`store`]: state on disk, by boot and lasting; `ledger`: the history; [`files`]: how they are written
//! * [`notify`]: systemd's four words
//! * [`run`]: `vfiod run`, all of it put together; `lock`: one vfiod a machine

pub mod calls;
pub mod check;
mod checks;
pub mod files;
pub mod glance;
pub mod holds;
pub mod leases;
mod ledger;
mod lock;
pub mod notify;
pub mod pass;
pub mod picture;
pub mod pulse;
pub mod run;
pub mod show;
pub mod store;
pub mod tell;
pub mod waiting;
pub mod watch;

pub use crate::host::seen;
