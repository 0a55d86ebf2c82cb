//! A machine saved as a tree that [`Root`](super::root::Root) can look at: for a bug report.
//!
//! Only what vfiod itself reads is taken, and of that only the part that it understands. What it
//! could not read is named in the file `snapshot` at the tree's top.
//!
//! * [`list`]: which files, how much of each, and why
//! * [`part`]: what is kept of a file, [`guests`]: of those of virtual machines; [`scrub`]: numbers that tell a machine from all others
//! * [`subject`]: which modules it is about
//! * [`gather`]: goes through the list; [`places`] keeps each file where links really lead
//! * [`below`]: device nodes, interfaces and disks below functions; [`odds`]: what no list tells
//! * [`texts`]: reads what may block, in a child
//! * [`archive`]: the tree as a tar file

pub mod archive;
pub mod below;
pub mod gather;
pub mod guests;
pub mod list;
pub mod odds;
pub mod part;
pub mod places;
pub mod scrub;
pub mod subject;
pub mod texts;

pub use gather::{Saved, save};
