//! At rest, in a flood, and what systemd hears of it.

use std::time::Duration;

use vfiod::bus::call::{Answer, Ask};
use vfiod::host::port::Sign;
use vfiod::host::sim::machine::lab;
use vfiod::host::sim::{Process, Use, Version};
use vfiod::model::event::Kind;

use crate::support::ears::Word;
use crate::support::lab::{NIC, OTHER, SLOT, config};
use crate::support::{Lab, Said, addr, by, module, run};

#[tokio::test(start_paused = true)]
async fn at_rest_there_is_a_pass_an_interval_the_overrides_reader_and_nothing_else() {
    run(async {
        for opened in [false, true] {
            let lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
            if opened {
                lab.machine.with(|kernel| kernel.open(addr(NIC), &Process::new(4, "qemu", 1)));
                lab.secs(60).await;
            }
            lab.secs(10).await;
            lab.hush();
            lab.secs(60).await;
            // The reader's pass observes twice.
            assert!(lab.observations() <= 60 / 5 + 1 + 1, "{}", lab.observations());
            assert_eq!(lab.machine.looks.borrow().len(), 1);
            assert_eq!((lab.said(), lab.shelf.writes.get(), lab.begun().len()), (vec![], 0, 0));
            assert!(lab.words().iter().all(|word| matches!(word, Word::Alive | Word::Status(_))));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_events_within_a_second_make_a_few_passes() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        for _ in 0..100 {
            for _ in 0..100 {
                lab.machine.events.borrow_mut().push_back(Sign::Event(Some(addr(NIC))));
            }
            lab.machine.sign.notify_one();
            lab.ms(10).await;
        }
        lab.secs(2).await;
        assert!(lab.observations() <= 8, "{}", lab.observations());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_lost_in_an_endless_flood_comes_back_all_the_same() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.unbind(NIC);
        for _ in 0..150 {
            lab.machine.events.borrow_mut().push_back(Sign::Event(None));
            lab.machine.sign.notify_one();
            lab.ms(10).await;
        }
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_comes_in_also_where_each_pass_takes_longer_than_the_interval() {
    run(async {
        let text = "watch.interval = \"1s\"\n".to_owned() + &by("nic", NIC);
        let mut kernel = lab(Version::V6_12);
        kernel.open_node(addr(NIC), "/dev/ptp0", &Process::new(5, "ptp4l", 0));
        let mut lab = Lab::on(kernel, &text);
        lab.machine.look_takes.set(Duration::from_secs(3));
        lab.start();
        lab.secs(20).await;
        lab.stop().await;
        assert_eq!(lab.said().last(), Some(&Said::Stopped(0)));
        assert_eq!(lab.words().last(), Some(&Word::Stopping));
        assert_eq!(lab.driver(NIC).as_deref(), Some("e1000e"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn systemd_hears_ready_after_the_first_pass_and_the_status_when_it_changes() {
    run(async {
        let mut lab = Lab::new(&by("nic", NIC));
        lab.start();
        lab.secs(30).await;
        let words: Vec<_> = lab.words().into_iter().filter(|word| *word != Word::Alive).collect();
        let status = |line: &str| Word::Status(line.to_owned());
        assert_eq!(words[1], Word::Ready);
        let first = "degraded: 1 drifted, vfio absent, vfio_iommu_type1 absent, vfio_pci absent, vfio_pci_core absent";
        assert_eq!(words[0], status(first));
        assert_eq!(words.last(), Some(&status("ready: 1 ready")));
        assert!(words.len() <= 6, "{words:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_come_at_half_the_watchdogs_period_though_the_interval_is_longer() {
    run(async {
        let mut lab = Lab::new(&("watch.interval = \"100s\"\n".to_owned() + &by("nic", NIC)));
        lab.start();
        lab.secs(5).await;
        lab.hush();
        lab.secs(90).await;
        let beats = lab.beats();
        assert!((5..=7).contains(&beats.len()), "{}", beats.len());
        assert!(beats.windows(2).all(|two| two[1] - two[0] <= Duration::from_secs(15)));
        // A pass that does not come to its end gives none.
        lab.machine.look_takes.set(Duration::from_secs(3600));
        lab.unbind(NIC);
        lab.secs(1).await;
        lab.hush();
        lab.secs(1000).await;
        assert_eq!(lab.beats(), []);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_each_second_is_no_sign_of_life_each_second() {
    run(async {
        let lab = Lab::ready(&("watch.interval = \"1s\"\n".to_owned() + &by("nic", NIC))).await;
        lab.hush();
        lab.secs(64).await;
        assert_eq!(lab.beats().len(), 16);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn observing_writes_nothing_and_says_what_is_lost() {
    run(async {
        let mut lab = Lab::new(&("repair.mode = \"observe\"\n".to_owned() + &by("nic", NIC)));
        lab.start();
        lab.secs(60).await;
        assert_eq!((lab.loads(), lab.writes(NIC), lab.begun().len()), (0, 0, 0));
        assert_eq!(lab.of(Kind::Drifted).len(), 1);
        assert!(lab.observations() <= 40, "{}", lab.observations());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_configuration_leaves_the_settings_in_force_and_is_said() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        lab.reload(Err("/etc/vfiod/vfiod.toml:3: unknown key `adress`")).await;
        lab.secs(6).await;
        assert_eq!(lab.said(), [Said::ReloadFailed("/etc/vfiod/vfiod.toml:3: unknown key `adress`".to_owned())]);
        assert_eq!(lab.words().iter().filter(|word| matches!(word, Word::Reloading | Word::Ready)).count(), 2);
        lab.unbind(NIC);
        lab.secs(1).await;
        assert_eq!(lab.line(), "ready: 1 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_new_entries_on_and_lets_go_of_old_ones_without_touching_them() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        let before = lab.writes(NIC);
        lab.reload(Ok(&by("other", OTHER))).await;
        lab.secs(2).await;
        assert_eq!(lab.said()[0], Said::Reloaded(1));
        assert_eq!(lab.line(), "ready: 1 ready");
        assert_eq!((lab.driver(OTHER).as_deref(), lab.driver(NIC).as_deref()), (Some("vfio-pci"), Some("vfio-pci")));
        // Nobody's now: it stays as somebody leaves it.
        lab.unbind(NIC);
        lab.secs(10).await;
        assert_eq!((lab.driver(NIC), lab.writes(NIC)), (None, before));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_means_another_device_after_a_reload_has_no_past() {
    run(async {
        let mut lab = Lab::ready(&("repair.breaker.incidents = 1\n".to_owned() + &by("nic", NIC))).await;
        lab.reload(Ok(&("repair.breaker.incidents = 1\n".to_owned() + &by("nic", OTHER)))).await;
        lab.secs(5).await;
        assert_eq!((lab.line().as_str(), lab.of(Kind::Fighting).len()), ("ready: 1 ready", 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nor_has_one_that_was_changed_while_nobody_watched() {
    run(async {
        let text = |address| "repair.breaker.incidents = 1\n".to_owned() + &by("nic", address);
        let mut lab = Lab::ready(&text(NIC)).await;
        lab.kill().await;
        lab.settings = config(&text(OTHER));
        lab.start();
        lab.secs(5).await;
        assert_eq!((lab.line().as_str(), lab.of(Kind::Fighting).len()), ("ready: 1 ready", 0));
        // The same again is nothing new: the loss counts.
        lab.kill().await;
        lab.unbind(OTHER);
        lab.start();
        lab.secs(5).await;
        assert_eq!(lab.of(Kind::Fighting).len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_override_is_read_as_often_as_it_is_to_be_however_seldom_it_is_polled() {
    run(async {
        let lab = Lab::ready(&("watch.interval = \"1h\"\n".to_owned() + &by("nic", NIC))).await;
        lab.machine.with(|kernel| kernel.write_override(addr(NIC), None));
        lab.secs(65).await;
        assert!(lab.machine.ask(|kernel| kernel.pin(addr(NIC)).is_some()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_ends_though_its_looks_take_longer_than_overrides_are_good_for() {
    run(async {
        let text = "watch.override_interval = \"1s\"\n".to_owned() + &by("nic", NIC) + &by("other", OTHER);
        let lab = Lab::ready(&text).await;
        lab.machine.look_takes.set(Duration::from_millis(1500));
        lab.unbind(NIC);
        lab.secs(30).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn uevents_switched_off_by_a_reload_are_not_heeded_any_more() {
    run(async {
        let mut lab = Lab::ready(&by("nic", NIC)).await;
        lab.reload(Ok(&("watch.uevents = false\n".to_owned() + &by("nic", NIC)))).await;
        lab.ms(100).await;
        lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
        lab.secs(2).await;
        assert!(!lab.is_live("vfio_pci"));
        lab.secs(5).await;
        assert!(lab.is_live("vfio_pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn uevents_that_cannot_be_listened_to_after_a_reload_are_told_and_polling_goes_on() {
    run(async {
        let mut lab = Lab::ready(&("watch.uevents = false\n".to_owned() + &by("nic", NIC))).await;
        let why = "listen to kernel events: no buffer space; polling only";
        *lab.machine.listen_fails.borrow_mut() = Some(why.to_owned());
        lab.machine.uevents.set(false);
        lab.hush();
        lab.reload(Ok(&by("nic", NIC))).await;
        assert_eq!(lab.said(), [Said::Reloaded(1), Said::Trouble(why.to_owned())]);
        lab.machine.with(|kernel| kernel.modprobe_r(&module("vfio_pci")));
        lab.secs(7).await;
        assert!(lab.is_live("vfio_pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_alone_is_looked_at_ever_more_rarely() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.set_use(addr(NIC), Use::Network("the default route goes out by eth0".to_owned()));
        let mut lab = Lab::on(kernel, &by("nic", NIC));
        lab.start();
        lab.secs(600).await;
        assert_eq!(lab.line(), "held: 1 held");
        let looks = || lab.machine.looks.borrow().iter().filter(|(_, closer)| !closer.looks.is_empty()).count();
        // 120 polls; after 5, 10, 20, 40 and then 60 s.
        assert!((5..20).contains(&looks()), "{}", looks());
        // Nor does it become more because somebody wants plans.
        let before = looks();
        for _ in 0..60 {
            assert!(matches!(lab.ask(Ask::Plan).await.unwrap(), Ok(Answer::Text(_))));
            lab.secs(1).await;
        }
        assert!(looks() <= before + 2, "{} more", looks() - before);
        // But for root, who may want to know.
        let before = looks();
        assert!(matches!(lab.ask_as_root(Ask::Plan).await.unwrap(), Ok(Answer::Text(_))));
        assert_eq!(looks(), before + 1);
        // And at once when something happens.
        let before = looks();
        lab.unbind(OTHER);
        lab.secs(1).await;
        assert!(looks() > before);
        assert_eq!(lab.writes(NIC), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_nothing_is_done_about_is_looked_at_ever_more_rarely() {
    run(async {
        // Observed only; open to a machine, its override cleared; a load that would bind what is held.
        let observed = Lab::on(lab(Version::V6_12), &("[repair]\nmode = \"observe\"\n".to_owned() + &by("nic", NIC)));
        let opened = Lab::on(lab(Version::V6_12), &by("nic", NIC));
        let mut kernel = lab(Version::V6_12);
        kernel.set_use(addr(SLOT[1]), Use::Network("default route via eth1".to_owned()));
        kernel.unbind(addr(SLOT[0]), &"e1000e".parse().unwrap());
        kernel.write_override(addr(SLOT[0]), Some("vfio-pci".parse().unwrap()));
        let loading = Lab::on(kernel, "[device.gpu]\naddress = \"0000:05:00\"\n");
        for (name, mut lab, line) in [
            ("observed", observed, "degraded: 1 drifted, vfio absent"),
            ("opened", opened, "held: 1 held"),
            ("loading", loading, "degraded: 1 held"),
        ] {
            lab.start();
            lab.secs(5).await;
            if name == "opened" {
                lab.machine.with(|kernel| {
                    kernel.open(addr(NIC), &Process::new(4, "qemu", 1));
                    kernel.write_override(addr(NIC), None)
                });
                lab.secs(120).await;
            }
            lab.hush();
            lab.secs(600).await;
            assert!(lab.line().starts_with(line), "{name}: {}", lab.line());
            // 120 polls; after 5, 10, 20, 40 and then 60 s, and the overrides every 60 s.
            let looks = lab.machine.looks.borrow().len();
            assert!((5..=25).contains(&looks), "{name}: {looks}");
            assert_eq!((lab.events(), lab.begun().len()), (vec![], 0), "{name}");
            lab.stop().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_interval_shown_is_the_one_kept() {
    run(async {
        let text = "[watch]\ninterval = \"30s\"\noverride_interval = \"10s\"\n".to_owned() + &by("nic", NIC);
        let lab = Lab::ready(&text).await;
        assert_eq!(lab.picture().interval_usec, 10_000_000);
    })
    .await;
}
