//! Writes that do not return, and what a restarted daemon makes of them.

use vfiod::bus::call::Ask;
use vfiod::host::sim::Fault;
use vfiod::model::event::{Kind, Level};
use vfiod::model::plan::Key;

use crate::support::ask::{device, results};
use crate::support::lab::{NIC, OTHER};
use crate::support::{Lab, Said, addr, by, module, run};

/// A daemon whose own unbind of the NIC hangs, long past its deadline.
async fn stuck() -> Lab {
    let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
    lab.give(NIC, "e1000e");
    lab.machine.with(|kernel| kernel.break_it(Fault::RemoveHangs(addr(NIC))));
    lab.secs(60).await;
    lab
}

#[tokio::test(start_paused = true)]
async fn what_takes_long_begins_when_systemd_knows_and_an_end_is_told_from_a_restart() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        // The first pass takes a closer look at what it finds, and so observes twice.
        assert_eq!(*lab.machine.settled_in.borrow(), [2], "once, after a whole pass");
        assert!(lab.machine.left.borrow().is_empty());
        lab.hand_over().await;
        lab.start();
        lab.secs(1).await;
        lab.stop().await;
        assert_eq!(*lab.machine.left.borrow(), [true, false]);
        // Asked to end before it was ready.
        lab.start();
        lab.hand_over().await;
        assert_eq!((lab.machine.left.borrow().len(), lab.machine.settled_in.borrow().len()), (3, 2));
    })
    .await;
}

fn mend(lab: &Lab) {
    lab.machine.with(|kernel| kernel.mend(&Fault::RemoveHangs(addr(NIC))));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_does_not_return_is_one_alert_and_others_go_on() {
    run(async {
        let lab = stuck().await;
        assert_eq!(lab.kinds(), [Kind::Drifted, Kind::Stuck]);
        assert_eq!(lab.events()[1].level, Level::Alert);
        assert!(lab.line().starts_with("blocked: 1 ready, 1 stuck"), "{}", lab.line());
        let writes = lab.writes(NIC);
        let begun = lab.begun().len();
        lab.unbind(OTHER);
        lab.secs(130).await;
        assert_eq!(lab.driver(OTHER).as_deref(), Some("vfio-pci"));
        assert_eq!((lab.writes(NIC), lab.begun().len()), (writes, begun + 1));
        let looked = |at| lab.machine.looks.borrow().iter().any(|(_, closer)| closer.looks.contains(&at));
        assert!(looked(addr(OTHER)));
        let last = lab.machine.looks.borrow().last().cloned().unwrap().1;
        assert!(!last.looks.contains(&addr(NIC)) && !last.pins.contains(&addr(NIC)), "{last:?}");
        assert!(lab.observations() < 60, "{}", lab.observations());
        mend(&lab);
        lab.secs(10).await;
        assert_eq!(lab.line(), "ready: 2 ready");
        assert_eq!((lab.of(Kind::Stuck).len(), lab.of(Kind::Unstuck).len()), (1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_daemon_takes_a_stuck_write_over_and_begins_no_second_one() {
    run(async {
        let mut lab = stuck().await;
        lab.stop().await;
        assert_eq!(lab.said().last(), Some(&Said::Stopped(1)));
        lab.hush();
        lab.start();
        lab.secs(60).await;
        let group = lab.machine.ask(|kernel| kernel.group(addr(NIC))).unwrap();
        assert_eq!(lab.said()[0], Said::Adopted(Key::Group(group)));
        assert_eq!(lab.begun().len(), 0);
        assert_eq!(lab.of(Kind::Stuck).len(), 1);
        mend(&lab);
        lab.secs(10).await;
        assert_eq!((lab.line().as_str(), lab.of(Kind::Unstuck).len()), ("ready: 2 ready", 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_inherited_write_that_fails_is_charged_to_its_entry() {
    run(async {
        let mut lab = stuck().await;
        lab.kill().await;
        lab.start();
        lab.secs(1).await;
        lab.machine.with(|kernel| kernel.break_it(Fault::ProbeFails(addr(NIC), 5)));
        lab.hush();
        mend(&lab);
        lab.ms(500).await;
        assert_eq!(lab.begun().len(), 0, "it came back too late: the next one waits");
        assert!(lab.line().contains("1 failing"), "{}", lab.line());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_an_adopted_write_takes_a_device_from_is_known_though_it_was_never_saved() {
    run(async {
        let mut lab = Lab::new(&by("nic", NIC));
        lab.machine.with(|kernel| kernel.break_it(Fault::RemoveHangs(addr(NIC))));
        lab.start();
        lab.secs(10).await;
        let takes = lab.begun().concat().iter().any(|step| step.contains("unbind"));
        assert!(takes, "{:?}", lab.begun());
        // Killed after the errand was sent, and before anything was written down.
        lab.kill().await;
        lab.shelf.text.borrow_mut().clear();
        lab.start();
        lab.secs(5).await;
        mend(&lab);
        lab.secs(10).await;
        assert_eq!(lab.line(), "ready: 1 ready");
        results(lab.ask(Ask::Release(device(NIC))).await.unwrap());
        assert_eq!(lab.driver(NIC).as_deref(), Some("e1000e"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_it_converges_and_begins_nothing_twice() {
    run(async {
        let mut lab =
            Lab::ready(&("repair.breaker.incidents = 100\n".to_owned() + &by("nic", NIC) + &by("other", OTHER))).await;
        for round in 0..40 {
            match round % 4 {
                0 => drop(lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")))),
                1 => drop(lab.unbind(NIC)),
                2 => lab.give(OTHER, "e1000e"),
                _ => lab.give(NIC, "e1000e"),
            }
            lab.ms(round * 7).await;
            lab.kill().await;
            lab.start();
            lab.secs(7).await;
            assert_eq!(lab.line(), "ready: 2 ready", "{round}");
        }
        assert_eq!(lab.of(Kind::Fighting), []);
    })
    .await;
}
