//! That there is no IOMMU at work, in the words of the machine that lacks it.

use super::arch::Arch;
use super::boot::{added, taken_off};
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::firmware::Table;
use super::hypervisor::Hypervisor;
use super::make::Make;
use super::parameters::Asked;
use super::survey::Survey;
use crate::model::snapshot::Fact;

/// The make of the IOMMU that a machine has or would have; none where it cannot be told.
#[must_use]
pub fn make(survey: &Survey) -> Option<Make> {
    let mut makes = survey.iommu.units.is().into_iter().flatten().map(|unit| Make::of(unit));
    if let Some(make) = makes.find(|make| make.arch().is_some()) {
        return Some(make);
    }
    match survey.machine.arch {
        Some(Arch::X86) | None => {}
        Some(Arch::Arm) => return Some(Make::Smmu),
        Some(Arch::S390) => return Some(Make::S390),
        Some(Arch::Power) => return Some(Make::Power),
        Some(Arch::RiscV) => return Some(Make::Riscv),
        Some(Arch::Loongarch | Arch::Other) => return Some(Make::Other),
    }
    match (survey.iommu.dmar.is_absent(), survey.iommu.ivrs.is_absent()) {
        (false, true) => return Some(Make::Intel),
        (true, false) => return Some(Make::Amd),
        (true, true) | (false, false) => {}
    }
    // Zhaoxin's processors have Intel's kind, Hygon's have AMD's.
    match survey.machine.processor.trim() {
        "GenuineIntel" | "CentaurHauls" | "Shanghai" => Some(Make::Intel),
        "AuthenticAMD" | "HygonGenuine" => Some(Make::Amd),
        _ => None,
    }
}

/// What to search the kernel's log for.
#[must_use]
pub fn log_of(survey: &Survey) -> &'static str {
    let virtio = survey.iommu.units.is().into_iter().flatten().any(|unit| Make::of(unit) == Make::Virtio);
    match make(survey) {
        _ if virtio => "`journalctl -k | grep -i iommu`",
        Some(Make::Intel) => "`journalctl -k | grep -e DMAR -e IOMMU`",
        Some(Make::Amd) => "`journalctl -k | grep -iE 'AMD-Vi|iommu'`",
        Some(Make::Smmu) => "`journalctl -k | grep -iE 'smmu|iommu'`",
        None if survey.machine.arch.is_none_or(|arch| arch == Arch::X86) => {
            "`journalctl -k | grep -iE 'DMAR|AMD-Vi|iommu'`"
        }
        _ => "`journalctl -k | grep -i iommu`",
    }
}

/// What follows from there being no IOMMU, and what where VFIO goes without one.
const NONE: &str = "no device has a group, and vfio-pci takes none.";
const UNCONTAINED: &str = "VFIO takes devices in its mode without one (noiommu), where nothing contains their DMA, and no virtual machine takes them.";

/// The finding.
#[must_use]
pub fn off(survey: &Survey) -> Finding {
    let mut finding = at_all(survey);
    if survey.groups.values().any(|group| group.noiommu) || survey.is_on("vfio", "enable_unsafe_noiommu_mode") {
        // What is on vfio-pci is on it all the same, and more may follow.
        finding.why = finding.why.replace(NONE, UNCONTAINED);
    }
    finding
}

fn at_all(survey: &Survey) -> Finding {
    let machine = &survey.machine;
    let finding = |why: &str| {
        Finding::new(Severity::Blocker, About::Host, Code::IommuOff, why).because("/sys/class/iommu", "empty")
    };
    if let Some(xen) = machine.platform.filter(|platform| platform.is_xen()) {
        return by_hypervisor(survey, xen, finding(xen.why_none()));
    }
    let asked = Asked::of(&machine.cmdline);
    let make = make(survey);
    let offs = asked.offs(make);
    if let Some((last, before)) = offs.split_last() {
        let why =
            "The IOMMU is switched off on the kernel command line: no device has a group, and vfio-pci takes none.";
        let off = |option| format!("Take `{option}` {}", taken_off(machine, option));
        let finding = with_tables(survey, make, finding(why));
        return finding
            .steps(before.iter().map(|option| format!("{}.", off(option))))
            .step(format!("{} and boot again.", off(last)));
    }
    if is_announced(survey) {
        let why = "The firmware offers an IOMMU, and the kernel does not use it: no device has a group, and vfio-pci takes none.";
        return given_up(survey, make, with_tables(survey, make, finding(why)));
    }
    match machine.platform {
        Some(hypervisor) => {
            by_hypervisor(survey, hypervisor, with_tables(survey, make, finding(hypervisor.why_none())))
        }
        None => of_iron(survey, make),
    }
}

fn by_hypervisor(survey: &Survey, hypervisor: Hypervisor, finding: Finding) -> Finding {
    let told = survey.machine.hypervisor.as_ref().map(|told| Evidence::new("the hypervisor", told.as_str()));
    finding.by(told).steps(hypervisor.give_iommu(survey.machine.arch).into_iter().map(str::to_owned))
}

/// Whether a table of the firmware tells of an IOMMU. Arm's IORT does not: it also tells how interrupts go.
fn is_announced(survey: &Survey) -> bool {
    let iommu = &survey.iommu;
    !iommu.dmar.is_absent() || !iommu.ivrs.is_absent() || !iommu.viot.is_absent()
}

/// With what the tables of such a machine say, and the options that its IOMMU hears.
fn with_tables(survey: &Survey, make: Option<Make>, finding: Finding) -> Finding {
    let iommu = &survey.iommu;
    let table = |name: &str, fact: &Fact<Table>| {
        let value = match fact {
            Fact::Is(_) => "there".to_owned(),
            Fact::Absent => "not there".to_owned(),
            Fact::Unreadable(why) => format!("not readable: {why}"),
        };
        Evidence::new(format!("/sys/firmware/acpi/tables/{name}"), value)
    };
    let tables = match make {
        Some(Make::Intel) => vec![table("DMAR", &iommu.dmar)],
        Some(Make::Amd) => vec![table("IVRS", &iommu.ivrs)],
        None if survey.machine.arch.is_none_or(|arch| arch == Arch::X86) => {
            vec![table("DMAR", &iommu.dmar), table("IVRS", &iommu.ivrs)]
        }
        Some(Make::Smmu) if survey.machine.device_tree => {
            vec![Evidence::new("/sys/firmware/devicetree/base", "a device tree describes this machine")]
        }
        Some(Make::Smmu) => {
            let there = if iommu.iort.is_absent() { "not there" } else { "there" };
            vec![Evidence::new("/sys/firmware/acpi/tables/IORT", there)]
        }
        _ => Vec::new(),
    };
    let viot = (!iommu.viot.is_absent()).then(|| Evidence::new("/sys/firmware/acpi/tables/VIOT", "there"));
    let options = Asked::of(&survey.machine.cmdline).heard(make);
    finding.by(tables).by(viot).by(options.into_iter().map(|text| Evidence::new("/proc/cmdline", text)))
}

/// What to do where the firmware offers one.
fn given_up(survey: &Survey, make: Option<Make>, finding: Finding) -> Finding {
    let machine = &survey.machine;
    if make != Some(Make::Intel) || survey.iommu.dmar.is_absent() {
        return finding.step(format!("Look in the kernel's log ({}) for why it was given up.", log_of(survey)));
    }
    let firmware = "Look whether VT-d is on in the firmware setup, and install newer firmware: a table that makes no sense is passed over.";
    match (Asked::of(&machine.cmdline).intel(), machine.intel_by_default) {
        (Some((_, option)), _) => finding
            .step(format!(
                "`{option}` is given already: look in the kernel's log ({}) for why it was given up.",
                log_of(survey)
            ))
            .step(firmware),
        (None, Some(true)) => finding
            .step(format!(
                "This kernel switches it on by itself: look in the kernel's log ({}) for why it was given up.",
                log_of(survey)
            ))
            .step(firmware),
        (None, by_default) => {
            let which = if by_default.is_some() { "this kernel does" } else { "many kernels do" };
            let add = added(machine, "intel_iommu=on");
            finding.step(format!("Add `intel_iommu=on` {add} and boot again: {which} not switch it on without."))
        }
    }
}

/// A machine of iron without one, as far as anybody tells.
fn of_iron(survey: &Survey, make: Option<Make>) -> Finding {
    let machine = &survey.machine;
    let by_tree = machine.device_tree;
    let why = match make {
        Some(Make::Smmu) if by_tree => {
            "The device tree gives this machine no IOMMU that the kernel uses: no device has a group, and vfio-pci takes none."
        }
        None | Some(Make::Intel | Make::Amd | Make::Smmu) => {
            "There is no IOMMU, or it is switched off in the firmware: no device has a group, and vfio-pci takes none."
        }
        Some(_) => "There is no IOMMU at work: no device has a group, and vfio-pci takes none.",
    };
    let finding =
        Finding::new(Severity::Blocker, About::Host, Code::IommuOff, why).because("/sys/class/iommu", "empty");
    let finding = with_tables(survey, make, finding);
    let log = log_of(survey);
    match make {
        Some(Make::Amd) => finding.step("Switch \"IOMMU\" (AMD-Vi, AMD CBS → NBIO) on, not \"Auto\", in the firmware setup and boot again."),
        Some(Make::Intel) => {
            let switch = "Switch \"VT-d\" (Intel Virtualization Technology for Directed I/O) on in the firmware setup";
            match (Asked::of(&machine.cmdline).intel(), machine.intel_by_default) {
                (Some((_, option)), _) => finding.step(format!("{switch} and boot again: `{option}` alone does not do it.")),
                (None, Some(true)) => finding.step(format!("{switch} and boot again.")),
                (None, _) => {
                    let add = added(machine, "intel_iommu=on");
                    finding.step(format!("{switch}, add `intel_iommu=on` {add}, and boot again."))
                }
            }
        }
        Some(Make::Smmu) if by_tree => finding
            .step("The device tree decides: the vendor's newest one for this board may switch the SMMU on for PCI Express (its node with status okay, and iommu-map in the PCI Express controller's node). Many boards have none for PCI Express: then nothing can be passed through.")
            .step(format!("If it is on there, look in the kernel's log ({log}) for why it was given up.")),
        Some(Make::Smmu) => finding.step("Switch the SMMU (\"SMMU\", \"IOMMU\") on in the firmware setup and boot again."),
        None => finding.step("Switch the IOMMU (Intel VT-d, AMD-Vi) on in the firmware setup and boot again."),
        Some(Make::Power) => finding
            .step(format!("On POWER each PCI host bridge has its own, and no switch: look in the kernel's log ({log}) for why it was given up."))
            .step("Boot a kernel with CONFIG_SPAPR_TCE_IOMMU, if this one has it not."),
        Some(Make::S390) => finding
            .step(format!("On s390 each PCI function is behind one, and there is no switch: look in the kernel's log ({log}) for why it was given up.")),
        Some(_) => finding
            .step("Boot a kernel that has a driver for this machine's IOMMU, if it has one.")
            .step(format!("Look in the kernel's log ({log}) for what became of it.")),
    }
}
