//! Why a device must not be touched now.
//!
//! What can be told from the links is told from the links; only a device that would be taken from
//! a driver, or is open to a virtual machine, needs a closer look first.

use std::collections::BTreeSet;

use super::drift::Drift;
use super::pci::{Address, Driver};
use super::plan::Guard;
use super::resolve::Resolution;
use super::snapshot::{Fact, Function, Group, Holder, Look, Snapshot};
use super::viable::is_harmless;

/// Whether a device may be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Free,
    /// A closer look must be taken first.
    LookFirst,
    /// It must not, and why.
    Held(Guard, String),
}

use Verdict::{Free, Held, LookFirst};

/// What the guards are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The snapshot of this pass.
    pub snapshot: &'a Snapshot,
    /// What the entries mean on it.
    pub found: &'a Resolution,
    /// The guards that the entry lifts.
    pub allow: &'a BTreeSet<Guard>,
    /// Whether its console had gone before, because VFIO had it, and no driver has brought one back.
    pub console_gone: bool,
    /// Whether nothing will be written to it yet, because its module must come first. Then a
    /// device without a driver needs no look: after an unload it would delay the load.
    pub before_load: bool,
}

/// Asks every guard about one device that drifted.
#[must_use]
pub fn verdict(ask: Question<'_>, address: Address, drift: &Drift) -> Verdict {
    let Some(function) = ask.snapshot.functions.get(&address) else {
        return Held(Guard::Unreadable, format!("{address} is not in the snapshot"));
    };
    if let Some(verdict) = standing(ask, address, function) {
        return verdict;
    }
    match drift {
        Drift::Unbound => match unbound(ask.snapshot, address, function) {
            // Also a host driver's unbind can hang, its link gone already; only `uevent` tells.
            Free if !ask.before_load => bound_still(function),
            verdict => verdict,
        },
        Drift::WrongDriver(_) | Drift::Pin(_) => match current_look(function) {
            None => LookFirst,
            Some(look) => in_use(look, ask.allow, matches!(drift, Drift::Pin(_))),
        },
    }
}

/// The look, if it was at the device object that is there now.
fn current_look(function: &Function) -> Option<&Look> {
    function.look.as_deref().filter(|look| look.object == function.card.object)
}

/// Guards that hold whatever is to be written, told from the links.
fn standing(ask: Question<'_>, address: Address, function: &Function) -> Option<Verdict> {
    if let Some((guard, reason)) = unfit(address, function) {
        return Some(Held(guard, reason));
    }
    if let Some((guard, reason)) = with_vfs(function) {
        // It is held in any case; the look tells who has one of them.
        let named = ask.before_load || current_look(function).is_some();
        return Some(if named { Held(guard, reason) } else { LookFirst });
    }
    if let Some(reason) = leads_to_declared(ask, address, function) {
        return Some(Held(Guard::Bridge, reason));
    }
    if function.card.boot_vga && !ask.console_gone && !ask.allow.contains(&Guard::BootDisplay) {
        return Some(Held(Guard::BootDisplay, "the console is on it (boot_vga is 1)".to_owned()));
    }
    group_shared(ask, address).map(|(guard, reason)| Held(guard, reason))
}

/// Guards that nothing lifts and that need no look: they hold declared devices and others alike.
fn never(address: Address, function: &Function) -> Option<(Guard, String)> {
    unfit(address, function).or_else(|| with_vfs(function))
}

fn unfit(address: Address, function: &Function) -> Option<(Guard, String)> {
    if function.card.bridge {
        return Some((Guard::Bridge, format!("{address} is a bridge (class {:06x})", function.card.class)));
    }
    if let Some(why) = function.driver.unreadable().or(function.group.unreadable()) {
        return Some((Guard::Unreadable, why.to_owned()));
    }
    None
}

/// Why a function must stay on its driver, because that makes the bus of another one that is declared: it
/// would go with the driver (Intel VMD; from 5.6 on all behind it share its group).
fn leads_to_declared(ask: Question<'_>, address: Address, function: &Function) -> Option<String> {
    let driver = function.driver.is().filter(|_| !ask.snapshot.on_vfio(function))?;
    let mut below = ask.snapshot.above.iter().filter(|(_, above)| **above == address).map(|(below, _)| below);
    let found = ask.found;
    let declared = below.find(|below| {
        found.owner.contains_key(below) && !found.released.contains(below) || found.faults.contains_key(below)
    })?;
    Some(format!("{declared} is declared and is behind {address}: without {driver} it would be gone"))
}

/// A PF with VFs; whoever has one of them, or itself, comes first.
fn with_vfs(function: &Function) -> Option<(Guard, String)> {
    let (index, vf) = function.vfs.first_key_value()?;
    if let Some(reason) = current_look(function).and_then(open_by) {
        return Some((Guard::InUse, reason));
    }
    let reason = format!("its VFs exist (VF {index} is {vf}); taking it would destroy them");
    Some((Guard::SriovPfWithVfs, reason))
}

/// Who else is in the group of a device and keeps it from being opened, in a sentence.
#[must_use]
pub fn shared(ask: Question<'_>, address: Address) -> Option<String> {
    group_shared(ask, address).filter(|(guard, _)| *guard == Guard::GroupShared).map(|(_, reason)| reason)
}

fn group_shared(ask: Question<'_>, address: Address) -> Option<(Guard, String)> {
    let (number, group) = ask.snapshot.group_of(address)?;
    let above = &ask.snapshot.above;
    let mut blockers = Vec::new();
    // What is behind a function is gone once that has been taken from its driver.
    let others = group.members.iter().filter(|member| **member != address && above.get(member) != Some(&address));
    for member in others {
        let Some(other) = ask.snapshot.functions.get(member) else {
            return Some((Guard::Unreadable, format!("{member} of group {number} is not in the snapshot")));
        };
        match &other.driver {
            Fact::Absent => {}
            Fact::Unreadable(why) => return Some((Guard::Unreadable, why.clone())),
            Fact::Is(driver) => {
                let released = ask.found.released.contains(member);
                let kept = ask.found.owner.contains_key(member) && !released;
                let (on_vfio, kernel) = (ask.snapshot.on_vfio(other), ask.snapshot.platform.kernel);
                let harmless = is_harmless(&other.card, driver, on_vfio, kernel);
                // It cannot be taken from its driver, declared or not.
                if above.get(&address) == Some(member) && !harmless {
                    let reason =
                        format!("it is behind {member}, which shares group {number} and must stay on {driver}");
                    return Some((Guard::GroupShared, reason));
                }
                if !harmless && !kept {
                    blockers.push((member, driver, released));
                }
            }
        }
    }
    if let Some((member, driver, released)) = blockers.first() {
        let so = match released {
            true => "is released; adopt it, or release this one too",
            false => "is not declared; declare it too, or unbind it",
        };
        let more: Vec<String> =
            blockers.iter().skip(1).map(|(member, driver, _)| format!("{member} on {driver}")).collect();
        let more = if more.is_empty() { String::new() } else { format!(" (in the way as well: {})", more.join(", ")) };
        let reason = format!("{member} shares group {number}, is on {driver} and {so}{more}");
        return Some((Guard::GroupShared, reason));
    }
    let other = group.others.first()?;
    Some((Guard::GroupShared, format!("{other}, which is no PCI device, shares group {number}")))
}

/// A device without a driver: free, unless somebody's unbind is still under way.
///
/// While a process holds the device, an unbind sleeps; the `driver` link is gone already, the
/// group's node is still there. Where another member of the group accounts for the node, only
/// `uevent` tells: it names the driver until the unbind has ended (and blocks on 6.1).
fn unbound(snapshot: &Snapshot, address: Address, function: &Function) -> Verdict {
    let Some((number, group)) = snapshot.group_of(address) else { return Free };
    match &group.node {
        Fact::Absent => return Free,
        Fact::Unreadable(why) => return Held(Guard::Unreadable, why.clone()),
        Fact::Is(()) => {}
    }
    let by_another = group
        .members
        .iter()
        .filter(|member| **member != address)
        .any(|member| snapshot.functions.get(member).is_some_and(|other| snapshot.on_vfio(other)));
    if !by_another {
        let evidence = format!("it has no driver and /dev/vfio/{number} is still there");
        return Held(Guard::BeingReleased, format!("{evidence}: {}", released(function)));
    }
    bound_still(function)
}

/// What happens to a device whose link is gone while it is in use. Hot-unplug by its slot looks as an unbind
/// does: only the lock that it has tells, and asking for that would wait for it.
fn released(function: &Function) -> &'static str {
    match function.leaving {
        true => {
            "somebody removes it while it is in use; until its holder lets go, a rescan or another removal waits, too"
        }
        false => "somebody unbinds or unplugs it while it is in use",
    }
}

/// Whether `uevent` still names a driver for a device whose link is gone.
fn bound_still(function: &Function) -> Verdict {
    match current_look(function).map(|look| &look.uevent_driver) {
        None => LookFirst,
        Some(Fact::Absent) => current_look(function).map_or(LookFirst, used_without_a_driver),
        Some(Fact::Is(driver)) if function.leaving => {
            Held(Guard::BeingReleased, format!("its removal from {driver} has not ended: {}", released(function)))
        }
        Some(Fact::Is(driver)) => Held(Guard::BeingReleased, format!("somebody's unbind from {driver} has not ended")),
        Some(Fact::Unreadable(why)) => Held(Guard::Unreadable, why.clone()),
    }
}

/// A device without a driver: a program of user space may work on it all the same.
fn used_without_a_driver(look: &Look) -> Verdict {
    match &look.raw {
        Fact::Unreadable(why) => Held(Guard::Unreadable, why.clone()),
        Fact::Is(holders) => named(holders).map_or(Free, |reason| Held(Guard::InUse, reason)),
        Fact::Absent => Free,
    }
}

/// Who has it open by any way, in a sentence, as far as the look found somebody.
fn open_by(look: &Look) -> Option<String> {
    let all: Vec<&Holder> = [&look.holders, &look.raw].into_iter().filter_map(Fact::is).flatten().collect();
    named(all)
}

fn named<'h>(holders: impl IntoIterator<Item = &'h Holder>) -> Option<String> {
    let mut holders = holders.into_iter();
    let first = holders.next()?;
    let more = holders.count();
    let and = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    Some(format!("{first}{and}"))
}

/// Whether the closer look found it in use. With `only_open`, only holders count: for a device on
/// its VFIO driver the host has no network or storage on it.
fn in_use(look: &Look, allow: &BTreeSet<Guard>, only_open: bool) -> Verdict {
    if let Some(reason) = open_by(look) {
        return Held(Guard::InUse, reason);
    }
    match &look.vfs {
        Fact::Absent | Fact::Is(0) => {}
        Fact::Is(count) => return Held(Guard::SriovPfWithVfs, format!("it has {count} VFs")),
        Fact::Unreadable(why) => return Held(Guard::Unreadable, why.clone()),
    }
    let (files, carried) = (look.raw.unreadable(), look.mediated.unreadable());
    let unread = [look.pin.unreadable(), look.holders.unreadable(), files, carried];
    if let Some(why) = unread.into_iter().flatten().next() {
        return Held(Guard::Unreadable, why.to_owned());
    }
    if let Some(devices) = look.mediated.is().filter(|devices| !devices.is_empty()) {
        return Held(Guard::MediatedDevices, carries(devices));
    }
    let mounted = allow.contains(&Guard::MountedDisk);
    if only_open {
        return Free;
    }
    let needed = [
        (Guard::CarriesRoute, &look.network, allow.contains(&Guard::CarriesRoute)),
        (Guard::MountedDisk, &look.storage, mounted),
    ];
    for (guard, fact, allowed) in needed {
        match fact {
            Fact::Unreadable(why) => return Held(Guard::Unreadable, why.clone()),
            Fact::Is(uses) if !allowed && !uses.is_empty() => return Held(guard, uses.join("; ")),
            Fact::Is(_) | Fact::Absent => {}
        }
    }
    Free
}

/// Which mediated devices a driver carries, in a sentence.
#[must_use]
pub fn carries(devices: &[String]) -> String {
    let first = devices.first().map_or("", String::as_str);
    match devices.len() {
        0 | 1 => format!("its driver carries the mediated device {first}; taking it would destroy that"),
        count => format!("its driver carries {count} mediated devices (first {first}); taking it would destroy them"),
    }
}

/// Asks the guards about a function that is to be given back to the host, or whose group is.
#[must_use]
pub fn give_back_verdict(snapshot: &Snapshot, address: Address) -> Verdict {
    let Some(function) = snapshot.functions.get(&address) else {
        return Held(Guard::Unreadable, format!("{address} is not in the snapshot"));
    };
    if let Some((guard, reason)) = never(address, function) {
        return Held(guard, reason);
    }
    match (&function.driver, current_look(function)) {
        (_, None) => LookFirst,
        (Fact::Absent, Some(_)) => unbound(snapshot, address, function),
        // On VFIO the host has no network or storage on it.
        (_, Some(look)) => in_use(look, &BTreeSet::new(), true),
    }
}

/// The members of a group that keep it from virtual machines, each with its driver.
#[must_use]
pub fn blockers(snapshot: &Snapshot, group: &Group) -> Vec<(Address, Driver)> {
    let blocks = |member: &Address| {
        let function = snapshot.functions.get(member)?;
        let driver = function.driver.is()?;
        let harmless = is_harmless(&function.card, driver, snapshot.on_vfio(function), snapshot.platform.kernel);
        (!harmless).then(|| (*member, driver.clone()))
    };
    group.members.iter().filter_map(blocks).collect()
}

/// Asks the guards about a function that nobody declared and that a module load would make the
/// kernel bind. It is pinned to VFIO, so it was somebody's wish; what counts is whether it is
/// being released, unreadable, or has never been VFIO's in this boot and is the console.
#[must_use]
pub fn pinned_verdict(snapshot: &Snapshot, address: Address, was_on_vfio: bool) -> Verdict {
    let Some(function) = snapshot.functions.get(&address) else {
        return Free;
    };
    if let Some((guard, reason)) = never(address, function) {
        return Held(guard, reason);
    }
    if function.card.boot_vga && !was_on_vfio {
        return Held(Guard::BootDisplay, "the console is on it (boot_vga is 1)".to_owned());
    }
    match unbound(snapshot, address, function) {
        LookFirst if function.look.is_some() => Held(Guard::Unreadable, "the device changed under the look".to_owned()),
        verdict => verdict,
    }
}
