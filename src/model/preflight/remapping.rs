//! Whether there is an IOMMU, which, and whether it covers the device.

use std::collections::BTreeMap;

use super::check::unread;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::make::Make;
use super::report::{Role, VIRTIO_IOMMU};
use super::survey::{Function, Survey};
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
    found.extend(survey.functions.iter().filter_map(|(address, function)| no_group(survey, *address, function)));
    found.extend(emulated(survey));
    found.extend(initramfs(survey));
    found.extend(domains(survey));
    found
}

/// A virtio-iommu that is not among the IOMMUs at work.
fn idle_virtio(survey: &Survey) -> Option<Address> {
    let at_work = |address: &Address| survey.iommu.units.is().is_some_and(|units| units.contains(&address.to_string()));
    let mut found = survey.functions.iter().filter(|(_, function)| function.card.ids == VIRTIO_IOMMU);
    found.find(|(address, _)| !at_work(address)).map(|(address, _)| *address)
}

/// Whether an IOMMU's driver may still come: until then the kernel puts off every probe.
#[must_use]
pub fn may_still_come(survey: &Survey) -> bool {
    idle_virtio(survey).is_some() && survey.iommu.virtio_driver.is().is_some()
}

fn options(survey: &Survey) -> Vec<&str> {
    let ours = |word: &&str| {
        ["intel_iommu=", "amd_iommu=", "iommu=", "iommu.", "arm-smmu"].iter().any(|key| word.starts_with(key))
    };
    survey.machine.cmdline.split_ascii_whitespace().filter(ours).collect()
}

/// The option that tells Intel's driver this word.
fn intel_option<'s>(survey: &'s Survey, word: &str) -> Option<&'s str> {
    let says = |option: &&str| {
        option.strip_prefix("intel_iommu=").is_some_and(|value| value.split(',').any(|part| part == word))
    };
    options(survey).into_iter().rev().find(says)
}

fn is_switched_on(survey: &Survey) -> bool {
    intel_option(survey, "on").is_some()
}

/// What follows from there being no IOMMU, and what where VFIO goes without one.
const NONE: &str = "no device has a group, and vfio-pci takes none.";
const UNCONTAINED: &str = "VFIO has devices in its mode without one (noiommu), where nothing contains their DMA, and no virtual machine takes them.";

fn off(survey: &Survey) -> Finding {
    let options = options(survey);
    let said_off = options
        .iter()
        .find(|word| word.split_once('=').is_some_and(|(_, value)| value.split(',').any(|part| part == "off")));
    let (dmar, ivrs) = (&survey.iommu.dmar, &survey.iommu.ivrs);
    let announced = !dmar.is_absent() || !ivrs.is_absent() || !survey.iommu.viot.is_absent();
    let why = match (said_off, announced, &survey.machine.hypervisor) {
        (Some(_), _, _) => {
            "The IOMMU is switched off on the kernel command line: no device has a group, and vfio-pci takes none."
        }
        (None, true, _) => {
            "The firmware offers an IOMMU, and the kernel does not use it: no device has a group, and vfio-pci takes none."
        }
        (None, false, Some(_)) => "This virtual machine has no IOMMU: no device has a group, and vfio-pci takes none.",
        (None, false, None) => {
            "There is no IOMMU, or it is switched off in the firmware: no device has a group, and vfio-pci takes none."
        }
    };
    let table = |name: &str, fact: &Fact<super::firmware::Table>| {
        let value = match fact {
            Fact::Is(_) => "there".to_owned(),
            Fact::Absent => "not there".to_owned(),
            Fact::Unreadable(why) => format!("not readable: {why}"),
        };
        Evidence::new(format!("/sys/firmware/acpi/tables/{name}"), value)
    };
    let why = match survey.groups.values().any(|group| group.noiommu) {
        // What is on vfio-pci is on it all the same.
        true => why.replace(NONE, UNCONTAINED),
        false => why.to_owned(),
    };
    let finding = Finding::new(Severity::Blocker, About::Host, Code::IommuOff, why)
        .because("/sys/class/iommu", "empty")
        .by([table("DMAR", dmar), table("IVRS", ivrs)])
        .by(options.iter().map(|word| Evidence::new("/proc/cmdline", *word)));
    match (said_off, announced, &survey.machine.hypervisor) {
        (Some(option), _, _) => finding.step(format!("Take `{option}` off the kernel command line and boot again.")),
        (None, true, _) if !dmar.is_absent() && is_switched_on(survey) => finding
            .step("`intel_iommu=on` is given already: look in the kernel's log (`dmesg | grep -e DMAR -e IOMMU`) for why it was given up.")
            .step("Look whether VT-d is on in the firmware setup, and install newer firmware: a table that makes no sense is passed over."),
        (None, true, _) if !dmar.is_absent() => finding.step("Add `intel_iommu=on` to the kernel command line and boot again: this kernel does not switch it on by itself."),
        (None, true, _) => finding.step("Look in the kernel's log (`journalctl -k | grep -iE 'iommu|AMD-Vi|DMAR'`) for why it was given up."),
        (None, false, Some(_)) => finding
            .step("Give the virtual machine an IOMMU that remaps interrupts (libvirt: <iommu model='intel'><driver intremap='on' caching_mode='on'/></iommu>, and <ioapic driver='qemu'/>), and start it again."),
        (None, false, None) => finding
            .step(match survey.machine.processor.as_str() {
                "AuthenticAMD" => "Switch \"IOMMU\" (AMD-Vi, AMD CBS → NBIO) on, not \"Auto\", in the firmware setup and boot again.",
                "GenuineIntel" if is_switched_on(survey) => "Switch \"VT-d\" (Intel Virtualization Technology for Directed I/O) on in the firmware setup and boot again: `intel_iommu=on` alone does not do it.",
                "GenuineIntel" => "Switch \"VT-d\" (Intel Virtualization Technology for Directed I/O) on in the firmware setup, add `intel_iommu=on` to the kernel command line, and boot again.",
                _ => "Switch the IOMMU (Intel VT-d, AMD-Vi, Arm SMMU) on in the firmware setup and boot again.",
            }),
    }
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
    let left_out = intel_option(survey, "igfx_off").filter(|_| function.card.class >> 16 == 0x03);
    let why = match role {
        Role::Iommu => "It is an IOMMU itself and has no group: it is not passed through.",
        _ if function.waiting == Fact::Is(true) => "It has no IOMMU group yet: it waits for the driver of its IOMMU.",
        _ if left_out.is_some() => "It has no IOMMU group: the kernel command line leaves graphics out.",
        _ => {
            "It has no IOMMU group although others have: no IOMMU covers it (the firmware's table leaves it out, or its bridge or controller keeps it from the IOMMU)."
        }
    };
    // An IOMMU is what it is, as a bridge.
    let severity = if role == Role::Iommu { Severity::Note } else { Severity::Blocker };
    let finding = Finding::new(severity, About::Device(address), Code::NoGroup, why)
        .because(format!("/sys/bus/pci/devices/{address}/iommu_group"), "not there")
        .by(left_out.map(|option| Evidence::new("/proc/cmdline", option)));
    let finding = match role {
        Role::Iommu => return Some(finding),
        _ if left_out.is_some() => {
            return Some(
                finding.step("Take `igfx_off` out of `intel_iommu=` on the kernel command line and boot again."),
            );
        }
        _ if address.domain > 0xffff => {
            finding.step("It is behind Intel VMD: switch VMD off for its slot in the firmware setup.")
        }
        _ => finding.step("Put the card into another slot, or install newer system firmware."),
    };
    Some(
        finding
            .step("Look in the kernel's log for the table's errors: `journalctl -k | grep -iE 'DMAR|AMD-Vi|iommu'`."),
    )
}

fn emulated(survey: &Survey) -> Option<Finding> {
    let units = survey.iommu.units.is().filter(|units| !units.is_empty())?;
    let makes: Vec<&str> = units.iter().map(|unit| Make::of(unit).name().unwrap_or(unit)).collect();
    let virtio = units.iter().any(|unit| Make::of(unit) == Make::Virtio);
    let hypervisor = survey.machine.hypervisor.as_ref();
    if !virtio && hypervisor.is_none() {
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
    let why = "The host's own drivers use these kinds of domain; a device that is passed through gets one of its own, so each of them is fine (identity is what `iommu=pt` gives).";
    Some(
        Finding::new(Severity::Note, About::Host, Code::IommuDomain, why)
            .because("/sys/kernel/iommu_groups/*/type", words.join(", ")),
    )
}
