//! Several files, one on top of the other: tables merge by key, everything else is replaced.

use super::fragment::{DevicePart, Fragment, ModulesPart, RepairPart, WatchPart};

/// Merges files in the order of reading; the last that has a key gives its value, and its place.
pub fn merge(fragments: impl IntoIterator<Item = Fragment>) -> Fragment {
    fragments.into_iter().fold(Fragment::default(), over)
}

// Every struct is written out in full, so that a key that is added cannot be left out here.

fn over(earlier: Fragment, later: Fragment) -> Fragment {
    let mut devices = earlier.devices;
    for (name, part) in later.devices {
        let part = match devices.remove(&name) {
            Some(earlier) => device(earlier, part),
            None => part,
        };
        devices.insert(name, part);
    }
    Fragment {
        watch: watch(earlier.watch, later.watch),
        modules: modules(earlier.modules, later.modules),
        repair: repair(earlier.repair, later.repair),
        devices,
    }
}

fn watch(earlier: WatchPart, later: WatchPart) -> WatchPart {
    WatchPart {
        interval: later.interval.or(earlier.interval),
        uevents: later.uevents.or(earlier.uevents),
        settle: later.settle.or(earlier.settle),
        settle_max: later.settle_max.or(earlier.settle_max),
        override_interval: later.override_interval.or(earlier.override_interval),
    }
}

fn modules(earlier: ModulesPart, later: ModulesPart) -> ModulesPart {
    ModulesPart {
        keep: later.keep.or(earlier.keep),
        ignore_blacklist: later.ignore_blacklist.or(earlier.ignore_blacklist),
        allow_install: later.allow_install.or(earlier.allow_install),
    }
}

fn repair(earlier: RepairPart, later: RepairPart) -> RepairPart {
    RepairPart {
        mode: later.mode.or(earlier.mode),
        deadline: later.deadline.or(earlier.deadline),
        backoff_first: later.backoff_first.or(earlier.backoff_first),
        backoff_max: later.backoff_max.or(earlier.backoff_max),
        breaker_incidents: later.breaker_incidents.or(earlier.breaker_incidents),
        breaker_within: later.breaker_within.or(earlier.breaker_within),
        breaker_retry: later.breaker_retry.or(earlier.breaker_retry),
    }
}

fn device(earlier: DevicePart, later: DevicePart) -> DevicePart {
    DevicePart {
        mentioned: earlier.mentioned,
        address: later.address.or(earlier.address),
        path: later.path.or(earlier.path),
        pf: later.pf.or(earlier.pf),
        vf: later.vf.or(earlier.vf),
        id: later.id.or(earlier.id),
        subsystem: later.subsystem.or(earlier.subsystem),
        serial: later.serial.or(earlier.serial),
        driver: later.driver.or(earlier.driver),
        group: later.group.or(earlier.group),
        allow: later.allow.or(earlier.allow),
    }
}
