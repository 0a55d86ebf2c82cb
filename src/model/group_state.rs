//! How an IOMMU group stands, in one word: whose it is, and whether a virtual machine can have it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::guard::blockers;
use super::pci::Address;
use super::preflight::report::Role;
use super::snapshot::{Group, Snapshot};

/// How a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupState {
    /// A virtual machine can have what is on a VFIO driver in it.
    Ready,
    /// The host has it, and at most one endpoint is in it: that one can be taken by itself.
    Host,
    /// The host has it, and several endpoints are in it: a virtual machine can only have them together.
    Shared,
    /// No endpoint in it has a driver.
    Unbound,
    /// Something keeps it from virtual machines.
    Blocked,
    /// It could not be told; also a word of a newer version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl GroupState {
    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GroupState::Ready => "ready",
            GroupState::Host => "host",
            GroupState::Shared => "shared",
            GroupState::Unbound => "unbound",
            GroupState::Blocked => "blocked",
            GroupState::Unknown => "unknown",
        }
    }

    /// By the drivers of the members. What keeps an endpoint from being opened for another reason than a member only the preflight
    /// check knows.
    #[must_use]
    pub fn of(snapshot: &Snapshot, group: &Group) -> GroupState {
        let mut tally = Tally::beside(group.others.len());
        let in_the_way: Vec<Address> = blockers(snapshot, group).into_iter().map(|(address, _)| address).collect();
        for member in &group.members {
            let Some(function) = snapshot.functions.get(member) else { return GroupState::Unknown };
            if function.driver.unreadable().is_some() {
                return GroupState::Unknown;
            }
            let endpoint = Role::of(&function.card) == Role::Endpoint;
            tally.add(
                endpoint,
                function.driver.is().is_some(),
                snapshot.on_vfio(function),
                in_the_way.contains(member),
            );
        }
        tally.state()
    }
}

/// What the members of a group come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Members that are no PCI functions.
    others: usize,
    endpoints: usize,
    on_vfio: usize,
    on_host: usize,
    /// Endpoints, and what is none, that are in the way of the endpoints on VFIO.
    in_the_way: [usize; 2],
}

impl Tally {
    /// None yet, beside so many members that are no PCI functions.
    #[must_use]
    pub fn beside(others: usize) -> Tally {
        Tally { others, ..Tally::default() }
    }

    /// Counts a function: whether it is an endpoint, has a driver, is on VFIO, and whether its driver is in the way.
    pub fn add(&mut self, endpoint: bool, driven: bool, on_vfio: bool, in_the_way: bool) {
        self.endpoints += usize::from(endpoint);
        self.on_vfio += usize::from(endpoint && driven && on_vfio);
        self.on_host += usize::from(endpoint && driven && !on_vfio);
        self.in_the_way[usize::from(!endpoint)] += usize::from(in_the_way);
    }

    /// How such a group stands.
    #[must_use]
    pub fn state(self) -> GroupState {
        let [endpoints, others] = self.in_the_way;
        if self.endpoints > 0 && (others > 0 || self.others > 0) || self.on_vfio > 0 && endpoints + others > 0 {
            GroupState::Blocked
        } else if self.on_vfio > 0 {
            GroupState::Ready
        } else if self.on_host == 0 && self.endpoints > 0 {
            GroupState::Unbound
        } else if self.endpoints > 1 {
            GroupState::Shared
        } else {
            GroupState::Host
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_newer_version_is_unknown() {
        assert_eq!(serde_json::from_str::<GroupState>("\"loaned\"").unwrap(), GroupState::Unknown);
        assert_eq!(serde_json::to_string(&GroupState::Unbound).unwrap(), "\"unbound\"");
    }
}
