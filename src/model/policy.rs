//! How repairs are paced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[repair]`, and what `[modules]` permits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `mode`.
    pub mode: Mode,
    /// `deadline`: how long a kernel write may take before its group counts as stuck.
    pub deadline: Duration,
    /// `backoff`: how long to wait after failures.
    pub backoff: Backoff,
    /// `breaker`: when to stop fighting.
    pub breaker: Breaker,
    /// `modules.ignore_blacklist`: load a module in spite of a `blacklist` line.
    pub ignore_blacklist: bool,
    /// `modules.allow_install`: run `install` rules.
    pub allow_install: bool,
}

/// `repair.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Repair what drifted.
    Enforce,
    /// Only say what would be done.
    Observe,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl Mode {
    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
            Mode::Unknown => "unknown",
        }
    }
}

/// `repair.backoff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The wait after the first failure; it doubles with each one.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// `repair.breaker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// How many incidents open it.
    pub incidents: u32,
    /// Within how long.
    pub within: Duration,
    /// How long it stays open before one probe; doubles with each probe that fails, to a day.
    pub retry: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            mode: Mode::Enforce,
            deadline: Duration::from_secs(30),
            backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) },
            breaker: Breaker { incidents: 5, within: Duration::from_secs(600), retry: Duration::from_secs(3600) },
            ignore_blacklist: false,
            allow_install: false,
        }
    }
}
