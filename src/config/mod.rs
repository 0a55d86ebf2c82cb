//! What the files ask for: as written → merged → validated. The rest of the program sees [`Settings`] only.
//!
//! Files decide configuration errors, hardware never does: nothing here looks at a device.
//!
//! * [`mod@load`]: finds and reads the files, the only I/O
//! * [`trust`]: whether only root can write the files
//! * [`source`]: one file's text, and what is where in it
//! * [`value`]: reads one value, and says what was expected
//! * [`field`]: a key, with the place its value came from
//! * [`table`]: reads a table's keys
//! * [`findings`]: what is wrong in a file, and which unknown key is near to which known
//! * [`fragment`]: one file, as written
//! * [`merge`]: several files, one on top of the other
//! * [`entries`]: the `[device.NAME]` tables, and what they must not contradict
//! * [`settings`]: all of it, validated
//! * [`origin`]: where each value in force comes from
//! * [`error`]: what is wrong, and where

pub mod entries;
pub mod error;
pub mod field;
pub mod findings;
pub mod fragment;
pub mod load;
pub mod merge;
pub mod origin;
pub mod settings;
pub mod source;
pub mod table;
pub mod trust;
pub mod value;

pub use error::Errors;
pub use load::{load, load_as_of, load_to_act, load_with_origins};
pub use settings::{Settings, Watch};
