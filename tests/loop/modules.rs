//! Modules that cannot be had, and what a load would bind besides.

use vfiod::host::sim::machine::lab;
use vfiod::host::sim::{Answer, Fault, Kernel, Rule, Use, Version};
use vfiod::model::event::{Event, Kind, Level};
use vfiod::model::state::Health;

use crate::support::lab::{NIC, OTHER, SLOT};
use crate::support::{Lab, Said, addr, by, module, run};

fn named<'e>(events: &'e [Event], name: &str) -> Vec<&'e Event> {
    events.iter().filter(|event| event.about.to_string() == format!("module {name}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_prohibited_module_is_told_once_not_tried_and_comes_when_the_rule_goes() {
    type Change = fn(&mut Kernel, bool);
    let prohibitions: [(&str, Change); 4] = [
        ("install /bin/false", |kernel, on| kernel.set_rule(&module("vfio_pci"), on.then_some(Rule::Refuse))),
        ("blacklist", |kernel, on| kernel.set_rule(&module("vfio_pci"), on.then_some(Rule::Blacklist))),
        ("modules_disabled", |kernel, on| kernel.set_modules_disabled(on)),
        ("no module tree", |kernel, on| kernel.set_tree_missing(on)),
    ];
    for (words, change) in prohibitions {
        run(async {
            let mut kernel = lab(Version::V6_12);
            change(&mut kernel, true);
            let mut lab = Lab::on(kernel, &by("nic", NIC));
            lab.start();
            lab.secs(60).await;
            let events = lab.events();
            let told = named(&events, "vfio_pci");
            assert_eq!(told.len(), 1, "{words}: {told:#?}");
            assert_eq!((told[0].kind, told[0].level), (Kind::ModuleBlocked, Level::Alert));
            assert!(told[0].cause.contains(words), "{}", told[0].cause);
            let loads = lab.begun().concat();
            assert!(loads.iter().all(|step| step == "load vfio_iommu_type1"), "{words}: {loads:?}");
            assert_eq!(lab.of(Kind::Blocked).len(), 1);
            assert!(lab.line().starts_with("blocked: 1 blocked"), "{}", lab.line());
            assert!(lab.observations() < 40);
            lab.machine.with(|kernel| change(kernel, false));
            lab.secs(7).await;
            assert_eq!(lab.line(), "ready: 1 ready", "{words}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_module_whose_need_is_prohibited_is_not_tried_either() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.set_rule(&module("vfio_pci_core"), Some(Rule::Refuse));
        let mut lab = Lab::on(kernel, &by("nic", NIC));
        lab.start();
        lab.secs(60).await;
        assert_eq!(lab.begun(), [["load vfio_iommu_type1"]]);
        assert_eq!(lab.of(Kind::ModuleBlocked).len(), 2);
        lab.machine.with(|kernel| kernel.set_rule(&module("vfio_pci_core"), None));
        lab.secs(7).await;
        assert_eq!(lab.line(), "ready: 1 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_only_a_prohibited_module_needs_is_not_loaded_unless_it_is_listed() {
    for (keep, expected) in [
        ("\"auto\"", vec!["load vfio_iommu_type1"]),
        ("[\"vfio_pci\"]", vec![]),
        ("[\"vfio_pci\", \"vfio_pci_core\"]", vec!["load vfio_pci_core"]),
    ] {
        run(async {
            let mut kernel = lab(Version::V6_1);
            kernel.set_rule(&module("vfio_pci"), Some(Rule::Refuse));
            let config = format!("modules.keep = {keep}\n") + &by("nic", NIC);
            let mut lab = Lab::on(kernel, &config);
            lab.start();
            lab.secs(60).await;
            assert_eq!(lab.begun().concat(), expected, "{keep}");
            lab.machine.with(|kernel| kernel.set_rule(&module("vfio_pci"), None));
            lab.secs(7).await;
            assert!(lab.is_live("vfio_pci"), "{keep}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_refused_for_good_is_not_tried_again_until_the_evidence_changes() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.break_it(Fault::ModprobeFails(module("vfio_pci"), 1));
        let mut lab = Lab::on(kernel, &by("nic", NIC));
        let words = "could not insert 'vfio_pci': Operation not permitted";
        *lab.machine.words.borrow_mut() = Some(words.to_owned());
        lab.start();
        lab.secs(600).await;
        let loads = || lab.begun().concat().iter().filter(|step| *step == "load vfio_pci").count();
        assert_eq!(loads(), 1);
        let events = lab.events();
        assert_eq!(named(&events, "vfio_pci").iter().map(|e| e.kind).collect::<Vec<_>>(), [Kind::ModuleBlocked]);
        assert_eq!(lab.of(Kind::Blocked).len(), 1);
        lab.machine.with(|kernel| {
            kernel.mend(&Fault::ModprobeFails(module("vfio_pci"), 1));
            // Any change of modprobe.d.
            kernel.set_rule(&module("floppy"), Some(Rule::Blacklist));
        });
        lab.secs(7).await;
        assert_eq!(lab.line(), "ready: 1 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_first_load_that_failed_is_tried_again_on_time_however_seldom_it_is_polled() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.break_it(Fault::ModprobeFails(module("vfio_pci"), 1));
        let mut lab = Lab::on(kernel, "[modules]\nkeep = [\"vfio_pci\"]\n[watch]\ninterval = \"1h\"\n");
        lab.start();
        lab.secs(10).await;
        // At about 0, 1, 3, 7 s.
        assert_eq!(lab.begun().len(), 4, "{:?}", lab.begun());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_modprobe_that_lies_is_a_failure_that_backs_off() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.break_it(Fault::ModprobeLies(module("vfio_pci")));
        let mut lab = Lab::on(kernel, &by("nic", NIC));
        lab.start();
        lab.secs(120).await;
        // At about 0, 1, 3, 7, 15, 31, 63 s.
        assert_eq!(lab.begun().len(), 7, "{:?}", lab.begun());
        let events = lab.events();
        assert_eq!(named(&events, "vfio_pci").iter().map(|e| e.kind).collect::<Vec<_>>(), [Kind::RepairFailed]);
        assert_eq!(lab.of(Kind::RepairFailed).len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_undeclared_device_that_a_load_binds_is_announced_once_a_load() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.give(OTHER, "vfio-pci");
        lab.secs(6).await;
        lab.hush();
        for _ in 0..2 {
            lab.modprobe_r("vfio_pci").await;
            lab.secs(6).await;
        }
        let also: Vec<_> = lab.said().into_iter().filter(|said| matches!(said, Said::AlsoBinds(..))).collect();
        let one = Said::AlsoBinds(addr(OTHER), "vfio-pci".to_owned());
        assert_eq!(also, [one.clone(), one]);
        assert_eq!((lab.driver(OTHER).as_deref(), lab.writes(OTHER)), (Some("vfio-pci"), 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_would_bind_a_held_device_is_held() {
    run(async {
        // One function of the slot would be bound by the load, the other carries the default route.
        let mut kernel = lab(Version::V6_12);
        kernel.set_use(addr(SLOT[1]), Use::Network("default route via eth1".to_owned()));
        kernel.unbind(addr(SLOT[0]), &"e1000e".parse().unwrap());
        kernel.write_override(addr(SLOT[0]), Some("vfio-pci".parse().unwrap()));
        let mut lab = Lab::on(kernel, "[device.gpu]\naddress = \"0000:05:00\"\n");
        lab.start();
        lab.secs(60).await;
        assert!(!lab.is_live("vfio_pci"));
        assert_eq!((lab.writes(SLOT[0]), lab.writes(SLOT[1])), (0, 0));
        assert_eq!(lab.of(Kind::Held).len(), 2, "{:#?}", lab.events());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_module_that_is_being_loaded_by_somebody_is_left_to_him() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.break_it(Fault::LoadHangs(module("vfio_pci")));
        kernel.modprobe(&module("vfio_pci"), Default::default());
        let mut lab = Lab::on(kernel, &by("nic", NIC));
        lab.start();
        lab.secs(30).await;
        assert_eq!(lab.loads(), 0);
        lab.machine.with(|kernel| kernel.mend(&Fault::LoadHangs(module("vfio_pci"))));
        lab.secs(7).await;
        assert_eq!(lab.line(), "ready: 1 ready");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_list_of_modules_is_no_loss_and_leads_to_no_load() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        let before = lab.loads();
        lab.machine.with(|kernel| kernel.break_it(Fault::ModulesUnreadable));
        lab.secs(20).await;
        assert!(lab.of(Kind::ModuleLost).is_empty());
        assert!(lab.line().contains("vfio_pci unreadable"), "{}", lab.line());
        lab.machine.with(|kernel| kernel.mend(&Fault::ModulesUnreadable));
        lab.secs(6).await;
        assert_eq!((lab.line().as_str(), lab.loads()), ("ready: 1 ready", before));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stuck_load_that_binds_nothing_is_told_once_and_devices_go_on() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.with(|kernel| {
            kernel.break_it(Fault::LoadHangs(module("vfio_iommu_type1")));
            kernel.rmmod(&module("vfio_iommu_type1"))
        });
        lab.secs(60).await;
        let stuck = lab.of(Kind::Stuck);
        assert_eq!(stuck.len(), 1, "{:#?}", lab.events());
        assert_eq!((stuck[0].about.to_string().as_str(), stuck[0].level), ("module vfio_iommu_type1", Level::Alert));
        lab.unbind(NIC);
        lab.secs(2).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
        lab.machine.with(|kernel| kernel.mend(&Fault::LoadHangs(module("vfio_iommu_type1"))));
        lab.secs(6).await;
        assert_eq!((lab.of(Kind::Unstuck).len(), lab.line().as_str()), (1, "ready: 1 ready"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_declared_and_nothing_on_vfio_needs_no_module() {
    run(async {
        let mut lab = Lab::new("");
        lab.start();
        lab.secs(30).await;
        assert_eq!((lab.loads(), lab.line().as_str()), (0, "ready: nothing is declared"));
        // Once a function was on VFIO the modules are needed.
        lab.modprobe("vfio_pci");
        lab.give(NIC, "vfio-pci");
        lab.secs(6).await;
        lab.modprobe_r("vfio_pci").await;
        lab.secs(2).await;
        assert_eq!((lab.driver(NIC).as_deref(), lab.writes(NIC)), (Some("vfio-pci"), 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_module_that_cannot_be_loaded_does_not_keep_another_from_being_loaded() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        lab.machine.with(|kernel| {
            kernel.break_it(Fault::ModprobeFails(module("vfio_iommu_type1"), 1));
            kernel.rmmod(&module("vfio_iommu_type1"));
        });
        assert_eq!(lab.modprobe_r("vfio_pci").await, Answer::Exit(0));
        lab.secs(5).await;
        assert!(lab.is_live("vfio_pci"));
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_module_that_somebody_loads_and_that_stays_so_is_told_once_and_when_it_ends() {
    run(async {
        let lab = Lab::new("modules.keep = [\"vfio_iommu_type1\"]\nrepair.deadline = \"20s\"\n");
        let type1 = module("vfio_iommu_type1");
        lab.machine.with(|kernel| kernel.break_it(Fault::LoadHangs(type1.clone())));
        let Answer::Blocks(job) = lab.modprobe("vfio_iommu_type1") else { panic!("it does not hang") };
        let mut lab = lab;
        lab.start();
        lab.secs(19).await;
        assert_eq!(lab.kinds(), []);
        lab.secs(200).await;
        let told = lab.of(Kind::Loading);
        let words: Vec<_> = told.iter().map(|event| (event.level, event.new.as_str(), &event.cause[..])).collect();
        let why = "it has been loading since 60.000000s, for more than 20s: somebody waits in the kernel";
        assert_eq!(words, [(Level::Warning, "loading", why)], "once");
        let picture = lab.picture();
        assert_eq!((picture.modules[&type1].reason.as_str(), picture.health), (why, Health::Blocked));
        assert_eq!(lab.loads(), 0, "nothing else waits for the same");
        // A restart knows since when.
        lab.stop().await;
        lab.start();
        lab.secs(1).await;
        assert_eq!(lab.picture().modules[&type1].reason, why);
        lab.hush();
        lab.machine.with(|kernel| {
            kernel.mend(&Fault::LoadHangs(type1.clone()));
            kernel.advance(job)
        });
        lab.secs(6).await;
        assert_eq!(lab.kinds(), [Kind::LoadingOver, Kind::ModuleRestored]);
        assert_eq!(lab.line(), "ready: nothing is declared");
    })
    .await;
}
