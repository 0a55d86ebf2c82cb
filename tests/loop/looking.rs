//! What is shown and told while a closer look is under way, which takes seconds where the kernel holds its
//! reader: the loss comes first.

use std::time::Duration;

use vfiod::bus::call::Ask;
use vfiod::host::sim::Use;
use vfiod::model::event::Kind;
use vfiod::model::state::{Health, State};

use crate::support::ask::device;
use crate::support::lab::{NIC, OTHER};
use crate::support::{Lab, addr, by, module, run};

/// From now on each closer look takes that long.
fn slow(lab: &Lab, secs: u64) {
    lab.machine.look_takes.set(Duration::from_secs(secs));
}

fn state(lab: &Lab, address: &str) -> State {
    lab.picture().devices[&addr(address)].state
}

fn is_shown_as_lost(lab: &Lab, address: &str) {
    let picture = lab.picture();
    assert!(!state(lab, address).is_good() && picture.health != Health::Ready, "{picture:#?}");
    assert!(!lab.line().starts_with("ready"), "{}", lab.line());
}

#[tokio::test(start_paused = true)]
async fn what_has_lost_its_driver_is_not_shown_as_ready_while_it_is_looked_at() {
    run(async {
        for uevents in ["true", "false"] {
            let lab =
                Lab::ready(&(format!("watch.uevents = {uevents}\n") + &by("nic", NIC) + &by("other", OTHER))).await;
            slow(&lab, 7);
            let writes = lab.writes(NIC);
            lab.unbind(NIC);
            // A poll finds it at the latest.
            lab.ms(if uevents == "true" { 60 } else { 5_060 }).await;
            assert_eq!(lab.machine.looks.borrow().len(), 1, "a look is under way");
            is_shown_as_lost(&lab, NIC);
            let told = lab.events();
            let told: Vec<_> = told.iter().map(|event| (event.kind, event.old.as_str(), event.new.as_str())).collect();
            assert_eq!(told, [(Kind::Drifted, "ready", "drifted")]);
            assert_eq!((lab.writes(NIC), state(&lab, OTHER)), (writes, State::Ready));
            lab.secs(30).await;
            assert_eq!(lab.kinds(), [Kind::Drifted, Kind::Repaired], "and nothing twice");
            assert_eq!(lab.line(), "ready: 2 ready");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nor_is_a_module_that_is_gone_while_it_is_looked_for_what_a_load_would_bind() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        slow(&lab, 5);
        lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
        lab.ms(200).await;
        assert!(!lab.machine.looks.borrow().is_empty(), "a look is under way");
        is_shown_as_lost(&lab, NIC);
        assert!(lab.line().contains("vfio_pci absent"), "{}", lab.line());
        assert!(lab.kinds().contains(&Kind::ModuleLost), "{:?}", lab.kinds());
        lab.secs(30).await;
        assert_eq!(lab.line(), "ready: 1 ready");
        let count = |kind| lab.of(kind).len();
        assert_eq!([Kind::ModuleLost, Kind::ModuleRestored, Kind::Drifted, Kind::Repaired].map(count), [2, 2, 1, 1]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_loss_during_a_look_at_something_is_not_told_only_after_it() {
    run(async {
        for uevents in ["true", "false"] {
            let text = format!("watch.uevents = {uevents}\n") + &by("nic", NIC) + &by("other", OTHER);
            let mut lab = Lab::ready(&text).await;
            // As on 6.1, where whoever reads the override waits for the end of an unbind.
            slow(&lab, 8);
            lab.secs(58).await;
            while lab.machine.looks.borrow().is_empty() {
                lab.ms(100).await;
            }
            let began = lab.machine.looks.borrow()[0].0;
            lab.unbind(NIC);
            lab.ms(if uevents == "true" { 200 } else { 5_200 }).await;
            assert!(lab.machine.now().since(began) < Duration::from_secs(8), "that look is under way still");
            is_shown_as_lost(&lab, NIC);
            assert_eq!(lab.kinds(), [Kind::Drifted]);
            slow(&lab, 0);
            lab.secs(30).await;
            assert_eq!((lab.line().as_str(), lab.kinds()), ("ready: 2 ready", vec![Kind::Drifted, Kind::Repaired]));
            lab.stop().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nor_is_what_a_person_wants_released_just_after_it_was_lost() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        slow(&lab, 6);
        let answer = lab.ask(Ask::Release(device(NIC)));
        lab.unbind(NIC);
        lab.ms(300).await;
        is_shown_as_lost(&lab, NIC);
        slow(&lab, 0);
        drop(answer.await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_told_of_others_is_not_told_anew_for_a_look_at_them_that_is_not_back() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        lab.give(OTHER, "e1000e");
        lab.machine.with(|kernel| kernel.set_use(addr(OTHER), Use::Network("default route via eth0".to_owned())));
        lab.secs(5).await;
        assert_eq!(state(&lab, OTHER), State::Held);
        lab.hush();
        slow(&lab, 7);
        lab.unbind(NIC);
        lab.secs(3).await;
        assert_eq!((lab.kinds(), state(&lab, OTHER)), (vec![Kind::Drifted], State::Held));
        is_shown_as_lost(&lab, NIC);
        lab.secs(40).await;
        assert_eq!(lab.kinds(), [Kind::Drifted, Kind::Repaired]);
    })
    .await;
}
