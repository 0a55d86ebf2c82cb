//! What happened: a line of the history, or of the daemon's signals.

use std::collections::HashMap;

use serde::Serialize;
use zbus::{OwnedVariant, Variant};

use super::moment::length;
use super::screen::{Screen, Tone};
use crate::model::state::State;

/// What happened; a field without a value is empty or 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Event {
    /// When, in realtime microseconds.
    pub timestamp_usec: u64,
    /// What kind: `drifted`, `repaired`, `repair-failed` and others.
    pub kind: String,
    /// An address, a module or an entry.
    pub name: String,
    /// The entry that declares it.
    pub entry: String,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
    /// Why, in a sentence.
    pub cause: String,
    /// How long it had been lost.
    pub latency_usec: u64,
    /// Who did it, as far as that is known.
    pub by: String,
}

impl Event {
    /// A line of the history.
    #[must_use]
    pub fn of(fields: &HashMap<String, OwnedVariant>) -> Event {
        let text = |key: &str| match fields.get(key).map(|value| &**value) {
            Some(Variant::Str(text)) => text.to_string(),
            _ => String::new(),
        };
        let number = |key: &str| match fields.get(key).map(|value| &**value) {
            Some(Variant::U64(number)) => *number,
            _ => 0,
        };
        Event {
            timestamp_usec: number("Timestamp"),
            kind: text("Kind"),
            name: text("Name"),
            entry: text("Entry"),
            old: text("Old"),
            new: text("New"),
            cause: text("Cause"),
            latency_usec: number("LatencyUSec"),
            by: text("By"),
        }
    }

    /// It in a line, as the journal tells it, with its time in front and who at the end.
    #[must_use]
    pub fn line(&self, screen: &Screen) -> String {
        let entry = if self.entry.is_empty() { String::new() } else { format!(" ({})", self.entry) };
        let change = match (self.old.as_str(), self.new.as_str()) {
            ("", "") => self.kind.clone(),
            ("", new) => new.to_owned(),
            (old, new) => format!("{old} -> {new}"),
        };
        let good = [State::Ready.as_str(), State::Assigned.as_str(), "live"].contains(&self.new.as_str());
        let tone = if good { Tone::Good } else { Tone::Fair };
        let mut rest = String::new();
        if !self.cause.is_empty() {
            rest += &format!(": {}", self.cause);
        }
        if self.latency_usec > 0 {
            rest += &format!(", after {}", length(self.latency_usec));
        }
        // The cause of an unload names who did it, by name and process.
        let name = self.by.split_once(']').map_or(self.by.as_str(), |(name, _)| name);
        if !self.by.is_empty() && !self.cause.contains(name) {
            rest += &format!(", by {}", self.by);
        }
        let (time, name) = (screen.time(self.timestamp_usec), screen.plain(&format!("{}{entry}", self.name)));
        format!("{time}  {name} {}{}\n", screen.paint(&change, tone), screen.plain(&rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn who_did_it_is_told_once() {
        let zone = TimeZone::UTC;
        let screen = Screen { color: false, symbols: false, width: None, rows: None, zone, now_usec: 0 };
        let by = "modprobe[530] of lab.service (started by bash[12], uid 0)";
        let lost = |cause: &str| {
            let event = Event { name: "vfio_pci".into(), cause: cause.into(), by: by.into(), ..Event::default() };
            event.line(&screen)
        };
        for cause in
            [format!("unloaded by {by}"), format!("it has no driver; its module vfio_pci was unloaded by {by}")]
        {
            assert_eq!(lost(&cause).matches("modprobe[530]").count(), 1, "{cause}");
        }
        assert!(lost("it has no driver").ends_with(&format!(": it has no driver, by {by}\n")));
        // Another process of that name.
        assert_eq!(lost("unloaded by modprobe[53]").matches("modprobe[53").count(), 2);
    }
}
