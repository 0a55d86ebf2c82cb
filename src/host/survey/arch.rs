//! Which architecture the machine has, by whatever tells: a saved tree may have little.

use super::read;
use crate::host::module_tree;
use crate::host::root::Root;
use crate::model::preflight::arch::Arch;
use crate::model::preflight::make::Make;

/// Reads it; none where nothing tells.
#[must_use]
pub fn read(root: &Root) -> Option<Arch> {
    let text = |path: &str| read::text(root, path).is().cloned().unwrap_or_default();
    // From 6.1 on; the others are for older kernels and for trees that were saved without it.
    Arch::by_name(&text("/proc/sys/kernel/arch"))
        .or_else(|| root.is_live().then(|| Arch::by_name(std::env::consts::ARCH)).flatten())
        .or_else(|| by_cpuinfo(&text("/proc/cpuinfo")))
        .or_else(|| root.list("/sys/class/iommu").ok()?.iter().find_map(|unit| Make::of(unit).arch()))
        .or_else(|| by_interrupts(&text("/proc/interrupts")))
        .or_else(|| by_tables(root))
        .or_else(|| Arch::by_release(&module_tree::release(root).ok()?))
}

/// By the fields of `/proc/cpuinfo`, which each architecture names in its own way.
fn by_cpuinfo(text: &str) -> Option<Arch> {
    let fields = || text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()));
    let is = |test: &dyn Fn(&str, &str) -> bool| fields().any(|(key, value)| test(key, value));
    if is(&|key, value| key == "vendor_id" && value.contains("S390")) {
        Some(Arch::S390)
    } else if is(&|_, value| value.starts_with("Loongson")) {
        Some(Arch::Loongarch)
    } else if is(&|key, value| key == "hart" || key == "isa" && value.starts_with("rv")) {
        Some(Arch::RiscV)
    } else if is(&|key, value| key == "timebase" || key == "cpu" && value.starts_with("POWER")) {
        Some(Arch::Power)
    } else if is(&|key, _| matches!(key, "Features" | "CPU implementer" | "CPU architecture")) {
        Some(Arch::Arm)
    } else if is(&|key, _| matches!(key, "vendor_id" | "flags")) {
        Some(Arch::X86)
    } else {
        None
    }
}

/// By the names of interrupt controllers.
fn by_interrupts(text: &str) -> Option<Arch> {
    let words = || text.split_whitespace();
    if words().any(|word| word.contains("IO-APIC")) {
        Some(Arch::X86)
    } else if words().any(|word| word.starts_with("GIC") || word.starts_with("ITS-")) {
        Some(Arch::Arm)
    } else if words().any(|word| word.starts_with("XICS") || word.starts_with("XIVE")) {
        Some(Arch::Power)
    } else if text.contains("RISC-V INTC") || words().any(|word| word.starts_with("RISC-V")) {
        Some(Arch::RiscV)
    } else if words().any(|word| word == "EXT:") && words().any(|word| word == "I/O:") {
        Some(Arch::S390)
    } else {
        None
    }
}

/// By tables that only one architecture has.
fn by_tables(root: &Root) -> Option<Arch> {
    let tables = [
        ("DMAR", Arch::X86),
        ("IVRS", Arch::X86),
        ("IORT", Arch::Arm),
        ("GTDT", Arch::Arm),
        ("RIMT", Arch::RiscV),
        ("RHCT", Arch::RiscV),
    ];
    let there = |name: &str| root.exists(&super::acpi::path(name)).unwrap_or(false);
    tables.into_iter().find(|(name, _)| there(name)).map(|(_, arch)| arch)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(files: &[(&str, &str)]) -> Option<Arch> {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read(&Root::hostile(tree.path()).unwrap())
    }

    #[test]
    fn each_architecture_is_told_by_its_processor() {
        for (cpuinfo, arch) in [
            ("vendor_id\t: GenuineIntel\nflags\t: fpu\n", Some(Arch::X86)),
            ("vendor_id       : IBM/S390\nfeatures\t: esan3 zarch\n", Some(Arch::S390)),
            ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n", Some(Arch::Arm)),
            ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\ntimebase\t: 512000000\n", Some(Arch::Power)),
            ("processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdch\nmmu\t\t: sv48\n", Some(Arch::RiscV)),
            ("CPU Family\t\t: Loongson-64bit\nFeatures\t\t: cpucfg\n", Some(Arch::Loongarch)),
            ("", None),
        ] {
            assert_eq!(of(&[("proc/cpuinfo", cpuinfo)]), arch, "{cpuinfo}");
        }
    }

    #[test]
    fn without_a_processor_the_iommu_the_interrupts_the_tables_or_the_release_tell() {
        for (path, text, arch) in [
            ("proc/sys/kernel/arch", "ppc64le\n", Arch::Power),
            ("sys/class/iommu/ivhd0", "", Arch::X86),
            ("sys/class/iommu/smmu3.0x0000000009050000", "", Arch::Arm),
            ("sys/class/iommu/s390-iommu.00000100", "", Arch::S390),
            ("sys/class/iommu/riscv-iommu@0000:00:01.0", "", Arch::RiscV),
            ("proc/interrupts", "   CPU0\n 9: 0 IR-IO-APIC 9-fasteoi acpi\n", Arch::X86),
            ("proc/interrupts", "   CPU0\n 11: 3 GICv2 27 Level arch_timer\n", Arch::Arm),
            ("proc/interrupts", "   CPU0\n 16: 3 XIVE-IPI 0 Edge IPI-0\n", Arch::Power),
            ("proc/interrupts", "   CPU0\nEXT: 12 \nI/O: 123\n", Arch::S390),
            ("sys/firmware/acpi/tables/IORT", "IORT", Arch::Arm),
            ("proc/sys/kernel/osrelease", "7.2.13+deb14-riscv64\n", Arch::RiscV),
        ] {
            assert_eq!(of(&[(path, text)]), Some(arch), "{path}");
        }
    }
}
