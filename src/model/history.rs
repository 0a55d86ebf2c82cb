//! A transition as the history keeps it and the public sees it.

use serde::{Deserialize, Serialize};

use super::event::{Event, Kind};
use super::plan::About;

/// How many of the latest lines anybody is shown.
pub const MOST: u32 = 1_000;

/// One transition that was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in realtime microseconds.
    pub timestamp_usec: u64,
    /// Its kind.
    pub kind: Kind,
    /// `device`, `module`, `entry` or `host`.
    pub object: String,
    /// The address, the module's or the entry's name, or `host`.
    pub name: String,
    /// The entry that declares it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Its group, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// The word for how it stood; empty when that was not known.
    pub old: String,
    /// The word for how it stands.
    pub new: String,
    /// Why, in a sentence.
    pub cause: String,
    /// How long it was lost, when that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_usec: Option<u64>,
    /// Who did it, where that was witnessed: command, pid, unit, parent; no command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Line {
    /// A transition at a point in time.
    #[must_use]
    pub fn of(event: &Event, timestamp_usec: u64) -> Line {
        let (object, name) = match &event.about {
            About::Device(address) => ("device", address.to_string()),
            About::Module(module) => ("module", module.to_string()),
            About::Entry(name) => ("entry", name.clone()),
            About::Host => ("host", "host".to_owned()),
        };
        Line {
            timestamp_usec,
            kind: event.kind,
            object: object.to_owned(),
            name,
            entry: event.entry.clone(),
            group: event.group,
            old: event.old.clone(),
            new: event.new.clone(),
            cause: event.cause.clone(),
            latency_usec: event.latency.map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
            by: event.by.as_ref().map(ToString::to_string),
        }
    }
}
