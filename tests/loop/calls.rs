//! What is asked over the bus: done, answered, remembered, and never in the way.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;
use vfiod::bus::call::{Answer, Ask, Refusal, Target};
use vfiod::bus::difference::{Change, between};
use vfiod::host::sim::Fault;
use vfiod::model::event::{Event, Kind};
use vfiod::model::plan_view::PlanView;
use vfiod::model::preflight::Report;
use vfiod::model::preflight::{About, Code, Finding, Severity};
use vfiod::model::state::{Health, State};

use crate::support::ask::{device, entry, hold, id, results};
use crate::support::lab::{NIC, OTHER};
use crate::support::{Lab, addr, by, module, run};

#[tokio::test(start_paused = true)]
async fn a_plan_is_told_and_not_carried_out() {
    run(async {
        let mut lab = Lab::ready("[repair]\nmode = \"observe\"\n").await;
        lab.reload(Ok(&("[repair]\nmode = \"observe\"\n".to_owned() + &by("nic", NIC)))).await;
        lab.secs(1).await;
        let Ok(Answer::Text(text)) = lab.ask(Ask::Plan).await.unwrap() else { panic!("no plan") };
        let plan: PlanView = serde_json::from_str(&text).unwrap();
        assert_eq!(plan.acts.iter().map(|act| act.key.as_str()).collect::<Vec<_>>(), ["modules"], "{text}");
        assert!(plan.held.iter().any(|held| held.about == NIC), "{text}");
        assert_eq!((lab.loads(), lab.writes(NIC)), (0, 0));
        assert!(matches!(lab.ask(Ask::Repair(vec![])).await.unwrap(), Err(Refusal::Refused(_))));
        lab.secs(10).await;
        assert_eq!((lab.loads(), lab.writes(NIC)), (0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_has_had_the_configuration_read_sees_what_it_declares() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        // The pass after it looks closer, and so takes a while.
        lab.machine.look_takes.set(Duration::from_millis(300));
        let both = by("nic", NIC) + &by("other", OTHER);
        assert!(matches!(lab.ask_to_reload(Ok(&both)).await.unwrap(), Ok(Answer::Done)));
        assert!(lab.picture().entries.contains_key("other"), "{:?}", lab.picture().entries);
        let before = lab.machine.now();
        let wrong = lab.ask_to_reload(Err("line 1 is wrong")).await.unwrap().unwrap_err();
        assert_eq!(wrong, Refusal::InvalidConfiguration("line 1 is wrong".to_owned()));
        assert_eq!(lab.machine.now(), before);
    })
    .await;
}

/// Asks for a plan again as soon as it has one, without end; counts the answers.
async fn plans(lab: &Lab, count: &Cell<usize>) {
    loop {
        assert!(matches!(lab.ask(Ask::Plan).await.unwrap(), Ok(Answer::Text(_))));
        count.set(count.get() + 1);
        lab.ms(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_plans_without_end_keeps_nothing_from_being_repaired() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.unbind(NIC);
        let count = Cell::default();
        // Asks while the pass that answers the other one is under way.
        let another = async {
            lab.ms(3).await;
            plans(&lab, &count).await;
        };
        let passed = async {
            lab.ms(20).await;
            lab.ask(Ask::Pass).await.unwrap().unwrap();
            lab.secs(10).await;
        };
        tokio::select! {
            () = plans(&lab, &count) => {}
            () = another => {}
            () = passed => {}
            () = lab.secs(30) => panic!("a pass was never made"),
        }
        assert_eq!((lab.driver(NIC).as_deref(), lab.picture().health), (Some("vfio-pci"), Health::Ready));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn plans_cost_a_pass_a_second_and_root_waits_for_none() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.secs(2).await;
        lab.hush();
        let count = Cell::default();
        tokio::select! {
            () = plans(&lab, &count) => {}
            () = plans(&lab, &count) => {}
            () = plans(&lab, &count) => {}
            () = lab.ms(9_900) => {}
        }
        assert_eq!((lab.observations() <= 13, count.get() >= 28), (true, true), "{} {count:?}", lab.observations());
        let before = lab.machine.now();
        assert!(matches!(lab.ask_as_root(Ask::Plan).await.unwrap(), Ok(Answer::Text(_))));
        assert_eq!(lab.machine.now(), before);
    })
    .await;
}

/// Has a device fail again and again, until nothing is wrong with it any more but that it waits.
async fn has_failed(lab: &Lab) {
    let fault = Fault::ProbeFails(addr(NIC), 5);
    lab.machine.with(|kernel| kernel.break_it(fault.clone()));
    lab.unbind(NIC);
    lab.secs(400).await;
    assert_eq!(lab.picture().devices[&addr(NIC)].state, State::Failing);
    lab.machine.with(|kernel| kernel.mend(&fault));
}

#[tokio::test(start_paused = true)]
async fn a_repair_passes_over_the_back_off_and_says_what_became_of_each() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        has_failed(&lab).await;
        let answer = results(lab.ask(Ask::Repair(vec![entry("nic")])).await.unwrap());
        assert_eq!(answer, [(NIC.to_owned(), "ready".to_owned())]);
        let answer = results(lab.ask(Ask::Repair(vec![])).await.unwrap());
        assert!(answer.contains(&(NIC.to_owned(), "ready".to_owned())), "{answer:?}");
        let unknown = lab.ask(Ask::Repair(vec![entry("nix")])).await.unwrap();
        assert!(matches!(&unknown, Err(Refusal::NoSuchObject { what, .. }) if what.contains("nix")), "{unknown:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_has_modules_loaded_has_no_device_tried_again() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        has_failed(&lab).await;
        let writes = lab.writes(NIC);
        for modules in [vec![], vec![module("vfio_pci")]] {
            let answer = results(lab.ask(Ask::LoadModules(modules)).await.unwrap());
            assert!(answer.contains(&("vfio_pci".to_owned(), "live".to_owned())), "{answer:?}");
            lab.secs(1).await;
        }
        assert_eq!((lab.writes(NIC), lab.picture().devices[&addr(NIC)].state), (writes, State::Failing));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn how_the_iommu_stands_is_shown_anew_when_devices_come_and_go() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        assert_eq!(lab.picture().iommu.groups, 20);
        lab.machine.groups.set(13);
        lab.unbind(NIC);
        lab.secs(2).await;
        assert_eq!(lab.picture().iommu.groups, 13);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_new_attempt_comes_to_is_told_and_not_what_the_last_one_came_to() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        let fails = Fault::ModprobeFails(module("vfio_pci"), 1);
        let failed = async || {
            lab.machine.with(|kernel| kernel.break_it(fails.clone()));
            lab.modprobe_r("vfio_pci").await;
            lab.secs(400).await;
            assert_eq!(lab.picture().devices[&addr(NIC)].state, State::Failing);
            lab.machine.with(|kernel| kernel.mend(&fails));
        };
        failed().await;
        let answer = results(lab.ask(Ask::LoadModules(vec![module("vfio_pci")])).await.unwrap());
        assert_eq!(answer, [("vfio_pci".to_owned(), "live".to_owned())]);
        lab.secs(2).await;
        failed().await;
        // Its module is what has failed, and comes first.
        let answer = results(lab.ask(Ask::Repair(vec![device(NIC)])).await.unwrap());
        assert_eq!(answer, [(NIC.to_owned(), "ready".to_owned())]);
        lab.secs(2).await;
        has_failed(&lab).await;
        // While events come in nothing is begun.
        lab.unbind(OTHER);
        lab.ms(1).await;
        let answer = results(lab.ask(Ask::Repair(vec![device(NIC)])).await.unwrap());
        assert_eq!(answer, [(NIC.to_owned(), "ready".to_owned())]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_never_ends_is_waited_for_no_longer_than_its_deadline() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.with(|kernel| kernel.break_it(Fault::LoadHangs(module("vfio_pci"))));
        lab.modprobe_r("vfio_pci").await;
        lab.secs(1).await;
        let before = lab.machine.now();
        let answer = results(lab.ask(Ask::LoadModules(vec![module("vfio_pci")])).await.unwrap());
        assert!(answer[0].1.starts_with("loading") || answer[0].1.starts_with("absent"), "{answer:?}");
        let took = lab.machine.now().since(before);
        assert!(took > Duration::from_secs(25) && took < Duration::from_secs(62), "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn modules_are_loaded_on_request_and_told_by_name() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.modprobe_r("vfio_pci").await;
        let answer = results(lab.ask(Ask::LoadModules(vec![module("vfio_pci")])).await.unwrap());
        assert_eq!(answer, [("vfio_pci".to_owned(), "live".to_owned())]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_while_a_write_is_stuck_is_answered_at_once() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        lab.unbind(OTHER);
        lab.machine.with(|kernel| kernel.break_it(Fault::Stuck(addr(OTHER))));
        lab.secs(40).await;
        assert_eq!(lab.picture().devices[&addr(OTHER)].state, State::Stuck, "{:?}", lab.picture());
        let before = lab.machine.now();
        id(lab.ask(hold(device(NIC), 5)).await.unwrap());
        let Ok(Answer::History(lines)) = lab.ask(Ask::History(2)).await.unwrap() else { panic!("no history") };
        assert_eq!(lines.len(), 2);
        lab.ask(Ask::Pass).await.unwrap().unwrap();
        assert!(lab.machine.now().since(before) < Duration::from_secs(1));
        let answer = lab.ask(Ask::Release(entry("other"))).await.unwrap();
        assert!(matches!(&answer, Err(Refusal::Refused(why)) if why.contains("under way")), "{answer:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_has_gone_is_not_served() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        drop(lab.ask(Ask::Release(device(NIC))));
        drop(lab.ask(hold(Target::All, 60)));
        lab.secs(5).await;
        assert_eq!((lab.driver(NIC).as_deref(), lab.picture().holds.len()), (Some("vfio-pci"), 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn at_rest_no_picture_is_shown_and_passes_are_counted_all_the_same() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.secs(130).await;
        lab.screen.pictures.borrow_mut().clear();
        let passes = lab.screen.counters.get().passes;
        lab.secs(60).await;
        assert_eq!(lab.screen.pictures.borrow().len(), 0);
        assert_eq!(lab.screen.counters.get().passes - passes, 12);
        lab.modprobe_r("vfio_pci").await;
        lab.secs(3).await;
        let states: Vec<State> = lab
            .screen
            .pictures
            .borrow()
            .iter()
            .map(|picture| picture.devices.get(&addr(NIC)).map_or(State::Missing, |it| it.state))
            .collect();
        assert_eq!(states.last(), Some(&State::Ready));
        assert!(states.contains(&State::Repairing), "{states:?}");
        let device = lab.picture().devices[&addr(NIC)].clone();
        assert_eq!(
            (device.drifts, device.repairs, device.description.as_str()),
            (1, 1, "Device 8086:10d3"),
            "at the start it was not lost"
        );
        let drifted = |event: &&Event| event.kind == Kind::Drifted;
        assert_eq!(
            lab.screen.transitions.borrow().iter().filter(drifted).count(),
            1,
            "before the start nobody listens"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_signalled_of_what_it_is_about_and_of_nothing_else() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        let latest = lab.picture();
        *lab.screen.pictures.borrow_mut() = vec![latest];
        lab.unbind(NIC);
        lab.secs(3).await;
        // It is slewed, too.
        lab.machine.boot_usec.set(lab.machine.boot_usec.get() + 40_000);
        lab.unbind(NIC);
        lab.secs(3).await;
        let pictures = lab.screen.pictures.borrow().clone();
        let mut changed = BTreeSet::new();
        for two in pictures.windows(2) {
            changed.extend(between(&two[0], &two[1]).iter().map(|change| match change {
                Change::Added(object, _) | Change::Changed(object, _) | Change::Removed(object) => object.path(),
            }));
        }
        drop(pictures);
        let mut changed: Vec<&str> = changed.iter().map(|path| path.as_str()).collect();
        changed.retain(|path| !path.contains("/group/"));
        let own = ["/org/vfiod1/device/pci_0000_00_03_0", "/org/vfiod1/entry/nic", "/org/vfiod1/manager"];
        assert_eq!(changed, own);
        // A clock that is set is news.
        lab.machine.boot_usec.set(lab.machine.boot_usec.get() + 3_600_000_000);
        let since = |lab: &Lab| lab.picture().devices[&addr(OTHER)].since_usec;
        let before = since(&lab);
        // Also where nothing else is.
        lab.secs(6).await;
        assert!(since(&lab) - before >= 3_600_000_000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_check_does_not_make_the_loop_wait() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.look_takes.set(Duration::from_secs(20));
        let mut checking = lab.ask(Ask::Check(entry("nic")));
        lab.secs(11).await;
        assert_eq!(checking.try_recv().unwrap_err(), TryRecvError::Empty);
        assert!(lab.observations() >= 2);
        assert_eq!(reported(checking.await.unwrap()), [NIC]);
    })
    .await;
}

fn reported(answer: Result<Answer, Refusal>) -> Vec<String> {
    let Ok(Answer::Text(text)) = answer else { panic!("{answer:?}") };
    let report: Report = serde_json::from_str(&text).unwrap();
    report.devices.keys().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_check_of_what_is_not_there_says_so_by_name() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        let refused = lab.ask(Ask::Check(device("0000:7f:00.0"))).await.unwrap();
        let what = "PCI function 0000:7f:00.0".to_owned();
        assert_eq!(refused.unwrap_err(), Refusal::NoSuchObject { what, near: Vec::new() });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn checks_share_a_survey_and_those_that_come_while_it_runs_the_next() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.look_takes.set(Duration::from_secs(2));
        let first = lab.ask(Ask::Check(Target::All));
        lab.secs(1).await;
        let mut others = Vec::new();
        for n in 0..100 {
            others.push(lab.ask_as(Ask::Check([entry("nic"), device(OTHER), Target::All][n % 3].clone()), ":1.9"));
            lab.ms(1).await;
        }
        let root = lab.ask_as_root(Ask::Check(device(NIC)));
        assert!(reported(first.await.unwrap()).len() > 2);
        for (n, other) in others.into_iter().enumerate() {
            let reported = reported(other.await.unwrap());
            assert!(matches!((n % 3, &*reported), (0, [one]) if one == NIC) || n % 3 > 0, "{reported:?}");
            assert!(matches!((n % 3, &*reported), (1, [one]) if one == OTHER) || n % 3 != 1, "{reported:?}");
            assert!(n % 3 < 2 || reported.len() > 2, "{reported:?}");
        }
        assert_eq!(reported(root.await.unwrap()), [NIC]);
        assert_eq!(lab.machine.surveys.get(), 2);
        // Of one that nobody waits for any more no other comes.
        let first = lab.ask_as_root(Ask::Check(Target::All));
        lab.secs(1).await;
        drop(lab.ask(Ask::Check(Target::All)));
        drop(first);
        lab.secs(10).await;
        assert_eq!(lab.machine.surveys.get(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_root_has_a_survey_every_two_seconds_and_no_more() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.secs(60).await;
        let before = lab.machine.surveys.get();
        let began = lab.machine.now();
        for _ in 0..10 {
            assert_eq!(reported(lab.ask(Ask::Check(device(NIC))).await.unwrap()), [NIC]);
        }
        assert_eq!(lab.machine.surveys.get() - before, 10);
        assert!(lab.machine.now() >= began + Duration::from_secs(18), "{}", lab.machine.now());
        // Root waits for none of it.
        let began = lab.machine.now();
        assert_eq!(reported(lab.ask_as_root(Ask::Check(device(NIC))).await.unwrap()), [NIC]);
        assert!(lab.machine.now() < began + Duration::from_secs(1), "{}", lab.machine.now());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_only_root_may_read_is_in_roots_report_alone() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        let why = "A libvirt domain wants it.";
        let claim = |name: &str| {
            let mut finding = Finding::new(Severity::Note, About::Device(addr(NIC)), Code::ClaimedByAnother, why)
                .because(format!("/etc/libvirt/qemu/{name}.xml"), format!("libvirt: domain {name}"));
            finding.evidence[0].private = Some("/etc/libvirt/qemu".to_owned());
            finding
        };
        *lab.machine.findings.borrow_mut() = Ok(vec![claim("payroll"), claim("payroll-2")]);
        let text = |answer: Result<Answer, Refusal>| match answer {
            Ok(Answer::Text(text)) => text,
            other => panic!("{other:?}"),
        };
        for on in [device(NIC), Target::All] {
            let root = text(lab.ask_as_root(Ask::Check(on.clone())).await.unwrap());
            assert!(root.contains("/etc/libvirt/qemu/payroll-2.xml"), "{root}");
            let others = text(lab.ask(Ask::Check(on)).await.unwrap());
            assert!(!others.contains("payroll"), "{others}");
            let report: Report = serde_json::from_str(&others).unwrap();
            assert_eq!(report.findings.len(), 1, "{others}");
            assert_eq!(report.findings[0].why, why);
            let evidence = &report.findings[0].evidence[0];
            assert_eq!([&*evidence.source, &*evidence.value], ["/etc/libvirt/qemu", "only root is shown what it says"]);
        }
    })
    .await;
}
