//! What the kernel will do when a function is bound to its VFIO driver and opened.
//!
//! The order is the kernel's own: the driver, `probe`, the group's node, the group's members and what
//! must stay mapped for them, then the container's IOMMU, only after that interrupt remapping, and last
//! the device itself.

use super::grouping::in_the_way;
use super::hardware::{Denied, dead, denied};
use super::mediated;
use super::report::{Predicted, Role, Stage};
use super::reserved::{self, Refusal};
use super::survey::{Function, Node, Survey};
use super::{bars, igd, remapping};
use crate::model::module::ModuleState;
use crate::model::pci::Address;
use crate::model::snapshot::Fact;

/// Predicts for one function, all others staying as they are.
#[must_use]
pub fn predict(survey: &Survey, address: Address) -> Predicted {
    let Some(function) = survey.functions.get(&address) else { return Predicted::unknown() };
    let bound = survey.on_vfio(function);
    let fails = if bound { None } else { binding(survey, address, function) };
    fails.or_else(|| opening(survey, address, function)).unwrap_or_else(Predicted::opens)
}

/// What fails before the function is bound.
fn binding(survey: &Survey, address: Address, function: &Function) -> Option<Predicted> {
    // PCI bridges have another header; other bridges could be bound, and nobody should.
    if function.card.bridge {
        let pci = matches!(function.card.class >> 8, 0x0604 | 0x0609);
        return Some(if pci { Predicted::fails(Stage::Bind, Some("EINVAL")) } else { Predicted::unknown() });
    }
    if function.driver.unreadable().is_some()
        || function.card.subsystem.unreadable().is_some()
        || function.answers == Fact::Is(false)
    {
        return Some(Predicted::unknown());
    }
    let wanted = survey.known().best(&function.card.modalias, function.driver.is());
    let module = survey.module(wanted.module.as_str()).or_else(|| survey.module("vfio_pci"));
    match module.map(|module| module.facts.state) {
        Some(state) if state.is_terminal() => return Some(Predicted::fails(Stage::Driver, None)),
        Some(ModuleState::Unreadable) => return Some(Predicted::unknown()),
        _ => {}
    }
    match denied(survey, address, function) {
        Denied::Yes => return Some(Predicted::fails(Stage::Bind, Some("EINVAL"))),
        Denied::Perhaps => return Some(Predicted::unknown()),
        Denied::No => {}
    }
    if !function.vfs.is_empty() {
        return Some(Predicted::fails(Stage::Bind, Some("EBUSY")));
    }
    match &function.group {
        Fact::Is(_) => None,
        Fact::Unreadable(_) => Some(Predicted::unknown()),
        // VFIO makes a group for it, which no virtual machine monitor of today takes.
        Fact::Absent if survey.is_on("vfio", "enable_unsafe_noiommu_mode") => {
            Some(Predicted::fails(Stage::Iommu, Some("ENODEV")))
        }
        Fact::Absent if function.waiting == Fact::Is(true) || remapping::may_still_come(survey) => {
            Some(Predicted::fails(Stage::Bind, Some("EAGAIN")))
        }
        Fact::Absent => Some(Predicted::fails(Stage::Bind, Some("EINVAL"))),
    }
}

/// What fails once it is bound.
fn opening(survey: &Survey, address: Address, function: &Function) -> Option<Predicted> {
    let Some((number, group)) = survey.group_of(function) else { return Some(Predicted::unknown()) };
    if Role::of(&function.card) != Role::Endpoint || function.answers == Fact::Is(false) {
        return Some(Predicted::unknown());
    }
    let bound = survey.on_vfio(function);
    match &group.node {
        Fact::Absent if bound && survey.device_nodes.is_absent() => {
            return Some(Predicted::fails(Stage::Open, Some("ENOENT")));
        }
        // Where its number is nobody's; another device may be opened by it, and then refuses something.
        Fact::Is(Node { foreign: Some(foreign), .. }) if bound && survey.device_nodes.is_absent() => {
            let nobodys = foreign.is.is_some() && !foreign.served;
            return Some(Predicted::fails(Stage::Open, nobodys.then_some("ENXIO")));
        }
        Fact::Unreadable(_) if bound => return Some(Predicted::unknown()),
        _ => {}
    }
    if survey.open_unknown(group).is_some() {
        return Some(Predicted::unknown());
    }
    let own = survey.holders.is().and_then(|holders| holders.get(&number)).is_some_and(|holders| !holders.is_empty());
    // A part of it that a guest has: its driver does not let go before the guest does.
    if own || !mediated::holders(survey, address).is_empty() {
        return Some(Predicted::fails(Stage::Open, Some("EBUSY")));
    }
    if group.noiommu {
        return Some(Predicted::fails(Stage::Iommu, Some("ENODEV")));
    }
    let others = group.members.iter().filter(|member| **member != address);
    // What is behind a function is gone once that has been taken from its driver.
    let others = others.filter_map(|member| survey.functions.get(member));
    let mut others = others.filter(|other| other.above != Some(address));
    if !group.others.is_empty() || others.any(|other| in_the_way(survey, other)) {
        return Some(Predicted::fails(Stage::Group, Some("EPERM")));
    }
    // Joining a container takes the group's DMA away by a domain that maps nothing: what must stay
    // mapped refuses there already, on 6.1 and on 6.12.
    match &group.reserved {
        Fact::Unreadable(_) => return Some(Predicted::unknown()),
        Fact::Is(regions) if regions.iter().any(reserved::insists) => match reserved::refusal(survey, function) {
            Refusal::With(errno) => return Some(Predicted::fails(Stage::Group, Some(errno))),
            Refusal::Somehow => return Some(Predicted::fails(Stage::Group, None)),
            Refusal::None => {}
        },
        Fact::Is(_) | Fact::Absent => {}
    }
    // iommufd needs neither type1 nor a container.
    let type1 = survey.container_module().map(|module| module.facts.state);
    let loaded = survey.module("vfio_pci").is_some_and(|module| module.facts.state == ModuleState::Live);
    match type1.filter(|_| !survey.has_iommufd()) {
        // modprobe brings it along with vfio-pci, and never again after that.
        Some(ModuleState::Absent) if loaded => return Some(Predicted::fails(Stage::Iommu, Some("ENODEV"))),
        Some(state) if state.is_terminal() => return Some(Predicted::fails(Stage::Iommu, Some("ENODEV"))),
        _ => {}
    }
    let refused = match survey.iommu.remapping {
        _ if survey.goes_without_remapping() => None,
        Fact::Is(true) => None,
        Fact::Is(false) => Some(Predicted::fails(Stage::Iommu, Some("EPERM"))),
        Fact::Absent | Fact::Unreadable(_) => Some(Predicted::unknown()),
    };
    refused.or_else(|| device(survey, address, function))
}

/// What fails when the device itself is opened: it is enabled, and what belongs to it looked for.
fn device(survey: &Survey, address: Address, function: &Function) -> Option<Predicted> {
    if bars::keep_it_shut(survey, address, function) {
        return Some(Predicted::fails(Stage::Device, Some("EINVAL")));
    }
    if let Some(refused) = igd::refused(survey, address, function) {
        return Some(match refused.errno {
            Some(errno) => Predicted::fails(Stage::Device, Some(errno)),
            None => Predicted::unknown(),
        });
    }
    dead(survey, address, function).map(|_| Predicted::unknown())
}
