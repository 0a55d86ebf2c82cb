//! Holds and leases: nothing is written while they last, and they end.

use vfiod::bus::call::{Answer, Ask, Refusal, Target};
use vfiod::host::sim::machine::lab as machine;
use vfiod::host::sim::{Fault, Version};
use vfiod::model::hold::{Hold, MOST, Until};
use vfiod::model::memory::Memory;
use vfiod::model::state::State;

use crate::support::ask::{device, entry, hold, id};
use crate::support::lab::{NIC, OTHER};
use crate::support::{Lab, Said, addr, by, module, run};

#[tokio::test(start_paused = true)]
async fn a_hold_keeps_everything_from_being_written_until_its_time_is_over() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        let held = id(lab.ask(hold(Target::All, 60)).await.unwrap());
        assert_eq!(lab.picture().holds.len(), 1);
        assert_eq!(lab.picture().devices[&addr(NIC)].state, State::Ready, "nothing is held back yet");
        lab.modprobe_r("vfio_pci").await;
        let loads = lab.loads();
        // A restart does not end it.
        lab.secs(20).await;
        lab.kill().await;
        lab.start();
        lab.secs(20).await;
        assert_eq!((lab.loads(), lab.driver(NIC)), (loads, None));
        let picture = lab.picture();
        assert_eq!(picture.devices[&addr(NIC)].state, State::Held);
        assert!(picture.devices[&addr(NIC)].reason.contains("tests holds all: a reason"), "{picture:?}");
        lab.secs(25).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
        assert!(lab.said().contains(&Said::HoldOver(held, "its time is over".to_owned())));
        assert!(lab.picture().holds.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_on_time_however_seldom_it_is_polled() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + "[watch]\ninterval = \"1h\"\n")).await;
        let held = id(lab.ask(hold(Target::All, 60)).await.unwrap());
        lab.secs(61).await;
        assert!(lab.said().contains(&Said::HoldOver(held, "its time is over".to_owned())));
        assert!(lab.observations() < 8, "{}", lab.observations());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_holds_and_descriptors_are_left_for_all_else() {
    let unit = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/vfiod.service")).unwrap();
    let limit = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).unwrap();
    assert!(MOST * 2 <= limit.parse().unwrap(), "{MOST} leases of {limit} descriptors");
    run(async {
        let mut lab = Lab::new(&by("nic", NIC));
        let mut memory = Memory::default();
        let until = Until::Time(lab.machine.boot_usec.get() + 100_000_000);
        let (who, why) = ("tests".to_owned(), "a reason".to_owned());
        let held = Hold { target: entry("nic"), who, why, uid: 0, pid: 1, until, length_usec: 0 };
        memory.lasting.next_hold = MOST as u64 - 1;
        memory.lasting.holds.0 = (1..MOST as u64).map(|id| (id, held.clone())).collect();
        *lab.shelf.text.borrow_mut() = serde_json::to_string(&(&memory, &memory.lasting)).unwrap();
        lab.start();
        id(lab.ask(hold(entry("nic"), 60)).await.unwrap());
        let refused = lab.ask(hold(entry("nic"), 60)).await.unwrap().unwrap_err();
        assert!(matches!(refused, Refusal::LimitsExceeded(_)), "{refused:?}");
        lab.secs(61).await;
        id(lab.ask(hold(entry("nic"), 60)).await.unwrap());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_number_that_is_in_force_is_given_twice_though_the_last_one_was_lost() {
    run(async {
        let mut lab = Lab::new(&by("nic", NIC));
        let mut memory = Memory::default();
        let (who, why) = ("tests".to_owned(), "a reason".to_owned());
        let until = Until::Owner(":1.9".to_owned());
        let held = Hold { target: entry("nic"), who, why, uid: 0, pid: 1, until, length_usec: 0 };
        memory.holds.0.insert(7, held);
        *lab.shelf.text.borrow_mut() = serde_json::to_string(&(&memory, &memory.lasting)).unwrap();
        lab.start();
        for (seconds, expected) in [(60, 8), (0, 9)] {
            assert_eq!(id(lab.ask(hold(entry("nic"), seconds)).await.unwrap()), expected);
        }
        assert!(matches!(lab.ask(Ask::Unhold(8)).await.unwrap(), Ok(Answer::Done)));
        lab.secs(1).await;
        let left: Vec<u64> = lab.picture().holds.iter().map(|hold| hold.id).collect();
        assert_eq!(left, [7, 9]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_held_device_is_not_bound_by_a_load_though_it_is_blocked_as_well() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.with(|kernel| kernel.reserve_region(addr(NIC)));
        lab.secs(61).await;
        assert_eq!(lab.picture().devices[&addr(NIC)].state, State::Blocked);
        id(lab.ask(hold(entry("nic"), 0)).await.unwrap());
        lab.modprobe_r("vfio_pci").await;
        lab.secs(5).await;
        assert_eq!((lab.is_live("vfio_pci"), lab.driver(NIC)), (false, None));
        assert_eq!(lab.picture().devices[&addr(NIC)].state, State::Held);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_on_a_module_holds_those_that_bring_it() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        let held = id(lab.ask(hold(Target::Module(module("vfio_pci_core")), 0)).await.unwrap());
        // At once: while core is there still, nothing brings it.
        lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
        lab.secs(5).await;
        assert_eq!((lab.is_live("vfio_pci_core"), lab.is_live("vfio_pci")), (false, false));
        assert!(matches!(lab.ask(Ask::Unhold(held)).await.unwrap(), Ok(Answer::Done)));
        lab.secs(5).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_on_one_device_lets_the_others_be_repaired() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        let held = id(lab.ask(hold(entry("nic"), 0)).await.unwrap());
        lab.unbind(NIC);
        lab.unbind(OTHER);
        lab.secs(3).await;
        assert_eq!((lab.driver(NIC), lab.driver(OTHER).as_deref()), (None, Some("vfio-pci")));
        // A load would bind it, so it waits as well.
        lab.modprobe_r("vfio_pci").await;
        lab.secs(3).await;
        assert!(!lab.is_live("vfio_pci"));
        assert!(matches!(lab.ask(Ask::Unhold(held)).await.unwrap(), Ok(Answer::Done)));
        lab.secs(3).await;
        assert_eq!((lab.driver(NIC).as_deref(), lab.driver(OTHER).as_deref()), (Some("vfio-pci"), Some("vfio-pci")));
        assert!(matches!(lab.ask(Ask::Unhold(held)).await.unwrap(), Err(Refusal::NoSuchObject { .. })));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_granted_when_nothing_is_written_to_it_any_more_or_that_is_late() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        lab.machine.with(|kernel| kernel.break_it(Fault::LoadHangs(module("vfio_pci"))));
        lab.modprobe_r("vfio_pci").await;
        lab.secs(1).await;
        let before = lab.machine.now();
        let seconds = || lab.machine.now().since(before).as_secs();
        id(lab.ask(hold(Target::Module(module("vfio_iommu_type1")), 0)).await.unwrap());
        assert_eq!(seconds(), 0, "nothing loads that one");
        let gone = lab.ask(hold(device(OTHER), 3600));
        let mut waits = Vec::new();
        for target in [Target::Module(module("vfio_pci_core")), Target::All] {
            waits.push(lab.ask(hold(target, 0)));
        }
        lab.secs(10).await;
        assert_eq!(lab.picture().holds.len(), 4, "they are in force");
        assert!(waits.iter_mut().all(|wait| wait.try_recv().is_err()));
        drop(gone);
        for wait in waits {
            id(wait.await.unwrap());
        }
        assert!((28..=29).contains(&seconds()), "{}", seconds());
        lab.ms(1).await;
        assert_eq!(lab.picture().holds.len(), 3, "nobody knows the number of the one that was not waited for");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_on_a_device_that_is_being_bound_is_granted_when_it_is() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.unbind(NIC);
        lab.machine.with(|kernel| kernel.break_it(Fault::Stuck(addr(NIC))));
        lab.secs(2).await;
        let mut waits = [lab.ask(hold(entry("nic"), 0)), lab.ask(hold(device(NIC), 0))];
        lab.secs(2).await;
        assert!(waits.iter_mut().all(|wait| wait.try_recv().is_err()));
        lab.machine.with(|kernel| kernel.mend(&Fault::Stuck(addr(NIC))));
        for wait in waits {
            id(wait.await.unwrap());
        }
        assert!(lab.machine.acts.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_on_one_vf_of_an_entry_lets_the_others_be_repaired() {
    run(async {
        let mut kernel = machine(Version::V6_12);
        kernel.set_vfs(addr("0000:02:00.0"), 3);
        let lab = Lab::ready_on(kernel, "[device.nics]\npf = \"0000:02:00.0\"\nvf = \"0-2\"\n").await;
        let [first, held] = ["0000:02:00.1", "0000:02:00.3"];
        id(lab.ask(hold(entry("nics/2"), 0)).await.unwrap());
        lab.ms(1).await;
        assert_eq!(lab.picture().holds[0].target, held);
        lab.unbind(first);
        lab.unbind(held);
        lab.secs(3).await;
        assert_eq!((lab.driver(first).as_deref(), lab.driver(held)), (Some("vfio-pci"), None));
        let unknown = lab.ask(hold(entry("nics/3"), 0)).await.unwrap();
        assert!(matches!(unknown, Err(Refusal::NoSuchObject { .. })), "{unknown:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_without_a_time_ends_when_its_owner_leaves_and_a_lease_when_it_is_closed() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        for n in 0..20 {
            id(lab.ask_as(hold(Target::All, 0), &format!(":1.{n}")).await.unwrap());
        }
        id(lab.ask(hold(Target::All, 1)).await.unwrap());
        let Ok(Answer::Owners(owners)) = lab.ask(Ask::Owners).await.unwrap() else { panic!("no owners") };
        assert_eq!(owners, (0..20).map(|n| format!(":1.{n}")).collect());
        lab.secs(2).await;
        let inhibit = Ask::Inhibit { target: Target::All, who: "a".to_owned(), why: "b".to_owned() };
        let Ok(Answer::Lease(lease)) = lab.ask(inhibit).await.unwrap() else { panic!("no lease") };
        for n in 0..20 {
            lab.ask(Ask::CallerGone(format!(":1.{n}"))).await.unwrap().unwrap();
        }
        lab.ms(1).await;
        assert_eq!(lab.picture().holds.len(), 1);
        lab.kill().await;
        lab.start();
        lab.secs(3).await;
        assert_eq!(lab.picture().holds.len(), 1);
        drop(lease);
        // The pipe's end comes through the reactor, which no paused clock drives.
        while !lab.picture().holds.is_empty() {
            lab.ms(1).await;
        }
    })
    .await;
}

/// Sets the machine's clock, forward or back.
fn set_clock(lab: &Lab, hours: i64) {
    let boot = &lab.machine.boot_usec;
    boot.set(boot.get().saturating_add_signed(hours * 3_600_000_000));
}

fn over(lab: &Lab, id: u64) -> bool {
    lab.said().contains(&Said::HoldOver(id, "its time is over".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_ends_no_hold_early_or_late() {
    run(async {
        for (hours, restarts) in [(2, false), (-2, false), (2, true), (-2, true)] {
            let mut lab = Lab::ready(&by("nic", NIC)).await;
            let held = id(lab.ask(hold(entry("nic"), 60)).await.unwrap());
            lab.secs(20).await;
            let shown = lab.picture().holds[0].until_usec;
            if restarts {
                lab.kill().await;
            }
            set_clock(&lab, hours);
            if restarts {
                lab.start();
            }
            lab.secs(20).await;
            let now = lab.picture().holds[0].until_usec;
            let expected = shown.saturating_add_signed(hours * 3_600_000_000);
            assert!(now.abs_diff(expected) < 1_000, "what is shown is when it ends: {now}, {expected}");
            lab.secs(19).await;
            assert!(!over(&lab, held), "{hours} h, {restarts}");
            lab.secs(2).await;
            assert!(over(&lab, held), "{hours} h, {restarts}");
        }
    })
    .await;
}

/// What was stored in another boot: only what lasts.
fn reboot(lab: &Lab) {
    let text = lab.shelf.text.borrow().clone();
    let (_, lasting) = serde_json::from_str::<(Memory, vfiod::model::memory::Lasting)>(&text).unwrap();
    *lab.shelf.text.borrow_mut() = serde_json::to_string(&(Memory::default(), lasting)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn over_a_reboot_a_hold_goes_by_the_clock_as_it_was_set_last() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        let held = id(lab.ask(hold(entry("nic"), 60)).await.unwrap());
        lab.secs(10).await;
        set_clock(&lab, 2);
        // Told by the end of the run at the latest.
        lab.stop().await;
        reboot(&lab);
        lab.start();
        lab.secs(45).await;
        assert!(!over(&lab, held));
        lab.secs(10).await;
        assert!(over(&lab, held));
        // The boot took the rest of its time.
        let held = id(lab.ask(hold(entry("nic"), 60)).await.unwrap());
        lab.stop().await;
        reboot(&lab);
        set_clock(&lab, 1);
        lab.start();
        lab.secs(1).await;
        assert!(over(&lab, held));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_begins_anew_with_the_boot_makes_no_hold_longer_than_it_was_asked_for() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        let held = id(lab.ask(hold(entry("nic"), 60)).await.unwrap());
        lab.stop().await;
        reboot(&lab);
        set_clock(&lab, -24 * 365);
        lab.start();
        lab.secs(10).await;
        // Somebody has asked for the time meanwhile.
        set_clock(&lab, 24 * 365);
        lab.secs(45).await;
        assert!(!over(&lab, held));
        lab.secs(10).await;
        assert!(over(&lab, held));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_0_1_0_has_stored_ends_when_it_said() {
    run(async {
        let mut lab = Lab::new(&by("nic", NIC));
        let until = lab.machine.boot_usec.get() + lab.machine.now().0 + 60_000_000;
        let text = r#"[{"vfio_seen":true},{"holds":{"3":{"target":{"entry":"nic"},"who":"a","why":"b","uid":0,"pid":1,
            "until":{"time":UNTIL}}},"next_hold":3}]"#;
        *lab.shelf.text.borrow_mut() = text.replace("UNTIL", &until.to_string());
        lab.start();
        lab.secs(30).await;
        assert_eq!(lab.picture().holds[0].until_usec, until);
        set_clock(&lab, 5);
        lab.secs(29).await;
        assert!(!over(&lab, 3));
        lab.secs(2).await;
        assert!(over(&lab, 3));
    })
    .await;
}
