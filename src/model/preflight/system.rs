//! What of a remedy depends on the distribution: packages, and how the initramfs is built.

use super::survey::{Builder, Machine};

/// Distributions with packages of their own, by `ID` and `ID_LIKE` of os-release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Ubuntu,
    Debian,
    Fedora,
    Suse,
    Arch,
    Alpine,
    NixOs,
}

impl Family {
    /// The nearest that is known; none where none is.
    fn of(machine: &Machine) -> Option<Family> {
        machine.distribution.iter().find_map(|id| {
            Some(match id.as_str() {
                "ubuntu" => Family::Ubuntu,
                "debian" | "proxmox" => Family::Debian,
                "fedora" | "rhel" | "centos" => Family::Fedora,
                "arch" | "archlinux" => Family::Arch,
                "alpine" => Family::Alpine,
                "nixos" => Family::NixOs,
                id if id == "suse" || id.starts_with("opensuse") || id.starts_with("sle") => Family::Suse,
                _ => return None,
            })
        })
    }
}

/// Where modules come from that this kernel's tree lacks.
pub(super) fn more_modules(machine: &Machine) -> String {
    let release = &machine.release;
    let flavour = |name: &str| release.contains(name);
    match Family::of(machine) {
        Some(Family::Ubuntu) => format!("Install linux-modules-extra-{release}, or a kernel with CONFIG_VFIO_PCI."),
        Some(Family::Debian) if flavour("-cloud-") => {
            "Install the kernel of the package linux-image-amd64 or linux-image-arm64: the cloud kernel has no VFIO. Boot it.".to_owned()
        }
        Some(Family::Fedora) => format!("Install kernel-modules-{release}, or a kernel with CONFIG_VFIO_PCI."),
        Some(Family::Suse) => {
            "Install kernel-default in place of kernel-default-base, or another kernel with CONFIG_VFIO_PCI, and boot it.".to_owned()
        }
        Some(Family::Alpine) if flavour("-virt") => {
            "Install linux-lts in place of linux-virt, or another kernel with CONFIG_VFIO_PCI, and boot it.".to_owned()
        }
        Some(Family::NixOs) => {
            "Choose a kernel with CONFIG_VFIO_PCI in `boot.kernelPackages`, and boot it.".to_owned()
        }
        _ => "Install the rest of this kernel's modules, where its distribution has them in a package of their own, or boot a kernel with CONFIG_VFIO_PCI.".to_owned(),
    }
}

/// A kernel with virtio_iommu.
pub(super) fn with_virtio_iommu(machine: &Machine) -> String {
    let which = if Family::of(machine) == Some(Family::Debian) { " (linux-image 6.12 or later)" } else { "" };
    format!(
        "Boot a kernel with CONFIG_VIRTIO_IOMMU{which}, with the module in its initramfs: the root disk may wait for it."
    )
}

/// How a builder is told to take the module in.
fn with(builder: Builder) -> &'static str {
    match builder {
        Builder::InitramfsTools => "`echo virtio_iommu >>/etc/initramfs-tools/modules && update-initramfs -u -k all`",
        Builder::Dracut => {
            "`echo 'add_drivers+=\" virtio_iommu \"' >/etc/dracut.conf.d/virtio-iommu.conf && dracut -f --regenerate-all`"
        }
        Builder::Mkinitcpio => "add virtio_iommu to MODULES in /etc/mkinitcpio.conf, then `mkinitcpio -P`",
    }
}

/// How virtio_iommu gets into the initramfs, and how to see that it is there: by what is there to
/// build one, else by distribution.
pub(super) fn into_initramfs(machine: &Machine) -> Vec<String> {
    let family = Family::of(machine);
    let builders: Vec<Builder> = match (machine.builders.is_empty(), family) {
        (false, _) => machine.builders.iter().copied().collect(),
        (true, Some(Family::Debian | Family::Ubuntu)) => vec![Builder::InitramfsTools],
        (true, Some(Family::Fedora | Family::Suse)) => vec![Builder::Dracut],
        (true, Some(Family::Arch)) => vec![Builder::Mkinitcpio],
        (true, _) => Vec::new(),
    };
    let how: Vec<&str> = builders.iter().map(|builder| with(*builder)).collect();
    let step = match (how.as_slice(), family) {
        ([], Some(Family::Alpine)) => "Have it in the initramfs: `echo kernel/drivers/iommu/virtio-iommu.ko* >/etc/mkinitfs/features.d/iommu.modules`, add iommu to features in /etc/mkinitfs/mkinitfs.conf, then `mkinitfs`.".to_owned(),
        ([], Some(Family::NixOs)) => "Have it in the initramfs: add \"virtio_iommu\" to `boot.initrd.availableKernelModules`, then `nixos-rebuild boot`.".to_owned(),
        ([], _) => "Have it in the initramfs, by the means of whatever builds that here, and build it again.".to_owned(),
        ([how], _) => format!("Have it in the initramfs: {how}."),
        (several, _) => format!("Have it in the initramfs, with whichever builds yours: {}.", several.join("; or ")),
    };
    let lists = |builder: &Builder| match builder {
        Builder::InitramfsTools => "`lsinitramfs`",
        Builder::Dracut => "`lsinitrd`",
        Builder::Mkinitcpio => "`lsinitcpio`",
    };
    let lister: Vec<&str> = builders.iter().map(lists).collect();
    let look = match lister.as_slice() {
        [] => "Look whether it is in before the next boot: list the initramfs, and search for virtio-iommu.".to_owned(),
        listers => format!(
            "Look whether it is in before the next boot: {}, and search for virtio-iommu.",
            listers.join(" or ")
        ),
    };
    vec![step, look]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(ids: &[&str], release: &str) -> Machine {
        let distribution = ids.iter().map(|id| (*id).to_owned()).collect();
        Machine { distribution, release: release.to_owned(), ..Machine::default() }
    }

    #[test]
    fn packages_are_those_of_the_distribution_and_none_where_it_is_not_known() {
        let names = [
            "linux-modules-extra",
            "kernel-modules",
            "linux-image",
            "kernel-default",
            "linux-lts",
            "nixos",
            "boot.kernel",
        ];
        for (ids, release, named) in [
            (&["ubuntu", "debian"][..], "6.8.0-45-generic", Some("linux-modules-extra-6.8.0-45-generic")),
            (&["linuxmint", "ubuntu", "debian"], "6.8.0-45-generic", Some("linux-modules-extra-6.8.0-45-generic")),
            (&["debian"], "6.1.0-50-cloud-amd64", Some("linux-image-amd64")),
            (&["debian"], "6.1.0-50-amd64", None),
            (
                &["rocky", "rhel", "centos", "fedora"],
                "5.14.0-503.el9.x86_64",
                Some("kernel-modules-5.14.0-503.el9.x86_64"),
            ),
            (&["opensuse-leap", "suse", "opensuse"], "6.4.0", Some("kernel-default-base")),
            (&["sle-micro"], "6.4.0", Some("kernel-default-base")),
            (&["alpine"], "6.12.9-0-virt", Some("linux-lts")),
            (&["alpine"], "6.12.9-0-lts", None),
            (&["nixos"], "6.12.9", Some("boot.kernelPackages")),
            (&["gentoo"], "6.12.9", None),
            (&[], "6.12.9", None),
        ] {
            let advice = more_modules(&machine(ids, release));
            assert_eq!(named.is_some(), names.iter().any(|name| advice.contains(name)), "{ids:?}: {advice}");
            assert!(named.is_none_or(|named| advice.contains(named)), "{ids:?}: {advice}");
        }
    }

    #[test]
    fn the_initramfs_is_built_by_what_the_distribution_has() {
        let steps = |ids: &[&str]| into_initramfs(&machine(ids, "")).join(" ");
        let builders = ["update-initramfs", "dracut", "mkinitcpio", "mkinitfs", "nixos-rebuild"];
        for (ids, built) in [
            (&["raspbian", "debian"][..], &["update-initramfs"][..]),
            (&["fedora"], &["dracut"]),
            (&["opensuse-tumbleweed", "opensuse", "suse"], &["dracut"]),
            (&["manjaro", "arch"], &["mkinitcpio"]),
            (&["alpine"], &["mkinitfs"]),
            (&["nixos"], &["nixos-rebuild"]),
            (&["void"], &[]),
        ] {
            let steps = steps(ids);
            let named: Vec<&str> = builders.into_iter().filter(|builder| steps.contains(builder)).collect();
            assert_eq!(named, built, "{ids:?}: {steps}");
        }
    }
}
