//! Groups that are small only because the kernel was told to make them so.
//!
//! `pcie_acs_override=` is a patch of Proxmox, Unraid, Zen and others. What it names counts as kept
//! apart although it says nothing of ACS itself: DMA between such devices need not pass the IOMMU. What
//! has ACS is not changed by it, and sysfs does not tell which has: so it is told of all groups that it
//! may have split.

use std::collections::{BTreeMap, BTreeSet};

use super::cmdline;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::report::Role;
use super::survey::{Function, Group, Meaning, Survey};
use crate::model::pci::{Address, Ids, Slot};

const OVERRIDE: &str = "pcie_acs_override";

/// What the option names.
#[derive(Debug, Default)]
struct Named {
    /// Root ports and the downstream ports of switches.
    downstream: bool,
    /// Cards of several functions.
    multifunction: bool,
    /// Single devices.
    ids: Vec<Ids>,
}

impl Named {
    /// Each value is compared by its beginning, as the patch does.
    fn of(values: &[&str]) -> Named {
        let id = |value: &&str| value.strip_prefix("id:")?.parse::<Ids>().ok();
        Named {
            downstream: values.iter().any(|value| value.starts_with("downstream")),
            multifunction: values.iter().any(|value| value.starts_with("multifunction")),
            ids: values.iter().filter_map(id).collect(),
        }
    }
}

/// All findings about it.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found: Vec<Finding> = redirect(survey).into_iter().collect();
    let line = &survey.machine.cmdline;
    let given: Vec<&str> = cmdline::given(line, OVERRIDE).collect();
    let said = survey.said(Meaning::AcsOverride).next();
    if given.is_empty() && said.is_none() {
        return found;
    }
    if let Some(unknown) = survey.said(Meaning::AcsUnknown).next().filter(|_| said.is_none()) {
        let why = "`pcie_acs_override` is given, and this kernel does not know it: it has no effect.";
        let finding = Finding::new(Severity::Note, About::Host, Code::AcsOverride, why)
            .because("the kernel's log", unknown.text.clone())
            .step("Take it off the kernel command line: only patched kernels (Proxmox, Unraid, Zen) heed it.");
        found.push(finding);
        return found;
    }
    let named = match given.is_empty() {
        // The log has it, and a saved command line may be no more than a part.
        true => Named { downstream: true, multifunction: true, ids: Vec::new() },
        false => Named::of(&cmdline::values(line, OVERRIDE)),
    };
    let evidence: Vec<Evidence> = given
        .iter()
        .map(|word| Evidence::new("/proc/cmdline", *word))
        .chain(said.map(|said| Evidence::new("the kernel's log", said.text.clone())))
        .collect();
    let groups = survey.groups.iter().filter(|(_, group)| !group.noiommu);
    let wholes = named.wholes(survey);
    found.extend(groups.filter_map(|(number, group)| split(survey, &wholes, *number, group, &evidence)));
    found
}

/// What would be in one group without ACS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whole {
    /// All below the functions of a slot of the root bus.
    Below(Slot),
    /// The functions of a card.
    Card(Slot),
}

/// Endpoints with a group, by what they would be in without the override.
type Wholes = BTreeMap<Whole, BTreeSet<Address>>;

impl Named {
    fn wholes(&self, survey: &Survey) -> Wholes {
        let named = |function: &&Function| self.ids.contains(&function.card.ids);
        let bridges = survey.functions.values().filter(|function| function.card.bridge);
        let ports: BTreeSet<Slot> = bridges.filter(named).map(|bridge| bridge.card.path.root.slot()).collect();
        let cards = survey.functions.iter().filter(|(_, function)| !function.card.bridge && named(function));
        let cards: BTreeSet<Slot> = cards.map(|(address, _)| address.slot()).collect();
        let mut wholes = Wholes::new();
        for (address, function) in &survey.functions {
            if Role::of(&function.card) != Role::Endpoint || function.group.is().is_none() {
                continue;
            }
            let (root, slot) = (function.card.path.root.slot(), address.slot());
            if !function.card.path.hops.is_empty() && (self.downstream || ports.contains(&root)) {
                wholes.entry(Whole::Below(root)).or_default().insert(*address);
            }
            // A VF is no function of a card of several.
            if function.card.physfn.is_none() && (self.multifunction || cards.contains(&slot)) {
                wholes.entry(Whole::Card(slot)).or_default().insert(*address);
            }
        }
        wholes
    }
}

/// How many neighbours are named.
const SHOWN: usize = 6;

/// That a group may have been split by it.
fn split(survey: &Survey, wholes: &Wholes, number: u32, group: &Group, evidence: &[Evidence]) -> Option<Finding> {
    let keys = |member: &Address| {
        let root = survey.functions.get(member).map(|function| Whole::Below(function.card.path.root.slot()));
        root.into_iter().chain([Whole::Card(member.slot())])
    };
    let keys: BTreeSet<Whole> = group.members.iter().flat_map(keys).collect();
    let of_group = keys.iter().filter_map(|key| wholes.get(key)).filter(|whole| !whole.is_disjoint(&group.members));
    let others = of_group.flat_map(|whole| whole.difference(&group.members).take(SHOWN + 1));
    let beside: BTreeSet<Address> = others.copied().collect();
    if beside.is_empty() {
        return None;
    }
    let shown: Vec<String> = beside.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if beside.len() > shown.len() { ", …" } else { "" };
    let why = format!(
        "Group {number} is apart from others by decree (`{OVERRIDE}`): where the hardware does not keep them apart, DMA between them passes by the IOMMU, and a guest with one reaches the others and the memory of their owners."
    );
    Some(
        Finding::new(Severity::Warning, About::Group(number), Code::AcsOverride, why)
            .by(evidence.iter().cloned())
            .because("may be in one group without it", format!("{}{more}", shown.join(", ")))
            .step("Give these to one guest, or to guests that trust each other and that the host trusts.")
            .step("To have them really apart: ACS in the firmware setup (\"PCIe ACS Enable\"), or slots at other ports; then take the option off the kernel command line."),
    )
}

/// `pci=disable_acs_redir=` and `pci=config_acs=` are the kernel's own: the first makes groups larger, the
/// second may do either, and neither says anything that is not so.
fn redirect(survey: &Survey) -> Option<Finding> {
    let options = cmdline::values(&survey.machine.cmdline, "pci");
    let ours: Vec<&str> = options
        .into_iter()
        .filter(|option| option.starts_with("disable_acs_redir=") || option.starts_with("config_acs="))
        .collect();
    if ours.is_empty() {
        return None;
    }
    let why = "The kernel command line changes how ports keep devices apart (ACS): groups below these ports differ from what the hardware would make of itself, and are larger where redirection is off.";
    Some(
        Finding::new(Severity::Note, About::Host, Code::AcsOverride, why)
            .by(ours.into_iter().map(|option| Evidence::new("/proc/cmdline", format!("pci={option}")))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_values_are_read_by_their_beginnings_as_the_patch_reads_them() {
        let named = Named::of(&["downstream", "id:8086:a110", "id:nonsense", "multifunctional"]);
        assert!(named.downstream && named.multifunction);
        assert_eq!(named.ids, ["8086:a110".parse().unwrap()]);
        assert!(!Named::of(&["id:8086:a110"]).downstream);
    }
}
