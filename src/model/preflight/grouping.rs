//! Groups: who is in them, who is in the way, what to declare or to detach.

use std::collections::{BTreeMap, BTreeSet};

use super::behind::{behind, controller};
use super::boot::modprobe_place;
use super::check::{by_slot, unread};
use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::mediated::carries;
use super::needed::{Doubt, Need, doubt, needed, platform_part};
use super::report::{GroupReport, Member, Role};
use super::slots;
use super::survey::{Function, Group, Survey};
use crate::model::group_state::{GroupState, Tally};
use crate::model::pci::Address;
use crate::model::viable::is_harmless;

/// Whether a function keeps its group from VFIO, by the guards' own rule.
#[must_use]
pub fn in_the_way(survey: &Survey, function: &Function) -> bool {
    match function.driver.is() {
        Some(driver) => !is_harmless(&function.card, driver, survey.on_vfio(function), survey.machine.version()),
        // A driver that cannot be told is not taken for none.
        None => function.driver.unreadable().is_some(),
    }
}

/// All findings about groups and cards of several functions.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for (address, function) in &survey.functions {
        if Role::of(&function.card) != Role::Endpoint {
            continue;
        }
        let Some((number, group)) = survey.group_of(function) else { continue };
        found.extend(shared(survey, *address, number, group));
        found.extend(in_use(survey, *address, function, number, group));
    }
    for (number, group) in &survey.groups {
        let why = survey.open_unknown(group);
        found.extend(why.map(|why| unread(About::Group(*number), "whether somebody has it open", why)));
    }
    found.extend(split(survey));
    found
}

/// The endpoints that a remedy could offer to detach from their drivers.
#[must_use]
pub fn detachable(survey: &Survey) -> BTreeSet<Address> {
    let blocks =
        |function: &Function| Role::of(&function.card) == Role::Endpoint && survey.group_of(function).is_some();
    let found = survey.functions.iter().filter(|(_, function)| blocks(function) && in_the_way(survey, function));
    found.map(|(address, _)| *address).collect()
}

/// The members, others than this one, that keep the group from VFIO.
fn blockers<'s>(survey: &'s Survey, group: &'s Group, besides: Option<Address>) -> Vec<(Address, &'s Function)> {
    let members = group.members.iter().filter(|member| Some(**member) != besides);
    let members = members.filter_map(|member| Some((*member, survey.functions.get(member)?)));
    // What is behind a function is gone once that has been taken from its driver.
    let members = members.filter(|(_, function)| besides.is_none() || function.above != besides);
    members.filter(|(_, function)| in_the_way(survey, function)).collect()
}

pub(super) fn name(function: &Function) -> &str {
    function.driver.is().map_or("a driver that cannot be told", |driver| driver.as_str())
}

fn shared(survey: &Survey, address: Address, number: u32, group: &Group) -> Option<Finding> {
    // Said there, with another remedy: nothing can be detached around it.
    if survey.functions.get(&address).is_some_and(|function| controller(survey, function).is_some()) {
        return None;
    }
    let blockers = blockers(survey, group, Some(address));
    if blockers.is_empty() && group.others.is_empty() {
        return None;
    }
    let mut names: Vec<String> = blockers.iter().map(|(other, f)| format!("{other} ({})", name(f))).collect();
    names.extend(group.others.iter().map(|other| format!("{other} (no PCI device)")));
    let why = format!(
        "It shares group {number} with {}, and a group is given away as a whole: opening it fails while a member is on a host driver.",
        names.join(", ")
    );
    let mut finding = Finding::new(Severity::Blocker, About::Device(address), Code::GroupShared, why);
    for (other, function) in &blockers {
        finding = finding.because(format!("/sys/bus/pci/devices/{other}/driver"), name(function));
    }
    for other in &group.others {
        finding = finding.because(format!("/sys/kernel/iommu_groups/{number}/devices"), other.as_str());
    }
    if blockers.iter().any(|(_, f)| !f.card.bridge) {
        finding = finding.steps(of_endpoints(survey, number, address, &blockers));
    }
    for (other, function) in blockers.iter().filter(|(_, f)| f.card.bridge) {
        finding = finding.step(format!(
            "{other} is a bridge: it cannot be passed through; keep its driver away (`blacklist {}` in {}) if the host can do without it.",
            function.driver.is().map_or_else(String::new, |driver| driver.module().as_str().to_owned()),
            modprobe_place(&survey.machine)
        ));
    }
    if !group.others.is_empty() {
        finding = finding.step("What is no PCI device cannot be handed over: this group stays with the host.");
    }
    Some(finding)
}

/// What to do about endpoints in the way. What the host lives on is nobody's to detach, and while it
/// is in the way it helps nobody to detach the others.
fn of_endpoints(survey: &Survey, number: u32, address: Address, blockers: &[(Address, &Function)]) -> Vec<String> {
    let own = survey.functions.get(&address).map(|function| (address, function));
    let members: Vec<_> = own.into_iter().chain(blockers.iter().copied()).collect();
    let staying: Vec<(Address, Need)> = staying(survey, &members).collect();
    let parents: Vec<Parent> = parents(survey, &members).collect();
    let mut steps = Vec::new();
    let leading: Vec<Address> =
        blockers.iter().map(|(other, _)| *other).filter(|other| behind(survey, *other).next().is_some()).collect();
    let stuck = !leading.is_empty() || !parents.is_empty() || staying.iter().any(|(_, need)| *need != Need::Console);
    if !stuck {
        steps.extend(caution(survey, blockers));
        // A second entry for a device that has one is refused (`config::entries`).
        steps.push(format!(
            "Have vfiod keep the whole group, if the host needs none of it: in its entry set `group = \"whole\"`; if it is not declared yet, add this one:\n{}",
            declare(number, address).join("\n")
        ));
    }
    if !stuck && staying.is_empty() && parents.is_empty() {
        let lines = detach(survey, blockers).join("\n");
        steps.push(format!("Or detach the others by hand, if the host needs none of them:\n{lines}"));
    }
    steps.extend(must_stay(address, staying, parents));
    steps.extend(leading.iter().map(|other| {
        format!("{other} makes a bus that others are on (see behind-controller): without its driver they are gone.")
    }));
    let put = if stuck { "Put" } else { "Or put" };
    steps.push(match survey.machine.device_tree {
        true => format!("{put} the card below another controller of PCI Express: the groups of a board are what its wiring makes them."),
        false => format!("{put} the card into another slot, or look for ACS (\"PCIe ACS Enable\") in the firmware setup: then groups are smaller."),
    });
    steps
}

/// Why these stay with the host, a sentence each, as they are told of one function.
pub(super) fn must_stay(address: Address, staying: Vec<(Address, Need)>, parents: Vec<Parent>) -> Vec<String> {
    let name = |member: Address| if member == address { "It".to_owned() } else { member.to_string() };
    let needed = staying.into_iter().map(|(member, need)| {
        let member = name(member);
        match need {
            Need::People(why) => format!("{member} has what people use ({why}), and must stay with the host while that is so."),
            Need::Console => format!("{member} has the console, and stays with the host while no other card is the first display (see boot-display)."),
            Need::Route(why) => format!("{member} carries traffic of the host ({why}), and must stay with the host while that is so."),
            Need::Mounted(why) => format!("{member} has disks in use ({why}), and must stay with the host while that is so."),
            Need::RootDisk => format!("{member} has the root disk, and must stay with the host."),
            Need::PerhapsRootDisk => format!("{member} may have the root disk: while nobody knows where that is, it must stay with the host."),
        }
    });
    let parents = parents.into_iter().map(|(member, what)| {
        format!(
            "{} has {what}, which would go with it: while they are there, it must stay on its host driver.",
            name(member)
        )
    });
    needed.chain(parents).collect()
}

/// How the machine's own parts are told.
const OF_THE_PLATFORM: &str = "The machine itself uses these, and has to do without them then";

/// What to look at first, where nobody could tell whether the host uses what is in the way.
pub(super) fn caution(survey: &Survey, blockers: &[(Address, &Function)]) -> Option<String> {
    let endpoints = blockers.iter().filter(|(_, f)| Role::of(&f.card) == Role::Endpoint);
    let doubts: Vec<_> =
        endpoints.clone().filter_map(|(address, f)| Some((*address, doubt(survey, *address, f)?))).collect();
    let parts: Vec<String> =
        endpoints.filter_map(|(address, f)| Some(format!("{address} ({})", platform_part(&f.card)?))).collect();
    if doubts.is_empty() {
        return (!parts.is_empty()).then(|| format!("{OF_THE_PLATFORM}: {}.", parts.join(", ")));
    }
    let name = |(address, doubt): &(Address, Doubt<'_>)| match doubt.why {
        Some(why) => format!("{address} ({why})"),
        None => address.to_string(),
    };
    let names: Vec<String> = doubts.iter().map(name).collect();
    let mut lines = vec![format!(
        "First make sure that the host does not use {}, which could not be told here; these show what it uses:",
        names.join(", ")
    )];
    if doubts.iter().any(|(_, doubt)| doubt.traffic) {
        lines.extend(["ip -br link".to_owned(), "ip route show table all".to_owned()]);
    }
    if doubts.iter().any(|(_, doubt)| doubt.disks) {
        lines.push("lsblk".to_owned());
    }
    if doubts.iter().any(|(_, doubt)| doubt.people) {
        lines.push("lsusb -t".to_owned());
    }
    if !parts.is_empty() {
        lines.push(format!("{OF_THE_PLATFORM}: {}.", parts.join(", ")));
    }
    Some(lines.join("\n"))
}

fn in_use(survey: &Survey, address: Address, function: &Function, number: u32, group: &Group) -> Option<Finding> {
    let holders = survey.holders.is()?.get(&number).filter(|holders| !holders.is_empty())?;
    let said: Vec<String> = holders.iter().map(ToString::to_string).collect();
    let alone =
        group.members.iter().filter(|member| survey.functions.get(member).is_some_and(|f| survey.on_vfio(f))).count()
            < 2;
    let finding = if survey.on_vfio(function) && alone {
        let why = format!("Somebody has it: opening group {number} again fails with EBUSY until they let go.");
        Finding::new(Severity::Note, About::Device(address), Code::InUse, why)
    } else {
        let why =
            format!("Group {number} is in use: its members go to the same user, and to nobody else until they let go.");
        Finding::new(Severity::Warning, About::Device(address), Code::GroupAssigned, why)
            .step("Give all members of a group to the same virtual machine, or wait until it ends.")
            .step("Do not bind a member to a host driver meanwhile: the kernel refuses (EBUSY).")
    };
    Some(finding.because(group.path.as_str(), said.join("; ")))
}

/// Ways to reset that reset one function and leave the others of its card alone.
const OF_ONE_FUNCTION: [&str; 5] = ["device_specific", "acpi", "flr", "af_flr", "pm"];

/// Cards of which one function is on VFIO and another on a host driver.
fn split(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for functions in by_slot(survey).into_values().filter(|functions| functions.len() > 1) {
        // VFs of another PF may sit in the same slot.
        let own: Vec<_> = functions.into_iter().filter(|(_, f)| f.card.physfn.is_none() && !f.card.bridge).collect();
        let (host, rest): (Vec<_>, Vec<_>) = own.into_iter().partition(|(_, f)| in_the_way(survey, f));
        let vfio = rest.into_iter().filter(|(_, f)| survey.on_vfio(f));
        found.extend(vfio.filter_map(|(address, function)| of_split(survey, address, function, &host)));
    }
    found
}

/// The functions of a card hang together by their group or by a reset; those of a NIC with several
/// ports mostly do not, and a slot of the root bus holds what the chipset has put there.
fn of_split(survey: &Survey, address: Address, function: &Function, host: &[(Address, &Function)]) -> Option<Finding> {
    if host.is_empty() {
        return None;
    }
    let grouped = host.iter().any(|(_, f)| function.group.is().is_some_and(|group| f.group.is() == Some(group)));
    let integrated = function.card.path.hops.is_empty();
    if integrated && !grouped {
        return None;
    }
    let methods = function.reset.is().map(Vec::as_slice).unwrap_or_default();
    let alone = methods.iter().any(|method| OF_ONE_FUNCTION.contains(&method.as_str()));
    let names: Vec<String> = host.iter().map(|(other, f)| format!("{other} ({})", name(f))).collect();
    let split = format!("It is on {}, and {} of the same card on a host driver", name(function), names.join(", "));
    let about = About::Device(address);
    let mut finding = if grouped || !alone {
        let why = format!(
            "{split}: a reset of one is often a reset of all, and drivers of a half-bound card have crashed hosts."
        );
        let staying: Vec<(Address, Need)> = staying(survey, host).filter(|(_, need)| *need != Need::Console).collect();
        let parents: Vec<Parent> = parents(survey, host).collect();
        let finding = Finding::new(Severity::Warning, about, Code::FunctionsSplit, why);
        finding.steps(slots::of_card(survey, (address, function), host, staying, parents))
    } else {
        let why = format!("{split}: they are in different groups, and it is reset by itself, so that does no harm.");
        Finding::new(Severity::Note, about, Code::FunctionsSplit, why)
            .because(format!("/sys/bus/pci/devices/{address}/reset_method"), methods.join(" "))
    };
    for (other, function) in host {
        finding = finding.because(format!("/sys/bus/pci/devices/{other}/driver"), name(function));
    }
    Some(finding)
}

pub(super) fn entry_name(address: Address) -> String {
    format!("pci_{:04x}_{:02x}_{:02x}", address.domain, address.bus, address.device)
}

/// A controller is declared alone: what is behind it goes with it.
fn of_group(survey: &Survey, number: u32, first: Address) -> Vec<String> {
    let above = survey.functions.get(&first).and_then(|function| Some(controller(survey, function)?.0));
    let alone = above.unwrap_or(first);
    let mut lines = declare(number, alone);
    if behind(survey, alone).next().is_some() {
        lines.pop();
    }
    lines
}

fn declare(number: u32, address: Address) -> Vec<String> {
    vec![format!("[device.group{number}]"), format!("address = \"{address}\""), "group = \"whole\"".to_owned()]
}

/// Those endpoints that the host lives on.
fn staying(survey: &Survey, members: &[(Address, &Function)]) -> impl Iterator<Item = (Address, Need)> {
    let endpoints = members.iter().filter(|(_, f)| Role::of(&f.card) == Role::Endpoint);
    endpoints.filter_map(|(address, f)| Some((*address, needed(survey, *address, f)?)))
}

/// A function and what would go with its host driver.
pub(super) type Parent = (Address, &'static str);

/// Those functions whose virtual functions or mediated devices would go with their host driver.
fn parents(survey: &Survey, members: &[(Address, &Function)]) -> impl Iterator<Item = Parent> {
    let driven = members.iter().filter(|(_, f)| in_the_way(survey, f));
    driven.filter_map(|(address, f)| match (f.vfs.is_empty(), carries(survey, *address)) {
        (false, _) => Some((*address, "virtual functions")),
        (true, true) => Some((*address, "mediated devices")),
        (true, false) => None,
    })
}

fn detach(survey: &Survey, blockers: &[(Address, &Function)]) -> Vec<String> {
    let leads = blockers.iter().any(|(address, _)| behind(survey, *address).next().is_some());
    if leads || staying(survey, blockers).next().is_some() || parents(survey, blockers).next().is_some() {
        return Vec::new();
    }
    let endpoints = blockers.iter().filter(|(_, f)| Role::of(&f.card) == Role::Endpoint);
    endpoints.map(|(address, _)| format!("virsh nodedev-detach {}", address.libvirt_name())).collect()
}

/// How one group stands.
#[must_use]
pub fn report(survey: &Survey, number: u32) -> Option<GroupReport> {
    let group = survey.groups.get(&number)?;
    let blockers = blockers(survey, group, None);
    let mut words: Vec<String> = blockers.iter().map(|(address, f)| format!("{address} ({})", name(f))).collect();
    words.extend(group.others.iter().map(|other| format!("{other} (no PCI device)")));
    let mut tally = Tally::beside(group.others.len());
    let mut unsure = false;
    let mut members = BTreeMap::new();
    for address in &group.members {
        let Some(function) = survey.functions.get(address) else {
            unsure = true;
            continue;
        };
        unsure |= function.driver.unreadable().is_some();
        let (role, driver, blocks) =
            (Role::of(&function.card), function.driver.is().cloned(), in_the_way(survey, function));
        tally.add(role == Role::Endpoint, driver.is_some(), survey.on_vfio(function), blocks);
        members.insert(*address, Member { role, driver, blocks });
    }
    let first = group.members.iter().find(|member| survey.functions.get(member).is_some_and(|f| !f.card.bridge));
    let first = first.filter(|_| parents(survey, &blockers).next().is_none());
    let holders = survey.holders.is().and_then(|holders| holders.get(&number)).into_iter().flatten();
    Some(GroupReport {
        kind: group.kind.is().cloned(),
        members,
        others: group.others.clone(),
        state: if unsure { GroupState::Unknown } else { tally.state() },
        viable: words.is_empty(),
        blockers: words,
        reserved: group.reserved.is().cloned().unwrap_or_default(),
        holders: holders.map(ToString::to_string).collect(),
        declare: first.map(|address| of_group(survey, number, *address)).unwrap_or_default(),
        detach: detach(survey, &blockers),
    })
}
