//! Fatal errors of a device, as far as the kernel tells what became of it.

use vfiod::host::sim::{Answer, Kernel, Process};
use vfiod::model::event::Kind;
use vfiod::model::state::State;

use crate::support::lab::NIC;
use crate::support::{Lab, addr, by, run};

#[tokio::test(start_paused = true)]
async fn a_device_that_the_kernel_could_not_bring_back_is_blocked_until_it_has_another_chance() {
    let chances: [fn(&mut Kernel); 3] = [
        |kernel| kernel.fatal_error(addr(NIC), true),
        |kernel| {
            let vfio = "vfio-pci".parse().unwrap();
            kernel.unbind(addr(NIC), &vfio);
            kernel.bind(addr(NIC), &vfio);
        },
        |kernel| {
            kernel.remove(addr(NIC));
            kernel.rescan();
        },
    ];
    for (number, chance) in chances.into_iter().enumerate() {
        run(async {
            let mut lab = Lab::ready(&by("nic", NIC)).await;
            lab.machine.with(|kernel| kernel.fatal_error(addr(NIC), true));
            lab.secs(5).await;
            assert_eq!((lab.view(NIC).state, lab.events()), (State::Ready, vec![]));
            let qemu = Process::new(812, "qemu-system-x86", 64);
            assert_eq!(lab.machine.with(|kernel| kernel.open(addr(NIC), &qemu)), Answer::Ok);
            lab.secs(65).await;
            lab.hush();
            lab.machine.with(|kernel| kernel.fatal_error(addr(NIC), false));
            lab.secs(5).await;
            let nic = lab.view(NIC);
            assert_eq!(nic.state, State::Blocked);
            assert!(nic.reason.starts_with("aer-errors: After a fatal PCI Express error"), "{}", nic.reason);
            assert!(nic.remedy.contains("vfiodctl release") && nic.findings.len() == 1);
            assert_eq!(lab.kinds(), [Kind::Blocked]);
            let writes = lab.writes(NIC);
            lab.machine.with(|kernel| kernel.exit(&qemu));
            // Also over a restart: the kernel says it once.
            lab.stop().await;
            lab.start();
            lab.secs(200).await;
            assert_eq!((lab.view(NIC).state, lab.writes(NIC)), (State::Blocked, writes));
            lab.machine.with(chance);
            lab.secs(5).await;
            assert_eq!(lab.view(NIC).state, State::Ready, "{number}");
        })
        .await;
    }
}
