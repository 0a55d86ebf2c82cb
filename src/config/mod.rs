//! What the files ask for: as written → merged.
//!
//! Files decide configuration errors, hardware never does: nothing here looks at a device.
//!
//! * [`source`]: one file's text, and what is where in it
//! * [`value`]: reads one value, and says what was expected
//! * [`field`]: a key, with the place its value came from
//! * [`table`]: reads a table's keys
//! * [`findings`]: what is wrong in a file, and which unknown key is near to which known
//! * [`fragment`]: one file, as written
//! * [`merge`]: several files, one on top of the other
//! * [`entries`]: the `[device.NAME]` tables, and what they must not contradict
//! * [`error`]: what is wrong, and where

pub mod entries;
pub mod error;
pub mod field;
pub mod findings;
pub mod fragment;
pub mod merge;
pub mod source;
pub mod table;
pub mod value;

