//! Which devices a generated configuration does not declare, because the host is using them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::desired::{Desired, Entry, Identity, Select, Wanted};
use crate::model::drift::Drift;
use crate::model::guard::{Question, Verdict, verdict};
use crate::model::pci::{Address, Driver};
use crate::model::plan::Guard;
use crate::model::resolve::resolve;
use crate::model::snapshot::{Fact, Function, Snapshot};

/// Why each of these stays with the host: vfiod's own guards are asked, as if all the others were
/// declared. What is on a VFIO driver is nobody's but a guest's.
///
/// The snapshot has a closer look at each of them that is on no VFIO driver. With `saved`, that was at a
/// tree without processes, routes and mounts: there, what is on a host driver may be in use.
#[must_use]
pub fn withheld(snapshot: &Snapshot, saved: bool, mut wanted: BTreeMap<Address, Driver>) -> BTreeMap<Address, String> {
    let mut withheld = BTreeMap::new();
    loop {
        let entries = wanted.iter().map(|(address, driver)| entry(*address, driver)).collect();
        let found = resolve(&Desired { entries, ..Desired::default() }, snapshot);
        let ask =
            Question { snapshot, found: &found, allow: &BTreeSet::new(), console_gone: false, before_load: false };
        let stays: Vec<(Address, String)> =
            wanted.keys().filter_map(|address| Some((*address, reason(ask, saved, *address)?))).collect();
        // What stays is declared no more, and may keep others of its group with it.
        if stays.is_empty() {
            return withheld;
        }
        stays.iter().for_each(|(address, _)| drop(wanted.remove(address)));
        withheld.extend(stays);
    }
}

fn entry(address: Address, driver: &Driver) -> Entry {
    Entry {
        name: address.to_string(),
        select: Select { address: Some(address), ..Select::default() },
        identity: Identity::default(),
        driver: Wanted::Named(driver.clone()),
        whole_group: false,
        allow: BTreeSet::new(),
    }
}

fn reason(ask: Question<'_>, saved: bool, address: Address) -> Option<String> {
    let function = ask.snapshot.functions.get(&address)?;
    let drift = match &function.driver {
        Fact::Is(_) if ask.snapshot.on_vfio(function) => return None,
        Fact::Is(driver) => Drift::WrongDriver(driver.clone()),
        Fact::Absent | Fact::Unreadable(_) => Drift::Unbound,
    };
    let bound = drift != Drift::Unbound;
    match verdict(ask, address, &drift) {
        Verdict::Free | Verdict::LookFirst | Verdict::Held(Guard::Unreadable, _) if saved && bound => {
            let on = function.driver.is().map_or("its driver", Driver::as_str);
            Some(format!("is on {on}, and a saved tree does not tell whether the host is using it"))
        }
        Verdict::Free => None,
        // Without a driver it is in no use of the host, and shows by itself what keeps it from a guest.
        Verdict::Held(Guard::GroupShared | Guard::SriovPfWithVfs, _) | Verdict::LookFirst if !bound => None,
        Verdict::Held(guard, why) => Some(sentence(function, guard, &why)),
        Verdict::LookFirst => Some(sentence(function, Guard::Unreadable, "it could not be looked at")),
    }
}

fn sentence(function: &Function, guard: Guard, why: &str) -> String {
    let on = match &function.driver {
        Fact::Is(driver) => format!("is on {driver}"),
        Fact::Absent => "has no driver".to_owned(),
        Fact::Unreadable(_) => "is there".to_owned(),
    };
    match guard {
        Guard::BootDisplay | Guard::CarriesRoute | Guard::MountedDisk => format!("{on}, and the host needs it: {why}"),
        Guard::InUse => format!("{on}, and in use: {why}"),
        Guard::Unreadable => format!("{on}, and whether the host is using it cannot be told: {why}"),
        _ => format!("{on}: {why}"),
    }
}

#[cfg(test)]
#[path = "withheld_tests.rs"]
mod tests;
