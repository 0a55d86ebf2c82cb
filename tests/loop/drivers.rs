//! Which driver a device is to have: variants by whatever name, a vendor's own, and what others chose.

use vfiod::host::sim::machine::lab;
use vfiod::host::sim::modprobe::Flags;
use vfiod::host::sim::spec::Spec;
use vfiod::host::sim::{Answer, Fault, Kernel, Process, Version};
use vfiod::model::event::Kind;
use vfiod::model::snapshot::Variant;
use vfiod::model::state::State;

use crate::support::lab::NIC;
use crate::support::{Lab, addr, by, module, run};

/// A VF of a GPU whose own driver gives it to guests.
const VF: &str = "0000:06:00.4";

/// The lab's machine with a variant driver for its NICs, which is called otherwise than its module.
fn with_variant(version: Version, driver: &str) -> Kernel {
    let mut kernel = lab(version);
    kernel.install_variant("lab_vfio_pci", driver);
    let pattern = "vfio_pci:v00008086d000010D3sv*sd*bc*sc*i*".to_owned();
    kernel.set_variants(vec![Variant { pattern, module: module("lab_vfio_pci") }]);
    kernel
}

/// The lab's machine with a GPU's VF on a driver that is itself VFIO.
fn with_vendors(version: Version) -> Kernel {
    let mut kernel = lab(version);
    kernel.modprobe(&module("vfio_pci_core"), Flags::default());
    kernel.install("nvidia", &["vfio_pci_core", "vfio"], &["vfio_pci_core"], &["nvidia"]);
    kernel.add_device(Spec::new(addr(VF), "10de:2335".parse().unwrap(), 0x03_0200).native("nvidia".parse().unwrap()));
    assert_eq!(kernel.driver(addr(VF)).unwrap().as_str(), "nvidia");
    kernel
}

fn asking(name: &str, address: &str, driver: &str) -> String {
    by(name, address) + &format!("driver = \"{driver}\"\n")
}

fn pin(lab: &Lab, address: &str) -> Option<String> {
    lab.machine.ask(|kernel| kernel.pin(addr(address)).map(ToString::to_string))
}

#[tokio::test(start_paused = true)]
async fn a_variant_drivers_name_is_learnt_from_its_module_and_only_that_name_is_pinned() {
    for version in [Version::V6_1, Version::V6_12] {
        for driver in ["lab-vfio-pci", "lab_vfio_pci", "guests"] {
            for asked in ["auto", "lab_vfio_pci"] {
                run(async {
                    let lab = Lab::ready_on(with_variant(version, driver), &asking("nic", NIC, asked)).await;
                    assert_eq!(lab.driver(NIC).as_deref(), Some(driver), "{asked}");
                    assert_eq!(pin(&lab, NIC).as_deref(), Some(driver));
                    assert_eq!(lab.view(NIC).wanted.unwrap().as_str(), driver);
                    lab.secs(130).await;
                    assert_eq!((lab.begun().len(), lab.events()), (0, vec![]), "{driver} {asked}");
                    // Gone with its module it comes back, by the name that is known by then.
                    assert_eq!(lab.modprobe_r("lab_vfio_pci").await, Answer::Exit(0));
                    lab.secs(5).await;
                    assert_eq!(lab.driver(NIC).as_deref(), Some(driver), "{asked}");
                    assert_eq!(lab.line(), "ready: 1 ready");
                })
                .await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_module_of_a_variant_is_loaded_before_anything_is_written_to_its_device() {
    run(async {
        let mut kernel = with_variant(Version::V6_12, "lab-vfio-pci");
        kernel.break_it(Fault::ModprobeFails(module("lab_vfio_pci"), 1));
        let mut lab = Lab::on(kernel, &asking("nic", NIC, "auto"));
        lab.start();
        lab.secs(60).await;
        assert_eq!((lab.writes(NIC), lab.driver(NIC).as_deref()), (0, Some("e1000e")));
        assert!(lab.begun().concat().contains(&"load lab_vfio_pci".to_owned()));
        lab.machine.with(|kernel| kernel.mend(&Fault::ModprobeFails(module("lab_vfio_pci"), 1)));
        lab.secs(70).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("lab-vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_module_without_a_driver_of_the_asked_name_is_no_reason_to_write() {
    run(async {
        let mut kernel = lab(Version::V6_12);
        kernel.install("lab_vfio_pci", &["vfio_pci_core"], &["vfio_pci_core"], &[]);
        let mut lab = Lab::on(kernel, &asking("nic", NIC, "lab-vfio-pci"));
        lab.start();
        lab.secs(60).await;
        assert_eq!((lab.writes(NIC), lab.driver(NIC).as_deref()), (0, Some("e1000e")));
        let nic = lab.view(NIC);
        assert_eq!(nic.state, State::Blocked);
        assert_eq!(nic.reason, "module lab_vfio_pci is loaded, and it has no PCI driver of that name");
    })
    .await;
}

/// What libvirt 12.9 does with a device that has a variant driver, when a domain with `managed='yes'` starts.
async fn libvirt_detaches(lab: &Lab, driver: &str) {
    let (nic, driver) = (addr(NIC), driver.parse().unwrap());
    lab.machine.with(|kernel| {
        let before = kernel.driver(nic).cloned().unwrap();
        kernel.modprobe(&module("lab_vfio_pci"), Flags::default());
        kernel.write_override(nic, Some(driver));
        kernel.unbind(nic, &before);
        kernel.drivers_probe(nic)
    });
    lab.secs(5).await;
}

#[tokio::test(start_paused = true)]
async fn where_no_driver_is_named_libvirts_choice_of_a_variant_is_left() {
    for version in [Version::V6_1, Version::V6_12] {
        run(async {
            let lab = Lab::ready_on(with_variant(version, "lab-vfio-pci"), &by("nic", NIC)).await;
            assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
            let writes = lab.writes(NIC);
            libvirt_detaches(&lab, "lab-vfio-pci").await;
            let qemu = Process::new(812, "qemu-system-x86", 64);
            assert_eq!(lab.machine.with(|kernel| kernel.open(addr(NIC), &qemu)), Answer::Ok);
            lab.secs(130).await;
            assert_eq!((lab.driver(NIC).as_deref(), lab.writes(NIC)), (Some("lab-vfio-pci"), writes));
            assert_eq!(lab.view(NIC).state, State::Assigned);
            assert!(lab.kinds().iter().all(|kind| *kind == Kind::Assigned), "{:#?}", lab.events());
            // On no driver at all it goes where it went before.
            lab.machine.with(|kernel| kernel.exit(&qemu));
            lab.machine.with(|kernel| kernel.unbind(addr(NIC), &"lab-vfio-pci".parse().unwrap()));
            lab.secs(70).await;
            assert_eq!((lab.driver(NIC).as_deref(), lab.view(NIC).state), (Some("vfio-pci"), State::Ready));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_vfio_pci_is_named_a_device_is_taken_back_to_it() {
    run(async {
        let text = asking("nic", NIC, "vfio-pci");
        let lab = Lab::ready_on(with_variant(Version::V6_12, "lab-vfio-pci"), &text).await;
        libvirt_detaches(&lab, "lab-vfio-pci").await;
        lab.secs(70).await;
        assert_eq!(lab.driver(NIC).as_deref(), Some("vfio-pci"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_on_its_vendors_own_vfio_driver_is_as_it_should_be() {
    for version in [Version::V6_1, Version::V6_12] {
        for text in [by("vf", VF), asking("vf", VF, "any"), asking("vf", VF, "auto")] {
            run(async {
                let lab = Lab::ready_on(with_vendors(version), &text).await;
                let qemu = Process::new(812, "qemu-system-x86", 64);
                lab.machine.with(|kernel| kernel.modprobe(&module("vfio_iommu_type1"), Flags::default()));
                assert_eq!(lab.machine.with(|kernel| kernel.open(addr(VF), &qemu)), Answer::Ok);
                lab.secs(130).await;
                let vf = lab.view(VF);
                assert_eq!((vf.state, vf.on_vfio, vf.wanted.unwrap().as_str()), (State::Assigned, true, "nvidia"));
                assert!(lab.picture().groups[&vf.group.unwrap()].viable);
                lab.machine.with(|kernel| kernel.exit(&qemu));
                lab.secs(130).await;
                assert_eq!(lab.view(VF).state, State::Ready);
                assert_eq!((lab.writes(VF), lab.begun().len()), (0, 0), "{text}");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_is_taken_from_its_vendors_own_vfio_driver_only_where_that_is_asked_for_and_nobody_has_it() {
    run(async {
        let mut kernel = with_vendors(Version::V6_12);
        let qemu = Process::new(812, "qemu-system-x86", 64);
        kernel.modprobe(&module("vfio_iommu_type1"), Flags::default());
        assert_eq!(kernel.open(addr(VF), &qemu), Answer::Ok);
        let mut lab = Lab::on(kernel, &asking("vf", VF, "vfio-pci"));
        lab.start();
        lab.secs(130).await;
        let vf = lab.view(VF);
        assert_eq!((vf.state, lab.writes(VF)), (State::Held, 0));
        assert!(vf.reason.starts_with("in-use: qemu-system-x86[812]"), "{}", vf.reason);
        lab.machine.with(|kernel| kernel.exit(&qemu));
        lab.secs(130).await;
        assert_eq!((lab.driver(VF).as_deref(), lab.view(VF).state), (Some("vfio-pci"), State::Ready));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_vf_made_again_on_its_vendors_own_vfio_driver_is_not_pinned() {
    run(async {
        let lab = Lab::ready_on(with_vendors(Version::V6_12), &by("vf", VF)).await;
        lab.machine.with(|kernel| kernel.remove(addr(VF)));
        lab.secs(5).await;
        lab.machine.with(Kernel::rescan);
        lab.secs(130).await;
        assert_eq!((lab.driver(VF).as_deref(), pin(&lab, VF)), (Some("nvidia"), None));
        assert_eq!((lab.view(VF).state, lab.writes(VF)), (State::Ready, 0));
    })
    .await;
}
