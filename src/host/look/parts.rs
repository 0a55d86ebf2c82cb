//! What of a look can keep its reader from coming back, by function.
//!
//! A reader that is stuck cannot end. The next one leaves out just that part, of just that function:
//! it would only stay behind as well, and when too many have, nothing at all is read any more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::pci::Address;

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The files that are read under the device's lock.
    Locked,
    /// `config`: the kernel holds its readers while the device is being reset.
    Config,
    /// NVIDIA's file in /proc.
    Nodes,
    /// The exclusive open of its disks.
    Disks,
    /// rtnetlink: one lock for all interfaces of the machine.
    Network,
}

impl Part {
    /// Why it is left out.
    #[must_use]
    pub fn spared(self) -> String {
        match self {
            Part::Locked => "an earlier read of it has not come back: an unbind is under way",
            Part::Config => "an earlier read of config has not come back: a reset may be under way",
            Part::Nodes => "an earlier read of NVIDIA's information has not come back",
            Part::Disks => "an earlier open of its disks has not come back",
            Part::Network => "an earlier question to rtnetlink has not come back",
        }
        .to_owned()
    }
}

/// Parts of functions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parts(BTreeMap<Address, BTreeSet<Part>>);

impl Parts {
    /// Adds one.
    pub fn add(&mut self, address: Address, part: Part) {
        self.0.entry(address).or_default().insert(part);
    }

    /// Adds all of others.
    pub fn extend(&mut self, others: &Parts) {
        for (address, parts) in &others.0 {
            self.0.entry(*address).or_default().extend(parts);
        }
    }

    /// Whether this part of a function is among them.
    #[must_use]
    pub fn has(&self, address: Address, part: Part) -> bool {
        self.0.get(&address).is_some_and(|parts| parts.contains(&part))
    }

    /// The functions of which this part is among them.
    pub fn of(&self, part: Part) -> impl Iterator<Item = Address> + '_ {
        self.0.iter().filter(move |(_, parts)| parts.contains(&part)).map(|(address, _)| *address)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
