//! What a person names: everything, a module, an entry, a device.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::pci::{Address, Module};

/// Something that a person names: `all`, `module:NAME`, an entry, an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Everything.
    All,
    /// A module.
    Module(Module),
    /// A function; libvirt's form of an address is read, too.
    Device(Address),
    /// An entry, or one VF of it (`NAME/INDEX`).
    Entry(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::All => f.write_str("all"),
            Target::Module(module) => write!(f, "module:{module}"),
            Target::Device(address) => write!(f, "{address}"),
            Target::Entry(name) => f.write_str(name),
        }
    }
}
