//! All of it, validated: what the rest of the program sees.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::error::{Errors, Problem};
use super::field::Field;
use super::findings::Findings;
use super::fragment::{Fragment, RepairPart, WatchPart};
use super::merge::merge;
use super::source::Source;
use super::value::show;
use crate::model::desired::Desired;
use crate::model::policy::{Backoff, Breaker, Policy};

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Settings {
    /// When to look.
    pub watch: Watch,
    /// What is asked.
    pub desired: Desired,
    /// How repairs are paced, and what is permitted.
    pub policy: Policy,
    /// The files that say so, in the order of reading; empty and masked ones left out.
    #[serde(serialize_with = "as_text")]
    pub sources: Vec<PathBuf>,
}

impl Settings {
    /// The names of [`Settings::sources`], as far as they are text.
    pub fn files(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.sources.iter().map(|source| source.to_string_lossy())
    }
}

/// A name that is no text would make the whole unwritable.
fn as_text<S: serde::Serializer>(sources: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(sources.iter().map(|source| source.to_string_lossy()))
}

/// `[watch]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watch {
    /// `interval`: the longest time between two looks.
    pub interval: Duration,
    /// `uevents`: whether the kernel's events wake it too.
    pub uevents: bool,
    /// `settle`: how long events must be quiet before anything is done.
    pub settle: Duration,
    /// `settle_max`: how long to wait for that at most.
    pub settle_max: Duration,
    /// `override_interval`: how often `driver_override` is read, which tells no event when it changes.
    pub override_interval: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Watch {
            interval: Duration::from_secs(5),
            uevents: true,
            settle: Duration::from_millis(100),
            settle_max: Duration::from_secs(1),
            override_interval: Duration::from_secs(60),
        }
    }
}

/// The settings that files give, later ones over earlier ones.
///
/// `problems` are those met on the way to the files. With one of them, or with a file that is no
/// TOML, contradictions between values are not looked for: half of what was meant is not known.
///
/// # Errors
/// Everything that is wrong in any of the files.
pub fn settings(sources: &[Source], mut problems: Vec<Problem>) -> Result<Settings, Errors> {
    let mut fragments = Vec::new();
    for source in sources {
        let mut findings = Findings::default();
        match Fragment::read(source, &mut findings) {
            Ok(fragment) => fragments.push((fragment, findings.close())),
            Err(syntax) => problems.extend(syntax),
        }
    }
    let all_read = problems.is_empty();
    let (fragments, found): (Vec<_>, Vec<_>) = fragments.into_iter().unzip();
    problems.extend(found.into_iter().flatten());
    let mut contradictions = Vec::new();
    let merged = merge(fragments);
    let settings = Settings {
        watch: watch(merged.watch, &mut contradictions),
        desired: Desired {
            entries: super::entries::entries(merged.devices, &mut contradictions),
            modules: merged.modules.keep.value().unwrap_or_default(),
        },
        policy: Policy {
            ignore_blacklist: merged.modules.ignore_blacklist.value().unwrap_or_default(),
            allow_install: merged.modules.allow_install.value().unwrap_or_default(),
            ..policy(merged.repair, &mut contradictions)
        },
        sources: sources.iter().map(|source| source.path().to_owned()).collect(),
    };
    if all_read {
        problems.append(&mut contradictions);
    }
    Errors::unless_none(problems, settings)
}

/// Every key that a file may have, with the tables above it; `device.NAME.…` for an entry's.
#[must_use]
pub fn known_keys() -> Vec<String> {
    let mut findings = Findings::default();
    let example = Source::new(0, std::path::Path::new(""), b"[device.NAME]".to_vec());
    if let Ok(example) = example {
        // It has no value to complain about.
        drop(Fragment::read(&example, &mut findings));
    }
    findings.known.into_values().flatten().collect()
}

fn watch(part: WatchPart, problems: &mut Vec<Problem>) -> Watch {
    let default = Watch::default();
    let keys = ["watch.settle", "watch.settle_max"];
    problems.extend(rising(keys, (&part.settle, default.settle), (&part.settle_max, default.settle_max)));
    Watch {
        interval: part.interval.value().unwrap_or(default.interval),
        uevents: part.uevents.value().unwrap_or(default.uevents),
        settle: part.settle.value().unwrap_or(default.settle),
        settle_max: part.settle_max.value().unwrap_or(default.settle_max),
        override_interval: part.override_interval.value().unwrap_or(default.override_interval),
    }
}

fn policy(part: RepairPart, problems: &mut Vec<Problem>) -> Policy {
    let default = Policy::default();
    let (backoff, breaker) = (default.backoff, default.breaker);
    let keys = ["repair.backoff.first", "repair.backoff.max"];
    problems.extend(rising(keys, (&part.backoff_first, backoff.first), (&part.backoff_max, backoff.max)));
    Policy {
        mode: part.mode.value().unwrap_or(default.mode),
        deadline: part.deadline.value().unwrap_or(default.deadline),
        backoff: Backoff {
            first: part.backoff_first.value().unwrap_or(backoff.first),
            max: part.backoff_max.value().unwrap_or(backoff.max),
        },
        breaker: Breaker {
            incidents: part.breaker_incidents.value().unwrap_or(breaker.incidents),
            within: part.breaker_within.value().unwrap_or(breaker.within),
            retry: part.breaker_retry.value().unwrap_or(breaker.retry),
        },
        ..default
    }
}

/// The complaint when the first duration is longer than the second, either of them given or its default.
fn rising(
    keys: [&str; 2],
    (low, low_default): (&Field<Duration>, Duration),
    (high, high_default): (&Field<Duration>, Duration),
) -> Option<Problem> {
    if low.is_wrong() || high.is_wrong() {
        return None;
    }
    let [least, most] =
        [(low, low_default), (high, high_default)].map(|(f, default)| f.given().map_or(default, |g| g.value));
    if least <= most {
        return None;
    }
    let said = |field: &Field<Duration>| match field.given() {
        Some(given) => format!("at {}", given.at),
        None => "by default".to_owned(),
    };
    let at_most = |given: &super::field::Given<Duration>| {
        given.contradiction(format!("at most `{}`, which is {} {}", keys[1], show(most), said(high)))
    };
    let at_least = |given: &super::field::Given<Duration>| {
        given.contradiction(format!("at least `{}`, which is {} {}", keys[0], show(least), said(low)))
    };
    low.given().map(at_most).or_else(|| high.given().map(at_least))
}
