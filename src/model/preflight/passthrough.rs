//! Names for devices that are unique over the host: `vfio_device_<group>_<index>`.
//!
//! The index is the rank by address within the group, so a name is stable while its group stands. A
//! name by the index alone is the same for the first member of every group; a program that counts
//! devices as it meets them has given two of them one name, more than once. The name is shown, never
//! a key: the key is the address.

use std::collections::{BTreeMap, BTreeSet};

use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::survey::Survey;
use crate::model::pci::Address;

/// The name of a member of a group; none for what is not in it.
#[must_use]
pub fn name(group: u32, members: &BTreeSet<Address>, address: Address) -> Option<String> {
    let index = members.iter().position(|member| *member == address)?;
    Some(format!("vfio_device_{group}_{index}"))
}

/// The name of a function.
#[must_use]
pub fn id(survey: &Survey, address: Address) -> Option<String> {
    let (number, group) = survey.group_of(survey.functions.get(&address)?)?;
    name(number, &group.members, address)
}

/// Functions on VFIO that a name by index alone would not tell apart, by that name.
#[must_use]
pub fn collisions(survey: &Survey) -> BTreeMap<String, Vec<Address>> {
    let mut named: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    for group in survey.groups.values() {
        for (index, member) in group.members.iter().enumerate() {
            if survey.functions.get(member).is_some_and(|function| survey.on_vfio(function)) {
                named.entry(format!("vfio_device_{index}")).or_default().push(*member);
            }
        }
    }
    named.retain(|_, addresses| addresses.len() > 1);
    named
}

/// A note for each such name.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let note = |(short, addresses): (String, Vec<Address>)| {
        let why = format!(
            "A program that names devices by their index in the group alone would call {} devices {short}.",
            addresses.len()
        );
        let mut finding = Finding::new(Severity::Note, About::Host, Code::PassthroughIdCollision, why);
        for address in addresses {
            finding =
                finding.because(short.as_str(), format!("{address} ({})", id(survey, address).unwrap_or_default()));
        }
        finding.step("Use names with the group in them, as in brackets, or addresses.")
    };
    collisions(survey).into_iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_the_group_are_unique_where_names_by_index_collide() {
        let groups: [(u32, &[&str]); 3] =
            [(2, &["00:03.0"]), (15, &["01:00.0"]), (17, &["03:00.0", "04:01.0", "04:02.0"])];
        let (mut whole, mut short, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
        for (number, members) in groups {
            let members: BTreeSet<Address> = members.iter().map(|text| text.parse().unwrap()).collect();
            for member in &members {
                let name = name(number, &members, *member).unwrap();
                short.insert(name.rsplit('_').next().unwrap().to_owned());
                whole.insert(name);
                count += 1;
            }
        }
        assert_eq!(whole.len(), count, "each has a name of its own: {whole:?}");
        assert_eq!(short.len(), 3, "the index alone names {count} devices by {short:?}");
        assert!(whole.contains("vfio_device_17_2"));
    }

    #[test]
    fn the_index_is_the_rank_by_address_and_does_not_change_with_drivers() {
        let members: BTreeSet<Address> = ["04:02.0", "04:01.0"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(name(7, &members, "04:01.0".parse().unwrap()).unwrap(), "vfio_device_7_0");
        assert_eq!(name(7, &members, "04:02.0".parse().unwrap()).unwrap(), "vfio_device_7_1");
        assert_eq!(name(7, &members, "05:00.0".parse().unwrap()), None);
    }
}
