//! Whether a guest could forge interrupts, and whether somebody has allowed it.

use super::check::unread;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::make::Make;
use super::survey::{Group, Meaning, Survey};
use crate::model::snapshot::Fact;

const ALLOW: &str = "allow_unsafe_interrupts";

/// All findings about interrupts and VFIO's mode without an IOMMU.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    let allowed = survey.goes_without_remapping();
    match &survey.iommu.remapping {
        Fact::Is(false) if survey.has_iommu() && !allowed => found.push(missing(survey)),
        Fact::Unreadable(why) if survey.has_iommu() && !allowed => {
            found.push(unread(About::Host, "whether interrupts are remapped", why));
        }
        Fact::Absent if survey.has_iommu() && !allowed => {
            found.push(unread(About::Host, "whether interrupts are remapped", "/proc/interrupts: not there"));
        }
        _ => {}
    }
    let type1 = survey.turned_on("vfio_iommu_type1", ALLOW).map(|said| ("vfio_iommu_type1", said));
    let own = || (format!("/sys/module/iommufd/parameters/{ALLOW}"), "Y".to_owned());
    let iommufd = (survey.iommufd_unsafe == Fact::Is(true)).then(|| ("iommufd", own()));
    for (module, (source, value)) in type1.into_iter().chain(iommufd) {
        let why = "`allow_unsafe_interrupts` is on: where interrupts are not remapped, a guest with a device can forge interrupts of the host.";
        found.push(
            Finding::new(Severity::Warning, About::Host, Code::UnsafeInterrupts, why)
                .because(source, value)
                .step(format!("Give devices to trusted guests only, or take the option of {module} out of modprobe.d or off the kernel command line, and load it again or boot again."))
                .step("vfiod never sets it."),
        );
    }
    let noiommu = "enable_unsafe_noiommu_mode";
    if let Some((source, value)) = survey.turned_on("vfio", noiommu) {
        let why = "VFIO's mode without an IOMMU is on: whoever has a device without a group can read and write all memory through it.";
        found.push(
            Finding::new(Severity::Warning, About::Host, Code::Noiommu, why)
                .because(source, value)
                .step("Take `enable_unsafe_noiommu_mode` out of modprobe.d and write 0 to the parameter, unless a trusted program (DPDK) needs it.")
                .step("vfiod never sets it."),
        );
    }
    found.extend(survey.groups.iter().filter(|(_, group)| group.noiommu).map(uncontained));
    found
}

/// A group of VFIO's mode without an IOMMU.
fn uncontained((number, group): (&u32, &Group)) -> Finding {
    let why = "It is on VFIO without an IOMMU: nothing contains its DMA, so whoever has it can read and write all memory. Programs such as DPDK take it so; virtual machines do not, since QEMU wants an IOMMU.";
    Finding::new(Severity::Warning, About::Group(*number), Code::Noiommu, why)
        .because(format!("/sys/kernel/iommu_groups/{number}/name"), "vfio-noiommu")
        .because("its node", group.path.as_str())
        .step("Give it to a program that is trusted as root is, and to nobody else.")
        .step("To pass it to a virtual machine, give this machine an IOMMU first (see iommu-off).")
}

fn missing(survey: &Survey) -> Finding {
    let makes: Vec<Make> = survey.iommu.units.is().into_iter().flatten().map(|unit| Make::of(unit)).collect();
    let announced = survey.iommu.dmar.is().and_then(|table| table.remaps);
    let said =
        survey.said(Meaning::NoInterruptRemapping).map(|said| Evidence::new("the kernel's log", said.text.clone()));
    let option = ["intremap=off", "nointremap"]
        .into_iter()
        .find(|option| survey.machine.cmdline.split_ascii_whitespace().any(|word| word == *option));
    let finding = Finding::new(
        Severity::Blocker,
        About::Host,
        Code::NoInterruptRemapping,
        "Interrupts are not remapped, so a guest with a device could forge the host's: opening any device fails with EPERM.",
    )
    .because("/proc/interrupts", "no interrupt goes through a remapping controller (none is called IR-…)")
    .by(announced.map(|yes| {
        Evidence::new("/sys/firmware/acpi/tables/DMAR", if yes { "INTR_REMAP is set: the firmware offers it" } else { "INTR_REMAP is not set: the firmware does not offer it" })
    }))
    .by(option.map(|option| Evidence::new("/proc/cmdline", option)))
    .by(said.take(1));
    let finding = match option {
        Some(option) => finding.step(format!("Take `{option}` off the kernel command line and boot again.")),
        None if makes.contains(&Make::Virtio) => finding
            .step("virtio-iommu does not remap interrupts on x86: give the virtual machine an emulated Intel or AMD IOMMU with interrupt remapping instead (libvirt: <iommu model='intel'><driver intremap='on'/></iommu>)."),
        None if survey.machine.hypervisor.is_some() => {
            finding.step("This is a virtual machine: switch interrupt remapping of its IOMMU on (QEMU: intel-iommu,intremap=on and kernel-irqchip=split).")
        }
        None => finding.step("Enable interrupt remapping, x2APIC and VT-d or AMD-Vi in the firmware setup; install newer firmware."),
    };
    finding.step("Only on a machine whose guests are all trusted: `options vfio_iommu_type1 allow_unsafe_interrupts=1` in modprobe.d. vfiod never sets it.")
}
