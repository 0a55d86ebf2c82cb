//! Virtual functions: those that are in the way, and those that would be a way out.

use std::collections::BTreeSet;

use super::bars;
use super::boot::added;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::grouping::in_the_way;
use super::needed::{Need, doubt, needed};
use super::reserved::{Refusal, firmware_ranges, insists, refusal, scopes_of, tables_are_whole};
use super::survey::{Function, Group, Meaning, Region, Survey};
use crate::model::pci::Address;
use crate::model::words;

/// All findings about SR-IOV.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    let wide = firmware_ranges(survey);
    for (address, function) in &survey.functions {
        if !function.vfs.is_empty() && !survey.on_vfio(function) {
            found.push(with_vfs(survey, *address, function));
        }
        let no_room = no_room(survey, *address, function);
        let makes_none = no_room.is_some();
        found.extend(no_room);
        if let Some(trouble) = trouble(survey, *address, function, &wide).filter(|_| !makes_none) {
            found.extend(alternative(survey, *address, function, trouble));
        }
    }
    found
}

/// That a function cannot have VFs: their BARs have no address, or the kernel has said so when it was
/// asked for some. Where there are some, there was room for those.
fn no_room(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    let able = function.most_vfs.is().is_some_and(|most| *most > 0) && function.card.physfn.is_none();
    if !able || !function.vfs.is_empty() {
        return None;
    }
    let bars = bars::of_vfs(survey, address, function);
    let said = survey.said(Meaning::NoVfs).find(|said| said.device == Some(address));
    if bars.is_empty() && said.is_none() {
        return None;
    }
    let log = said.map(|said| Evidence::new("the kernel's log", said.text.clone()));
    let numbers = said.is_some_and(|said| said.text.contains("out of range"));
    let about = About::Device(address);
    let finding = |why: &str| Finding::new(Severity::Note, about, Code::SriovNoRoom, why);
    if bars.is_empty() && numbers {
        let why =
            "It gets no virtual functions as things are: there are no bus numbers for them below its bridge (ENOMEM).";
        return Some(
            finding(why)
                .by(log)
                .step("Switch ARI and SR-IOV on in the firmware setup, or ask for fewer of them.")
                .step(format!(
                    "Or let the kernel number the buses anew: add `pci=assign-busses` {} and boot again.",
                    added(&survey.machine, "pci=assign-busses")
                )),
        );
    }
    let why = "It gets no virtual functions as things are: there is no room for their memory, so making them fails with ENOMEM.";
    let steps = bars::room(&survey.machine, &bars);
    let shown = bars.into_iter().map(bars::Unplaced::into_evidence);
    Some(finding(why).by(shown).by(log).step("Switch SR-IOV on in the firmware setup, where it is off.").steps(steps))
}

fn with_vfs(survey: &Survey, address: Address, function: &Function) -> Finding {
    let vfs: Vec<String> = function.vfs.values().take(4).map(ToString::to_string).collect();
    let more = if function.vfs.len() > vfs.len() { ", …" } else { "" };
    let why = format!(
        "It has {}: vfio-pci refuses it (EBUSY), and taking it from its driver may destroy {}.",
        words::count(function.vfs.len(), "virtual function"),
        if function.vfs.len() == 1 { "it" } else { "them" }
    );
    let finding = Finding::new(Severity::Blocker, About::Device(address), Code::SriovPfWithVfs, why)
        .because(format!("/sys/bus/pci/devices/{address}/virtfn*"), format!("{}{more}", vfs.join(", ")))
        .step("Pass the virtual functions instead, and leave this one to the host.");
    let held = held(survey, function);
    if !held.is_empty() {
        return finding
            .step(format!("They cannot be destroyed to pass it whole while one is in use: {}.", held.join("; ")));
    }
    let functions = || {
        let vfs = function.vfs.values().filter_map(|vf| Some((*vf, survey.functions.get(vf)?)));
        std::iter::once((address, function)).chain(vfs)
    };
    let needs: Vec<String> =
        functions().filter_map(|(one, f)| Some(format!("{one} ({})", in_words(needed(survey, one, f)?)?))).collect();
    if !needs.is_empty() {
        return finding.step(format!(
            "They cannot be destroyed to pass it whole while the host uses them: {}.",
            needs.join("; ")
        ));
    }
    let unknown =
        functions().any(|(one, f)| f.driver.is().is_some() && !survey.on_vfio(f) && doubt(survey, one, f).is_some());
    let unsure = groups_of_vfs(survey, function).any(|(_, _, group)| survey.open_unknown(group).is_some());
    let first = match (unsure, unknown) {
        (false, false) => "destroy them",
        (true, false) => "make sure that no guest has one of them, and destroy them",
        (_, true) => "make sure that neither a guest nor the host has one of them, and destroy them",
    };
    finding.step(format!("To pass it whole, first {first}: `echo 0 >/sys/bus/pci/devices/{address}/sriov_numvfs`."))
}

/// Why the host needs a function, in words.
fn in_words(need: Need) -> Option<String> {
    match need {
        Need::Route(why) | Need::Mounted(why) | Need::People(why) => Some(why),
        Need::RootDisk => Some("it has the root disk".to_owned()),
        Need::PerhapsRootDisk => Some("it may have the root disk".to_owned()),
        Need::Console => None,
    }
}

/// The VFs of a function that have groups, with these.
fn groups_of_vfs<'s>(
    survey: &'s Survey,
    function: &'s Function,
) -> impl Iterator<Item = (Address, u32, &'s Group)> + 's {
    function.vfs.values().filter_map(|vf| {
        let (number, group) = survey.group_of(survey.functions.get(vf)?)?;
        Some((*vf, number, group))
    })
}

/// Which VFs of a function somebody has open, and who.
fn held(survey: &Survey, function: &Function) -> Vec<String> {
    let Some(holders) = survey.holders.is() else { return Vec::new() };
    let of_one = |(vf, number, _): (Address, u32, &Group)| {
        let said: Vec<String> = holders.get(&number)?.iter().map(ToString::to_string).collect();
        (!said.is_empty()).then(|| format!("{vf} ({})", said.join(", ")))
    };
    groups_of_vfs(survey, function).filter_map(of_one).collect()
}

/// Why a function itself cannot be passed through although a VF of it could.
fn trouble(survey: &Survey, address: Address, function: &Function, wide: &BTreeSet<Region>) -> Option<&'static str> {
    let (_, group) = survey.group_of(function)?;
    if !vfs_stand_alone(survey, address, group) {
        return None;
    }
    let mut reserved = group.reserved.is().into_iter().flatten().filter(|region| insists(region)).peekable();
    if reserved.peek().is_some() && refusal(survey, function) != Refusal::None {
        let all = reserved.all(|region| spared(survey, address, function, region, wide));
        all.then_some("the firmware's reservation is not its virtual functions'")
    } else {
        in_the_way_of(survey, address, group).next().map(|_| "its virtual functions have groups of their own")
    }
}

/// The members of a function's group that keep it from VFIO.
fn in_the_way_of<'s>(survey: &'s Survey, address: Address, group: &'s Group) -> impl Iterator<Item = Address> + 's {
    let others = group.members.iter().copied().filter(move |member| *member != address);
    others.filter(|member| survey.functions.get(member).is_some_and(|other| in_the_way(survey, other)))
}

/// Whether its group is no hindrance to a function's VFs: only other functions of its own slot are in
/// the way. What else is in a group is there because a bridge above does not keep devices apart, and
/// it would not keep VFs apart either.
#[must_use]
pub fn vfs_stand_alone(survey: &Survey, address: Address, group: &Group) -> bool {
    group.others.is_empty() && in_the_way_of(survey, address, group).all(|other| other.slot() == address.slot())
}

/// Whether a region that the firmware has reserved for a function's group is not reserved for its
/// VFs as well: the tables, read as a whole, name single functions, or they say nothing and the range
/// is no firmware's.
#[must_use]
pub fn spared(
    survey: &Survey,
    address: Address,
    function: &Function,
    region: &Region,
    wide: &BTreeSet<Region>,
) -> bool {
    if !tables_are_whole(survey) {
        return false;
    }
    let bridges = |bridge: Address| survey.path_of(bridge);
    let covered = |member: Address| {
        let path = survey.path_of(member);
        path.is_some_and(|path| scopes_of(survey, region).any(|scope| scope.covers(member, &path, bridges)))
    };
    let known = survey.group_of(function).is_some_and(|(_, group)| group.members.iter().copied().any(covered));
    if !known {
        return !wide.contains(region);
    }
    let vfs = match function.vfs.is_empty() {
        true => scopes_of(survey, region).any(|scope| scope.may_cover_vfs(address, &function.card.path, bridges)),
        false => function.vfs.values().copied().any(covered),
    };
    !vfs
}

/// How a function gets the driver that makes its VFs: without one there is nothing to write to (ENOENT).
fn back_to_the_host(survey: &Survey, address: Address, function: &Function) -> Option<String> {
    match function.driver.is() {
        None if function.driver.is_absent() => Some(format!(
            "First give it its host driver, which alone makes them: `vfiodctl release {address}` and take it out of the configuration if it is declared, else `driverctl unset-override {address}`, or load that driver and `echo {address} >/sys/bus/pci/drivers_probe`."
        )),
        Some(driver) if !in_the_way(survey, function) => Some(format!(
            "First give it back to its host driver, since {driver} makes none: `vfiodctl release {address}` and take it out of the configuration if it is declared, else `driverctl unset-override {address}`, or unbind it and bind it by hand."
        )),
        _ => None,
    }
}

fn alternative(survey: &Survey, address: Address, function: &Function, trouble: &str) -> Option<Finding> {
    let most = *function.most_vfs.is()?;
    if most == 0 || function.card.physfn.is_some() {
        return None;
    }
    let why =
        format!("It cannot be passed through itself, and one of up to {most} virtual functions could: {trouble}.");
    let finding = Finding::new(Severity::Note, About::Device(address), Code::SriovAlternative, why)
        .because(format!("/sys/bus/pci/devices/{address}/sriov_totalvfs"), most.to_string());
    let finding = match function.vfs.first_key_value() {
        Some((index, vf)) => finding.step(format!("VF {index} is {vf} already.")),
        None => finding
            .steps(back_to_the_host(survey, address, function))
            .step(format!("Make one: `echo 1 >/sys/bus/pci/devices/{address}/sriov_numvfs` (in a udev rule or systemd-networkd's SR-IOV section for every boot).")),
    };
    Some(finding.step(format!("Declare it:\n[device.vf0]\npf = \"{address}\"\nvf = \"0\"")))
}
