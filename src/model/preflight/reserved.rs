//! Memory that the firmware wants mapped 1:1 for a device (Intel's RMRR, AMD's IVMD, `direct`).
//!
//! The bind succeeds, the node appears, the group is viable; only opening fails. `direct-relaxable`
//! (USB, display, the low ISA range), `reserved` and `msi` do not stand in the way.

use std::collections::{BTreeMap, BTreeSet};

use super::absent::make;
use super::arch::Arch;
use super::check::unread;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::firmware::{Reservation, Scope};
use super::make::Make;
use super::needed::NETWORK;
use super::report::Role;
use super::sriov::{spared, vfs_stand_alone};
use super::survey::{Function, Group, Meaning, Region, Survey};
use crate::model::parameter::of_kernel;
use crate::model::pci::{Address, Slot};
use crate::model::snapshot::Fact;

/// Whether the kernel insists on a region.
#[must_use]
pub fn insists(region: &Region) -> bool {
    region.kind == "direct"
}

/// From as many unrelated cards on it is the firmware's own range and not a device's.
const MANY: usize = 3;

/// What the kernel says to opening a device for which it insists on a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing: it does not care.
    None,
    /// It refuses with this error.
    With(&'static str),
    /// It refuses, and the error cannot be told from its release.
    Somehow,
}

/// What the kernel says. A distribution's kernel with newer code in an older number is taken to refuse.
#[must_use]
pub fn refusal(survey: &Survey, function: &Function) -> Refusal {
    let version = survey.machine.version();
    if version < INSISTS && survey.machine.is_backported() {
        return Refusal::Somehow;
    }
    refusal_by(version, function.unit.is().map(String::as_str)).map_or(Refusal::None, Refusal::With)
}

/// From here on every driver's regions count.
const INSISTS: (u32, u32) = (6, 6);

/// How opening fails where the kernel insists on a region; none where it does not care: before
/// 6.6 only Intel's driver did. By a kernel's version and an IOMMU by its name in `/sys/class/iommu`.
#[must_use]
pub fn refusal_by(version: (u32, u32), unit: Option<&str>) -> Option<&'static str> {
    if version >= INSISTS {
        return Some("EINVAL");
    }
    matches!(unit.map(Make::of), None | Some(Make::Intel)).then_some("EPERM")
}

/// All findings about reserved memory.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    let wide = firmware_ranges(survey);
    for (number, group) in &survey.groups {
        match &group.reserved {
            Fact::Is(regions) => {
                let endpoints =
                    group.members.iter().filter_map(|member| Some((*member, survey.functions.get(member)?)));
                let endpoints = endpoints.filter(|(_, f)| Role::of(&f.card) == Role::Endpoint);
                for (address, function) in endpoints {
                    for region in regions {
                        found.extend(of_region(survey, (*number, group), (address, function), region, &wide));
                    }
                }
            }
            Fact::Absent => {}
            Fact::Unreadable(why) => {
                found.push(unread(About::Group(*number), "what the firmware reserves in this group", why));
            }
        }
    }
    found.extend(patched(survey));
    found
}

/// Ranges that many unrelated cards share. A region is its whole group's, so a group counts as one
/// card, whatever else is in it; the functions of a card count as one, too, each in its own group.
#[must_use]
pub fn firmware_ranges(survey: &Survey) -> BTreeSet<Region> {
    let mut cards: BTreeMap<&Region, BTreeSet<Slot>> = BTreeMap::new();
    for group in survey.groups.values() {
        let mut endpoints =
            group.members.iter().filter(|member| survey.functions.get(member).is_some_and(|f| !f.card.bridge));
        let Some(first) = endpoints.next() else { continue };
        for region in group.reserved.is().into_iter().flatten().filter(|region| insists(region)) {
            cards.entry(region).or_default().insert(first.slot());
        }
    }
    let many = cards.into_iter().filter(|(region, cards)| cards.len() >= MANY && !names_few(survey, region));
    many.map(|(region, _)| region.clone()).collect()
}

/// Whether the firmware's tables reserve a region for single functions, and for those of few cards.
fn names_few(survey: &Survey, region: &Region) -> bool {
    let scopes: Vec<&Scope> = scopes_of(survey, region).collect();
    let named = survey.functions.keys().filter(|address| {
        let path = survey.path_of(**address);
        path.is_some_and(|path| scopes.iter().any(|scope| scope.covers(**address, &path, |b| survey.path_of(b))))
    });
    let cards: BTreeSet<Slot> = named.map(|address| address.slot()).collect();
    tables_are_whole(survey) && scopes.iter().all(|scope| scope.is_single()) && (1..MANY).contains(&cards.len())
}

/// Whether no table is there that could not be read, or not as a whole: what it says of one device it
/// may say of others.
#[must_use]
pub fn tables_are_whole(survey: &Survey) -> bool {
    [&survey.iommu.dmar, &survey.iommu.ivrs].into_iter().all(|table| match table {
        Fact::Is(table) => table.trouble.is_none(),
        Fact::Absent => true,
        Fact::Unreadable(_) => false,
    })
}

/// For whom the firmware's tables reserve a region.
pub fn scopes_of<'s>(survey: &'s Survey, region: &Region) -> impl Iterator<Item = &'s Scope> {
    let tables = [&survey.iommu.dmar, &survey.iommu.ivrs];
    let reservations = tables.into_iter().filter_map(Fact::is).flat_map(|table| &table.reservations);
    reservations.filter(|reservation| overlaps(reservation, region)).flat_map(|r| &r.scopes)
}

fn of_region(
    survey: &Survey,
    (number, group): (u32, &Group),
    (address, function): (Address, &Function),
    region: &Region,
    wide: &BTreeSet<Region>,
) -> Option<Finding> {
    let source = format!("/sys/kernel/iommu_groups/{number}/reserved_regions");
    let about = About::Device(address);
    let tables = in_tables(survey, group, region);
    if region.kind == "direct-relaxable" {
        let why = format!(
            "The firmware reserves {region} for its group; the kernel lets go of that when a guest takes the device."
        );
        return Some(
            Finding::new(Severity::Note, about, Code::RmrrRelaxable, why)
                .because(source, region.kind.as_str())
                .by(tables),
        );
    }
    if !insists(region) {
        return None;
    }
    let refused = refusal(survey, function);
    let (code, whose) = match whose(survey, group, address, region) {
        _ if wide.contains(region) => {
            (Code::RmrrFirmwareRange, "for it and for many devices that have nothing to do with each other".to_owned())
        }
        Some(whose) => (Code::Rmrr, format!("for {whose}")),
        None => (Code::Rmrr, "for its group".to_owned()),
    };
    let (severity, end) = match refused {
        Refusal::With(errno) => (Severity::Blocker, format!("binding succeeds, and opening fails with {errno}")),
        Refusal::Somehow => (Severity::Blocker, "binding succeeds, and opening fails".to_owned()),
        Refusal::None => (
            Severity::Warning,
            "this kernel opens it all the same and leaves a hole in the guest's memory; kernels from 6.6 on refuse"
                .to_owned(),
        ),
    };
    let why = format!("The firmware has reserved {region} {whose} and insists that it stays mapped 1:1: {end}.");
    let said = survey.said(Meaning::ReservedRegion).filter(|said| said.device == Some(address));
    let said = said.map(|said| Evidence::new("the kernel's log", said.text.clone())).take(1).collect::<Vec<_>>();
    let finding = Finding::new(severity, about, code, why)
        .because(source, format!("0x{:016x} 0x{:016x} {}", region.start, region.end, region.kind))
        .by(tables)
        .by(said);
    let vf = spared(survey, address, function, region, wide) && vfs_stand_alone(survey, address, group);
    Some(finding.steps(remedy(survey, function, code, vf)))
}

/// For whom a region is, as far as the tables or the group's size tell.
fn whose(survey: &Survey, group: &Group, address: Address, region: &Region) -> Option<String> {
    let named: BTreeSet<Address> = scopes(survey, group, region).into_iter().map(|(_, _, member, _)| member).collect();
    let others: Vec<String> = named.iter().filter(|member| **member != address).map(ToString::to_string).collect();
    let alone =
        group.members.iter().filter(|member| survey.functions.get(member).is_some_and(|f| !f.card.bridge)).count() < 2;
    let whole = tables_are_whole(survey);
    if named.contains(&address) && !whole {
        Some("this device, and perhaps for others (the firmware's table could not be read as a whole),".to_owned())
    } else if named.contains(&address) || (named.is_empty() && alone && whole) {
        Some("this device".to_owned())
    } else if named.is_empty() {
        None
    } else {
        Some(format!("{}, which is in its group,", others.join(", ")))
    }
}

/// The structures of the firmware's tables that reserve a region for a member of a group, with the
/// scope that names it.
fn in_tables(survey: &Survey, group: &Group, region: &Region) -> Vec<Evidence> {
    let evidence = |(table, reservation, member, scope): (&str, &Reservation, Address, &Scope)| {
        let value = format!(
            "{} reserves 0x{:x}-0x{:x} for {scope}: {member}",
            reservation.structure, reservation.start, reservation.end
        );
        Evidence::new(format!("/sys/firmware/acpi/tables/{table}"), value)
    };
    scopes(survey, group, region).into_iter().map(evidence).chain(by_iort(survey, region)).collect()
}

/// What Arm's firmware says of a region: the IORT by itself decides nothing, and names devices in a way
/// that only the SMMU's driver understands.
fn by_iort(survey: &Survey, region: &Region) -> Vec<Evidence> {
    let path = "/sys/firmware/acpi/tables/IORT";
    if survey.machine.arch != Some(Arch::Arm) || survey.iommu.iort.is_absent() || !region.kind.starts_with("direct") {
        return Vec::new();
    }
    let named = survey.iommu.iort.is().into_iter().flat_map(|table| &table.reservations);
    let named: Vec<Evidence> = named
        .filter(|reservation| overlaps(reservation, region))
        .map(|r| Evidence::new(path, format!("{} reserves 0x{:x}-0x{:x}", r.structure, r.start, r.end)))
        .collect();
    if named.is_empty() { vec![Evidence::new(path, "there: such a reservation is an RMR node in it")] } else { named }
}

/// Each member of a group for which a table reserves a region: the table, the structure, the member
/// and the scope that names it best.
fn scopes<'s>(
    survey: &'s Survey,
    group: &Group,
    region: &Region,
) -> Vec<(&'static str, &'s Reservation, Address, &'s Scope)> {
    let tables = [("DMAR", &survey.iommu.dmar), ("IVRS", &survey.iommu.ivrs)];
    let mut found = Vec::new();
    for (name, table) in tables {
        for reservation in table.is().into_iter().flat_map(|table| &table.reservations) {
            if !overlaps(reservation, region) {
                continue;
            }
            for member in &group.members {
                let Some(path) = survey.path_of(*member) else { continue };
                let scopes = reservation.scopes.iter();
                let scope = scopes
                    .filter(|scope| scope.covers(*member, &path, |bridge| survey.path_of(bridge)))
                    .min_by_key(|scope| !scope.is_single());
                found.extend(scope.map(|scope| (name, reservation, *member, scope)));
            }
        }
    }
    found
}

fn overlaps(reservation: &Reservation, region: &Region) -> bool {
    reservation.start <= region.end && region.start <= reservation.end
}

/// The steps; `vf` tells whether a virtual function would do.
fn remedy(survey: &Survey, function: &Function, code: Code, vf: bool) -> Vec<String> {
    let mut steps = Vec::new();
    if vf && function.most_vfs.is().is_some_and(|most| *most > 0) {
        steps.push("Pass a virtual function instead of the device itself: the reservation is not a VF's (see sriov-alternative).".to_owned());
    }
    let vendor = survey.machine.vendor.to_ascii_lowercase();
    let amd = function.unit.is().is_some_and(|unit| Make::of(unit) == Make::Amd);
    let arm = survey.machine.arch == Some(Arch::Arm);
    let hp = !arm && vendor.starts_with("hp") && function.card.class >> 16 == NETWORK;
    if hp {
        steps.push(
            "HPE: System Utilities, the adapter's page, \"Shared Memory Features\" (also \"HP Shared Memory features\"): disable it for each port, then power cycle.".to_owned(),
        );
    }
    if arm {
        // The firmware of Arm machines has no switches of that kind.
        steps.push("Install the newest firmware of the system and of the device: the reservation is an RMR node of the firmware's table IORT (or iommu-addresses in a device tree), which only the vendor can lift, or mark as one that may be remapped.".to_owned());
        steps.push(
            "Until then another device, or another machine. Do not use a kernel that ignores reservations.".to_owned(),
        );
        return steps;
    }
    if amd {
        steps.push("In the firmware setup switch \"Pre-boot DMA Protection\" (also \"DMA Protection\", \"Kernel DMA Protection\") off, and boot again.".to_owned());
    }
    if !hp && !amd {
        steps.push("Look in the firmware setup for what shares the host's memory with the device (HPE calls it \"Shared Memory Features\") and switch it off.".to_owned());
    }
    steps.push(match code {
        Code::RmrrFirmwareRange => "Install the newest system firmware (UEFI and management controller): a range for unrelated devices is a mistake of the firmware, and often mended.".to_owned(),
        _ => "Install the newest firmware of the device and of the system, or ask the vendor for a way to release the reservation.".to_owned(),
    });
    steps.push("Some servers have no such switch: then another slot, another card, or another machine. Do not use a kernel that ignores reservations.".to_owned());
    steps
}

/// The kernel patch that treats every region as relaxable.
fn patched(survey: &Survey) -> Option<Finding> {
    let said: Vec<Evidence> = survey
        .said(Meaning::RelaxedPatch)
        .map(|said| Evidence::new("the kernel's log", said.text.clone()))
        .take(1)
        .collect();
    // It is a word of `intel_iommu=`, which nobody else hears.
    let heard = make(survey).is_none_or(|make| make == Make::Intel);
    let option = of_kernel(&survey.machine.cmdline).map(|word| word.text).find(|word| word.contains("relax_rmrr"));
    let option = option.filter(|_| heard);
    if said.is_empty() && option.is_none() {
        return None;
    }
    let why = "A patched kernel ignores what the firmware has reserved: the device or the management controller may then write into a guest's memory, or a guest's writes may stop the machine.";
    Some(
        Finding::new(Severity::Warning, About::Host, Code::RmrrRelaxedPatch, why)
            .by(said)
            .by(option.map(|word| Evidence::new("/proc/cmdline", word)))
            .step(
                "Boot a kernel without the patch, or without `relax_rmrr`, and cure the reservation itself (see rmrr).",
            ),
    )
}
