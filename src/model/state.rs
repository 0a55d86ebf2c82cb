//! The words for how a device or an entry stands, and for the whole.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an entry or a device stands: the first that holds, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is not there.
    Missing,
    /// The selector matches too many, or two entries claim it.
    Ambiguous,
    /// Another card sits there.
    Mismatch,
    /// A person has asked for it to be given back; it is left alone until it is adopted.
    Released,
    /// A write to it has not returned within its deadline.
    Stuck,
    /// The breaker is open: somebody undoes the repairs again and again.
    Fighting,
    /// A guard holds it back.
    Held,
    /// No repair can help.
    Blocked,
    /// A repair did not help; it is tried again later.
    Failing,
    /// A repair is under way.
    Repairing,
    /// It is not as declared.
    Drifted,
    /// Right driver, and open: a virtual machine has it. As good as ready.
    Assigned,
    /// Right driver, and free.
    Ready,
    /// On a VFIO driver, and not declared.
    Unmanaged,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl State {
    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Missing => "missing",
            State::Ambiguous => "ambiguous",
            State::Mismatch => "mismatch",
            State::Released => "released",
            State::Stuck => "stuck",
            State::Fighting => "fighting",
            State::Held => "held",
            State::Blocked => "blocked",
            State::Failing => "failing",
            State::Repairing => "repairing",
            State::Drifted => "drifted",
            State::Assigned => "assigned",
            State::Ready => "ready",
            State::Unmanaged => "unmanaged",
            State::Unknown => "unknown",
        }
    }

    /// Whether what was declared is kept.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, State::Ready | State::Assigned)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the whole stands: the worst of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Everything declared is kept.
    Ready,
    /// Something is held back by a guard, or released.
    Held,
    /// Something is not as declared, and vfiod works on it.
    Degraded,
    /// Something is not as declared, and needs a person.
    Blocked,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl Health {
    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Ready => "ready",
            Health::Held => "held",
            Health::Degraded => "degraded",
            Health::Blocked => "blocked",
            Health::Unknown => "unknown",
        }
    }

    /// What one state means for the whole.
    #[must_use]
    pub fn of(state: State) -> Health {
        match state {
            State::Ready | State::Assigned | State::Unmanaged => Health::Ready,
            State::Held | State::Released => Health::Held,
            State::Drifted | State::Repairing | State::Failing => Health::Degraded,
            State::Missing
            | State::Ambiguous
            | State::Mismatch
            | State::Stuck
            | State::Fighting
            | State::Blocked
            | State::Unknown => Health::Blocked,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
