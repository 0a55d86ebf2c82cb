//! What the tables need: a function, a snapshot, an entry, in few words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vfiod::model::desired::{Desired, Entry, Identity, Select, Wanted};
use vfiod::model::pci::{Address, Driver};
use vfiod::model::snapshot::{Card, Fact, Function, Group, Look, Platform, Snapshot};
use vfiod::model::time::Time;
use vfiod::model::variant::Drivers;

pub fn x<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// A NIC on a driver (`-` for none) in a group.
pub fn function(path: &str, driver: &str, group: u32) -> Function {
    Function {
        card: Arc::new(Card {
            object: 7,
            ids: x("8086:10d3"),
            subsystem: Fact::Is(x("8086:a01f")),
            class: 0x02_0000,
            serial: Fact::Is("00-15-17-ff-ff-ab-cd-ef".to_owned()),
            modalias: String::new(),
            path: x(path),
            bridge: false,
            boot_vga: false,
            physfn: None,
        }),
        registered: false,
        driver: if driver == "-" { Fact::Absent } else { Fact::Is(x(driver)) },
        group: Fact::Is(group),
        vfs: BTreeMap::new(),
        pin: Fact::Is(Driver::vfio_pci()),
        leaving: false,
        look: None,
    }
}

pub fn look() -> Look {
    Look {
        object: 7,
        pin: Fact::Absent,
        uevent_driver: Fact::Absent,
        holders: Fact::Is(Vec::new()),
        network: Fact::Is(Vec::new()),
        storage: Fact::Is(Vec::new()),
        vfs: Fact::Is(0),
        raw: Fact::Is(Vec::new()),
        mediated: Fact::Is(Vec::new()),
    }
}

pub fn snapshot(functions: impl IntoIterator<Item = (&'static str, Function)>) -> Snapshot {
    let functions: BTreeMap<Address, Function> = functions.into_iter().map(|(at, f)| (x(at), f)).collect();
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    for (address, function) in &functions {
        let Fact::Is(number) = function.group else { continue };
        let none = || Group {
            members: BTreeSet::new(),
            others: BTreeSet::new(),
            node: Fact::Absent,
            reserved: Fact::Absent,
            insisted: Fact::Absent,
        };
        groups.entry(number).or_insert_with(none).members.insert(*address);
    }
    Snapshot {
        taken: Time(1),
        modules: BTreeMap::new(),
        variants: Arc::default(),
        drivers: Drivers::default(),
        functions,
        unclear_paths: BTreeMap::new(),
        groups,
        above: BTreeMap::new(),
        most_vfs: BTreeMap::new(),
        autoprobe: Fact::Is(true),
        pinned: Fact::not_looked(),
        platform: Platform::default(),
    }
}

pub fn entry(name: &str, select: Select) -> Entry {
    Entry {
        name: name.to_owned(),
        select,
        identity: Identity::default(),
        driver: Wanted::Named(Driver::vfio_pci()),
        whole_group: false,
        allow: BTreeSet::new(),
    }
}

pub fn at(address: &str) -> Select {
    Select { address: Some(x(address)), ..Select::default() }
}

pub fn desired(entries: impl IntoIterator<Item = Entry>) -> Desired {
    Desired { entries: entries.into_iter().collect(), ..Desired::default() }
}
