//! The processor's architecture: what an IOMMU is called there, and who decides whether there is one.

use serde::{Deserialize, Serialize};

/// An architecture, of 32 and of 64 bits alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arch {
    /// Intel's and AMD's: VT-d, AMD-Vi.
    X86,
    /// Arm: SMMU; interrupts by GIC and ITS.
    Arm,
    /// IBM Z: zPCI, always behind an IOMMU.
    S390,
    /// IBM POWER: TCE tables.
    Power,
    /// RISC-V.
    RiscV,
    /// Loongson's.
    Loongarch,
    /// Another one.
    #[serde(other)]
    Other,
}

impl Arch {
    /// What it is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::X86 => "x86",
            Arch::Arm => "Arm",
            Arch::S390 => "s390",
            Arch::Power => "POWER",
            Arch::RiscV => "RISC-V",
            Arch::Loongarch => "LoongArch",
            Arch::Other => "another architecture",
        }
    }

    /// By the kernel's name for it: `uname -m`, `/proc/sys/kernel/arch`, the end of a release.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Arch> {
        Some(match name.trim() {
            "x86_64" | "amd64" | "i386" | "i486" | "i586" | "i686" | "x64" => Arch::X86,
            "aarch64" | "aarch64_be" | "arm64" | "armmp" | "armhf" | "armv7l" | "armv8l" => Arch::Arm,
            "s390x" | "s390" => Arch::S390,
            "ppc64le" | "ppc64" | "ppc" | "powerpc64" | "powerpc64le" | "powerpc" => Arch::Power,
            "riscv64" | "riscv32" => Arch::RiscV,
            "loongarch64" | "loongarch" | "loong64" => Arch::Loongarch,
            _ => return None,
        })
    }

    /// By the end of a kernel's release, as distributions write it there: `6.12.41+deb13-arm64`,
    /// `6.14.0-63.fc42.x86_64`.
    #[must_use]
    pub fn by_release(release: &str) -> Option<Arch> {
        let mut parts: Vec<&str> = release.split(['-', '.', '+']).collect();
        // `x86_64` has no separator of these in it; `arm64-16k` has the page's size behind it.
        parts.reverse();
        parts.into_iter().take(3).find_map(Arch::by_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_tells_the_architecture_where_its_distribution_writes_it() {
        for (release, arch) in [
            ("6.1.0-50-amd64", Some(Arch::X86)),
            ("6.12.94+deb12-cloud-amd64", Some(Arch::X86)),
            ("6.14.0-63.fc42.x86_64", Some(Arch::X86)),
            ("6.12.41+deb13-arm64-16k", Some(Arch::Arm)),
            ("5.14.0-503.el9.aarch64+64k", Some(Arch::Arm)),
            ("6.12.41+deb13-s390x", Some(Arch::S390)),
            ("6.14.0-63.fc42.ppc64le", Some(Arch::Power)),
            ("7.2.13+deb14-riscv64", Some(Arch::RiscV)),
            ("6.8.0-45-generic", None),
            ("6.8.12-9-pve", None),
            ("", None),
        ] {
            assert_eq!(Arch::by_release(release), arch, "{release}");
        }
    }
}
