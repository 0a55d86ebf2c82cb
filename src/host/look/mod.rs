//! The closer look at single functions: what the guards must know before anything is written.
//!
//! It runs in a child process (`vfiod look`), because some of it can block for ever.
//!
//! * [`ask`]: the question and the answer, one JSON value each
//! * [`patience`]: waiting for the kernel only so long
//! * [`attributes`]: what must be read under the device's lock: override, driver, number of VFs
//! * [`site`]: one function as sysfs shows it without blocking
//! * [`nodes`]: which device nodes, disks and network interfaces lie below it
//! * [`holders`]: who has them open, by one scan of /proc
//! * [`process`]: a process's name, unit and user
//! * [`refcount`]: use that shows in a module's reference count alone
//! * [`view`]: whether this process sees the whole machine at all

pub mod ask;
pub mod attributes;
pub mod holders;
pub mod nodes;
pub mod patience;
pub mod process;
pub mod refcount;
pub mod site;
pub mod view;
