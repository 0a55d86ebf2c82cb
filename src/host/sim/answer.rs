//! What an action answers, and the uevents it makes.

use std::fmt;

use nix::errno::Errno;

use crate::model::cause::{Culprit, Record};
use crate::model::pci::{Address, Driver, Module};
use crate::model::time::Time;

/// What a process that did something to the kernel gets back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A write that returned its length.
    Ok,
    /// A system call that failed.
    No(Errno),
    /// The exit status of modprobe or rmmod.
    Exit(u8),
    /// What a read returned, without the newline.
    Text(String),
    /// Nothing yet: it sleeps in the kernel. [`super::Kernel::job`] knows when it has returned.
    Blocks(Job),
}

impl Answer {
    /// Whether the kernel or the program said yes.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Answer::Ok | Answer::Exit(0) | Answer::Text(_))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Ok => f.write_str("ok"),
            Answer::No(errno) => write!(f, "{errno:?}"),
            Answer::Exit(status) => write!(f, "{status}"),
            Answer::Text(text) => f.write_str(text),
            Answer::Blocks(_) => f.write_str("blocks"),
        }
    }
}

/// A call that sleeps in the kernel, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job(pub(super) u32);

/// An event of the kernel, of the two kinds that vfiod listens to: modules and PCI devices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Uevent {
    /// `add@/module/M`: after its init function returned, so after whatever that bound.
    ModuleAdd(Module),
    /// `remove@/module/M`.
    ModuleRemove(Module),
    /// `add@` of a function.
    Add(Address),
    /// `remove@` of a function.
    Remove(Address),
    /// `bind@` of a function, `DRIVER=`.
    Bind(Address, Driver),
    /// `unbind@` of a function: only once the unbind is over.
    Unbind(Address),
    /// `change@` of a function with `ERROR_EVENT=FAILED_RECOVERY` (true) or `SUCCESSFUL_RECOVERY`.
    Recovery(Address, bool),
}

impl fmt::Display for Uevent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uevent::ModuleAdd(module) => write!(f, "add module {module}"),
            Uevent::ModuleRemove(module) => write!(f, "remove module {module}"),
            Uevent::Add(address) => write!(f, "add {address}"),
            Uevent::Remove(address) => write!(f, "remove {address}"),
            Uevent::Bind(address, driver) => write!(f, "bind {address} {driver}"),
            Uevent::Unbind(address) => write!(f, "unbind {address}"),
            Uevent::Recovery(address, failed) => write!(f, "recovery of {address} failed: {failed}"),
        }
    }
}

/// What a trace of modules shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traced {
    /// `module_free`, and whose process it was.
    Freed(Module, Culprit),
    /// `module_load`.
    Loaded(Module),
}

impl Traced {
    /// As a witness records it.
    #[must_use]
    pub fn record(self, at: Time) -> Record {
        match self {
            Traced::Freed(module, by) => Record::Unloaded { module, at, by },
            Traced::Loaded(module) => Record::Loaded { module, at },
        }
    }
}
