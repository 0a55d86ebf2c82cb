//! What was lost comes back, and it is told once.

use std::time::Duration;

use vfiod::bus::call::Ask;
use vfiod::host::sim::Answer;
use vfiod::host::sim::kernel::Writer;
use vfiod::host::sim::machine::lab;
use vfiod::host::sim::modprobe::Flags;
use vfiod::host::sim::{Process, Version};
use vfiod::model::event::{Kind, Level};
use vfiod::model::plan::About;

use crate::support::ask::device;
use crate::support::lab::{NIC, OTHER, PAIR, SLOT};
use crate::support::{Lab, Said, addr, by, module, run};

fn two() -> String {
    by("nic", NIC) + &by("other", OTHER)
}

#[tokio::test(start_paused = true)]
async fn the_first_pass_only_observes() {
    run(async {
        let mut lab = Lab::new(&two());
        lab.start();
        while lab.said().is_empty() {
            lab.ms(1).await;
        }
        assert_eq!((lab.loads(), lab.writes(NIC), lab.begun().len()), (0, 0, 0));
        assert!(matches!(&lab.said()[0], Said::Started(line, _) if line.starts_with("degraded")));
        lab.secs(2).await;
        assert_eq!((lab.driver(NIC).as_deref(), lab.driver(OTHER).as_deref()), (Some("vfio-pci"), Some("vfio-pci")));
        assert_eq!(lab.line(), "ready: 2 ready");
        let written: Vec<_> = lab.machine.ask(|kernel| kernel.written_by_plan()).into_iter().collect();
        assert_eq!(written, [addr(NIC), addr(OTHER)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_already_on_vfio_without_an_override_is_adopted_and_is_no_drift() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.modprobe(&module("vfio_pci"), Default::default());
        kernel.unbind(addr(NIC), &"e1000e".parse().unwrap());
        kernel.unbind(addr(OTHER), &"e1000e".parse().unwrap());
        kernel.new_id(&"vfio-pci".parse().unwrap(), "8086:10d3".parse().unwrap());
        let lab = Lab::ready_on(kernel, &two()).await;
        lab.secs(130).await;
        assert_eq!((lab.writes(NIC), lab.writes(OTHER), lab.events()), (0, 0, vec![]));
        assert_eq!(lab.line(), "ready: 2 ready");
        // Gone with its module it comes back, now with an override.
        assert_eq!(lab.modprobe_r("vfio_pci").await, Answer::Exit(0));
        lab.secs(2).await;
        assert_eq!(lab.line(), "ready: 2 ready");
        assert_eq!((lab.of(Kind::ModuleLost).len(), lab.of(Kind::Repaired).len()), (2, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn modules_unloaded_by_an_outsider_come_back_with_their_devices_and_his_command_succeeds() {
    for version in [Version::V6_1, Version::V6_12] {
        run(async {
            let lab = Lab::ready_on(lab(version), &two()).await;
            assert_eq!(lab.modprobe_r("vfio_pci").await, Answer::Exit(0));
            // Its exit was at the last module's removal; quiet time, a look, a modprobe.
            lab.ms(100 + 10 + 160).await;
            assert!(lab.is_live("vfio_pci") && lab.is_live("vfio_pci_core"));
            assert_eq!(
                (lab.driver(NIC).as_deref(), lab.driver(OTHER).as_deref()),
                (Some("vfio-pci"), Some("vfio-pci"))
            );
            lab.secs(10).await;
            let lost = lab.of(Kind::ModuleLost);
            let gone: Vec<_> = lost.iter().map(|event| event.about.to_string()).collect();
            assert_eq!(gone, ["module vfio_pci", "module vfio_pci_core"]);
            let restored = lab.of(Kind::ModuleRestored);
            assert_eq!(restored.len(), 2);
            let latency = restored[0].latency.unwrap();
            assert!(latency > Duration::from_millis(260) && latency < Duration::from_millis(500), "{latency:?}");
            let devices = |kind| -> Vec<About> { lab.of(kind).into_iter().map(|event| event.about).collect() };
            assert_eq!(devices(Kind::Repaired), [About::Device(addr(NIC)), About::Device(addr(OTHER))]);
            assert_eq!(devices(Kind::Drifted), devices(Kind::Repaired));
            assert_eq!(lab.events().len(), 8, "{:#?}", lab.events());
            assert_eq!(lab.begun(), [["load vfio_pci"]]);
            assert_eq!(lab.line(), "ready: 2 ready");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_events_a_poll_finds_it_and_still_leaves_the_outsider_his_time() {
    run(async {
        let text = "watch = { uevents = false, interval = \"1s\" }\n".to_owned() + &two();
        let lab = Lab::ready(&text).await;
        // Right before a poll, so that the poll falls between the two modules.
        for offset in [960, 400, 0, 990] {
            lab.ms(offset).await;
            assert_eq!(lab.modprobe_r("vfio_pci").await, Answer::Exit(0), "{offset}");
            lab.ms(1000 + 100 + 10 + 165).await;
            assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"), "{offset}");
            lab.secs(700).await;
        }
        assert_eq!(lab.of(Kind::Fighting), []);
        assert_eq!(lab.of(Kind::Repaired).len(), 8);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_unbound_by_hand_and_one_given_to_its_host_driver_come_back() {
    run(async {
        let lab = Lab::ready(&two()).await;
        lab.unbind(NIC);
        lab.secs(1).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
        assert_eq!(lab.kinds(), [Kind::Drifted, Kind::Repaired]);
        let event = &lab.events()[1];
        assert_eq!(
            (event.entry.as_deref(), event.old.as_str(), event.new.as_str()),
            (Some("nic"), "repairing", "ready")
        );
        lab.hush();
        lab.give(OTHER, "e1000e");
        lab.secs(1).await;
        assert_eq!(lab.driver(OTHER).as_deref(), Some("vfio-pci"));
        let pin = lab.machine.ask(|kernel| kernel.pin(addr(OTHER)).map(ToString::to_string));
        assert_eq!(pin.as_deref(), Some("vfio-pci"));
        assert_eq!(lab.kinds(), [Kind::Drifted, Kind::Repaired]);
        let all: Vec<_> = lab.machine.ask(|kernel| kernel.written_by_plan()).into_iter().collect();
        assert_eq!(all, [addr(NIC), addr(OTHER)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cleared_override_is_found_at_its_interval_and_written_again_without_an_unbind() {
    run(async {
        let lab = Lab::ready(&two()).await;
        lab.machine.with(|kernel| kernel.write_override(addr(NIC), None));
        lab.secs(61).await;
        assert_eq!(lab.begun(), [["0000:00:03.0: driver_override = vfio-pci"]]);
        assert!(lab.machine.ask(|kernel| kernel.pin(addr(NIC)).is_some()));
        assert_eq!(lab.kinds(), [Kind::Drifted, Kind::Repaired]);
        lab.secs(120).await;
        assert_eq!(lab.kinds().len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_function_removed_and_found_again_is_missing_in_between_and_comes_back() {
    run(async {
        let lab = Lab::ready(&two()).await;
        lab.machine.with(|kernel| kernel.remove(addr(NIC)));
        lab.secs(1).await;
        assert_eq!(lab.kinds(), [Kind::NotFound]);
        assert_eq!(lab.line(), "blocked: 1 ready, 1 missing");
        lab.machine.with(|kernel| kernel.rescan());
        lab.secs(1).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
        assert_eq!(lab.kinds(), [Kind::NotFound, Kind::Drifted, Kind::Repaired]);
        assert_eq!(lab.line(), "ready: 2 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_vfiod_has_pinned_is_as_declared_and_no_longer_as_it_was_found() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.modprobe(&module("vfio_pci"), Flags::default());
        kernel.unbind(addr(NIC), &"e1000e".parse().unwrap());
        kernel.write_override(addr(NIC), Some("vfio-pci".parse().unwrap()));
        kernel.drivers_probe(addr(NIC));
        kernel.write_override(addr(NIC), None);
        let lab = Lab::ready_on(kernel, &by("nic", NIC)).await;
        let pinned = || lab.machine.ask(|kernel| kernel.pin(addr(NIC)).is_some());
        lab.secs(61).await;
        assert!(!pinned(), "found so, and left so");
        lab.unbind(NIC);
        lab.secs(5).await;
        assert!(pinned() && lab.line() == "ready: 1 ready");
        lab.machine.with(|kernel| kernel.write_override(addr(NIC), None));
        lab.secs(61).await;
        assert!(pinned());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_function_of_a_slot_that_goes_is_told_though_its_entry_goes_on() {
    run(async {
        let mut lab = Lab::ready(&by("slot", "0000:05:00")).await;
        lab.machine.with(|kernel| kernel.remove(addr(SLOT[1])));
        lab.secs(61).await;
        let events = lab.events();
        let told: Vec<_> = events.iter().map(|event| (event.kind, event.about.to_string(), &event.new[..])).collect();
        assert_eq!(told, [(Kind::NotFound, SLOT[1].to_owned(), "missing")]);
        lab.machine.with(|kernel| kernel.rescan());
        lab.secs(10).await;
        assert_eq!(lab.driver(SLOT[1]).as_deref(), Some("vfio-pci"));
        assert_eq!(lab.kinds(), [Kind::NotFound, Kind::Drifted, Kind::Repaired]);
        // Declared no more is not gone.
        lab.reload(Ok(&by("slot", SLOT[0]))).await;
        lab.secs(10).await;
        assert_eq!(lab.kinds().len(), 3, "{:#?}", lab.events());
    })
    .await;
}

const VFS: &str = "[device.disk]\npf = \"0000:02:00.0\"\nvf = \"0-1\"\n";

#[tokio::test(start_paused = true)]
async fn virtual_functions_destroyed_and_made_again_come_back_and_no_other_is_touched() {
    for version in [Version::V6_1, Version::V6_12] {
        run(async {
            let mut kernel = lab(version);
            kernel.set_vfs(addr("0000:02:00.0"), 4);
            let lab = Lab::ready_on(kernel, VFS).await;
            lab.machine.with(|kernel| kernel.set_vfs(addr("0000:02:00.0"), 0));
            lab.secs(1).await;
            assert_eq!(lab.kinds(), [Kind::NotFound]);
            lab.machine.with(|kernel| kernel.set_vfs(addr("0000:02:00.0"), 4));
            lab.secs(2).await;
            assert_eq!(lab.line(), "ready: 1 ready");
            let written: Vec<_> = lab.machine.ask(|kernel| kernel.written_by_plan()).into_iter().collect();
            assert_eq!(written, [addr("0000:02:00.1"), addr("0000:02:00.2")]);
            assert_eq!(lab.of(Kind::Repaired).len(), 2);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn type1_removed_alone_comes_back_and_no_device_is_written_to() {
    run(async {
        let lab = Lab::ready(&two()).await;
        let before = (lab.writes(NIC), lab.writes(OTHER));
        lab.machine.with(|kernel| kernel.rmmod(&module("vfio_iommu_type1")));
        lab.secs(1).await;
        assert!(lab.is_live("vfio_iommu_type1"));
        assert_eq!(lab.kinds(), [Kind::ModuleLost, Kind::ModuleRestored]);
        assert_eq!((lab.writes(NIC), lab.writes(OTHER)), before);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_group_of_two_that_are_both_declared_moves_as_one() {
    run(async {
        let text = by("left", PAIR[0]) + &by("right", PAIR[1]);
        let lab = Lab::ready(&text).await;
        lab.give(PAIR[0], "e1000");
        lab.give(PAIR[1], "e1000");
        lab.secs(1).await;
        assert_eq!(lab.line(), "ready: 2 ready");
        let begun = lab.begun();
        assert_eq!(begun.len(), 1, "{begun:?}");
        assert_eq!(begun[0].len(), 6);
        assert!(begun[0][..2].iter().all(|step| step.contains("driver_override")), "{begun:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slot_moves_as_one_or_not_at_all() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        let vlc = Process::new(700, "vlc", 1000);
        kernel.open_node(addr(SLOT[1]), "/dev/snd/pcmC1D0p", &vlc);
        let mut lab = Lab::on(kernel, "[device.gpu]\naddress = \"0000:05:00\"\n");
        lab.start();
        lab.secs(20).await;
        assert_eq!((lab.writes(SLOT[0]), lab.writes(SLOT[1])), (0, 0));
        let held = lab.of(Kind::Held);
        assert_eq!(held.len(), 2, "{held:#?}");
        assert!(held[1].cause.contains("vlc[700] has /dev/snd/pcmC1D0p open"), "{}", held[1].cause);
        assert!(held[0].cause.contains("moves together with 0000:05:00.1"), "{}", held[0].cause);
        lab.machine.with(|kernel| kernel.exit(&vlc));
        lab.secs(61).await;
        assert_eq!(
            (lab.driver(SLOT[0]).as_deref(), lab.driver(SLOT[1]).as_deref()),
            (Some("vfio-pci"), Some("vfio-pci"))
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_a_vm_has_is_assigned_and_ready_again_afterwards() {
    run(async {
        let lab = Lab::ready(&two()).await;
        let before = lab.machine.ask(|kernel| (kernel.modprobes(Writer::Plan), kernel.writes(Writer::Plan, addr(NIC))));
        let vm = Process::new(4242, "qemu", 64055);
        assert_eq!(lab.machine.with(|kernel| kernel.open(addr(NIC), &vm)), Answer::Ok);
        lab.secs(6).await;
        assert_eq!(lab.line(), "ready: 1 ready, 1 assigned");
        let events = lab.events();
        assert_eq!((events[0].kind, events[0].level), (Kind::Assigned, Level::Notice));
        assert!(events[0].cause.contains("qemu[4242]"), "{}", events[0].cause);
        lab.secs(60).await;
        lab.machine.with(|kernel| kernel.exit(&vm));
        lab.secs(6).await;
        assert_eq!(lab.line(), "ready: 2 ready");
        assert_eq!(lab.kinds(), [Kind::Assigned, Kind::Assigned]);
        let after = lab.machine.ask(|kernel| (kernel.modprobes(Writer::Plan), kernel.writes(Writer::Plan, addr(NIC))));
        assert_eq!(after, before);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_virtual_function_that_is_held_does_not_make_repairs_of_another_count_as_failed() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.set_vfs(addr("0000:02:00.0"), 4);
        let lab = Lab::ready_on(kernel, VFS).await;
        lab.machine.with(|kernel| {
            kernel.open(addr("0000:02:00.1"), &Process::new(77, "qemu", 107));
            kernel.write_override(addr("0000:02:00.1"), None);
        });
        lab.secs(70).await;
        assert_eq!(lab.line(), "held: 1 held");
        let before = lab.writes("0000:02:00.1");
        for _ in 0..3 {
            lab.unbind("0000:02:00.2");
            lab.secs(2).await;
            assert_eq!(lab.driver("0000:02:00.2").as_deref(), Some("vfio-pci"));
        }
        assert!(lab.of(Kind::RepairFailed).is_empty());
        assert_eq!(lab.writes("0000:02:00.1"), before);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_must_be_looked_at_is_looked_at_halfway_through_the_quiet_time_and_anew_if_anything_happens() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        // When looks at the function were begun, and when the act was, in ms after it was given away.
        let times = |begin: u64| {
            let looks = lab.machine.looks.borrow();
            let looked = looks.iter().filter(|(_, closer)| closer.looks.contains(&addr(NIC))).map(|(at, _)| *at);
            let begun = lab.machine.begun.borrow().iter().map(|(at, _)| *at).collect::<Vec<_>>();
            let ms = |at: vfiod::model::time::Time| (at.0 - begin) / 1000;
            (looked.map(ms).collect::<Vec<_>>(), begun.into_iter().map(ms).collect::<Vec<_>>())
        };
        lab.give(NIC, "e1000e");
        let begin = lab.machine.now().0;
        lab.secs(1).await;
        assert_eq!(times(begin), (vec![50], vec![100]));
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));

        lab.secs(60).await;
        lab.hush();
        lab.give(NIC, "e1000e");
        let begin = lab.machine.now().0;
        lab.ms(70).await;
        lab.machine.events.borrow_mut().push_back(vfiod::host::port::Sign::Event(Some(addr(OTHER))));
        lab.machine.sign.notify_one();
        lab.secs(1).await;
        assert_eq!(times(begin), (vec![50, 120], vec![170]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lost_and_brought_back_are_counted_of_the_same_things() {
    run(async {
        let counted = |lab: &Lab| {
            let counters = lab.picture().counters;
            (counters.drifts, counters.repairs)
        };
        // Modules and devices that were never there before are not brought back.
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        assert_eq!((counted(&lab), lab.picture().counters.last_repair_latency_usec), ((0, 0), 0));
        lab.unbind(NIC);
        lab.secs(3).await;
        assert_eq!(counted(&lab), (1, 1));
        let latency = lab.picture().counters.last_repair_latency_usec;
        assert!(latency > 0);
        // Two modules and two devices.
        lab.modprobe_r("vfio_pci").await;
        lab.ms(130).await;
        assert_eq!(counted(&lab), (5, 1), "{:?}", lab.kinds());
        lab.secs(3).await;
        assert_eq!(counted(&lab), (5, 5));
        // Nor is what a person has had released and adopted.
        lab.ask(Ask::Release(device(NIC))).await.unwrap().unwrap();
        lab.ask(Ask::Adopt(device(NIC))).await.unwrap().unwrap();
        lab.secs(3).await;
        assert_eq!((lab.line().as_str(), counted(&lab)), ("ready: 2 ready", (5, 5)));
        let of_devices: Vec<_> = lab.picture().devices.values().map(|view| (view.drifts, view.repairs)).collect();
        assert_eq!(of_devices, [(2, 2), (1, 1)]);
    })
    .await;
}
