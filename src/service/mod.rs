//! The shell around the keeper: the loop, its signs and its pace, what is told and what is kept.
//!
//! * [`watch`]: the loop; everything that the outside decides is a parameter of it
//! * [`glance`]: looks that are remembered, so that what is left alone is left in peace
//! * [`pulse`]: when to pass next: quiet time after events, the poll, what is due
//! * [`pass`]: one pass of it
//! * [`seen`]: what one pass has looked at more closely
//! * [`tell`]: what is told, to whom: the journal, or a terminal
//! * [`store`]: state on disk, by boot and lasting
//! * [`notify`]: systemd's four words
//! * [`run`]: `vfiod run`, all of it put together

pub mod glance;
pub mod notify;
pub mod pass;
pub mod pulse;
pub mod run;
pub mod seen;
pub mod store;
pub mod tell;
pub mod watch;
