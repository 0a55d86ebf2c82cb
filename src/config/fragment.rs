//! One file, as written: every key that it has, each value read on its own.
//!
//! The file is walked by hand and not by a derived `Deserialize`, which would stop at the first
//! thing that is wrong; somebody who edits a file wants to hear of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeTable;

use super::error::{Place, Problem};
use super::field::Field;
use super::findings::Findings;
use super::source::Source;
use super::table::Table;
use super::value::{self, At};
use crate::model::desired::{Keep, Wanted};
use crate::model::pci::{Address, BridgePath, Ids};
use crate::model::plan::Guard;
use crate::model::policy::Mode;

/// What one file, or several merged, say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// `[watch]`.
    pub watch: WatchPart,
    /// `[modules]`.
    pub modules: ModulesPart,
    /// `[repair]`.
    pub repair: RepairPart,
    /// `[device.NAME]`.
    pub devices: BTreeMap<String, DevicePart>,
}

/// `[watch]` as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is the key of the same name")]
pub struct WatchPart {
    pub interval: Field<Duration>,
    pub uevents: Field<bool>,
    pub settle: Field<Duration>,
    pub settle_max: Field<Duration>,
    pub override_interval: Field<Duration>,
}

/// `[modules]` as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is the key of the same name")]
pub struct ModulesPart {
    pub keep: Field<Keep>,
    pub ignore_blacklist: Field<bool>,
    pub allow_install: Field<bool>,
}

/// `[repair]` as written, its inline tables flat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is the key of the same name")]
pub struct RepairPart {
    pub mode: Field<Mode>,
    pub deadline: Field<Duration>,
    pub backoff_first: Field<Duration>,
    pub backoff_max: Field<Duration>,
    pub breaker_incidents: Field<u32>,
    pub breaker_within: Field<Duration>,
    pub breaker_retry: Field<Duration>,
}

/// A `[device.NAME]` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the key of the same name")]
pub struct DevicePart {
    /// Where it is first mentioned.
    pub mentioned: Place,
    pub address: Field<At>,
    pub path: Field<BridgePath>,
    pub pf: Field<Address>,
    pub vf: Field<(u32, u32)>,
    pub id: Field<Ids>,
    pub subsystem: Field<Ids>,
    pub serial: Field<String>,
    pub driver: Field<Wanted>,
    /// `group`: whether it is `"whole"`.
    pub group: Field<bool>,
    pub allow: Field<BTreeSet<Guard>>,
}

const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("observe", Mode::Observe)];
const GROUPS: &[(&str, bool)] = &[("endpoint", false), ("whole", true)];

/// No parser's word after this many of one file: what follows a slip is mostly its echo.
const SYNTAX_ERRORS: usize = 5;

const fn ms(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(least)..=Duration::from_millis(most)
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Fragment {
    /// Reads a file. Nothing is read of a file that is no TOML: what it was meant to say is unknown.
    ///
    /// # Errors
    /// The parser's words.
    pub fn read(source: &Source, findings: &mut Findings) -> Result<Fragment, Vec<Problem>> {
        let (whole, errors) = DeTable::parse_recoverable(source.text());
        if !errors.is_empty() {
            let problem = |error: &toml::de::Error| Problem::Syntax {
                at: source.place(error.span().map_or(0, |span| span.start)),
                message: crate::model::printable::printable(error.message()),
            };
            return Err(errors.iter().take(SYNTAX_ERRORS).map(problem).collect());
        }
        let mut whole = Table::whole(source, findings, whole.get_ref());
        let mut fragment = Fragment {
            watch: WatchPart::read(whole.table("watch")),
            modules: ModulesPart::read(whole.table("modules")),
            repair: RepairPart::read(whole.table("repair")),
            devices: BTreeMap::new(),
        };
        whole.table("device").each(super::entries::is_name, |name, mentioned, table| {
            fragment.devices.insert(name.to_owned(), DevicePart::read(mentioned, table));
        });
        whole.finish();
        Ok(fragment)
    }
}

impl WatchPart {
    fn read(mut table: Table<'_>) -> WatchPart {
        let part = WatchPart {
            interval: table.take("interval", value::duration(ms(100, DAY))),
            uevents: table.take("uevents", value::boolean),
            settle: table.take("settle", value::duration(ms(10, 10_000))),
            settle_max: table.take("settle_max", value::duration(ms(10, MINUTE))),
            override_interval: table.take("override_interval", value::duration(ms(1_000, DAY))),
        };
        table.finish();
        part
    }
}

impl ModulesPart {
    fn read(mut table: Table<'_>) -> ModulesPart {
        let part = ModulesPart {
            keep: table.take("keep", value::keep),
            ignore_blacklist: table.take("ignore_blacklist", value::boolean),
            allow_install: table.take("allow_install", value::boolean),
        };
        table.finish();
        part
    }
}

impl RepairPart {
    fn read(mut table: Table<'_>) -> RepairPart {
        let mode = table.take("mode", value::word(MODES));
        let deadline = table.take("deadline", value::duration(ms(1_000, HOUR)));
        let mut backoff = table.table("backoff");
        let backoff_first = backoff.take("first", value::duration(ms(100, HOUR)));
        let backoff_max = backoff.take("max", value::duration(ms(100, DAY)));
        backoff.finish();
        let mut breaker = table.table("breaker");
        let breaker_incidents = breaker.take("incidents", value::integer(1..=1_000));
        let breaker_within = breaker.take("within", value::duration(ms(1_000, DAY)));
        let breaker_retry = breaker.take("retry", value::duration(ms(1_000, DAY)));
        breaker.finish();
        table.finish();
        RepairPart { mode, deadline, backoff_first, backoff_max, breaker_incidents, breaker_within, breaker_retry }
    }
}

impl DevicePart {
    fn read(mentioned: Place, mut table: Table<'_>) -> DevicePart {
        let part = DevicePart {
            mentioned,
            address: table.take("address", value::address),
            path: table.take("path", value::text("0000:00:1c.0/00.0")),
            pf: table.take("pf", value::text("0000:03:00.0")),
            vf: table.take("vf", value::vf_range),
            id: table.take("id", value::text("10de:2684")),
            subsystem: table.take("subsystem", value::text("1458:40bf")),
            serial: table.take("serial", value::serial),
            driver: table.take("driver", value::driver),
            group: table.take("group", value::word(GROUPS)),
            allow: table.take("allow", value::allow),
        };
        table.finish();
        part
    }
}
