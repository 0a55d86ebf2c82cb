//! What the child that looks is asked, and what it answers: one JSON value each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::parts::Parts;
use crate::host::port::Closer;
use crate::model::pci::{Address, Driver};
use crate::model::snapshot::{Fact, Look};

/// The question, on the child's stdin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The functions to look at; one that is not there is left out of the answer.
    pub functions: BTreeSet<Address>,
    /// Also find every function that the load of a driver would bind.
    pub pinned: bool,
    /// Functions of which only the `driver_override` is wanted: the answer has no look at them.
    pub pins: BTreeSet<Address>,
    /// Functions whose serial number is wanted.
    #[serde(default)]
    pub serials: BTreeSet<Address>,
    /// What must be left out: an earlier reader has not come back from it.
    #[serde(default)]
    pub spare: Parts,
    /// How long a single read, a disk or the routing table may take. The answer comes about that
    /// long after the question, plus the scan of /proc.
    pub patience: Duration,
}

impl Ask {
    /// Asks for what is to be looked at, all of it.
    #[must_use]
    pub fn of(closer: &Closer, patience: Duration) -> Ask {
        let Closer { looks, pins, serials, pinned } = closer.clone();
        Ask { functions: looks, pins, serials, pinned, spare: Parts::default(), patience }
    }
}

/// The answer: one line on the child's stdout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// A look at each function that was asked for and is there.
    pub looks: BTreeMap<Address, Look>,
    /// The override of each function that was asked for and is there.
    pub pins: BTreeMap<Address, Pin>,
    /// Functions without a driver whose override names one. Unreadable when it was not asked for,
    /// or when a single one of them could not be read.
    pub pinned: Fact<BTreeMap<Address, Driver>>,
    /// The serial number of each function that it was asked of and that is there.
    #[serde(default)]
    pub serials: BTreeMap<Address, Serial>,
    /// What did not come back in time: the reader stays behind.
    pub late: Parts,
}

/// What `config` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serial {
    /// The device object it was read from.
    pub object: u64,
    /// The serial number.
    pub serial: Fact<String>,
}

/// What `driver_override` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The device object it was read from: the inode of its directory.
    pub object: u64,
    /// Its value; absent is `(null)`.
    pub pin: Fact<Driver>,
}
