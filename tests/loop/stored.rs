//! What is answered is stored, or it is refused and nothing has changed.

use vfiod::bus::call::{Answer, Ask, Refusal, Target};
use vfiod::model::memory::{Memory, Unsure};
use vfiod::model::state::State;

use crate::support::ask::{device, entry, hold, id, results};
use crate::support::lab::{NIC, OTHER};
use crate::support::{Lab, Said, addr, by, run};

const FULL: &str = "write /var/lib/vfiod/lasting.json: No space left on device (os error 28)";

fn failed(answer: Result<Answer, Refusal>) -> String {
    match answer {
        Err(Refusal::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn inhibit() -> Ask {
    Ask::Inhibit { target: Target::All, who: "a".to_owned(), why: "b".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_cannot_be_stored_is_not_granted() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.shelf.fail(FULL);
        for ask in [hold(entry("nic"), 60), hold(entry("nic"), 0), inhibit()] {
            let why = failed(lab.ask(ask).await.unwrap());
            assert_eq!(why, format!("{FULL}; nothing is held"));
        }
        lab.secs(1).await;
        assert!(lab.picture().holds.is_empty());
        assert!(!lab.said().iter().any(|said| matches!(said, Said::Hold(_))), "{:?}", lab.said());
        assert_eq!(lab.picture().state_trouble, FULL);
        // Nothing holds it.
        lab.unbind(NIC);
        lab.secs(3).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
        lab.shelf.mend();
        lab.secs(6).await;
        assert_eq!(lab.picture().state_trouble, "");
        assert_eq!(id(lab.ask(hold(entry("nic"), 60)).await.unwrap()), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_whose_end_cannot_be_stored_stays_in_force() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        let held = id(lab.ask(hold(entry("nic"), 3600)).await.unwrap());
        let Ok(Answer::Lease(lease)) = lab.ask(inhibit()).await.unwrap() else { panic!("no lease") };
        lab.shelf.fail(FULL);
        for id in [held, held + 1] {
            let why = failed(lab.ask(Ask::Unhold(id)).await.unwrap());
            assert_eq!(why, format!("{FULL}; the hold stays in force"));
        }
        lab.unbind(NIC);
        lab.secs(6).await;
        assert_eq!((lab.driver(NIC), lab.picture().holds.len()), (None, 2));
        assert!(nix::unistd::write(&lease, b"x").is_ok(), "its pipe is there still");
        lab.shelf.mend();
        for id in [held, held + 1] {
            assert!(matches!(lab.ask(Ask::Unhold(id)).await.unwrap(), Ok(Answer::Done)));
        }
        lab.secs(3).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_to_a_device_whose_release_cannot_be_stored() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.shelf.fail(FULL);
        let writes = lab.writes(NIC);
        let why = failed(lab.ask(Ask::Release(device(NIC))).await.unwrap());
        assert_eq!(why, format!("{FULL}; nothing is released"));
        lab.secs(60).await;
        assert_eq!((lab.writes(NIC), lab.picture().devices[&addr(NIC)].state), (writes, State::Ready));
        lab.shelf.mend();
        results(lab.ask(Ask::Release(device(NIC))).await.unwrap());
        assert_eq!(lab.driver(NIC).as_deref(), Some("e1000e"));
        lab.shelf.fail(FULL);
        let why = failed(lab.ask(Ask::Adopt(device(NIC))).await.unwrap());
        assert_eq!(why, format!("{FULL}; it stays released"));
        lab.secs(10).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("e1000e"));
        assert_eq!(lab.picture().devices[&addr(NIC)].state, State::Released);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn failures_that_cannot_be_forgotten_for_good_are_not_forgotten() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.shelf.fail(FULL);
        let why = failed(lab.ask(Ask::ResetFailed(Target::All)).await.unwrap());
        assert_eq!(why, format!("{FULL}; nothing is forgotten"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_after_which_a_restart_would_hold_devices_back_again_says_so_and_holds_them_back() {
    run(async {
        let text = by("other", OTHER);
        let mut lab = Lab::new(&text);
        let unsure = Unsure { why: "read it: damaged".to_owned(), ..Unsure::default() };
        let memory = Memory { unsure: Some(unsure), ..Memory::default() };
        *lab.shelf.text.borrow_mut() = serde_json::to_string(&(&memory, &memory.lasting)).unwrap();
        lab.start();
        lab.secs(5).await;
        lab.shelf.fail(FULL);
        let why = failed(lab.ask_to_reload(Ok(&text)).await.unwrap());
        assert!(why.starts_with(&format!("{FULL}; the configuration is in force")), "{why}");
        lab.secs(5).await;
        assert_eq!((lab.writes(OTHER), lab.picture().devices[&addr(OTHER)].state), (0, State::Held));
        lab.shelf.mend();
        assert!(matches!(lab.ask_to_reload(Ok(&text)).await.unwrap(), Ok(Answer::Done)));
        lab.secs(5).await;
        assert_eq!(lab.driver(OTHER).as_deref(), Some("vfio-pci"));
        // Where nothing has to be remembered, nothing needs to be stored.
        lab.shelf.fail(FULL);
        assert!(matches!(lab.ask_to_reload(Ok(&text)).await.unwrap(), Ok(Answer::Done)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_for_this_boot_only_is_done_and_shown_before_it_is_answered() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        let readonly = "write /var/lib/vfiod/lasting.json: Read-only file system (os error 30)";
        lab.shelf.copy(readonly);
        let held = id(lab.ask(hold(entry("nic"), 3600)).await.unwrap());
        assert_eq!(lab.picture().state_trouble, readonly);
        assert_eq!(lab.picture().holds.len(), 1);
        lab.shelf.mend();
        lab.secs(6).await;
        assert_eq!(lab.picture().state_trouble, "");
        lab.shelf.copy(readonly);
        assert!(matches!(lab.ask(Ask::Unhold(held)).await.unwrap(), Ok(Answer::Done)));
        assert_eq!((lab.picture().state_trouble.as_str(), lab.picture().holds.len()), (readonly, 0));
        results(lab.ask(Ask::Release(device(NIC))).await.unwrap());
        assert_eq!(lab.driver(NIC).as_deref(), Some("e1000e"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_stored_is_tried_again_at_each_pass_and_at_the_end() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        id(lab.ask(hold(entry("nic"), 3)).await.unwrap());
        lab.shelf.fail(FULL);
        // Its end nobody waits for: it is over, stored or not.
        lab.secs(4).await;
        assert!(lab.picture().holds.is_empty());
        assert!(lab.shelf.text.borrow().contains("a reason"));
        lab.shelf.mend();
        lab.secs(6).await;
        assert!(!lab.shelf.text.borrow().contains("a reason"));
        id(lab.ask(hold(entry("nic"), 1)).await.unwrap());
        lab.shelf.fail(FULL);
        lab.secs(2).await;
        lab.shelf.mend();
        lab.stop().await;
        assert!(!lab.shelf.text.borrow().contains("a reason"));
    })
    .await;
}
