//! The makes of IOMMUs.

use serde::{Deserialize, Serialize};

use crate::model::pci::Address;

/// The IOMMU's make, by its name in `/sys/class/iommu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Make {
    /// VT-d: `dmar0`.
    Intel,
    /// AMD-Vi: `ivhd0`.
    Amd,
    /// Arm's SMMU: `smmu3.0x…`.
    Smmu,
    /// virtio-iommu: the address of its PCI function.
    Virtio,
    /// Another one.
    #[serde(other)]
    Other,
}

impl Make {
    /// The make of a unit.
    #[must_use]
    pub fn of(unit: &str) -> Make {
        let numbered = |prefix: &str| {
            unit.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        if numbered("dmar") {
            Make::Intel
        } else if numbered("ivhd") {
            Make::Amd
        } else if unit.contains("smmu") {
            Make::Smmu
        } else if unit.parse::<Address>().is_ok() || unit.starts_with("virtio") {
            Make::Virtio
        } else {
            Make::Other
        }
    }

    /// What it is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Make::Intel => "Intel VT-d",
            Make::Amd => "AMD-Vi",
            Make::Smmu => "Arm SMMU",
            Make::Virtio => "virtio-iommu",
            Make::Other => "another make",
        }
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
            ("0000:00:02.0", Make::Virtio),
            ("dmar", Make::Other),
            ("iommu0", Make::Other),
        ] {
            assert_eq!(Make::of(unit), make, "{unit}");
        }
    }
}
