//! Whether a guest could forge interrupts, and whether somebody has allowed it.

use super::absent::make;
use super::arch::Arch;
use super::boot::{modprobe_place, module_options, taken_off};
use super::check::unread;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::make::Make;
use super::parameters::Asked;
use super::survey::{Group, Meaning, Survey};
use crate::model::snapshot::Fact;

const ALLOW: &str = "allow_unsafe_interrupts";

/// All findings about interrupts and VFIO's mode without an IOMMU.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    let allowed = survey.goes_without_remapping();
    match &survey.iommu.remapping {
        Fact::Is(false) if concerned(survey) && !allowed => found.push(missing(survey)),
        Fact::Unreadable(why) if concerned(survey) && !allowed => found.push(unknown(survey, why)),
        Fact::Absent if concerned(survey) && !allowed => {
            found.push(unknown(survey, "/proc/interrupts: not there"));
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
                .step(format!("Give devices to trusted guests only, or take the option of {module} out of {} or off the kernel command line, and load it again or boot again.", modprobe_place(&survey.machine)))
                .step("vfiod never sets it."),
        );
    }
    let noiommu = "enable_unsafe_noiommu_mode";
    if let Some((source, value)) = survey.turned_on("vfio", noiommu) {
        let why = "VFIO's mode without an IOMMU is on: whoever has a device without a group can read and write all memory through it.";
        found.push(
            Finding::new(Severity::Warning, About::Host, Code::Noiommu, why)
                .because(source, value)
                .step(format!("Take `{noiommu}` out of {} and write 0 to the parameter, unless a trusted program (DPDK) needs it.", modprobe_place(&survey.machine)))
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

/// Whether it matters: where no PCI function has a group, nothing comes so far.
fn concerned(survey: &Survey) -> bool {
    let grouped =
        survey.functions.values().any(|function| survey.group_of(function).is_some_and(|(_, group)| !group.noiommu));
    grouped || survey.has_iommu() && survey.machine.arch.is_none_or(|arch| arch == Arch::X86)
}

/// That nobody knows. On the machine itself another look tells no more where the kernel tells nothing.
fn unknown(survey: &Survey, why: &str) -> Finding {
    let words = "whether the interrupts of devices are kept apart";
    match survey.machine.arch {
        None | Some(Arch::X86 | Arch::Arm) => unread(About::Host, words, why),
        Some(_) => {
            let sentence = format!("Nobody knows {words}: where they are not, opening any device fails with EPERM.");
            Finding::new(Severity::Warning, About::Host, Code::Unreadable, sentence)
                .because("reading", why)
                .step("Try it with a guest that may fail: the kernel's log then says \"No interrupt remapping support\", or nothing.")
        }
    }
}

fn missing(survey: &Survey) -> Finding {
    let machine = &survey.machine;
    let arm = machine.arch == Some(Arch::Arm);
    let virtio = survey.iommu.units.is().into_iter().flatten().any(|unit| Make::of(unit) == Make::Virtio);
    let announced = survey.iommu.dmar.is().and_then(|table| table.remaps);
    let said =
        survey.said(Meaning::NoInterruptRemapping).map(|said| Evidence::new("the kernel's log", said.text.clone()));
    let option = Asked::of(&machine.cmdline).without_remapping().filter(|_| !arm);
    let why = match arm {
        true => {
            "Interrupts of devices are not kept apart (this machine has no ITS), so a guest with a device could forge the host's: opening any device fails with EPERM."
        }
        false => {
            "Interrupts are not remapped, so a guest with a device could forge the host's: opening any device fails with EPERM."
        }
    };
    let finding = Finding::new(Severity::Blocker, About::Host, Code::NoInterruptRemapping, why)
        .by(Some(
            survey
                .iommu
                .remapping_by
                .clone()
                .unwrap_or_else(|| Evidence::new("/proc/interrupts", "no controller keeps them apart")),
        ))
        .by(announced.map(|yes| {
            Evidence::new(
                "/sys/firmware/acpi/tables/DMAR",
                if yes {
                    "INTR_REMAP is set: the firmware offers it"
                } else {
                    "INTR_REMAP is not set: the firmware does not offer it"
                },
            )
        }))
        .by(option.map(|option| Evidence::new("/proc/cmdline", option)))
        .by(said.take(1));
    let finding = match (option, machine.platform) {
        (Some(option), _) => finding.step(format!("Take `{option}` {} and boot again.", taken_off(machine, option))),
        (None, _) if virtio && !arm => finding
            .step("virtio-iommu does not remap interrupts on x86: give the virtual machine an emulated Intel or AMD IOMMU with interrupt remapping instead (libvirt: <iommu model='intel'><driver intremap='on'/></iommu>)."),
        (None, Some(hypervisor)) => finding.step(hypervisor.give_remapping(machine.arch)),
        (None, None) if arm => finding.step("Nothing switches it on: it takes a GICv3 with ITS, which this machine has not, or does not tell of. Newer firmware may tell of one."),
        (None, None) => finding.step(match make(survey) {
            Some(Make::Intel) => "Enable interrupt remapping, x2APIC and VT-d in the firmware setup; install newer firmware.",
            Some(Make::Amd) => "Enable interrupt remapping (AMD-Vi, \"IOMMU\") in the firmware setup; install newer firmware.",
            _ => "Enable interrupt remapping, x2APIC and VT-d or AMD-Vi in the firmware setup; install newer firmware.",
        }),
    };
    let allow = module_options(machine, "vfio_iommu_type1", "allow_unsafe_interrupts=1");
    finding.step(format!("Only on a machine whose guests are all trusted: {allow}. vfiod never sets it."))
}
