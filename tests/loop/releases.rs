//! What a person has had released: given back, left alone, and taken again when it is adopted.

use vfiod::bus::call::{Ask, Refusal};
use vfiod::host::sim::machine::lab as machine;
use vfiod::host::sim::{Process, Version};
use vfiod::model::event::Kind;
use vfiod::model::memory::{Memory, Unsure};
use vfiod::model::state::State;

use crate::support::ask::{device, entry, results};
use crate::support::lab::{NIC, OTHER, PAIR, SLOT};
use crate::support::{Lab, addr, by, run};

#[tokio::test(start_paused = true)]
async fn a_released_device_goes_back_to_its_driver_and_stays_there_over_restarts_until_it_is_adopted() {
    run(async {
        let mut lab = Lab::ready(&(by("nic", NIC) + &by("other", OTHER))).await;
        let answer = results(lab.ask(Ask::Release(device(NIC))).await.unwrap());
        assert_eq!(
            answer,
            [(NIC.to_owned(), "released: given back to the host, on e1000e, asked for by uid 1000".to_owned())]
        );
        assert_eq!(lab.driver(NIC).as_deref(), Some("e1000e"));
        assert_eq!(lab.machine.ask(|kernel| kernel.pin(addr(NIC)).cloned()), None);
        // Told when it begins, and when it is done.
        let told: Vec<_> = lab.events().into_iter().map(|event| (event.kind, event.cause)).collect();
        let done = "given back to the host, on e1000e, asked for by uid 1000";
        assert_eq!(
            told,
            [(Kind::Released, "it is on vfio-pci, being given back".to_owned()), (Kind::GivenBack, done.to_owned())]
        );
        assert_eq!(lab.shelf.lines.borrow().last().map(|line| line.kind), Some(Kind::GivenBack));
        assert_eq!(lab.line(), "held: 1 ready, 1 released");
        // An unload takes the other one away, and brings only that one back.
        lab.modprobe_r("vfio_pci").await;
        lab.secs(3).await;
        assert_eq!((lab.driver(NIC).as_deref(), lab.driver(OTHER).as_deref()), (Some("e1000e"), Some("vfio-pci")));
        lab.kill().await;
        lab.start();
        lab.secs(3).await;
        assert_eq!(
            (lab.driver(NIC).as_deref(), lab.picture().devices[&addr(NIC)].state),
            (Some("e1000e"), State::Released)
        );
        lab.hush();
        let answer = results(lab.ask(Ask::Adopt(entry("nic"))).await.unwrap());
        assert_eq!(answer, [(NIC.to_owned(), "ready".to_owned())]);
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
        assert_eq!(lab.kinds(), [Kind::Adopted, Kind::Repaired]);
        assert!(matches!(lab.ask(Ask::Adopt(entry("nic"))).await.unwrap(), Err(Refusal::Refused(_))));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_became_of_those_that_move_with_it_is_told_as_well() {
    run(async {
        let lab = Lab::ready("[device.card]\naddress = \"0000:05:00\"\n").await;
        let of_both = |words: [&str; 2]| [0, 1].map(|n| (SLOT[n].to_owned(), words[n].to_owned()));
        let given_back = "released: given back to the host, on e1000e, asked for by uid 1000";
        let answer = results(lab.ask(Ask::Release(device(SLOT[0]))).await.unwrap());
        assert_eq!(answer, of_both([given_back, given_back]));
        let answer = results(lab.ask(Ask::Adopt(device(SLOT[1]))).await.unwrap());
        assert_eq!(answer, of_both(["ready", "ready"]));
    })
    .await;
}

const VFS: &str = "[device.disk]\npf = \"0000:02:00.0\"\nvf = \"0-2\"\n";

#[tokio::test(start_paused = true)]
async fn adopting_one_vf_of_an_entry_that_was_released_as_a_whole_leaves_the_others_released() {
    run(async {
        let [pf, first, second, third] = ["0000:02:00.0", "0000:02:00.1", "0000:02:00.2", "0000:02:00.3"];
        let mut kernel = machine(Version::V6_12);
        kernel.set_vfs(addr(pf), 3);
        let lab = Lab::ready_on(kernel, VFS).await;
        results(lab.ask(Ask::Release(device(second))).await.unwrap());
        lab.machine.with(|kernel| kernel.set_vfs(addr(pf), 0));
        lab.secs(2).await;
        // Nothing of it is there: the entry itself is released.
        results(lab.ask(Ask::Release(entry("disk"))).await.unwrap());
        lab.machine.with(|kernel| kernel.set_vfs(addr(pf), 3));
        lab.secs(5).await;
        let states = || [first, second, third].map(|vf| lab.picture().devices[&addr(vf)].state);
        assert_eq!(states(), [State::Released; 3]);
        // It was released with its entry, and by itself before.
        results(lab.ask(Ask::Adopt(entry("disk/1"))).await.unwrap());
        lab.secs(5).await;
        assert_eq!(states(), [State::Released, State::Ready, State::Released]);
        results(lab.ask(Ask::Adopt(entry("disk"))).await.unwrap());
        lab.secs(5).await;
        assert_eq!(states(), [State::Ready; 3]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_release_comes_after_a_repair_in_its_group() {
    run(async {
        let lab = Lab::ready(&(by("a", PAIR[0]) + &by("b", PAIR[1]))).await;
        lab.unbind(PAIR[1]);
        let answer = results(lab.ask(Ask::Release(device(PAIR[0]))).await.unwrap());
        assert_eq!(
            answer,
            [(PAIR[0].to_owned(), "released: given back to the host, on e1000, asked for by uid 1000".to_owned())]
        );
        assert_eq!(lab.picture().counters.failures, 0);
        // What stays cannot be opened now, and is told why.
        let left = &lab.picture().devices[&addr(PAIR[1])];
        let why = "group-shared: 0000:04:01.0 shares group 17, is on e1000 and is released; \
                   adopt it, or release this one too";
        assert_eq!((left.state, left.reason.as_str()), (State::Blocked, why));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_binds_to_vfio_after_a_release_is_his_affair_until_it_is_released_again() {
    run(async {
        let lab = Lab::ready(&by("nic", NIC)).await;
        results(lab.ask(Ask::Release(device(NIC))).await.unwrap());
        lab.give(NIC, "vfio-pci");
        let writes = lab.writes(NIC);
        lab.secs(130).await;
        assert_eq!((lab.driver(NIC).as_deref(), lab.writes(NIC)), (Some("vfio-pci"), writes));
        // But for a second release.
        let answer = results(lab.ask(Ask::Release(device(NIC))).await.unwrap());
        assert_eq!(
            answer,
            [(NIC.to_owned(), "released: given back to the host, on e1000e, asked for by uid 1000".to_owned())]
        );
        lab.secs(10).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("e1000e"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_in_use_is_not_released_nor_is_one_whose_group_is_in_use() {
    run(async {
        let lab = Lab::ready(&(by("a", PAIR[0]) + &by("b", PAIR[1]))).await;
        lab.machine.with(|kernel| kernel.open(addr(PAIR[1]), &Process::new(300, "qemu", 107)));
        lab.ms(500).await;
        let writes = lab.writes(PAIR[0]);
        for member in PAIR {
            let answer = lab.ask(Ask::Release(device(member))).await.unwrap();
            assert!(matches!(&answer, Err(Refusal::InUse(_))), "{answer:?}");
        }
        lab.secs(10).await;
        assert_eq!((lab.writes(PAIR[0]), lab.driver(PAIR[0]).as_deref()), (writes, Some("vfio-pci")));
        // The group's node is open, and so are both.
        assert_eq!(lab.picture().devices[&addr(PAIR[0])].state, State::Assigned);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_nobody_knows_what_is_released_no_device_is_taken_from_a_host_driver_unasked() {
    run(async {
        let text = by("nic", NIC) + &by("other", OTHER);
        let mut lab = Lab::new(&text);
        let unsure = Unsure { why: "read it: damaged".to_owned(), ..Unsure::default() };
        let memory = Memory { unsure: Some(unsure), ..Memory::default() };
        *lab.shelf.text.borrow_mut() = serde_json::to_string(&(&memory, &memory.lasting)).unwrap();
        lab.start();
        lab.secs(60).await;
        for device in [NIC, OTHER] {
            assert_eq!((lab.writes(device), lab.picture().devices[&addr(device)].state), (0, State::Held));
            let reason = lab.picture().devices[&addr(device)].reason.clone();
            assert!(reason.contains("is not known: read it: damaged"), "{reason}");
        }
        // Who has modules loaded says nothing of any device.
        results(lab.ask(Ask::LoadModules(vec![])).await.unwrap());
        lab.secs(5).await;
        assert_eq!((lab.writes(NIC), lab.writes(OTHER)), (0, 0));
        let answer = results(lab.ask(Ask::Repair(vec![entry("nic")])).await.unwrap());
        assert_eq!(answer, [(NIC.to_owned(), "ready".to_owned())]);
        // What was on VFIO in this boot is known not to be released.
        lab.give(NIC, "e1000e");
        lab.kill().await;
        lab.start();
        lab.secs(5).await;
        assert_eq!((lab.driver(NIC).as_deref(), lab.writes(OTHER)), (Some("vfio-pci"), 0));
        lab.reload(Ok(&text)).await;
        lab.secs(5).await;
        assert_eq!(lab.driver(OTHER).as_deref(), Some("vfio-pci"));
    })
    .await;
}
