//! What holds of every machine and every configuration.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use vfiod::host::sim::kernel::Writer;
use vfiod::model::keeper::Keeper;
use vfiod::model::memory::Memory;
use vfiod::model::pci::Address;
use vfiod::model::plan::{About, Plan, Step};
use vfiod::model::snapshot::{Fact, Snapshot};
use vfiod::model::state::State;
use vfiod::model::time::Time;

use crate::machines::{machine, pass, perform};

/// Every function that a step writes to.
fn written(plan: &Plan) -> BTreeSet<Address> {
    plan.acts.iter().flat_map(|act| &act.steps).filter_map(Step::target).map(|target| target.address).collect()
}

/// Why nothing may be written to a function, told from the snapshot alone and by nothing that the
/// guards use.
fn forbidden(keeper: &Keeper, snapshot: &Snapshot, address: Address) -> Option<&'static str> {
    let seen = keeper.pass(snapshot);
    let Some(index) = seen.found.owner.get(&address) else { return Some("not declared") };
    let entry = &keeper.desired.entries[*index];
    let function = &snapshot.functions[&address];
    let Some(look) = &function.look else { return Some("not looked at") };
    if entry.identity.id.is_some_and(|id| entry.select.slot.is_none() && id != function.card.ids) {
        return Some("another card");
    }
    if function.driver.unreadable().is_some() || function.group.unreadable().is_some() {
        return Some("unreadable links");
    }
    if function.card.bridge {
        return Some("a bridge");
    }
    let by_the_host = function.driver.is().is_some_and(|driver| !snapshot.is_vfio(driver));
    let was_on_vfio = keeper.memory.on_vfio.get(&address) == Some(&function.card.object);
    if function.card.boot_vga && entry.allow.is_empty() && (by_the_host || !was_on_vfio) {
        return Some("the boot display");
    }
    if !function.vfs.is_empty() {
        return Some("a PF with VFs");
    }
    match function.driver {
        Fact::Is(_) => match &look.holders {
            Fact::Is(holders) if holders.is_empty() => None,
            Fact::Absent => None,
            _ => Some("open, or nobody knows"),
        },
        _ => match look.uevent_driver {
            Fact::Absent => None,
            _ => Some("being released, or nobody knows"),
        },
    }
}

fn check_plan(keeper: &Keeper, snapshot: &Snapshot, plan: &Plan) -> Result<(), TestCaseError> {
    for address in written(plan) {
        prop_assert_eq!(forbidden(keeper, snapshot, address), None, "{}", address);
    }
    let mut taken = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for act in &plan.acts {
        prop_assert!(keys.insert(act.key), "two acts {}", act.key);
        for function in &act.functions {
            prop_assert!(taken.insert(*function), "two acts share {}", function);
        }
        let targets = act.steps.iter().filter_map(Step::target);
        for target in targets {
            prop_assert!(act.functions.contains(&target.address));
        }
    }
    let written = written(plan);
    for address in keeper.pass(snapshot).drifts.keys() {
        let held = plan.held.iter().any(|held| held.about == About::Device(*address) && !held.reason.is_empty());
        prop_assert!(written.contains(address) || held || plan.look.contains(address), "{} is forgotten", address);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_writes_to_what_it_may_and_forgets_nothing(machine in machine()) {
        let (mut kernel, mut keeper) = (machine.kernel(), machine.keeper());
        let (snapshot, plan) = pass(&mut kernel, &mut keeper, Time(1_000_000));
        check_plan(&keeper, &snapshot, &plan)?;
    }

    #[test]
    fn the_same_input_gives_the_same_plan(machine in machine()) {
        let (mut kernel, mut keeper) = (machine.kernel(), machine.keeper());
        let (snapshot, plan) = pass(&mut kernel, &mut keeper, Time(1_000_000));
        let seen = keeper.pass(&snapshot);
        prop_assert_eq!(&keeper.decide(&seen), &plan);
        let memory: Memory = serde_json::from_str(&serde_json::to_string(&keeper.memory).unwrap()).unwrap();
        let other = Keeper::new(keeper.desired.clone(), keeper.policy.clone(), memory);
        prop_assert_eq!(&other.decide(&other.pass(&snapshot)), &plan);
        // And learning the same again teaches nothing.
        let before = keeper.memory.clone();
        keeper.learn(&snapshot, Time(1_000_000));
        prop_assert_eq!(&keeper.memory, &before);
    }

    #[test]
    fn plans_that_are_carried_out_end_in_no_drift_or_a_stated_reason(machine in machine()) {
        let (mut kernel, mut keeper) = (machine.kernel(), machine.keeper());
        let mut now = Time(1_000_000);
        for turn in 0.. {
            let (snapshot, plan) = pass(&mut kernel, &mut keeper, now);
            check_plan(&keeper, &snapshot, &plan)?;
            if plan.acts.is_empty() {
                let seen = keeper.pass(&snapshot);
                let status = keeper.status(&seen, &plan);
                for address in seen.drifts.keys() {
                    let standing = &status.devices[address].standing;
                    prop_assert!(!standing.state.is_good() && !standing.reason.is_empty(), "{}: {:?}", address, standing);
                    prop_assert!(standing.state != State::Repairing);
                }
                let waits = plan.held.iter().any(|held| held.not_before.is_some());
                if !waits {
                    break;
                }
            }
            prop_assert!(turn < 12, "no end: {:#?}", plan);
            let returned = perform(&mut kernel, &mut keeper, &snapshot, &plan, now);
            prop_assert!(returned, "a write blocks: {:#?}", plan);
            now = now + Duration::from_secs(600);
        }
        // What was satisfied stays so, and nothing else was written to, all the way.
        let declared: BTreeSet<Address> = machine.parts.iter().map(|part| part.address).collect();
        for address in declared {
            let (snapshot, _) = pass(&mut kernel, &mut keeper, now);
            if !keeper.pass(&snapshot).found.owner.contains_key(&address) {
                prop_assert_eq!(kernel.writes(Writer::Plan, address), 0, "{} is not declared", address);
            }
        }
    }

    #[test]
    fn what_is_satisfied_gets_an_empty_plan(machine in machine()) {
        let (mut kernel, mut keeper) = (machine.kernel(), machine.keeper());
        let (snapshot, plan) = pass(&mut kernel, &mut keeper, Time(1_000_000));
        let status = keeper.status(&keeper.pass(&snapshot), &plan);
        if status.devices.values().all(|device| device.standing.state.is_good())
            && status.modules.values().all(|module| module.state.serves())
        {
            prop_assert!(plan.acts.is_empty() && plan.look.is_empty());
        }
        let good = status.devices.iter().filter(|(_, device)| device.standing.state.is_good());
        for (address, _) in good {
            prop_assert!(!written(&plan).contains(address), "{} is as declared", address);
        }
    }
}
