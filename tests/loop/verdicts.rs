//! What only a check finds: it becomes the device's state, or is told when it comes and when it goes.

use std::time::Duration;

use vfiod::bus::call::{Ask, Target};
use vfiod::model::event::{Kind, Level};
use vfiod::model::preflight::{About, Code, Finding, Severity};

use crate::support::ears::Said;
use crate::support::lab::{NIC, OTHER, config};
use crate::support::{Lab, addr, by, run};

fn finding(severity: Severity, about: About, code: Code) -> Finding {
    Finding::new(severity, about, code, format!("It has {code}."))
}

fn nic(severity: Severity, code: Code) -> Finding {
    finding(severity, About::Device(addr(NIC)), code)
}

fn find(lab: &Lab, findings: &[Finding]) {
    *lab.machine.findings.borrow_mut() = Ok(findings.to_vec());
}

fn told(lab: &Lab) -> Vec<String> {
    lab.of(Kind::Verdict).iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_warning_is_told_once_also_over_restarts_and_shown() {
    run(async {
        let mut lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        let other = finding(Severity::Warning, About::Device(addr("0000:00:04.0")), Code::NoReset);
        let host = finding(Severity::Warning, About::Host, Code::UnsafeInterrupts);
        find(&lab, &[nic(Severity::Warning, Code::NoReset), nic(Severity::Note, Code::VariantDriver), other, host]);
        lab.secs(30).await;
        let expected =
            ["host: unsafe-interrupts: It has unsafe-interrupts.", "0000:00:03.0 (nic): no-reset: It has no-reset."];
        assert_eq!(told(&lab), expected);
        assert!(lab.of(Kind::Verdict).iter().all(|event| event.level == Level::Warning));
        let picture = lab.picture();
        let codes = |address: &str| -> Vec<Code> {
            picture.devices[&addr(address)].findings.iter().map(|concern| concern.code).collect()
        };
        assert_eq!((codes(NIC), codes(OTHER)), (vec![Code::NoReset], vec![]));
        assert_eq!(picture.findings[0].code, Code::UnsafeInterrupts);
        assert_eq!(lab.line(), "ready: 2 ready");
        lab.secs(3 * 3600).await;
        lab.kill().await;
        lab.start();
        lab.secs(3600).await;
        assert_eq!(told(&lab), expected);
        // Nothing is checked where nothing is declared, and nothing said of it.
        lab.reload(Ok("")).await;
        lab.secs(10).await;
        assert!(lab.picture().findings.is_empty());
        lab.reload(Ok(&(by("nic", NIC) + &by("other", OTHER)))).await;
        lab.secs(60).await;
        assert_eq!(told(&lab), expected);
        find(&lab, &[]);
        lab.secs(3601).await;
        assert_eq!(
            told(&lab)[2..],
            [
                "host: unsafe-interrupts -> clear: No longer: unsafe-interrupts.",
                "0000:00:03.0 (nic): no-reset -> clear: No longer: no-reset."
            ]
        );
        assert!(lab.picture().devices[&addr(NIC)].findings.is_empty());
        assert!(lab.machine.begun.borrow().is_empty() && lab.of(Kind::Blocked).is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_answer_is_blocked_and_not_repaired_until_it_answers() {
    run(async {
        let mut lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        lab.secs(60).await;
        find(&lab, &[nic(Severity::Blocker, Code::Unreachable)]);
        lab.secs(3600).await;
        assert_eq!(lab.line(), "blocked: 1 ready, 1 blocked");
        let blocked = lab.of(Kind::Blocked);
        assert_eq!(blocked.len(), 1);
        assert_eq!(blocked[0].cause, "unreachable: It has unreachable.");
        // Not forgotten by a restart.
        lab.kill().await;
        lab.start();
        lab.ms(100).await;
        assert_eq!(lab.line(), "blocked: 1 ready, 1 blocked");
        let writes = lab.writes(NIC);
        lab.unbind(NIC);
        lab.unbind(OTHER);
        lab.secs(600).await;
        assert_eq!((lab.writes(NIC), lab.driver(NIC)), (writes, None));
        assert_eq!(lab.driver(OTHER).as_deref(), Some("vfio-pci"));
        find(&lab, &[]);
        lab.secs(61).await;
        assert_eq!(lab.line(), "ready: 2 ready");
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
        assert_eq!(told(&lab), Vec::<String>::new(), "the state has told it");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_asks_for_a_repair_has_it_looked_at_again() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        find(&lab, &[nic(Severity::Blocker, Code::Unreachable)]);
        lab.unbind(NIC);
        lab.secs(60).await;
        lab.unbind(NIC);
        lab.secs(40).await;
        assert_eq!((lab.line().as_str(), lab.driver(NIC)), ("blocked: 1 blocked", None));
        find(&lab, &[]);
        let _asked = lab.ask(Ask::Repair(Vec::new()));
        lab.secs(3).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_missing_blocks_what_is_bound_and_keeps_nothing_from_being_bound() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        find(&lab, &[nic(Severity::Blocker, Code::NodeMissing)]);
        lab.secs(60).await;
        assert_eq!(lab.line(), "blocked: 1 blocked");
        let writes = lab.writes(NIC);
        lab.unbind(NIC);
        lab.secs(5).await;
        assert!(lab.writes(NIC) > writes && lab.driver(NIC).as_deref() == Some("vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_module_that_nobody_keeps_and_that_opening_needs() {
    run(async {
        let text = "[modules]\nkeep = [\"vfio_pci\"]\n".to_owned() + &by("nic", NIC);
        let lab = Lab::ready(&text).await;
        find(&lab, &[finding(Severity::Blocker, About::Host, Code::ModuleUnloaded)]);
        lab.secs(60).await;
        assert_eq!(lab.line(), "blocked: 1 blocked");
        find(&lab, &[]);
        lab.secs(61).await;
        assert_eq!(lab.line(), "ready: 1 ready");
        // Of one that is kept the loop knows better than any check.
        let kept = Lab::ready(&by("nic", NIC)).await;
        find(&kept, &[finding(Severity::Blocker, About::Host, Code::ModuleUnloaded)]);
        kept.secs(60).await;
        assert_eq!(kept.line(), "ready: 1 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn surveys_are_few_and_none_where_nothing_is_declared() {
    run(async {
        let text = "[repair]\nbreaker = { incidents = 1000 }\n".to_owned() + &by("nic", NIC);
        let mut lab = Lab::ready(&text).await;
        lab.secs(60).await;
        assert_eq!(lab.machine.surveys.get(), 1, "after the start");
        lab.secs(6 * 3600).await;
        assert_eq!(lab.machine.surveys.get(), 7, "and every hour");
        for every in [1, 7] {
            let before = lab.machine.surveys.get();
            for _ in 0..210 / every {
                lab.unbind(NIC);
                lab.secs(every).await;
            }
            let more = lab.machine.surveys.get() - before;
            assert!((5..=8).contains(&more), "{more}: half a minute apart, whatever happens");
        }
        lab.secs(60).await;
        let after = lab.machine.surveys.get();
        lab.reload(Ok(&by("other", OTHER))).await;
        lab.secs(40).await;
        assert_eq!(lab.machine.surveys.get(), after + 1, "after a reload");
        lab.reload(Ok("")).await;
        lab.secs(2 * 3600).await;
        assert_eq!(lab.machine.surveys.get(), after + 1);
        lab.kill().await;
        lab.settings = config("");
        lab.start();
        lab.secs(2 * 3600).await;
        assert_eq!(lab.machine.surveys.get(), after + 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_survey_that_fails_is_told_once_and_nothing_is_concluded_from_it() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        find(&lab, &[nic(Severity::Warning, Code::NoReset)]);
        lab.secs(60).await;
        *lab.machine.findings.borrow_mut() = Err("the child did not answer in 20 s".to_owned());
        lab.secs(3 * 3600).await;
        let troubles: Vec<String> = lab
            .said()
            .into_iter()
            .filter_map(|said| match said {
                Said::Unchecked(why) => Some(why),
                _ => None,
            })
            .collect();
        assert_eq!(troubles, ["the child did not answer in 20 s"]);
        assert_eq!(told(&lab), ["0000:00:03.0 (nic): no-reset: It has no-reset."]);
        find(&lab, &[]);
        lab.secs(61).await;
        assert_eq!(told(&lab).len(), 2, "it is tried again within a minute");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_survey_during_which_something_happened_is_not_believed() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        lab.secs(60).await;
        lab.machine.look_takes.set(Duration::from_secs(2));
        find(&lab, &[nic(Severity::Blocker, Code::NodeMissing)]);
        let asked = lab.ask(Ask::Check(Target::All));
        lab.secs(1).await;
        lab.machine.look_takes.set(Duration::from_millis(5));
        lab.unbind(NIC);
        assert!(asked.await.unwrap().is_ok(), "whoever asked has it");
        lab.secs(2).await;
        assert_eq!(lab.line(), "ready: 2 ready");
        lab.secs(40).await;
        assert_eq!(lab.line(), "blocked: 1 ready, 1 blocked", "it is the same in the next");
    })
    .await;
}
