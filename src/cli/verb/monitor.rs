//! `vfiodctl monitor`: follows what happens, a line each, until it is interrupted. The daemon may
//! come and go meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::pin::pin;

use futures_util::{Stream, StreamExt};
use serde_json::{Value as Json, json};
use zbus::{Message, OwnedObjectPath, OwnedVariant, Variant};

use crate::cli::answer::Setting;
use crate::cli::event::Event;
use crate::cli::failure::Failure;
use crate::cli::screen::Tone;
use crate::model::picture::SCHEMA;
use crate::names::bus::ROOT;

/// Properties whose change is a line: the words and whoever they are about.
const SHOWN: [&str; 3] = ["State", "Health", "Viable"];

/// Follows until the output or the bus is closed.
///
/// # Errors
/// When the bus cannot be had; `Closed` when nobody reads any more.
pub async fn run(setting: &Setting, out: &mut (impl Write + ?Sized)) -> Result<(), Failure> {
    let daemon = setting.sight.daemon().await?;
    let (mut signals, mut owner) = daemon.signals().await?;
    // The answer comes behind what was signalled before it; where nobody takes that, it never comes.
    let mut before = Vec::new();
    let first = {
        let mut status = pin!(daemon.status());
        loop {
            tokio::select! {
                biased;
                status = &mut status => break status,
                line = next(&mut signals, &mut owner) => before.extend(line?),
            }
        }
    };
    let first = match first {
        Ok(picture) => Line::note(format!("vfiod {}: {}", picture.version, picture.health)),
        Err(Failure::Unreachable { why, .. }) => Line::note(why),
        Err(failure) => return Err(failure),
    };
    for line in std::iter::once(first).chain(before) {
        line.write(setting, out)?;
    }
    loop {
        if let Some(line) = next(&mut signals, &mut owner).await? {
            line.write(setting, out)?;
        }
    }
}

/// What comes next, if it is a line.
async fn next(
    signals: &mut (impl Stream<Item = zbus::Result<Message>> + Unpin),
    owner: &mut (impl Stream<Item = zbus::Result<Message>> + Unpin),
) -> Result<Option<Line>, Failure> {
    tokio::select! {
        // What it said before it went comes before its going.
        biased;
        signal = signals.next() => match signal {
            Some(Ok(message)) => Ok(told(&message, now())),
            Some(Err(_)) => Ok(None),
            None => Err(closed()),
        },
        change = owner.next() => match change {
            Some(Ok(message)) => Ok(came_or_went(&message)),
            Some(Err(_)) => Ok(None),
            None => Err(closed()),
        },
    }
}

fn closed() -> Failure {
    Failure::Unreachable {
        why: "the bus has closed the connection".to_owned(),
        advice: "see: systemctl status dbus".to_owned(),
    }
}

/// Signals carry no time of their own.
fn now() -> u64 {
    jiff::Timestamp::now().as_microsecond().unsigned_abs()
}

/// One line.
enum Line {
    Event(Event),
    /// An object and its properties that changed.
    Change {
        timestamp_usec: u64,
        object: String,
        properties: BTreeMap<String, Json>,
    },
    Note {
        timestamp_usec: u64,
        note: String,
    },
}

impl Line {
    fn note(note: String) -> Line {
        Line::Note { timestamp_usec: now(), note }
    }

    fn write(&self, setting: &Setting, out: &mut (impl Write + ?Sized)) -> Result<(), Failure> {
        let text = if setting.json { self.json() } else { self.text(setting) };
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::writing)
    }

    fn json(&self) -> String {
        let value = match self {
            Line::Event(event) => json!({ "schema": SCHEMA, "event": event }),
            Line::Change { timestamp_usec, object, properties } => json!({
                "schema": SCHEMA,
                "change": { "timestamp_usec": timestamp_usec, "object": object, "properties": properties },
            }),
            Line::Note { timestamp_usec, note } => {
                json!({ "schema": SCHEMA, "note": { "timestamp_usec": timestamp_usec, "text": note } })
            }
        };
        format!("{value}\n")
    }

    fn text(&self, setting: &Setting) -> String {
        let screen = &setting.screen;
        match self {
            Line::Event(event) => event.line(screen),
            Line::Change { timestamp_usec, object, properties } => {
                let words = properties.iter().map(|(name, value)| match value {
                    Json::String(text) => format!("{name} {text}"),
                    other => format!("{name} {other}"),
                });
                let text = format!("{object}: {}", words.collect::<Vec<_>>().join(", "));
                format!("{}  {}\n", screen.time(*timestamp_usec), screen.plain(&text))
            }
            Line::Note { timestamp_usec, note } => {
                format!("{}  {}\n", screen.time(*timestamp_usec), screen.paint(note, Tone::Faint))
            }
        }
    }
}

/// What a signal of the daemon says; nothing for those that say it a second time.
fn told(message: &Message, timestamp_usec: u64) -> Option<Line> {
    let header = message.header();
    let (interface, member) = (header.interface()?.as_str(), header.member()?.as_str());
    match (interface, member) {
        ("org.vfiod1.Manager", "Drifted" | "Repaired" | "RepairFailed" | "GivenBack") => {
            type Body = (OwnedObjectPath, String, String, String, String, HashMap<String, OwnedVariant>);
            let (_, name, old, new, cause, details): Body = message.body().deserialize().ok()?;
            let kind = match member {
                "RepairFailed" => "repair-failed".to_owned(),
                "GivenBack" => "given-back".to_owned(),
                other => other.to_lowercase(),
            };
            let more = Event::of(&details);
            Some(Line::Event(Event { timestamp_usec, kind, name, old, new, cause, ..more }))
        }
        ("org.freedesktop.DBus.Properties", "PropertiesChanged") => {
            let (_, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                message.body().deserialize().ok()?;
            let shown = changed.iter().filter(|(name, _)| SHOWN.contains(&name.as_str()));
            let properties: BTreeMap<String, Json> = shown.map(|(name, value)| (name.clone(), plain(value))).collect();
            let object = header.path()?.as_str();
            let object = object.strip_prefix(ROOT).unwrap_or(object).trim_start_matches('/').to_owned();
            (!properties.is_empty()).then_some(Line::Change { timestamp_usec, object, properties })
        }
        _ => None,
    }
}

fn plain(value: &Variant<'_>) -> Json {
    match value {
        Variant::Str(text) => json!(text.as_str()),
        Variant::Bool(yes) => json!(yes),
        Variant::U64(number) => json!(number),
        other => json!(other.to_string()),
    }
}

fn came_or_went(message: &Message) -> Option<Line> {
    let (_, old, new): (String, String, String) = message.body().deserialize().ok()?;
    Some(Line::note(match (old.is_empty(), new.is_empty()) {
        (true, false) => "vfiod has started".to_owned(),
        (false, true) => "vfiod has stopped".to_owned(),
        _ => "vfiod was replaced".to_owned(),
    }))
}
