//! What keeps a declared function from ever being opened, as far as one snapshot tells.
//!
//! The daemon looks at this in each pass: it is made from facts that a pass has anyway. Whatever
//! another driver, a holder or a module could change is not in here: that is a guard's or a
//! repair's business.

use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::hardware::denied_since;
use crate::model::pci::{Address, Driver};
use crate::model::snapshot::{Fact, Snapshot};

/// The blockers of one function on the driver that it is to have, which no repair can lift; the
/// gravest first.
#[must_use]
pub fn blockers(snapshot: &Snapshot, address: Address, wanted: &Driver) -> Vec<Finding> {
    let Some(function) = snapshot.functions.get(&address) else { return Vec::new() };
    let platform = &snapshot.platform;
    let about = About::Device(address);
    let mut found = Vec::new();
    if function.group.is_absent() {
        let (code, why) = match platform.has_groups {
            true => (Code::NoGroup, "it has no IOMMU group although others have: no IOMMU covers it"),
            false => (
                Code::IommuOff,
                "it has no IOMMU group, nor has any device: there is no IOMMU at work, or it serves none of them",
            ),
        };
        found.push(
            Finding::new(Severity::Blocker, about, code, why)
                .because(format!("/sys/bus/pci/devices/{address}/iommu_group"), "not there"),
        );
    }
    if let Some((number, group)) = snapshot.group_of(address)
        && let Some(region) = group.insisted.is().and_then(|regions| regions.first())
    {
        let why = format!(
            "the firmware has reserved {region} in its group and insists on it: binding succeeds, and opening fails"
        );
        found.push(Finding::new(Severity::Blocker, about, Code::Rmrr, why).because(
            format!("/sys/kernel/iommu_groups/{number}/reserved_regions"),
            format!("{region} {}", region.kind),
        ));
    }
    let refused = denied_since(function.card.ids).is_some_and(|since| since <= platform.kernel);
    // Nobody knows what the module will be told before it is there; and what is bound was not refused.
    if refused
        && wanted == &Driver::vfio_pci()
        && platform.denylist_disabled == Fact::Is(false)
        && function.driver.is() != Some(wanted)
    {
        let why = "vfio-pci refuses this device for known defects of the hardware";
        found.push(
            Finding::new(Severity::Blocker, about, Code::Denylisted, why)
                .because("/sys/module/vfio_pci/parameters/disable_denylist", "N"),
        );
    }
    if function.group.is().is_some()
        && platform.remapping == Fact::Is(false)
        && platform.unsafe_interrupts == Fact::Is(false)
    {
        let why = "interrupts are not remapped on this machine: binding succeeds, and opening any device fails";
        found.push(
            Finding::new(Severity::Blocker, about, Code::NoInterruptRemapping, why)
                .because("/proc/interrupts", "no controller keeps interrupts of devices apart"),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::*;
    use crate::model::pci::{BridgePath, Ids};
    use crate::model::preflight::survey::Region;
    use crate::model::snapshot::{Card, Function, Group, Platform};
    use crate::model::time::Time;
    use crate::model::variant::Drivers;

    fn nic(group: Fact<u32>) -> Function {
        let root = "00:03.0".parse().unwrap();
        let card = Card {
            object: 1,
            ids: Ids { vendor: 0x8086, device: 0x10d3 },
            subsystem: Fact::Absent,
            class: 0x02_00_00,
            serial: Fact::Absent,
            modalias: String::new(),
            path: BridgePath { root, hops: Vec::new() },
            bridge: false,
            boot_vga: false,
            physfn: None,
        };
        let driver = Fact::Absent;
        Function {
            card: Arc::new(card),
            driver,
            group,
            vfs: BTreeMap::new(),
            pin: Fact::Absent,
            leaving: false,
            look: None,
            registered: false,
        }
    }

    fn snapshot(group: Fact<u32>, insisted: Fact<Vec<Region>>) -> Snapshot {
        let number = group.is().copied().unwrap_or(7);
        let others = BTreeSet::new();
        let members = BTreeSet::from([at()]);
        Snapshot {
            taken: Time(1),
            modules: BTreeMap::new(),
            variants: Arc::default(),
            drivers: Drivers::default(),
            functions: BTreeMap::from([(at(), nic(group))]),
            unclear_paths: BTreeMap::new(),
            groups: BTreeMap::from([(
                number,
                Group { members, others, node: Fact::Absent, reserved: Fact::Absent, insisted },
            )]),
            above: BTreeMap::new(),
            most_vfs: BTreeMap::new(),
            autoprobe: Fact::Is(true),
            pinned: Fact::Absent,
            platform: Platform::default(),
        }
    }

    fn at() -> Address {
        "00:03.0".parse().unwrap()
    }

    fn codes_of(snapshot: &Snapshot, wanted: &Driver) -> Vec<Code> {
        blockers(snapshot, at(), wanted).into_iter().map(|finding| finding.code).collect()
    }

    fn codes(group: Fact<u32>, insisted: Fact<Vec<Region>>) -> Vec<Code> {
        codes_of(&snapshot(group, insisted), &Driver::vfio_pci())
    }

    #[test]
    fn a_region_that_the_kernel_insists_on_and_a_missing_group_block_and_what_is_unknown_does_not() {
        let region = Region { start: 0, end: 0xfff, kind: "direct".to_owned() };
        assert_eq!(codes(Fact::Is(7), Fact::Is(vec![region])), [Code::Rmrr]);
        assert_eq!(codes(Fact::Absent, Fact::Absent), [Code::NoGroup]);
        assert_eq!(codes(Fact::Is(7), Fact::Is(vec![])), []);
        assert_eq!(codes(Fact::Is(7), Fact::Unreadable("why".to_owned())), []);
    }

    #[test]
    fn without_any_group_the_iommu_is_off_whatever_this_pass_has_seen() {
        let mut nothing = snapshot(Fact::Absent, Fact::Absent);
        nothing.platform.has_groups = false;
        assert_eq!(codes_of(&nothing, &Driver::vfio_pci()), [Code::IommuOff]);
        // Others have groups, though none of those that were looked at.
        let mut alone = snapshot(Fact::Absent, Fact::Absent);
        alone.groups.clear();
        assert_eq!(codes_of(&alone, &Driver::vfio_pci()), [Code::NoGroup]);
    }

    #[test]
    fn missing_interrupt_remapping_blocks_where_vfio_would_not_go_without() {
        let off = |allowed: Fact<bool>| {
            let mut snapshot = snapshot(Fact::Is(7), Fact::Is(vec![]));
            (snapshot.platform.remapping, snapshot.platform.unsafe_interrupts) = (Fact::Is(false), allowed);
            codes_of(&snapshot, &Driver::vfio_pci())
        };
        assert_eq!(off(Fact::Is(false)), [Code::NoInterruptRemapping]);
        assert_eq!(off(Fact::Is(true)), []);
        // The module is not there yet: nobody knows what it will be told.
        assert_eq!(off(Fact::Absent), []);
    }

    #[test]
    fn what_vfio_pci_refuses_is_blocked_unless_it_was_told_otherwise_or_has_taken_it() {
        let of = |ids: &str, kernel, disabled, driver: Fact<Driver>, wanted: &str| {
            let mut snapshot = snapshot(Fact::Is(7), Fact::Is(vec![]));
            (snapshot.platform.kernel, snapshot.platform.denylist_disabled) = (kernel, disabled);
            let function = snapshot.functions.get_mut(&at()).unwrap();
            Arc::make_mut(&mut function.card).ids = ids.parse().unwrap();
            function.driver = driver;
            codes_of(&snapshot, &wanted.parse().unwrap())
        };
        let (qat, dsa, off) = ("8086:37c8", "8086:0b25", Fact::Is(false));
        assert_eq!(of(qat, (6, 1), off.clone(), Fact::Absent, "vfio-pci"), [Code::Denylisted]);
        assert_eq!(of(dsa, (6, 12), off.clone(), Fact::Absent, "vfio-pci"), [Code::Denylisted]);
        assert_eq!(of(dsa, (6, 8), off.clone(), Fact::Absent, "vfio-pci"), []);
        assert_eq!(of(qat, (6, 1), Fact::Is(true), Fact::Absent, "vfio-pci"), []);
        assert_eq!(of(qat, (6, 1), Fact::Absent, Fact::Absent, "vfio-pci"), []);
        assert_eq!(of(qat, (6, 1), off.clone(), Fact::Is(Driver::vfio_pci()), "vfio-pci"), []);
        assert_eq!(of(qat, (6, 1), off, Fact::Absent, "qat_vfio_pci"), []);
    }
}
