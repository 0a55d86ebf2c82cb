//! Failures, fights, and what changes under an actor.

use std::time::Duration;

use vfiod::host::sim::faults::Fault;
use vfiod::host::sim::kernel::Writer;
use vfiod::host::sim::machine::lab;
use vfiod::host::sim::{Process, Version};
use vfiod::model::event::{Event, Kind, Level};
use vfiod::model::state::State;
use vfiod::model::time::Time;

use crate::support::lab::{NIC, OTHER};
use crate::support::{Lab, Said, addr, by, module, run};

fn begun_at(lab: &Lab) -> Vec<Duration> {
    let begun = lab.machine.begun.borrow();
    let first = begun.first().map_or(Time::BOOT, |(at, _)| *at);
    begun.iter().map(|(at, _)| at.since(first)).collect()
}

fn no_probe() -> Fault {
    Fault::ProbeFails(addr(NIC), nix::errno::Errno::EIO as i32)
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_each_time_and_are_not_forgotten_over_a_restart() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.with(|kernel| kernel.break_it(no_probe()));
        lab.unbind(NIC);
        lab.ms(10_000).await;
        let waits: Vec<u64> = begun_at(&lab).windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4]);
        assert_eq!(lab.kinds(), [Kind::Drifted, Kind::RepairFailed]);
        assert!(lab.events()[1].cause.contains("EIO"), "{}", lab.events()[1].cause);
        lab.kill().await;
        let before = lab.begun().len();
        lab.start();
        lab.secs(4).await;
        assert_eq!(lab.begun().len(), before, "the wait is not over");
        lab.secs(3).await;
        assert_eq!(lab.begun().len(), before + 1);
        lab.secs(14).await;
        assert_eq!(lab.begun().len(), before + 1, "and the next one is longer");
        lab.machine.with(|kernel| kernel.mend(&no_probe()));
        lab.secs(5).await;
        assert_eq!((lab.line().as_str(), lab.of(Kind::Repaired).len()), ("ready: 1 ready", 1));
        assert!(lab.of(Kind::Repaired)[0].latency.unwrap() > Duration::from_secs(30));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_back_off_that_is_over_while_a_guard_holds_makes_no_extra_pass() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.with(|kernel| kernel.break_it(no_probe()));
        lab.give(NIC, "e1000e");
        lab.machine.with(|kernel| kernel.mend(&no_probe()));
        lab.secs(2).await;
        lab.machine.with(|kernel| kernel.break_it(no_probe()));
        lab.unbind(NIC);
        lab.secs(1).await;
        let vm = Process::new(5, "holder", 0);
        lab.machine.with(|kernel| {
            kernel.mend(&no_probe());
            kernel.write_override(addr(NIC), None);
            kernel.drivers_probe(addr(NIC));
            kernel.open_node(addr(NIC), "/dev/ptp0", &vm);
        });
        lab.secs(5).await;
        lab.hush();
        lab.secs(60).await;
        assert!(lab.observations() <= 2 * 14, "{}", lab.observations());
        assert_eq!(lab.begun().len(), 0);
    })
    .await;
}

/// Somebody who unloads it every second.
async fn opponent(lab: &Lab, seconds: u64) {
    for _ in 0..seconds {
        lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
        lab.secs(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_opponent_opens_the_breaker_after_the_configured_incidents_with_one_alert() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        let before = lab.loads();
        opponent(&lab, 60).await;
        // The fifth incident opens it: four loads.
        assert_eq!(lab.loads() - before, 4);
        let alerts = |lab: &Lab| lab.events().into_iter().filter(|event| event.level == Level::Alert).count();
        assert_eq!((alerts(&lab), lab.of(Kind::Fighting).len()), (1, 1), "{:#?}", lab.kinds());
        assert_eq!(lab.of(Kind::Fighting)[0].about.to_string(), "module vfio_pci");
        assert!(lab.line().starts_with("blocked: 2 fighting"), "{}", lab.line());
        lab.hush();
        lab.secs(3500).await;
        assert_eq!((lab.loads() - before, lab.events().len()), (4, 0));
        assert!(lab.observations() < 800, "{}", lab.observations());
        // The probe is due after an hour; undone again it is silent, and the wait doubles.
        opponent(&lab, 100).await;
        assert_eq!((lab.loads() - before, lab.events().len()), (5, 0), "{:#?}", lab.events());
        opponent(&lab, 7100).await;
        assert_eq!(lab.loads() - before, 5);
        opponent(&lab, 200).await;
        assert_eq!((lab.loads() - before, lab.events().len()), (6, 0));
        // He gives up: the next probe succeeds, and after ten quiet minutes the fight is over.
        lab.secs(4 * 3600 + 700).await;
        assert_eq!(lab.loads() - before, 7);
        assert_eq!(lab.kinds(), [Kind::FightOver], "{:#?}", lab.events());
        assert_eq!(lab.line(), "ready: 2 ready");
        opponent(&lab, 3).await;
        assert_eq!(lab.loads() - before, 10);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_not_forgotten_over_a_restart() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        opponent(&lab, 10).await;
        let before = lab.loads();
        lab.kill().await;
        lab.start();
        lab.secs(60).await;
        assert_eq!((lab.loads(), lab.line().starts_with("blocked: 1 fighting")), (before, true));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fight_over_one_device_stops_for_its_entry_only() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        for _ in 0..20 {
            if lab.driver(NIC).is_some() {
                lab.unbind(NIC);
            }
            lab.secs(1).await;
        }
        assert_eq!(lab.begun().len(), 4);
        let alerts: Vec<_> = lab.events().into_iter().filter(|event| event.level == Level::Alert).collect();
        assert_eq!((alerts.len(), alerts[0].about.to_string().as_str()), (1, "entry nic"));
        lab.unbind(OTHER);
        lab.secs(1).await;
        assert_eq!(lab.driver(OTHER).as_deref(), Some("vfio-pci"));
        // The probe after an hour helps, and ten minutes later it is over.
        lab.secs(3600 + 700).await;
        assert_eq!((lab.line().as_str(), lab.of(Kind::FightOver).len()), ("ready: 2 ready", 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fight_that_begins_while_nobody_watches_is_alerted_to_once() {
    run(async {
        let mut lab = Lab::ready(&("repair.breaker.incidents = 1\n".to_owned() + &by("nic", NIC))).await;
        let mut levels = Vec::new();
        for _ in 0..3 {
            lab.kill().await;
            if levels.is_empty() {
                lab.unbind(NIC);
            }
            lab.hush();
            lab.start();
            lab.secs(5).await;
            levels.extend(lab.of(Kind::Fighting).iter().map(|event| event.level));
        }
        assert_eq!(levels, [Level::Alert, Level::Warning, Level::Warning]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fight_over_an_override_alone_stops_too() {
    run(async {
        let lab = Lab::ready(&("watch.override_interval = \"1s\"\n".to_owned() + &by("nic", NIC))).await;
        for _ in 0..60 {
            lab.machine.with(|kernel| kernel.write_override(addr(NIC), None));
            lab.secs(3).await;
        }
        let alerts: Vec<Event> = lab.events().into_iter().filter(|event| event.level == Level::Alert).collect();
        assert_eq!(alerts.iter().map(|event| event.kind).collect::<Vec<_>>(), [Kind::Fighting]);
        assert_eq!((lab.driver(NIC).as_deref(), lab.line().as_str()), (Some("vfio-pci"), "blocked: 1 fighting"));
        let begun = lab.begun().len();
        lab.secs(30).await;
        assert_eq!(lab.begun().len(), begun);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn losses_far_apart_are_no_fight() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        for _ in 0..20 {
            lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
            lab.secs(151).await;
        }
        assert_eq!(lab.of(Kind::Fighting), []);
        assert_eq!(lab.of(Kind::Repaired).len(), 20);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_changes_under_every_actor_is_tried_again_at_once_but_not_for_ever() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.with(|kernel| kernel.break_it(no_probe()));
        lab.unbind(NIC);
        // Each actor finds another object than its plan saw.
        for _ in 0..30_000 {
            lab.ms(1).await;
            let at_work = !lab.machine.acts.borrow().is_empty();
            if at_work {
                lab.machine.uevents.set(false);
                lab.machine.with(|kernel| {
                    kernel.remove(addr(NIC));
                    kernel.rescan();
                });
                lab.machine.uevents.set(true);
            }
        }
        let begun = lab.begun().len();
        assert!((4..15).contains(&begun), "{begun}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_act_that_cannot_begin_backs_off_and_is_said_once() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        *lab.machine.begin_fails.borrow_mut() = Some("store intent: no space left on device".to_owned());
        lab.unbind(NIC);
        lab.secs(60).await;
        let troubles = lab.said().iter().filter(|said| matches!(said, Said::Trouble(_))).count();
        assert_eq!(troubles, 1, "{:#?}", lab.said());
        assert_eq!(lab.kinds(), [Kind::Drifted, Kind::RepairFailed]);
        assert!(lab.observations() < 60, "{}", lab.observations());
        *lab.machine.begin_fails.borrow_mut() = None;
        lab.secs(64).await;
        assert_eq!(lab.line(), "ready: 1 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn acts_that_cannot_begin_for_reasons_of_their_own_are_said_once_each() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        *lab.machine.begin_fails.borrow_mut() = Some("write KEY.draft: no space left on device".to_owned());
        lab.unbind(NIC);
        lab.unbind(OTHER);
        lab.secs(300).await;
        let troubles = lab.said().iter().filter(|said| matches!(said, Said::Trouble(_))).count();
        assert_eq!(troubles, 2, "{:#?}", lab.said());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_unload_is_one_incident_whatever_hangs_on_it() {
    run(async {
        let text = "repair.breaker.incidents = 2\n".to_owned() + &by("nic", NIC) + &by("other", OTHER);
        for version in [Version::V6_1, Version::V6_12] {
            let lab = Lab::ready_on(lab(version), &text).await;
            lab.modprobe_r("vfio_pci").await;
            lab.secs(5).await;
            assert_eq!(lab.of(Kind::Fighting), [], "{version:?}");
            lab.modprobe_r("vfio_pci").await;
            lab.secs(5).await;
            assert_eq!(lab.of(Kind::Fighting).len(), 1, "{version:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_repair_is_not_the_reason_any_more_once_the_device_was_moved() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.install("pci_stub", &[], &[], &["pci-stub"]);
        kernel.modprobe(&module("pci_stub"), Default::default());
        kernel.break_it(Fault::ProbeFails(addr(NIC), 5));
        let mut lab = Lab::on(kernel, &by("nic", NIC));
        lab.start();
        lab.secs(200).await;
        let before = lab.view(NIC);
        assert_eq!(before.state, State::Failing);
        assert!(before.reason.contains("bind"), "{}", before.reason);
        lab.machine.with(|kernel| {
            kernel.mend(&Fault::ProbeFails(addr(NIC), 5));
            kernel.write_override(addr(NIC), "pci-stub".parse().ok());
            kernel.drivers_probe(addr(NIC))
        });
        lab.secs(1).await;
        let after = lab.view(NIC);
        assert_eq!((lab.driver(NIC).as_deref(), after.state), (Some("pci-stub"), State::Failing));
        assert_eq!(after.reason, "it is on pci-stub; the last repair, before that, did not help");
        assert!(lab.machine.ask(|kernel| kernel.writes(Writer::Plan, addr(NIC))) > 0);
    })
    .await;
}
