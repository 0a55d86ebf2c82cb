//! One thing that was found: what it is, how bad, how it is known, what to do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::code::Code;
use crate::model::pci::Address;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A virtual machine cannot have the device as things are.
    Blocker,
    /// It can, and somebody should know this first.
    Warning,
    /// Good to know.
    Note,
    /// A word that this version does not know, of a newer one's; vfiod itself never says it.
    #[serde(other)]
    Unknown,
}

impl Severity {
    /// The word, as everything shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Blocker => "blocker",
            Severity::Warning => "warning",
            Severity::Note => "note",
            Severity::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The whole machine.
    Host,
    /// A group and all its members.
    Group(u32),
    /// One function.
    Device(Address),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Host => f.write_str("host"),
            About::Group(number) => write!(f, "group {number}"),
            About::Device(address) => write!(f, "{address}"),
        }
    }
}

/// Where a finding comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// The file, table or log.
    pub source: String,
    /// What it says.
    pub value: String,
    /// The file or directory that it is from, where only root may read that: others are not shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<String>,
}

impl Evidence {
    /// What a source says.
    pub fn new(source: impl Into<String>, value: impl Into<String>) -> Evidence {
        Evidence { source: source.into(), value: value.into(), private: None }
    }

    /// What everybody may know of it.
    #[must_use]
    pub fn for_everybody(self) -> Evidence {
        match self.private {
            Some(place) => Evidence::new(place, "only root is shown what it says"),
            None => self,
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub about: About,
    /// What it is.
    pub code: Code,
    /// One sentence.
    pub why: String,
    /// How it is known.
    pub evidence: Vec<Evidence>,
    /// What a person can do, step by step; empty where nothing needs to be done.
    pub remedy: Vec<String>,
    /// Where more is said: a heading of that page is the code.
    pub page: String,
}

/// The manual page.
pub const PAGE: &str = "vfiod-preflight(7)";

impl Finding {
    /// A finding without evidence and remedy.
    pub fn new(severity: Severity, about: About, code: Code, why: impl Into<String>) -> Finding {
        Finding {
            severity,
            about,
            code,
            why: why.into(),
            evidence: Vec::new(),
            remedy: Vec::new(),
            page: PAGE.to_owned(),
        }
    }

    /// With what a source says.
    #[must_use]
    pub fn because(mut self, source: impl Into<String>, value: impl Into<String>) -> Finding {
        self.evidence.push(Evidence::new(source, value));
        self
    }

    /// With several pieces of evidence.
    #[must_use]
    pub fn by(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Finding {
        self.evidence.extend(evidence);
        self
    }

    /// With a step of the remedy.
    #[must_use]
    pub fn step(mut self, step: impl Into<String>) -> Finding {
        self.remedy.push(step.into());
        self
    }

    /// With several steps of the remedy.
    #[must_use]
    pub fn steps(mut self, steps: impl IntoIterator<Item = String>) -> Finding {
        self.remedy.extend(steps);
        self
    }

    /// Whether it keeps a device from a virtual machine.
    #[must_use]
    pub fn blocks(&self) -> bool {
        matches!(self.severity, Severity::Blocker | Severity::Unknown)
    }
}
