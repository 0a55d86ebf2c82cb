//! The makes of IOMMUs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::arch::Arch;
use crate::model::pci::Address;

/// The IOMMU's make, by its name in `/sys/class/iommu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Make {
    /// VT-d: `dmar0`.
    Intel,
    /// AMD-Vi: `ivhd0`.
    Amd,
    /// Arm's SMMU: `smmu3.0x…`, `smmu.0x…`.
    Smmu,
    /// virtio-iommu: the address of its PCI function, or `…virtio_mmio`.
    Virtio,
    /// RISC-V's: `riscv-iommu@…`.
    Riscv,
    /// s390's zPCI, one for each function: `s390-iommu.00000001`.
    S390,
    /// POWER's (spapr, pnv), one for each host bridge: `iommu-phb0000`.
    Power,
    /// Apple's DART: `apple-dart.…`.
    AppleDart,
    /// The SMMU of NVIDIA's Tegra before the 186: `tegra-smmu`.
    Tegra,
    /// Another one: those of many Arm boards are called after their node in the device tree,
    /// `1000005280.iommu`.
    #[serde(other)]
    Other,
}

impl Make {
    /// The make of a unit. The names are those that the drivers give to `iommu_device_sysfs_add`.
    #[must_use]
    pub fn of(unit: &str) -> Make {
        let numbered = |prefix: &str| {
            unit.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        let begins = |prefix: &str| unit.starts_with(prefix);
        if numbered("dmar") {
            Make::Intel
        } else if numbered("ivhd") {
            Make::Amd
        } else if begins("riscv-iommu") {
            Make::Riscv
        } else if begins("s390-iommu") {
            Make::S390
        } else if begins("iommu-phb") {
            Make::Power
        } else if begins("apple-dart") {
            Make::AppleDart
        } else if unit.contains("tegra") {
            Make::Tegra
        } else if unit.contains("smmu") {
            Make::Smmu
        } else if unit.parse::<Address>().is_ok() || unit.contains("virtio") {
            Make::Virtio
        } else {
            Make::Other
        }
    }

    /// The architecture that alone has it.
    #[must_use]
    pub fn arch(self) -> Option<Arch> {
        match self {
            Make::Intel | Make::Amd => Some(Arch::X86),
            Make::Smmu | Make::AppleDart | Make::Tegra => Some(Arch::Arm),
            Make::S390 => Some(Arch::S390),
            Make::Power => Some(Arch::Power),
            Make::Riscv => Some(Arch::RiscV),
            Make::Virtio | Make::Other => None,
        }
    }

    /// What it is called; none where only the unit has a name.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Make::Intel => "Intel VT-d",
            Make::Amd => "AMD-Vi",
            Make::Smmu => "Arm SMMU",
            Make::Virtio => "virtio-iommu",
            Make::Riscv => "RISC-V IOMMU",
            Make::S390 => "s390 zPCI",
            Make::Power => "POWER spapr/pnv",
            Make::AppleDart => "Apple DART",
            Make::Tegra => "NVIDIA Tegra SMMU",
            Make::Other => return None,
        })
    }

    /// What units are called, each make once: by their make, or as sysfs has them.
    pub fn names<'u>(units: impl IntoIterator<Item = &'u String>) -> BTreeSet<&'u str> {
        units.into_iter().map(|unit| Make::of(unit).name().unwrap_or(unit)).collect()
    }

    /// The word for it where it is one of many kinds (`Iommu.Kinds` on the bus); none as for [`Make::name`].
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Make::Intel => "intel",
            Make::Amd => "amd",
            Make::Smmu => "arm-smmu",
            Make::Virtio => "virtio",
            Make::Riscv => "riscv",
            Make::S390 => "s390",
            Make::Power => "power",
            Make::AppleDart => "apple-dart",
            Make::Tegra => "tegra",
            Make::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iommu_is_told_by_its_name() {
        for (unit, make) in [
            ("dmar0", Make::Intel),
            ("ivhd1", Make::Amd),
            ("smmu3.0x0000000009050000", Make::Smmu),
            ("smmu.0x0000000012000000", Make::Smmu),
            ("0000:00:02.0", Make::Virtio),
            ("a003e00.virtio_mmio", Make::Virtio),
            ("riscv-iommu@10010000.iommu", Make::Riscv),
            ("s390-iommu.00000100", Make::S390),
            ("iommu-phb0001", Make::Power),
            ("apple-dart.681008000.iommu", Make::AppleDart),
            ("tegra-smmu", Make::Tegra),
            ("dmar", Make::Other),
            ("1000005280.iommu", Make::Other),
        ] {
            assert_eq!(Make::of(unit), make, "{unit}");
        }
    }

    #[test]
    fn one_of_no_known_make_keeps_the_name_that_sysfs_has() {
        let units = ["dmar0", "dmar1", "1000005280.iommu"].map(str::to_owned);
        assert_eq!(Make::names(&units).into_iter().collect::<Vec<_>>(), ["1000005280.iommu", "Intel VT-d"]);
    }
}
