//! How an IOMMU group stands, in one word: whose it is, and whether a virtual machine can have it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::guard::blockers;
use super::pci::Address;
use super::preflight::report::Role;
use super::snapshot::{Fact, Group, Snapshot};

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
        let (mut endpoints, mut on_vfio, mut on_host) = (0, 0, 0);
        for member in &group.members {
            let Some(function) = snapshot.functions.get(member) else { return GroupState::Unknown };
            let endpoint = Role::of(&function.card) == Role::Endpoint;
            endpoints += usize::from(endpoint);
            match &function.driver {
                Fact::Unreadable(_) => return GroupState::Unknown,
                Fact::Is(_) if endpoint && snapshot.on_vfio(function) => on_vfio += 1,
                Fact::Is(_) if endpoint => on_host += 1,
                Fact::Is(_) | Fact::Absent => {}
            }
        }
        let in_the_way: Vec<Address> = blockers(snapshot, group).into_iter().map(|(address, _)| address).collect();
        let is_endpoint =
            |address: &&Address| snapshot.functions.get(address).is_some_and(|f| Role::of(&f.card) == Role::Endpoint);
        let others = in_the_way.len() - in_the_way.iter().filter(is_endpoint).count();
        if endpoints > 0 && (others > 0 || !group.others.is_empty()) || on_vfio > 0 && !in_the_way.is_empty() {
            GroupState::Blocked
        } else if on_vfio > 0 {
            GroupState::Ready
        } else if on_host == 0 && endpoints > 0 {
            GroupState::Unbound
        } else if endpoints > 1 {
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
