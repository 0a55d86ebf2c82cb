//! Where each value in force comes from.

use std::collections::BTreeMap;

use super::error::Place;
use super::field::Field;
use super::findings::Findings;
use super::fragment::{DevicePart, Fragment};
use super::merge::merge;
use super::source::Source;

/// The place of each value that a file gives, by its key with the tables above it. What no file
/// gives is at its default, and not in it.
#[must_use]
pub fn origins(sources: &[Source]) -> BTreeMap<String, Place> {
    let read = |source| Fragment::read(source, &mut Findings::default()).ok();
    let whole = merge(sources.iter().filter_map(read));
    let mut places = Places::default();
    // Every struct is taken apart in full, so that a key that is added cannot be left out here.
    let Fragment { watch, modules, repair, devices } = &whole;
    let super::fragment::WatchPart { interval, uevents, settle, settle_max, override_interval } = watch;
    places.add(interval).add(uevents).add(settle).add(settle_max).add(override_interval);
    let super::fragment::ModulesPart { keep, ignore_blacklist, allow_install } = modules;
    places.add(keep).add(ignore_blacklist).add(allow_install);
    let super::fragment::RepairPart {
        mode,
        deadline,
        backoff_first,
        backoff_max,
        breaker_incidents,
        breaker_within,
        breaker_retry,
    } = repair;
    places.add(mode).add(deadline).add(backoff_first).add(backoff_max);
    places.add(breaker_incidents).add(breaker_within).add(breaker_retry);
    for device in devices.values() {
        let DevicePart { mentioned: _, address, path, pf, vf, id, subsystem, serial, driver, group, allow } = device;
        places.add(address).add(path).add(pf).add(vf).add(id).add(subsystem);
        places.add(serial).add(driver).add(group).add(allow);
    }
    places.0
}

#[derive(Default)]
struct Places(BTreeMap<String, Place>);

impl Places {
    fn add<T>(&mut self, field: &Field<T>) -> &mut Places {
        self.0.extend(field.given().map(|given| (given.key.clone(), given.at.clone())));
        self
    }
}
