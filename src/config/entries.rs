//! The `[device.NAME]` tables: each one whole, and no two of them for one device.

use std::collections::BTreeMap;

use super::error::Problem;
use super::field::Given;
use super::fragment::DevicePart;
use super::value::At;
use crate::model::desired::{Entry, Identity, Select, VfRange, Wanted};
use crate::model::pci::{Address, BridgePath, Slot};

/// Whether an entry may have this name.
///
/// `/` separates a VF's index from it, `.` would be another table in TOML, and a name that reads as
/// an address or as everything would be ambiguous on the command line.
///
/// # Errors
/// What was expected.
pub fn is_name(text: &str) -> Result<(), &'static str> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !plain || !(1..=64).contains(&text.len()) || text.starts_with('-') {
        return Err("a name of letters, digits, `_` and `-`, not more than 64 of them, not beginning with `-`");
    }
    if text == "all" || text.parse::<Address>().is_ok() {
        return Err("a name that is no address and not \"all\", such as gpu0");
    }
    Ok(())
}

/// The entries, in order of their names.
pub fn entries(parts: BTreeMap<String, DevicePart>, problems: &mut Vec<Problem>) -> Vec<Entry> {
    no_device_twice(&parts, problems);
    let entry = |(name, part): (String, DevicePart)| Entry {
        select: select(&name, &part, problems),
        name,
        identity: Identity { id: part.id.value(), subsystem: part.subsystem.value(), serial: part.serial.value() },
        driver: part.driver.value().unwrap_or(Wanted::Any),
        whole_group: part.group.value().unwrap_or(false),
        allow: part.allow.value().unwrap_or_default(),
    };
    parts.into_iter().map(entry).collect()
}

/// Where an entry's device is, and what in that cannot be.
fn select(name: &str, part: &DevicePart, problems: &mut Vec<Problem>) -> Select {
    let mut select = Select::default();
    // Nothing is to be concluded from a value that has been complained about.
    if part.address.is_wrong() || part.path.is_wrong() || part.pf.is_wrong() || part.vf.is_wrong() {
        return select;
    }
    let (address, path) = (part.address.given(), part.path.given());
    match (part.pf.given(), part.vf.given()) {
        (None, None) if address.is_none() && path.is_none() => problems.push(Problem::Incomplete {
            at: part.mentioned.clone(),
            key: format!("device.{name}"),
            expected: "`address`, `path`, or `pf` and `vf`, which say where the device is".to_owned(),
        }),
        (None, None) => {}
        (Some(pf), None) => problems.push(pf.contradiction("`vf` beside it, such as vf = \"0-3\"")),
        (None, Some(vf)) => problems.push(vf.contradiction("`pf` beside it, such as pf = \"0000:03:00.0\"")),
        (Some(pf), Some(vf)) => {
            const ALONE: &str = "none beside `pf` and `vf`, which say already where the devices are";
            problems.extend(address.map(|address| address.contradiction(ALONE)));
            problems.extend(path.map(|path| path.contradiction(ALONE)));
            select.vf = Some(VfRange { pf: pf.value, first: vf.value.0, last: vf.value.1 });
        }
    }
    if let (Some(address), Some(path)) = (address, path) {
        problems.extend(same_function(address, path));
    }
    match address.map(|address| address.value) {
        Some(At::Function(function)) => select.address = Some(function),
        Some(At::Slot(slot)) => select.slot = Some(slot),
        None => {}
    }
    select.path = path.map(|path| path.value.clone());
    select
}

/// What cannot be in `address` and `path` of one entry, whatever the hardware.
fn same_function(address: &Given<At>, path: &Given<BridgePath>) -> Option<Problem> {
    let At::Function(function) = address.value else {
        return Some(address.contradiction("an address with its function beside `path`, which means one function"));
    };
    let (root, below) = (path.value.root, !path.value.hops.is_empty());
    if below && root == function {
        return Some(path.contradiction(format!("a path that ends at {function}, not one that goes on below it")));
    }
    let apart = !below && root != function;
    apart.then(|| path.contradiction(format!("a path that ends at {function}, as `address` of this entry says")))
}

/// What an entry lays claim to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    Function(Address),
    Slot(Slot),
    Path(BridgePath),
    Vfs(VfRange),
}

impl Claim {
    fn meets(&self, other: &Claim) -> bool {
        match (self, other) {
            (Claim::Function(a), Claim::Slot(b)) | (Claim::Slot(b), Claim::Function(a)) => a.slot() == *b,
            (Claim::Vfs(a), Claim::Vfs(b)) => a.pf == b.pf && a.first <= b.last && b.first <= a.last,
            // Taking a PF away from its driver destroys the VFs.
            (Claim::Vfs(a), Claim::Function(b)) | (Claim::Function(b), Claim::Vfs(a)) => a.pf == *b,
            (Claim::Vfs(a), Claim::Slot(b)) | (Claim::Slot(b), Claim::Vfs(a)) => a.pf.slot() == *b,
            (a, b) => a == b,
        }
    }

    fn is_vfs(&self) -> bool {
        matches!(self, Claim::Vfs(_))
    }
}

/// The claims of an entry, each with the complaint about it, less its cause.
fn claims(part: &DevicePart) -> Vec<(Claim, Given<()>)> {
    let mut claims = Vec::new();
    if let Some(address) = part.address.given() {
        let claim = match address.value {
            At::Function(function) => Claim::Function(function),
            At::Slot(slot) => Claim::Slot(slot),
        };
        claims.push((claim, address.place_only()));
    }
    if let Some(path) = part.path.given() {
        // A path without bridges is an address.
        let address = path.value.hops.is_empty().then_some(Claim::Function(path.value.root));
        claims.push((address.unwrap_or_else(|| Claim::Path(path.value.clone())), path.place_only()));
    }
    if let (Some(pf), Some(vf)) = (part.pf.given(), part.vf.given()) {
        let range = VfRange { pf: pf.value, first: vf.value.0, last: vf.value.1 };
        claims.push((Claim::Vfs(range), vf.place_only()));
    }
    claims
}

/// Two entries for one device: a complaint about the later one, which names the other.
fn no_device_twice(parts: &BTreeMap<String, DevicePart>, problems: &mut Vec<Problem>) {
    let mut all: Vec<(&String, Claim, Given<()>)> = Vec::new();
    for (name, part) in parts {
        all.extend(claims(part).into_iter().map(|(claim, given)| (name, claim, given)));
    }
    all.sort_by(|a, b| a.2.at.cmp(&b.2.at));
    for (n, (name, claim, given)) in all.iter().enumerate() {
        let earlier = all[..n].iter().find(|(other, theirs, _)| other != name && claim.meets(theirs));
        if let Some((_, theirs, other)) = earlier {
            let what = match (claim.is_vfs(), theirs.is_vfs()) {
                (true, false) => "VFs of a function that is not itself declared",
                (false, true) => "a function whose VFs are not declared",
                _ => "a device that no other entry declares",
            };
            problems.push(given.contradiction(format!("{what}; `{}` at {} is {}", other.key, other.at, other.written)));
        }
    }
}
