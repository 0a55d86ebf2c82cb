//! vfiod on the system bus: `org.vfiod1`, as the XML in packaging/dbus says.
//!
//! Nothing is registered and nothing is kept in step: an object is what the latest picture has at
//! its path, a property what it says, and a signal the difference between two pictures.
//!
//! * [`call`]: what is asked of the loop, and what it answers
//! * [`object`], [`property`]: the picture as objects
//! * [`difference`], [`signal`]: what changes from one picture to the next
//! * [`contract`]: the XML, as introspection
//! * [`target`], [`ask`]: a caller's words, read and checked
//! * [`authority`], [`polkit`]: who may do what
//! * [`answer`], [`refused`]: what is said back
//! * [`serve`], [`session`], [`introduction`], [`errand`]: the bus for as long as vfiod runs, one
//!   connection, its beginning, one call
//! * [`systemd`]: whether vfiod is stopped to come back

pub mod answer;
pub mod ask;
pub mod authority;
pub mod call;
pub mod contract;
pub mod difference;
pub mod errand;
pub mod introduction;
pub mod object;
pub mod polkit;
pub mod property;
pub mod refused;
pub mod room;
pub mod serve;
pub mod session;
pub mod signal;
pub mod systemd;
pub mod target;
