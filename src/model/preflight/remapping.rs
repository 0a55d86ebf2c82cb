//! Whether there is an IOMMU, which, and whether it covers the device.

use std::collections::BTreeMap;

use super::absent::{log_of, make, off};
use super::arch::Arch;
use super::check::unread;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::hypervisor::Hypervisor;
use super::make::Make;
use super::parameters::Asked;
use super::report::{Role, VIRTIO_IOMMU};
use super::survey::{Function, Meaning, Survey};
use super::system::{into_initramfs, with_virtio_iommu};
use crate::model::pci::Address;
use crate::model::snapshot::Fact;

/// All findings about the IOMMU.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Fact::Unreadable(why) = &survey.iommu.units {
        found.push(unread(About::Host, "which IOMMUs there are", why));
    }
    let idle = idle_virtio(survey);
    if let Some(address) = idle {
        found.push(driver_missing(survey, address));
    } else if !survey.has_iommu() && survey.iommu.units.unreadable().is_none() {
        found.push(off(survey));
    }
    if idle.is_none() {
        found.extend(unserved(survey));
    }
    found.extend(survey.functions.iter().filter_map(|(address, function)| no_group(survey, *address, function)));
    found.extend(emulated(survey));
    found.extend(initramfs(survey));
    found.extend(domains(survey));
    found
}

/// A virtio-iommu that is not among the IOMMUs at work.
fn idle_virtio(survey: &Survey) -> Option<Address> {
    let units = survey.iommu.units.is()?;
    let at_work = |address: &Address| units.contains(&address.to_string());
    let mut found = survey.functions.iter().filter(|(_, function)| function.card.ids == VIRTIO_IOMMU);
    found.find(|(address, _)| !at_work(address)).map(|(address, _)| *address)
}

/// Whether an IOMMU's driver may still come: until then the kernel puts off every probe.
#[must_use]
pub fn may_still_come(survey: &Survey) -> bool {
    idle_virtio(survey).is_some() && survey.iommu.virtio_driver.is().is_some()
}

fn driver_missing(survey: &Survey, address: Address) -> Finding {
    let waiting: Vec<String> = survey
        .functions
        .iter()
        .filter(|(_, f)| f.waiting == Fact::Is(true))
        .map(|(address, _)| address.to_string())
        .collect();
    let why = "There is a virtio-iommu and its driver is not at work: no device has a group, and those behind it wait for it or do without.";
    let mut finding = Finding::new(Severity::Blocker, About::Host, Code::IommuDriverMissing, why)
        .because(format!("/sys/bus/pci/devices/{address}"), format!("{VIRTIO_IOMMU}, a virtio-iommu"))
        .because("/sys/class/iommu", "it is not in it");
    if !waiting.is_empty() {
        finding = finding.because("/sys/kernel/debug/devices_deferred", waiting.join(", "));
    }
    for disk in &survey.root_disk.behind {
        finding = finding.because("the root file system", format!("its disk is behind {disk}"));
    }
    match &survey.iommu.virtio_driver {
        Fact::Is(how) => finding
            .because("the module tree", format!("virtio_iommu is there ({how})"))
            .step("Load it: `modprobe virtio_iommu`. vfiod never does.")
            .steps(into_initramfs(&survey.machine)),
        Fact::Absent => finding
            .because("the module tree", "this kernel has no virtio_iommu")
            .step(with_virtio_iommu(&survey.machine))
            .step("Or give the virtual machine another IOMMU."),
        Fact::Unreadable(why) => {
            finding.because("the module tree", why.as_str()).step("Load virtio_iommu if this kernel has it.")
        }
    }
}

fn initramfs(survey: &Survey) -> Option<Finding> {
    let unit = survey.iommu.units.is()?.iter().find(|unit| Make::of(unit) == Make::Virtio)?;
    let grouped = |disk: &&Address| survey.functions.get(disk).is_some_and(|function| function.group.is().is_some());
    let disk = survey.root_disk.behind.iter().find(grouped)?;
    let module = survey.iommu.virtio_driver.is().filter(|how| how.as_str() == "module")?;
    let why = "The root disk waits for virtio_iommu, which is a module: if the next initramfs lacks it, this machine does not boot.";
    Some(
        Finding::new(Severity::Warning, About::Host, Code::IommuDriverInitramfs, why)
            .because("/sys/class/iommu", unit.as_str())
            .because("the root file system", format!("its disk is behind {disk}, which is behind that IOMMU"))
            .because("the module tree", format!("virtio_iommu is a {module}"))
            .steps(into_initramfs(&survey.machine)),
    )
}

/// That no PCI function has a group although an IOMMU is at work: the same for all of them.
fn unserved(survey: &Survey) -> Option<Finding> {
    let units = survey.iommu.units.is().filter(|units| !units.is_empty())?;
    let endpoints = || survey.functions.values().filter(|function| Role::of(&function.card) == Role::Endpoint);
    if endpoints().next().is_none() || !endpoints().all(|function| function.group.is_absent()) {
        return None;
    }
    let shown = units.iter().cloned().collect::<Vec<_>>().join(", ");
    let virtio = units.iter().any(|unit| Make::of(unit) == Make::Virtio);
    let late = survey.said(Meaning::ProbeTimedOut).next();
    let put_off = survey.functions.values().any(|function| function.waiting == Fact::Is(true));
    let why = match (survey.machine.device_tree, virtio) {
        (true, false) => "There are IOMMUs, and the device tree gives none of them to PCI Express: no PCI function has a group, and vfio-pci takes none.".to_owned(),
        _ if put_off => "There is an IOMMU, and the devices still wait for it: none has a group yet, and vfio-pci takes none.".to_owned(),
        _ if late.is_some() => "There is an IOMMU, and the devices did not wait for it (deferred probe timeout): none has a group, and vfio-pci takes none.".to_owned(),
        _ => "There is an IOMMU, and it serves no PCI function: none has a group, and vfio-pci takes none.".to_owned(),
    };
    let finding = Finding::new(Severity::Blocker, About::Host, Code::NoGroup, why)
        .because("/sys/class/iommu", shown)
        .because("/sys/bus/pci/devices/*/iommu_group", "not there")
        .by(late.map(|said| Evidence::new("the kernel's log", said.text.clone())));
    let log = log_of(survey);
    Some(match (survey.machine.device_tree, virtio) {
        (true, false) => finding
            .step("The device tree decides: the node of the PCI Express controller needs iommu-map, which the vendor's newest device tree or kernel for this board may have. Without it no PCI function can be passed through."),
        (_, true) => finding
            .steps(into_initramfs(&survey.machine))
            .step("Linux 7.2 and 7.3 give no device a group where the virtual machine has a PCIe-to-PCI bridge, and 7.3 on Arm none at all: take the bridge out of the virtual machine, or boot another kernel.")
            .step(format!("Look in the kernel's log ({log}).")),
        _ => finding
            .step(format!("Look in the kernel's log ({log}) for why: its driver came too late, or gave up."))
            .step("Install newer system firmware: its table may leave out what the devices are behind."),
    })
}

fn no_group(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    if function.card.bridge {
        return None;
    }
    if let Fact::Unreadable(why) = &function.group {
        return Some(unread(About::Device(address), "in which IOMMU group it is", why));
    }
    // Where no device has one the host's finding says why.
    if !function.group.is_absent() || !survey.has_iommu() {
        return None;
    }
    let role = Role::of(&function.card);
    if role != Role::Iommu && unserved(survey).is_some() {
        return None;
    }
    let asked = Asked::of(&survey.machine.cmdline);
    let intel = make(survey) == Some(Make::Intel);
    let left_out = asked.without_graphics().filter(|_| intel && function.card.class >> 16 == 0x03);
    let shared = survey.said(Meaning::StreamShared).find(|said| said.device == Some(address));
    let arm = survey.machine.arch == Some(Arch::Arm);
    let why = match role {
        Role::Iommu => "It is an IOMMU itself and has no group: it is not passed through.",
        _ if function.waiting == Fact::Is(true) => "It has no IOMMU group yet: it waits for the driver of its IOMMU.",
        _ if left_out.is_some() => "It has no IOMMU group: the kernel command line leaves graphics out.",
        _ if shared.is_some() => {
            "It has no IOMMU group: to the SMMU it looks like another device behind the same bridge, which has one."
        }
        _ if survey.machine.device_tree => {
            "It has no IOMMU group although others have: the device tree gives its PCI Express controller no IOMMU (no iommu-map)."
        }
        _ if arm => {
            "It has no IOMMU group although others have: no SMMU covers it (the firmware's table, IORT, leaves it out, or its bridge keeps it from the SMMU)."
        }
        _ => {
            "It has no IOMMU group although others have: no IOMMU covers it (the firmware's table leaves it out, or its bridge or controller keeps it from the IOMMU)."
        }
    };
    // An IOMMU is what it is, as a bridge.
    let severity = if role == Role::Iommu { Severity::Note } else { Severity::Blocker };
    let finding = Finding::new(severity, About::Device(address), Code::NoGroup, why)
        .because(format!("/sys/bus/pci/devices/{address}/iommu_group"), "not there")
        .by(left_out.map(|option| Evidence::new("/proc/cmdline", option)))
        .by(shared.map(|said| Evidence::new("the kernel's log", said.text.clone())));
    let finding = match role {
        Role::Iommu => return Some(finding),
        _ if left_out.is_some() => {
            return Some(
                finding.step("Take `igfx_off` out of `intel_iommu=` on the kernel command line and boot again."),
            );
        }
        _ if shared.is_some() => {
            return Some(finding.step("Put it into a slot that is not behind a PCIe-to-PCI bridge: behind one only the first device has a group."));
        }
        _ if survey.machine.device_tree => {
            return Some(finding.step("The device tree decides: the node of its PCI Express controller needs iommu-map, which the vendor's newest device tree or kernel for this board may have. Without it the device cannot be passed through."));
        }
        _ if address.domain > 0xffff => {
            finding.step("It is behind Intel VMD: switch VMD off for its slot in the firmware setup.")
        }
        _ if function.card.path.hops.is_empty() => finding.step("Install newer system firmware."),
        _ => finding.step("Put the card into another slot, or install newer system firmware."),
    };
    Some(finding.step(format!("Look in the kernel's log for the table's errors: {}.", log_of(survey))))
}

fn emulated(survey: &Survey) -> Option<Finding> {
    let units = survey.iommu.units.is().filter(|units| !units.is_empty())?;
    let makes: Vec<&str> = units.iter().map(|unit| Make::of(unit).name().unwrap_or(unit)).collect();
    let virtio = units.iter().any(|unit| Make::of(unit) == Make::Virtio);
    let hypervisor = survey.machine.hypervisor.as_ref();
    if !virtio && hypervisor.is_none() || survey.machine.platform.is_some_and(Hypervisor::is_xen) {
        return None;
    }
    let why = "This is a virtual machine, and its IOMMU is the hypervisor's: a device passed on from here reaches a nested guest, at the price of emulated mappings, and keeps this machine from being migrated.";
    let mut finding = Finding::new(Severity::Note, About::Host, Code::IommuEmulated, why).because(
        "/sys/class/iommu",
        format!(
            "{} ({})",
            units.iter().cloned().collect::<Vec<_>>().join(", "),
            makes.first().copied().unwrap_or_default()
        ),
    );
    if let Some(told) = hypervisor {
        finding = finding.because("the hypervisor", told.as_str());
    }
    Some(finding)
}

/// Which kinds of domain the groups have: none of them is in the way.
fn domains(survey: &Survey) -> Option<Finding> {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    // Those that VFIO has made up without an IOMMU have none.
    for kind in survey.groups.values().filter(|group| !group.noiommu).filter_map(|group| group.kind.is()) {
        *kinds.entry(kind).or_default() += 1;
    }
    if kinds.is_empty() {
        return None;
    }
    let words: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    let option = match survey.machine.arch {
        Some(Arch::X86) | None => "iommu=pt",
        Some(_) => "iommu.passthrough=1",
    };
    let why = format!(
        "The host's own drivers use these kinds of domain; a device that is passed through gets one of its own, so each of them is fine (identity is what `{option}` gives)."
    );
    Some(
        Finding::new(Severity::Note, About::Host, Code::IommuDomain, why)
            .because("/sys/kernel/iommu_groups/*/type", words.join(", ")),
    )
}
