//! The only code that touches the kernel.
//!
//! * [`root`]: where its files are looked up
//! * [`clock`]: the time since boot
//! * [`act`]: the actor, the one process that writes
//! * [`intent`]: what actors were sent to do, kept until they are back
//! * [`children`]: actors, begun, awaited and adopted
//! * [`process`]: a child's program, and the end of a process
//! * [`readers`]: children that read what may block

pub mod act;
pub mod children;
pub mod clock;
pub mod intent;
pub mod process;
pub mod readers;
pub mod root;
