//! What no repair can help: the device is blocked, with the finding's code, and nothing is written.

use vfiod::host::sim::machine::lab;
use vfiod::host::sim::{Answer, Kernel, Process, Use, Version};
use vfiod::model::event::Kind;

use crate::support::lab::{NIC, OTHER, PAIR};
use crate::support::{Lab, addr, by, run};

/// How often a device was told to be blocked for this finding.
fn told(lab: &Lab, code: &str) -> usize {
    lab.of(Kind::Blocked).iter().filter(|event| event.cause.starts_with(&format!("{code}: "))).count()
}

fn opens(lab: &Lab, address: &str) -> Answer {
    let who = Process::new(77, "qemu", 64055);
    lab.machine.with(|kernel| {
        let answer = kernel.open(addr(address), &who);
        kernel.exit(&who);
        answer
    })
}

fn both() -> String {
    by("nic", NIC) + &by("other", OTHER)
}

#[tokio::test(start_paused = true)]
async fn a_device_with_a_region_that_the_firmware_insists_on() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.reserve_region(addr(NIC));
        let mut lab = Lab::on(kernel, &both());
        lab.start();
        lab.secs(61).await;
        assert_eq!((lab.writes(NIC), lab.driver(OTHER).as_deref()), (0, Some("vfio-pci")));
        assert_eq!((told(&lab, "rmrr"), lab.of(Kind::Blocked).len()), (1, 1));
        assert!(lab.of(Kind::Blocked)[0].cause.contains("0xfffc0000-0xffffffff"));
        assert_eq!(lab.line(), "blocked: 1 ready, 1 blocked");
        assert!(lab.observations() < 40, "{}", lab.observations());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bound_device_where_interrupts_are_not_remapped_until_vfio_is_told_to_go_without() {
    run(async {
        let mut kernel = lab(Version::V6_1);
        kernel.stop_remapping();
        let mut lab = Lab::on(kernel, &both());
        lab.start();
        lab.secs(61).await;
        assert_eq!(told(&lab, "no-interrupt-remapping"), 2);
        assert_eq!(lab.line(), "blocked: 2 blocked");
        lab.machine.with(|kernel| kernel.allow_unsafe_interrupts(true));
        lab.secs(61).await;
        assert_eq!((lab.line().as_str(), opens(&lab, NIC)), ("ready: 2 ready", Answer::Ok));
        let writes = lab.writes(NIC);
        // Lost while it is blocked again: binding it would not help.
        lab.machine.with(|kernel| kernel.allow_unsafe_interrupts(false));
        lab.unbind(NIC);
        lab.secs(61).await;
        assert_eq!((lab.writes(NIC), lab.driver(NIC)), (writes, None));
        assert_eq!(lab.line(), "blocked: 2 blocked");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_vfio_pci_refuses_stays_on_its_host_driver() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        let ids = "8086:37c8".parse().unwrap();
        kernel.remove(addr(NIC));
        let spec = vfiod::host::sim::Spec::new(addr(NIC), ids, 0x0b_40_00).native("c6xx".parse().unwrap()).denylisted();
        kernel.add_device(spec);
        let mut lab = Lab::on(kernel, &both());
        lab.start();
        lab.secs(61).await;
        assert_eq!((lab.writes(NIC), lab.driver(NIC).as_deref()), (0, Some("c6xx")));
        assert_eq!((told(&lab, "denylisted"), lab.line().as_str()), (1, "blocked: 1 ready, 1 blocked"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bound_device_while_another_member_of_its_group_is_on_a_host_driver() {
    run(async {
        let mut kernel: Kernel = lab(Version::V6_12);
        // The undeclared member is on nothing when vfiod comes.
        kernel.unbind(addr(PAIR[1]), &"e1000".parse().unwrap());
        let lab = Lab::ready_on(kernel, &by("half", PAIR[0])).await;
        lab.give(PAIR[1], "e1000");
        lab.secs(10).await;
        assert_eq!((lab.line().as_str(), told(&lab, "group-shared")), ("blocked: 1 blocked", 1));
        assert!(lab.of(Kind::Blocked)[0].cause.contains("0000:04:02.0 shares group"), "{:?}", lab.of(Kind::Blocked));
        assert_eq!(opens(&lab, PAIR[0]), Answer::No(nix::errno::Errno::EPERM));
        lab.unbind(PAIR[1]);
        lab.secs(10).await;
        assert_eq!((lab.line().as_str(), opens(&lab, PAIR[0])), ("ready: 1 ready", Answer::Ok));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_blocker_than_before_is_told_and_the_same_one_is_not() {
    run(async {
        let mut kernel = lab(Version::V6_1);
        kernel.stop_remapping();
        let mut lab = Lab::on(kernel, &by("nic", NIC));
        lab.start();
        lab.secs(61).await;
        assert_eq!((told(&lab, "no-interrupt-remapping"), lab.of(Kind::Blocked).len()), (1, 1));
        lab.machine.with(|kernel| kernel.reserve_region(addr(NIC)));
        lab.secs(61).await;
        assert_eq!((told(&lab, "rmrr"), lab.of(Kind::Blocked).len()), (1, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bound_device_while_a_declared_member_of_its_group_is_held_on_a_host_driver() {
    run(async {
        let lab = Lab::ready(&(by("left", PAIR[0]) + &by("right", PAIR[1]))).await;
        lab.give(PAIR[1], "e1000");
        let route = Use::Network("default route via eth1".to_owned());
        lab.machine.with(|kernel| kernel.set_use(addr(PAIR[1]), route));
        lab.secs(10).await;
        assert_eq!(lab.line(), "blocked: 1 blocked, 1 held");
        let [blocked] = &lab.of(Kind::Blocked)[..] else { panic!("{:#?}", lab.events()) };
        let cause =
            "group-shared: 0000:04:02.0 shares group 17 and stays on e1000: carries-route: default route via eth1";
        assert_eq!((blocked.about.to_string().as_str(), blocked.cause.as_str()), (PAIR[0], cause));
        assert_eq!(opens(&lab, PAIR[0]), Answer::No(nix::errno::Errno::EPERM));
    })
    .await;
}
