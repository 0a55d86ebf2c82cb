//! Who did it: what the kernel's trace has recorded is told with the loss, and nothing else is.

use vfiod::host::sim::Version;
use vfiod::host::sim::machine::lab;
use vfiod::model::cause::{By, Culprit, Parent, Record};
use vfiod::model::event::Kind;
use vfiod::model::memory::{Lasting, Memory};
use vfiod::model::printable::turns_a_terminal;

use crate::support::lab::{NIC, OTHER};
use crate::support::{Lab, Said, addr, by, module, run};

fn two() -> String {
    by("nic", NIC) + &by("other", OTHER)
}

fn evil(pid: u32) -> Culprit {
    Culprit {
        pid,
        comm: "modprobe".to_owned(),
        unit: "evil.service".to_owned(),
        uid: Some(0),
        parent: Some(Parent { pid: 12, comm: "cron".to_owned() }),
        cmdline: None,
    }
}

fn memory(lab: &Lab) -> Memory {
    let (memory, _) = serde_json::from_str::<(Memory, Lasting)>(&lab.shelf.text.borrow()).unwrap();
    memory
}

/// The machine where somebody unloads with this name.
async fn traced() -> Lab {
    let lab = Lab::ready(&("[repair]\nbreaker = { incidents = 100 }\n".to_owned() + &two())).await;
    lab.machine.with(|kernel| kernel.set_outsider(Some(evil(123))));
    lab
}

#[tokio::test(start_paused = true)]
async fn whoever_unloads_a_module_is_named_with_the_loss_of_it_and_of_its_devices() {
    for version in [Version::V6_1, Version::V6_12] {
        run(async {
            let lab = Lab::ready_on(lab(version), &two()).await;
            lab.machine.with(|kernel| kernel.set_outsider(Some(evil(123))));
            lab.modprobe_r("vfio_pci").await;
            lab.secs(10).await;
            let lost = lab.of(Kind::ModuleLost);
            assert_eq!(lost.len(), 2);
            for event in &lost {
                assert_eq!(event.by, Some(evil(123)));
                assert!(
                    event.cause.starts_with("unloaded by modprobe[123] of evil.service (started by cron[12], uid 0)"),
                    "{}",
                    event.cause
                );
            }
            for event in lab.of(Kind::Drifted) {
                assert_eq!(event.by, Some(evil(123)));
                assert!(event.cause.contains("; its module vfio_pci was unloaded by modprobe[123]"), "{}", event.cause);
            }
            assert_eq!(lab.of(Kind::Drifted).len(), 2);
            let picture = lab.picture();
            let unloaded = &picture.modules[&module("vfio_pci")];
            assert_eq!(unloaded.last_unload_by, "modprobe[123] of evil.service (started by cron[12], uid 0)");
            assert!(unloaded.last_unload_usec > 0);
            let cause = &picture.devices[&addr(NIC)].last_cause;
            assert!(cause.starts_with("its module vfio_pci was unloaded by modprobe[123]"), "{cause}");
            assert!(lab.of(Kind::ModuleRestored).iter().chain(&lab.of(Kind::Repaired)).all(|event| event.by.is_none()));
            assert_eq!(lab.line(), "ready: 2 ready");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_saw_is_unknown_and_only_what_stayed_is_told() {
    run(async {
        let lab = Lab::ready(&two()).await;
        for name in ["vfio_pci", "vfio_pci_core"] {
            lab.machine.with(|kernel| kernel.rmmod(&module(name)));
            lab.ms(40).await;
        }
        lab.secs(5).await;
        let lost = lab.of(Kind::ModuleLost);
        assert!(lost.len() == 2 && lost.iter().all(|event| event.by.is_none()));
        assert!(
            lost[1].cause.starts_with("unloaded by unknown, as `modprobe -r vfio_pci` leaves it"),
            "{}",
            lost[1].cause
        );
        // A pass may have come between the two modules; then that is learnt a moment later.
        for name in ["vfio_pci", "vfio_pci_core"] {
            let by = memory(&lab).unloads[&module(name)].by.to_string();
            assert_eq!(by, "unknown, as `modprobe -r vfio_pci` leaves it", "{name}");
        }
        lab.hush();
        lab.machine.with(|kernel| kernel.rmmod(&module("vfio_pci")));
        lab.secs(5).await;
        let lost = lab.of(Kind::ModuleLost);
        assert_eq!(lost.len(), 1);
        assert!(lost[0].by.is_none() && lost[0].cause.starts_with("unloaded by unknown"), "{}", lost[0].cause);
        assert!(!lost[0].cause.contains("leaves it"), "{}", lost[0].cause);
        assert_eq!(lab.line(), "ready: 2 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn records_that_were_lost_make_it_unknown_and_are_given_as_the_reason() {
    run(async {
        let lab = Lab::ready(&two()).await;
        lab.machine.witnessed.borrow_mut().records.push(Record::Missed);
        lab.machine.witnessed.borrow_mut().notes.push("records were lost".to_owned());
        lab.machine.with(|kernel| kernel.rmmod(&module("vfio_pci")));
        lab.secs(5).await;
        let lost = lab.of(Kind::ModuleLost);
        assert!(lost[0].cause.contains("unknown (records of the kernel's trace were lost)"), "{}", lost[0].cause);
        assert_eq!(lab.said().iter().filter(|said| matches!(said, Said::Unwitnessed(_))).count(), 1);
        // By the next time that is over.
        lab.hush();
        lab.machine.with(|kernel| kernel.rmmod(&module("vfio_pci")));
        lab.secs(5).await;
        assert!(!lab.of(Kind::ModuleLost)[0].cause.contains("were lost"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unload_that_a_load_has_undone_is_not_laid_to_a_later_loss() {
    run(async {
        let lab = traced().await;
        // Gone and back before anybody looked.
        lab.machine.with(|kernel| {
            kernel.rmmod(&module("vfio_pci"));
            kernel.modprobe(&module("vfio_pci"), Default::default());
        });
        lab.secs(10).await;
        assert_eq!(lab.of(Kind::ModuleLost), []);
        let unload = &memory(&lab).unloads[&module("vfio_pci")];
        assert_eq!(unload.by.culprit(), Some(&evil(123)), "it has happened all the same");
        // Nobody sees the next one.
        lab.machine.with(|kernel| kernel.set_outsider(None));
        lab.machine.with(|kernel| kernel.rmmod(&module("vfio_pci")));
        lab.secs(5).await;
        assert_eq!(lab.of(Kind::ModuleLost)[0].by, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_comes_again_shows_how_often_and_with_what_period() {
    run(async {
        let lab = traced().await;
        for pid in 0..5 {
            lab.machine.with(|kernel| kernel.set_outsider(Some(evil(1000 + pid))));
            lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
            lab.secs(60).await;
        }
        let causes: Vec<String> = lab
            .of(Kind::ModuleLost)
            .into_iter()
            .filter(|event| event.about.to_string() == "module vfio_pci")
            .map(|event| event.cause.split("(started by cron[12], uid 0)").nth(1).unwrap().to_owned())
            .collect();
        let expected =
            ["", ", 2 times by now", ", 3 times by now", ", 4 times by now, every 1m", ", 5 times by now, every 1m"];
        let starts = causes.iter().zip(expected).all(|(cause, expected)| cause.split(';').next() == Some(expected));
        assert!(starts && causes.len() == 5, "{causes:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_alert_of_a_fight_names_the_opponent() {
    run(async {
        let lab = Lab::ready(&two()).await;
        for _ in 0..5 {
            lab.machine.with(|kernel| kernel.set_outsider(Some(evil(123))));
            lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
            lab.secs(10).await;
        }
        let fights: Vec<_> = lab.of(Kind::Fighting);
        let of_module: Vec<_> = fights.iter().filter(|event| event.about.to_string() == "module vfio_pci").collect();
        assert_eq!(of_module.len(), 1, "{fights:#?}");
        assert_eq!(of_module[0].by, Some(evil(123)));
        assert!(of_module[0].cause.contains("5 times by now, every 10s"), "{}", of_module[0].cause);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_of_the_process_later_is_added_to_what_is_remembered() {
    run(async {
        let lab = traced().await;
        lab.machine.with(|kernel| kernel.rmmod(&module("vfio_pci")));
        lab.secs(2).await;
        let at = memory(&lab).unloads[&module("vfio_pci")].at;
        let by = Culprit { cmdline: Some("rmmod vfio_pci".to_owned()), ..evil(123) };
        let record = Record::Unloaded { module: module("vfio_pci"), at, by: by.clone() };
        lab.machine.witnessed.borrow_mut().records.push(record);
        lab.secs(10).await;
        let memory = memory(&lab);
        let unload = &memory.unloads[&module("vfio_pci")];
        assert_eq!((unload.by.culprit(), &unload.again), (Some(&by), &None), "it is not counted twice");
        assert_eq!(lab.of(Kind::ModuleLost).len(), 1);
        let fall = serde_json::to_string(&memory.falls[&addr(NIC)]).unwrap();
        assert!(fall.contains("rmmod vfio_pci"), "{fall}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_traced_while_nobody_ran_is_known_after_the_restart() {
    run(async {
        let mut lab = traced().await;
        lab.kill().await;
        lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
        lab.secs(30).await;
        lab.start();
        lab.secs(5).await;
        // The first picture tells no loss; what is remembered has its cause.
        let memory = memory(&lab);
        assert_eq!(memory.unloads[&module("vfio_pci")].by.culprit(), Some(&evil(123)));
        assert!(memory.falls[&addr(NIC)].to_string().starts_with("its module vfio_pci was unloaded by modprobe[123]"));
        assert_eq!(lab.line(), "ready: 2 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_unbound_by_hand_has_no_culprit_whoever_unloaded_what_before() {
    run(async {
        let lab = traced().await;
        lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
        lab.secs(20).await;
        lab.hush();
        lab.unbind(NIC);
        lab.secs(5).await;
        let drifted = lab.of(Kind::Drifted);
        assert_eq!((drifted.len(), &drifted[0].by), (1, &None));
        assert_eq!(memory(&lab).falls[&addr(NIC)].to_string(), "it has no driver (by whom is not known)");
        assert!(memory(&lab).falls[&addr(OTHER)].to_string().contains("modprobe[123]"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_comes_late_holds_up_no_repair() {
    run(async {
        let lab = Lab::ready(&two()).await;
        let loads = lab.loads();
        lab.machine.with(|kernel| kernel.rmmod(&module("vfio_pci")));
        lab.ms(100 + 10 + 160).await;
        assert_eq!((lab.driver(NIC).as_deref(), lab.loads()), (Some("vfio-pci"), loads + 1));
        let unload = memory(&lab).unloads[&module("vfio_pci")].clone();
        assert!(matches!(unload.by, By::Unknown { .. }));
    })
    .await;
}

/// Every text of a JSON value.
fn texts(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => found.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_process_calls_itself_bus_and_journal_get_words_that_can_be_shown() {
    run(async {
        let lab = Lab::ready(&two()).await;
        let odd = "a\0b\x1b[2J\n\u{202e}";
        let culprit = Culprit {
            comm: odd.to_owned(),
            unit: format!("{odd}.service"),
            parent: Some(Parent { pid: 12, comm: odd.to_owned() }),
            cmdline: Some(format!("modprobe -r {odd}")),
            ..evil(123)
        };
        lab.machine.with(|kernel| kernel.set_outsider(Some(culprit)));
        lab.modprobe_r("vfio_pci").await;
        lab.secs(10).await;
        let mut found = Vec::new();
        texts(&serde_json::to_value(&*lab.picture()).unwrap(), &mut found);
        texts(&serde_json::to_value(lab.events()).unwrap(), &mut found);
        assert!(found.iter().filter(|text| text.contains("a\\u{0}b")).count() > 4, "{found:?}");
        let bad: Vec<&String> = found.iter().filter(|text| text.contains(turns_a_terminal)).collect();
        assert!(bad.is_empty(), "{bad:?}");
    })
    .await;
}
