//! How the functions of one slot are declared: as a whole only where all of it can be had.

use super::grouping::{Parent, caution, entry_name, must_stay};
use super::needed::{Need, doubt, platform_part};
use super::survey::{Function, Survey};
use crate::model::pci::Address;

/// How the functions of a card come together. The slot is declared only where all of it can be had: an
/// entry for a slot with a bridge, or with what the host needs, would be held for good.
pub(super) fn of_card(
    survey: &Survey,
    (address, function): (Address, &Function),
    host: &[(Address, &Function)],
    staying: Vec<(Address, Need)>,
    parents: Vec<Parent>,
) -> Vec<String> {
    let slot = address.slot();
    let bridge = survey.functions.iter().any(|(other, f)| other.slot() == slot && f.card.bridge);
    let grouped = |f: &Function| f.group.is().is_some() && f.group.is() == function.group.is();
    // What shares the group has to come along, or nothing does.
    let hard = |other: &Address| {
        staying.iter().any(|(member, _)| member == other) || parents.iter().any(|(parent, _)| parent == other)
    };
    let (left, rest): (Vec<_>, Vec<_>) = host
        .iter()
        .copied()
        .partition(|(other, f)| hard(other) || !grouped(f) && not_offered(survey, *other, f).is_some());
    let stuck = left.iter().any(|(_, f)| grouped(f));
    let mut steps: Vec<String> = Vec::new();
    if left.is_empty() && !bridge {
        steps.extend(caution(survey, host));
        steps.push(format!(
            "Declare the slot, so that its functions move together: in its entry set `address = \"{slot}\"`; if it is not declared yet, add this one:\n[device.{}]\naddress = \"{slot}\"",
            entry_name(address)
        ));
        return steps;
    }
    if !stuck && !rest.is_empty() {
        steps.extend(caution(survey, &rest));
        let lines = rest.iter().map(|(other, _)| format!("[device.{}]\naddress = \"{other}\"", other.libvirt_name()));
        steps.push(format!(
            "Declare these by function, if the host needs none of them, and not the slot:\n{}",
            lines.collect::<Vec<_>>().join("\n")
        ));
    }
    let kept = left.iter().filter(|(other, _)| !hard(other));
    let kept = kept.filter_map(|(other, f)| Some(format!("{other} ({})", not_offered(survey, *other, f)?)));
    let kept: Vec<String> = kept.collect();
    steps.extend(must_stay(address, staying, parents));
    if !kept.is_empty() {
        steps.push(format!("Leave these with the host unless it can do without them: {}.", kept.join(", ")));
    }
    let pass = if stuck || steps.is_empty() { "Pass" } else { "Or pass" };
    steps.push(format!("{pass} another card, or give this function back to the host."));
    steps
}

/// Why a function is not offered for passing although nothing shows that the host needs it: it is a part
/// of the machine, or may have a keyboard or a disk on it.
#[must_use]
pub fn not_offered(survey: &Survey, address: Address, function: &Function) -> Option<&'static str> {
    let usb = doubt(survey, address, function).is_some_and(|doubt| doubt.people);
    platform_part(&function.card).or(usb.then_some(USB))
}

/// What a controller of USB may have.
const USB: &str = "USB: look with `lsusb -t` whether the host's keyboard or disks are on it";
