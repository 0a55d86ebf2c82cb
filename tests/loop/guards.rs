//! Each guard alone: no write to the device, and a reason.

use vfiod::host::sim::faults::About as Broken;
use vfiod::host::sim::machine::lab;
use vfiod::host::sim::{Answer, Fault, Kernel, Process, Use, Version};
use vfiod::model::event::Kind;

use crate::support::lab::{NIC, OTHER, PAIR, WATCHDOG};
use crate::support::{Lab, addr, by, module, run};

/// Runs for a minute: no write to `device`, a reason that contains `words`; the other device is
/// taken care of.
async fn held(kernel: Kernel, entry: &str, device: &str, words: &str) -> Lab {
    let mut lab = Lab::on(kernel, &(by("other", OTHER) + entry));
    lab.start();
    lab.secs(61).await;
    assert_eq!(lab.writes(device), 0, "{device}");
    assert_eq!(lab.driver(OTHER).as_deref(), Some("vfio-pci"));
    let stated: Vec<_> = lab.events().into_iter().filter(|event| event.cause.contains(words)).collect();
    assert_eq!(stated.len(), 1, "{words}: {:#?}", lab.events());
    assert!(lab.observations() < 40, "{}", lab.observations());
    lab
}

async fn nic_held(words: &str, what: impl FnOnce(&mut Kernel)) -> Lab {
    let mut kernel = lab(Version::V6_12);
    what(&mut kernel);
    held(kernel, &by("nic", NIC), NIC, words).await
}

#[tokio::test(start_paused = true)]
async fn the_boot_display_is_left_alone() {
    run(async {
        let vga = "0000:00:01.0";
        held(lab(Version::V6_12), &by("vga", vga), vga, "boot-display").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_display_that_was_on_vfio_has_no_console_to_lose() {
    run(async {
        let vga = "0000:00:01.0";
        let mut lab = Lab::new(&(by("other", OTHER) + &by("vga", vga)));
        lab.modprobe("vfio_pci");
        lab.give(vga, "vfio-pci");
        lab.start();
        lab.secs(10).await;
        assert_eq!(lab.line(), "ready: 2 ready");
        lab.modprobe_r("vfio_pci").await;
        lab.secs(10).await;
        assert_eq!((lab.line().as_str(), lab.driver(vga).as_deref()), ("ready: 2 ready", Some("vfio-pci")));
        lab.machine.with(|kernel| kernel.write_override(addr(vga), None));
        lab.secs(61).await;
        assert!(lab.line() == "ready: 2 ready" && lab.machine.ask(|kernel| kernel.pin(addr(vga)).is_some()));
        // Where the host has it back, the console is on it again.
        lab.give(vga, "bochs-drm");
        let writes = lab.writes(vga);
        lab.secs(61).await;
        assert_eq!((lab.line().as_str(), lab.writes(vga)), ("held: 1 ready, 1 held", writes));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_carries_a_route_is_left_alone() {
    run(async {
        let route = Use::Network("default route in table 100 via br0 via bond0 via eth0".to_owned());
        nic_held("carries-route: default route in table 100", |kernel| kernel.set_use(addr(NIC), route)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_in_another_network_namespace_is_left_alone() {
    run(async {
        let away = Use::Namespace("eth0 is in another network namespace".to_owned());
        nic_held("carries-route: eth0 is in another", |kernel| kernel.set_use(addr(NIC), away)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_in_use_is_left_alone() {
    run(async {
        let mounted = Use::Storage("sda1 is mounted at /srv".to_owned());
        nic_held("mounted-disk: sda1 is mounted", |kernel| kernel.set_use(addr(NIC), mounted)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_somebody_has_open_is_left_alone_until_he_leaves() {
    run(async {
        let ptp = Process::new(77, "ptp4l", 123);
        let lab = nic_held("in-use: ptp4l[77]", |kernel| kernel.open_node(addr(NIC), "/dev/ptp0", &ptp)).await;
        lab.machine.with(|kernel| kernel.exit(&ptp));
        lab.secs(61).await;
        assert_eq!(lab.line(), "ready: 2 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_isa_bridge_on_its_driver_keeps_its_group_from_being_taken() {
    run(async {
        // All endpoints of the group are declared; what is left of it is the bridge.
        let mut lab = Lab::new(&(by("disk", "0000:00:1f.2") + &by("smbus", "0000:00:1f.3")));
        lab.start();
        lab.secs(61).await;
        assert_eq!((lab.writes("0000:00:1f.2"), lab.writes("0000:00:1f.3")), (0, 0));
        let causes: Vec<String> = lab.events().into_iter().map(|event| event.cause).collect();
        let named = |cause: &&String| cause.contains("0000:00:1f.0 shares group") && cause.contains("on lpc_ich");
        assert_eq!(causes.iter().filter(named).count(), 2, "{causes:#?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bridge_is_left_alone() {
    run(async {
        let bridge = "0000:00:06.0";
        held(lab(Version::V6_12), &by("port", bridge), bridge, "bridge: ").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pf_with_vfs_is_left_alone_until_they_are_gone() {
    run(async {
        let pf = "0000:02:00.0";
        let mut kernel = lab(Version::V6_12);
        kernel.set_vfs(addr(pf), 3);
        let lab = held(kernel, &by("disk", pf), pf, "sriov-pf-with-vfs").await;
        lab.machine.with(|kernel| kernel.set_vfs(addr(pf), 0));
        lab.secs(6).await;
        assert_eq!(lab.line(), "ready: 2 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_carries_mediated_devices_is_left_with_its_device_until_they_are_gone() {
    run(async {
        let device = Use::Mediated("1a9995f6-0000-4000-8000-000000000001".to_owned());
        let lab = nic_held("mediated-devices: its driver carries", |kernel| kernel.set_use(addr(NIC), device)).await;
        lab.machine.with(|kernel| kernel.clear_uses(addr(NIC)));
        lab.secs(66).await;
        assert_eq!(lab.line(), "ready: 2 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_card_than_declared_is_left_alone() {
    run(async {
        let entry = by("nic", NIC) + "id = \"10de:2684\"\n";
        let lab = held(lab(Version::V6_12), &entry, NIC, "0000:00:03.0 has id 8086:10d3").await;
        assert_eq!(lab.of(Kind::NotFound).len(), 1);
        assert_eq!(lab.line(), "blocked: 1 ready, 1 mismatch");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_of_a_group_whose_other_member_the_host_has_is_left_alone_and_the_blocker_is_named() {
    run(async {
        let words = format!("group-shared: {} shares group", PAIR[1]);
        let lab = held(lab(Version::V6_12), &by("left", PAIR[0]), PAIR[0], &words).await;
        assert_eq!(lab.writes(PAIR[1]), 0);
        // Unbound by somebody, it does not stand in the way any more.
        lab.unbind(PAIR[1]);
        lab.secs(1).await;
        assert_eq!((lab.line().as_str(), lab.writes(PAIR[1])), ("ready: 2 ready", 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whatever_cannot_be_read_leaves_the_device_alone() {
    let facts =
        [Broken::Driver, Broken::Group, Broken::Holders, Broken::Network, Broken::Storage, Broken::Vfs, Broken::Pin];
    for fact in facts {
        run(async {
            let words = if matches!(fact, Broken::Driver | Broken::Group) { "no answer" } else { "unreadable: " };
            let lab = nic_held(words, |kernel| kernel.break_it(Fault::Unreadable(addr(NIC), fact))).await;
            assert_eq!(lab.of(Kind::Held).len(), 1, "{fact:?}");
            lab.machine.with(|kernel| kernel.mend(&Fault::Unreadable(addr(NIC), fact)));
            lab.secs(66).await;
            assert_eq!(lab.line(), "ready: 2 ready", "{fact:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_serial_number_leaves_the_device_alone() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.break_it(Fault::Unreadable(addr(NIC), Broken::Serial));
        let entry = by("nic", NIC) + "serial = \"00-15-17-ff-ff-ab-cd-ef\"\n";
        let lab = held(kernel, &entry, NIC, "has serial an unreadable one").await;
        // It is tried again with the overrides, and not at every pass.
        lab.hush();
        lab.secs(120).await;
        let looks = lab.machine.looks.borrow();
        let tried = looks.iter().filter(|(_, closer)| closer.serials.contains(&addr(NIC))).count();
        assert!((2..=3).contains(&tried), "{tried}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_cannot_be_read_for_a_while_is_neither_a_success_nor_a_loss() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        for _ in 0..8 {
            lab.machine.with(|kernel| kernel.break_it(Fault::Unreadable(addr(NIC), Broken::Driver)));
            lab.secs(10).await;
            lab.machine.with(|kernel| kernel.mend(&Fault::Unreadable(addr(NIC), Broken::Driver)));
            lab.secs(10).await;
        }
        assert_eq!(lab.line(), "ready: 1 ready");
        assert!(lab.begun().is_empty() && lab.of(Kind::Fighting).is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_look_that_does_not_answer_leaves_the_device_alone_and_the_loop_alive() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        let before = lab.writes(NIC);
        lab.machine.look_fails.set(true);
        lab.machine.look_takes.set(std::time::Duration::from_secs(7));
        lab.unbind(NIC);
        lab.secs(60).await;
        assert_eq!(lab.writes(NIC), before);
        // Lost it is before anybody can tell why it is left alone.
        assert_eq!(lab.kinds(), [Kind::Drifted, Kind::Held]);
        // A look begins within half a period of the last sign, and is waited for no longer than eight seconds.
        let beats = lab.beats();
        assert!(beats.len() >= 3 && beats.windows(2).all(|two| two[1] - two[0] < WATCHDOG), "{beats:?}");
        lab.machine.look_fails.set(false);
        lab.secs(30).await;
        assert_eq!(lab.line(), "ready: 2 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn allow_lifts_the_three_that_it_may_and_no_other() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.set_use(addr(NIC), Use::Network("default route via eth0".to_owned()));
        kernel.set_use(addr(PAIR[0]), Use::Storage("sda is mounted".to_owned()));
        kernel.open_node(addr("0000:00:04.0"), "/dev/ptp1", &Process::new(5, "ptp4l", 0));
        let allow = "allow = [\"boot-display\", \"carries-route\", \"mounted-disk\"]\n";
        let entries = [("vga", "0000:00:01.0"), ("nic", NIC), ("left", PAIR[0]), ("right", PAIR[1])];
        let held = [("used", "0000:00:04.0"), ("port", "0000:00:06.0")];
        let text: String = entries.iter().chain(&held).map(|(name, at)| by(name, at) + allow).collect();
        let mut lab = Lab::on(kernel, &text);
        lab.start();
        lab.secs(20).await;
        for (name, at) in entries {
            assert_eq!(lab.driver(at).as_deref(), Some("vfio-pci"), "{name}");
        }
        for (name, at) in held {
            assert_eq!(lab.writes(at), 0, "{name}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outsiders_unbind_that_hangs_is_stated_and_left_alone_until_the_holder_leaves() {
    for version in [Version::V6_1, Version::V6_12] {
        run(async {
            let lab = Lab::ready_on(lab(version), &(by("nic", NIC) + &by("other", OTHER))).await;
            let vm = Process::new(4242, "qemu", 64055);
            let before = lab.writes(NIC);
            lab.machine.with(|kernel| kernel.open(addr(NIC), &vm));
            assert!(matches!(lab.unbind(NIC), Answer::Blocks(_)));
            lab.secs(30).await;
            lab.unbind(OTHER);
            lab.secs(30).await;
            assert_eq!(lab.driver(OTHER).as_deref(), Some("vfio-pci"));
            assert_eq!(lab.writes(NIC), before, "{version:?}");
            let held = lab.of(Kind::Held);
            assert_eq!(held.len(), 1, "{held:#?}");
            assert!(held[0].cause.starts_with("being-released: "), "{}", held[0].cause);
            lab.machine.with(|kernel| kernel.exit(&vm));
            lab.secs(6).await;
            assert_eq!(lab.line(), "ready: 2 ready", "{version:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_waits_for_the_holder_is_told_from_an_unbind_and_left_alone() {
    run(async {
        let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        let vm = Process::new(4242, "qemu", 64055);
        let before = lab.writes(NIC);
        lab.machine.with(|kernel| kernel.open(addr(NIC), &vm));
        assert!(matches!(lab.machine.with(|kernel| kernel.remove(addr(NIC))), Answer::Blocks(_)));
        lab.secs(60).await;
        assert_eq!(lab.writes(NIC), before);
        let held = lab.of(Kind::Held);
        assert_eq!(held.len(), 1, "{held:#?}");
        assert!(held[0].cause.contains("somebody removes it while it is in use"), "{}", held[0].cause);
        lab.machine.with(|kernel| kernel.exit(&vm));
        lab.secs(6).await;
        assert_eq!(lab.line(), "blocked: 1 ready, 1 missing");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_host_drivers_unbind_that_hangs_is_left_alone_too() {
    for version in [Version::V6_1, Version::V6_12] {
        run(async {
            let mut kernel = lab(version);
            // On 6.1 the search for what a load would bind gets stuck on it as well.
            kernel.modprobe(&module("vfio_pci"), Default::default());
            kernel.break_it(Fault::RemoveHangs(addr(NIC)));
            assert!(matches!(kernel.unbind(addr(NIC), &"e1000e".parse().unwrap()), Answer::Blocks(_)));
            let words = if version == Version::V6_1 { "unreadable: " } else { "being-released: " };
            let lab = held(kernel, &by("nic", NIC), NIC, words).await;
            lab.machine.with(|kernel| kernel.mend(&Fault::RemoveHangs(addr(NIC))));
            lab.secs(6).await;
            assert_eq!(lab.line(), "ready: 2 ready", "{version:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_iommu_a_device_is_blocked_and_not_written_to() {
    run(async {
        use vfiod::host::sim::Spec;
        use vfiod::host::sim::kernel::Iommu;
        let mut kernel = Kernel::new(Version::V6_12).with_iommu(Iommu::Off);
        let nic = Spec::new(addr(NIC), "8086:10d3".parse().unwrap(), 0x02_0000);
        kernel.add_device(nic.native("e1000e".parse().unwrap()));
        let mut lab = Lab::on(kernel, &by("nic", NIC));
        lab.start();
        lab.secs(60).await;
        assert_eq!((lab.writes(NIC), lab.kinds().last()), (0, Some(&Kind::ModuleRestored)));
        assert_eq!(lab.of(Kind::Blocked).len(), 1);
        assert_eq!(lab.line(), "blocked: 1 blocked");
    })
    .await;
}
