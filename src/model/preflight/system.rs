//! What of a remedy depends on the distribution: packages, and how the initramfs is built.

use super::boot::Boot;
use super::survey::{Builder, Machine};

/// Distributions with packages of their own, by `ID` and `ID_LIKE` of os-release. Those that are told
/// by more than that, as NixOS, are a [`Boot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Ubuntu and what is made of it.
    Ubuntu,
    /// Debian, Proxmox, Raspberry Pi OS.
    Debian,
    /// Fedora, Red Hat and their like.
    Fedora,
    /// SUSE and openSUSE.
    Suse,
    /// Arch and what is made of it.
    Arch,
    /// Alpine.
    Alpine,
}

impl Family {
    /// The nearest that is known; none where none is.
    #[must_use]
    pub fn of(distribution: &[String]) -> Option<Family> {
        distribution.iter().find_map(|id| {
            Some(match id.as_str() {
                "ubuntu" => Family::Ubuntu,
                "debian" | "proxmox" => Family::Debian,
                "fedora" | "rhel" | "centos" => Family::Fedora,
                "arch" | "archlinux" => Family::Arch,
                "alpine" => Family::Alpine,
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
    match Family::of(&machine.distribution) {
        _ if machine.boot == Some(Boot::Nixos) => {
            "Choose a kernel with CONFIG_VFIO_PCI in `boot.kernelPackages`, and boot it.".to_owned()
        }
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
        _ => "Install the rest of this kernel's modules, where its distribution has them in a package of their own, or boot a kernel with CONFIG_VFIO_PCI.".to_owned(),
    }
}

/// A kernel with virtio_iommu.
pub(super) fn with_virtio_iommu(machine: &Machine) -> String {
    let which =
        if Family::of(&machine.distribution) == Some(Family::Debian) { " (linux-image 6.12 or later)" } else { "" };
    format!(
        "Boot a kernel with CONFIG_VIRTIO_IOMMU{which}, with the module in its initramfs: the root disk may wait for it."
    )
}

/// How dracut is told to take the module in, and by what it is run.
fn dracut(build: &str) -> String {
    format!("`echo 'add_drivers+=\" virtio_iommu \"' >/etc/dracut.conf.d/virtio-iommu.conf && {build}`")
}

/// How a builder is told to take the module in.
fn with(builder: Builder) -> String {
    match builder {
        Builder::InitramfsTools => {
            "`echo virtio_iommu >>/etc/initramfs-tools/modules && update-initramfs -u -k all`".to_owned()
        }
        Builder::Dracut => dracut("dracut -f --regenerate-all"),
        Builder::Mkinitcpio => "add virtio_iommu to MODULES in /etc/mkinitcpio.conf, then `mkinitcpio -P`".to_owned(),
    }
}

/// The way of a system that has one of its own.
fn own(boot: Boot) -> Option<String> {
    let way = match boot {
        Boot::Nixos => {
            "boot.initrd.availableKernelModules = [ \"virtio_iommu\" ]; in the system's configuration, then `nixos-rebuild boot`"
        }
        Boot::Guix => "\"virtio_iommu\" in initrd-modules of the operating-system, then `guix system reconfigure`",
        Boot::Talos | Boot::Unraid | Boot::Harvester => {
            "it is part of the system's image, so that takes an image that has the module in it"
        }
        Boot::RpmOstree => "`rpm-ostree initramfs --enable --arg=--add-drivers --arg=virtio_iommu`",
        Boot::Transactional => return Some(dracut("transactional-update initrd")),
        _ => return None,
    };
    Some(way.to_owned())
}

/// How virtio_iommu gets into the initramfs, and how to see that it is there: by the systems that have a
/// way of their own, by what is there to build one, else by distribution.
pub(super) fn into_initramfs(machine: &Machine) -> Vec<String> {
    if let Some(own) = machine.boot.and_then(own) {
        return vec![format!("Have it in the initramfs: {own}.")];
    }
    let family = Family::of(&machine.distribution);
    let builders: Vec<Builder> = match (machine.builders.is_empty(), family) {
        (false, _) => machine.builders.iter().copied().collect(),
        (true, Some(Family::Debian | Family::Ubuntu)) => vec![Builder::InitramfsTools],
        (true, Some(Family::Fedora | Family::Suse)) => vec![Builder::Dracut],
        (true, Some(Family::Arch)) => vec![Builder::Mkinitcpio],
        (true, _) => Vec::new(),
    };
    let how: Vec<String> = builders.iter().map(|builder| with(*builder)).collect();
    let step = match (how.as_slice(), family) {
        ([], Some(Family::Alpine)) => "Have it in the initramfs: `echo kernel/drivers/iommu/virtio-iommu.ko* >/etc/mkinitfs/features.d/iommu.modules`, add iommu to features in /etc/mkinitfs/mkinitfs.conf, then `mkinitfs`.".to_owned(),
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
        let boot = ids.contains(&"nixos").then_some(Boot::Nixos);
        Machine { distribution, boot, release: release.to_owned(), ..Machine::default() }
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
