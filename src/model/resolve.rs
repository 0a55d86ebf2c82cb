//! Which functions the entries mean on this snapshot.
//!
//! Done anew on each snapshot: hot-plug, VFs made again and renumbering change the answer, and an
//! absent or foreign card is an answer, never an error of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Desired, Entry, Identity, Select, VfRange};
use super::pci::{Address, Ids};
use super::snapshot::{Card, Fact, Function, Snapshot};
use super::state::State;
use super::variant::{Choice, Known};

/// What the entries mean now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// One for each entry, in the configuration's order.
    pub entries: Vec<Found>,
    /// The entry that declares a function, by index. Functions with a fault are left out: whatever
    /// sits there is not what was declared.
    pub owner: BTreeMap<Address, usize>,
    /// Functions that an entry names and that are not to be had, with the entry.
    pub faults: BTreeMap<Address, (usize, Fault)>,
    /// Functions of entries that a person has had released; they have an owner, too.
    pub released: BTreeSet<Address>,
}

/// What one entry means now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Its functions that are there and right, in order of address.
    pub devices: Vec<Address>,
    /// Why it is not whole.
    pub fault: Option<Fault>,
    /// Whether its functions move together or not at all.
    pub together: bool,
}

/// Why something declared is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `missing`, `ambiguous` or `mismatch`; `held` where it cannot be told.
    pub state: State,
    /// In words.
    pub reason: String,
}

impl Fault {
    fn new(state: State, reason: String) -> Fault {
        Fault { state, reason }
    }
}

/// Finds the functions of every entry.
#[must_use]
pub fn resolve(desired: &Desired, snapshot: &Snapshot) -> Resolution {
    let mut found = Resolution::default();
    for (index, entry) in desired.entries.iter().enumerate() {
        let candidates = candidates(&entry.select, snapshot);
        let mut one = Found {
            devices: Vec::with_capacity(candidates.addresses.len()),
            fault: candidates.fault,
            together: entry.select.vf.is_none(),
        };
        for (place, address) in candidates.addresses.into_iter().enumerate() {
            // A slot is known by its first function; the others are other devices by nature.
            let checked = if place == 0 || entry.select.slot.is_none() {
                snapshot.functions.get(&address).and_then(|f| identity_fault(&entry.identity, &f.card, address))
            } else {
                one.fault.clone()
            };
            match checked {
                None => one.devices.push(address),
                Some(fault) => {
                    found.faults.insert(address, (index, fault.clone()));
                    one.fault.get_or_insert(fault);
                }
            }
        }
        found.entries.push(one);
    }
    claim(desired, snapshot, &mut found);
    found
}

/// Gives each function to one entry; what two entries claim belongs to neither.
fn claim(desired: &Desired, snapshot: &Snapshot, found: &mut Resolution) {
    for index in 0..found.entries.len() {
        for address in found.entries[index].devices.clone() {
            match found.owner.insert(address, index) {
                None => {}
                Some(other) => {
                    let names = [&desired.entries[other].name, &desired.entries[index].name];
                    let reason = format!("{address} is claimed by the entries {} and {}", names[0], names[1]);
                    let fault = Fault::new(State::Ambiguous, reason);
                    for entry in [other, index] {
                        found.entries[entry].fault = Some(fault.clone());
                    }
                    found.faults.insert(address, (other, fault));
                }
            }
        }
    }
    if !found.faults.is_empty() {
        let faults = &found.faults;
        found.owner.retain(|address, _| !faults.contains_key(address));
        for (index, entry) in found.entries.iter_mut().enumerate() {
            // One that another entry means as well and finds fault with: whose it is cannot be told.
            let contested = entry.devices.iter().find_map(|address| {
                let (other, _) = faults.get(address).filter(|(other, _)| *other != index)?;
                let names = [&desired.entries[*other].name, &desired.entries[index].name];
                Some(format!("{address} is claimed by the entries {} and {}", names[0], names[1]))
            });
            if let Some(reason) = contested {
                entry.fault.get_or_insert(Fault::new(State::Ambiguous, reason));
            }
            entry.devices.retain(|address| !faults.contains_key(address));
        }
    }
    for (index, entry) in desired.entries.iter().enumerate() {
        if entry.whole_group && found.entries[index].fault.is_none() {
            whole_group(index, snapshot, found);
        }
    }
}

/// Declares the other endpoints of the groups that an entry's functions are in.
fn whole_group(index: usize, snapshot: &Snapshot, found: &mut Resolution) {
    let groups = found.entries[index].devices.iter().filter_map(|address| snapshot.group_of(*address));
    let members: Vec<Address> = groups
        .flat_map(|(_, group)| group.members.iter().copied())
        .filter(|member| snapshot.functions.get(member).is_some_and(|f| !f.card.bridge))
        .filter(|member| !found.faults.contains_key(member))
        .collect();
    for member in members {
        // A member with an entry of its own keeps it.
        if *found.owner.entry(member).or_insert(index) == index {
            found.entries[index].devices.push(member);
        }
    }
    let devices = &mut found.entries[index].devices;
    devices.sort_unstable();
    devices.dedup();
}

struct Candidates {
    addresses: Vec<Address>,
    fault: Option<Fault>,
}

impl Candidates {
    fn of(addresses: Vec<Address>, none: impl FnOnce() -> String) -> Candidates {
        let fault = addresses.is_empty().then(|| Fault::new(State::Missing, none()));
        Candidates { addresses, fault }
    }

    fn fault(state: State, reason: String) -> Candidates {
        Candidates { addresses: Vec::new(), fault: Some(Fault::new(state, reason)) }
    }
}

fn candidates(select: &Select, snapshot: &Snapshot) -> Candidates {
    if let Some(range) = &select.vf {
        return virtual_functions(*range, snapshot);
    }
    if let Some(slot) = select.slot {
        let functions = slot.function(0)..=slot.function(7);
        let addresses = snapshot.functions.range(functions).map(|(address, _)| *address).collect();
        return Candidates::of(addresses, || format!("there is no function in slot {slot}"));
    }
    let by_address = |address: Address| snapshot.functions.contains_key(&address).then_some(address);
    let Some(path) = &select.path else {
        let Some(address) = select.address else {
            return Candidates::fault(State::Missing, "the entry selects nothing".to_owned());
        };
        return Candidates::of(by_address(address).into_iter().collect(), || format!("{address} is not there"));
    };
    // What is known to be there may be one of several, or not the one that was meant.
    if let Some(why) = snapshot.unclear_paths.get(path) {
        return Candidates::fault(State::Held, format!("where path {path} leads cannot be told: {why}"));
    }
    // A VF hangs below the same bridge as its PF and can have the same path: it is declared by index.
    let at: Vec<Address> = snapshot
        .functions
        .iter()
        .filter(|(_, f)| f.card.path == *path && f.card.physfn.is_none())
        .map(|(a, _)| *a)
        .collect();
    match (at.as_slice(), select.address) {
        ([], _) => Candidates::fault(State::Missing, format!("there is no function at path {path}")),
        ([one], Some(address)) if *one != address => {
            Candidates::fault(State::Ambiguous, format!("path {path} leads to {one}, not to the declared {address}"))
        }
        ([_], _) => Candidates { addresses: at, fault: None },
        (several, _) => {
            let shown: Vec<String> = several.iter().map(ToString::to_string).collect();
            Candidates::fault(State::Ambiguous, format!("path {path} leads to {}", shown.join(" and ")))
        }
    }
}

fn virtual_functions(range: VfRange, snapshot: &Snapshot) -> Candidates {
    let VfRange { pf, first, last } = range;
    let Some(function) = snapshot.functions.get(&pf) else {
        return Candidates::fault(State::Missing, format!("the PF {pf} is not there"));
    };
    let addresses: Vec<Address> = function
        .vfs
        .range(first..=last)
        .map(|(_, address)| *address)
        .filter(|address| snapshot.functions.contains_key(address))
        .collect();
    let wanted = (last - first) as usize + 1;
    let fault = (addresses.len() < wanted).then(|| {
        let has = match (function.vfs.len(), snapshot.most_vfs.get(&pf)) {
            (has, Some(most)) => format!(": sriov_numvfs is {has} of {most} (sriov_totalvfs)"),
            (_, None) => String::new(),
        };
        let reason = format!("{} of {wanted} VFs ({first}-{last}) of {pf} are there{has}", addresses.len());
        Fault::new(State::Missing, reason)
    });
    Candidates { addresses, fault }
}

fn identity_fault(wanted: &Identity, card: &Card, address: Address) -> Option<Fault> {
    let mismatch = |what: &str, found: String, wanted: String| {
        Some(Fault::new(State::Mismatch, format!("{address} has {what} {found}, declared is {wanted}")))
    };
    if let Some(id) = wanted.id
        && id != card.ids
    {
        return mismatch("id", card.ids.to_string(), id.to_string());
    }
    match (wanted.subsystem, &card.subsystem) {
        (None, _) => {}
        (Some(id), Fact::Is(found)) if id == *found => {}
        (Some(id), found) => return differs("subsystem", found.as_text(), id_text(id), address),
    }
    match (&wanted.serial, &card.serial) {
        (None, _) => None,
        (Some(serial), Fact::Is(found)) if serial.eq_ignore_ascii_case(found) => None,
        (Some(serial), found) => differs("serial", found.as_text(), serial.clone(), address),
    }
}

fn id_text(id: Ids) -> String {
    id.to_string()
}

/// A mismatch, or, where the fact cannot be read, a hold: nobody knows which card it is.
fn differs(what: &str, found: Fact<String>, wanted: String, address: Address) -> Option<Fault> {
    let (state, found) = match found {
        Fact::Is(found) => (State::Mismatch, found),
        Fact::Absent => (State::Mismatch, "none".to_owned()),
        Fact::Unreadable(why) => (State::Held, format!("an unreadable one ({why})")),
    };
    Some(Fault::new(state, format!("{address} has {what} {found}, declared is {wanted}")))
}

impl<T: ToString> Fact<T> {
    fn as_text(&self) -> Fact<String> {
        match self {
            Fact::Is(value) => Fact::Is(value.to_string()),
            Fact::Absent => Fact::Absent,
            Fact::Unreadable(why) => Fact::Unreadable(why.clone()),
        }
    }
}

/// The driver that an entry wants for one of its functions.
#[must_use]
pub fn wanted_driver(entry: &Entry, function: &Function, known: Known<'_>) -> Choice {
    known.choice(&entry.driver, &function.card.modalias, &function.driver, function.registered)
}
