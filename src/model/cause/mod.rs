//! Who did it: what is known of whoever undid what is kept, and never more than is known.
//!
//! * [`culprit`]: the process, as far as it was there to be asked
//! * [`unload`]: how a module went, and what a host's witness records
//! * [`rhythm`]: how often, and whether at regular intervals
//! * [`fall`]: why a device was lost

pub mod culprit;
pub mod fall;
pub mod rhythm;
pub mod unload;

pub use culprit::{Culprit, Parent};
pub use fall::{Fall, How};
pub use rhythm::{Again, Rhythm};
pub use unload::{By, Record, Unload};
