//! Which functions an entry means, and why it may mean none.

use std::sync::Arc;

use vfiod::model::desired::{Entry, Identity, Select, VfRange};
use vfiod::model::resolve::{Resolution, resolve};
use vfiod::model::snapshot::{Fact, Snapshot};
use vfiod::model::state::State;

use crate::tables::{at, desired, entry, function, snapshot, x};

const NIC: &str = "0000:01:00.0";
const SECOND: &str = "0000:01:00.1";
const FAR: &str = "10000:e1:00.0";

fn machine() -> Snapshot {
    let mut pf = function("0000:00:02.0/00.0", "igb", 4);
    pf.vfs = [(0, x("0000:02:10.0")), (1, x("0000:02:10.2")), (2, x("0000:02:10.4"))].into();
    snapshot([
        (NIC, function("0000:00:01.0/00.0", "e1000e", 1)),
        (SECOND, function("0000:00:01.0/00.1", "e1000e", 1)),
        ("0000:02:00.0", pf),
        ("0000:02:10.0", function("0000:00:02.0/10.0", "igbvf", 5)),
        ("0000:02:10.2", function("0000:00:02.0/10.2", "igbvf", 6)),
        ("0000:02:10.4", function("0000:00:02.0/10.4", "igbvf", 7)),
        (FAR, function(FAR, "nvme", 8)),
    ])
}

/// Devices and fault of the first entry, as one line.
fn shown(found: &Resolution) -> String {
    let one = &found.entries[0];
    let mut words: Vec<String> = one.devices.iter().map(ToString::to_string).collect();
    words.extend(one.fault.as_ref().map(|fault| fault.state.to_string()));
    words.join(" ")
}

fn one(entry: Entry) -> String {
    shown(&resolve(&desired([entry]), &machine()))
}

fn vf(first: u32, last: u32) -> Select {
    Select { vf: Some(VfRange { pf: x("0000:02:00.0"), first, last }), ..Select::default() }
}

#[test]
fn a_selector_means_what_is_there() {
    let slot = |text: &str| Select { slot: Some(x(text)), ..Select::default() };
    let path = |text: &str| Select { path: Some(x(text)), ..Select::default() };
    let both = |address, text: &str| Select { path: Some(x(text)), ..at(address) };
    let table = [
        (at(NIC), NIC),
        (at(FAR), FAR),
        (at("0000:09:00.0"), "missing"),
        (slot("0000:01:00"), "0000:01:00.0 0000:01:00.1"),
        (slot("0000:09:00"), "missing"),
        (path("0000:00:01.0/00.1"), SECOND),
        (path("0000:00:01.0/00.7"), "missing"),
        (both(NIC, "0000:00:01.0/00.0"), NIC),
        (both(NIC, "0000:00:01.0/00.1"), "ambiguous"),
        (vf(1, 2), "0000:02:10.2 0000:02:10.4"),
        (vf(2, 3), "0000:02:10.4 missing"),
        (vf(7, 7), "missing"),
    ];
    for (select, expected) in table {
        assert_eq!(one(entry("one", select.clone())), expected, "{select:?}");
    }
}

#[test]
fn a_path_with_two_functions_is_ambiguous() {
    let mut seen = machine();
    let card = seen.functions[&x(NIC)].card.path.clone();
    Arc::make_mut(&mut seen.functions.get_mut(&x(SECOND)).unwrap().card).path = card.clone();
    let select = Select { path: Some(card), ..Select::default() };
    assert_eq!(shown(&resolve(&desired([entry("one", select)]), &seen)), "ambiguous");
}

#[test]
fn a_path_that_could_not_be_followed_is_held_and_neither_missing_nor_taken_for_what_is_known_there() {
    let mut seen = machine();
    for path in ["0000:00:01.0/00.0", "0000:00:01.0/00.7"] {
        seen.unclear_paths.insert(x(path), "list /sys/bus/pci/devices/0000:00:01.0: input/output error".to_owned());
        let select = Select { path: Some(x(path)), ..Select::default() };
        assert_eq!(shown(&resolve(&desired([entry("one", select)]), &seen)), "held", "{path}");
    }
}

#[test]
fn a_card_is_known_by_each_of_its_marks() {
    let id = |text: &str| Identity { id: Some(x(text)), ..Identity::default() };
    let subsystem = |text: &str| Identity { subsystem: Some(x(text)), ..Identity::default() };
    let serial = |text: &str| Identity { serial: Some(text.to_owned()), ..Identity::default() };
    let table = [
        (id("8086:10d3"), NIC),
        (id("10de:2684"), "mismatch"),
        (subsystem("8086:a01f"), NIC),
        (subsystem("8086:0001"), "mismatch"),
        (serial("00-15-17-FF-FF-AB-CD-EF"), NIC),
        (serial("00-15-17-ff-ff-00-00-00"), "mismatch"),
    ];
    for (identity, expected) in table {
        assert_eq!(one(Entry { identity: identity.clone(), ..entry("one", at(NIC)) }), expected, "{identity:?}");
    }
    let mut seen = machine();
    Arc::make_mut(&mut seen.functions.get_mut(&x(NIC)).unwrap().card).serial = Fact::Unreadable("asleep".to_owned());
    let asks = Entry { identity: serial("00-15-17-ff-ff-ab-cd-ef"), ..entry("one", at(NIC)) };
    assert_eq!(shown(&resolve(&desired([asks]), &seen)), "held");
}

#[test]
fn what_two_entries_claim_is_neithers() {
    let slot = Select { slot: Some(x("0000:01:00")), ..Select::default() };
    let found = resolve(&desired([entry("slot", slot), entry("nic", at(NIC))]), &machine());
    assert_eq!(found.owner.get(&x(NIC)), None);
    assert!(found.entries.iter().all(|one| one.fault.as_ref().is_some_and(|fault| fault.state == State::Ambiguous)));
}

#[test]
fn an_entry_that_another_one_finds_fault_with_has_it_too() {
    let slot = || Select { slot: Some(x("0000:01:00")), ..Select::default() };
    let mut wrong = entry("nic", at(NIC));
    wrong.identity.id = Some(x("10de:2684"));
    for entries in [[entry("slot", slot()), wrong.clone()], [wrong.clone(), entry("slot", slot())]] {
        let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        let found = resolve(&desired(entries), &machine());
        assert_eq!(found.owner.get(&x(NIC)), None);
        for (name, one) in names.iter().zip(&found.entries) {
            let state = if name == "slot" { State::Ambiguous } else { State::Mismatch };
            assert_eq!(one.fault.as_ref().map(|fault| fault.state), Some(state), "{name}");
        }
    }
}

#[test]
fn a_whole_group_brings_its_endpoints_and_no_bridge_and_leaves_others_their_own() {
    let mut seen = machine();
    Arc::make_mut(&mut seen.functions.get_mut(&x(SECOND)).unwrap().card).bridge = true;
    let whole = || Entry { whole_group: true, ..entry("one", at(NIC)) };
    assert_eq!(shown(&resolve(&desired([whole()]), &seen)), NIC);
    assert_eq!(shown(&resolve(&desired([whole()]), &machine())), "0000:01:00.0 0000:01:00.1");
    let found = resolve(&desired([whole(), entry("second", at(SECOND))]), &machine());
    assert_eq!((shown(&found).as_str(), found.owner[&x(SECOND)]), (NIC, 1));
}
