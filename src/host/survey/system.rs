//! What keeps the kernel's options, by the distribution and by what is there.

use super::read;
use crate::host::root::Root;
use crate::model::parameter::of_kernel;
use crate::model::preflight::boot::Boot;
use crate::model::preflight::system::Family;

/// Tells it; none where neither the distribution nor a file does.
#[must_use]
pub fn boot(root: &Root, distribution: &[String], system: &str, release: &str, cmdline: &str) -> Option<Boot> {
    let there = |path: &str| root.exists(path).unwrap_or(false);
    let is = |names: &[&str]| distribution.iter().any(|id| names.contains(&id.as_str()));
    if is(&["nixos"]) || there("/etc/NIXOS") {
        return Some(Boot::Nixos);
    }
    if is(&["guix"]) {
        return Some(Boot::Guix);
    }
    if is(&["talos"]) {
        return Some(Boot::Talos);
    }
    if is(&["unraid"]) || there("/etc/unraid-version") || release.ends_with("-Unraid") {
        return Some(Boot::Unraid);
    }
    if is(&["harvester"]) || system.contains("Harvester") || there("/etc/harvester-release.yaml") {
        return Some(Boot::Harvester);
    }
    let ostree = of_kernel(cmdline).any(|word| word.name == "ostree" && word.value.is_some());
    if ostree || there("/run/ostree-booted") || is(&["coreos", "fedora-coreos", "bluefin", "bazzite"]) {
        return Some(Boot::RpmOstree);
    }
    let name = |words: &[&str]| words.iter().any(|word| system.contains(word));
    if name(&["Silverblue", "Kinoite", "CoreOS", "Atomic"]) || variant(root).contains("coreos") {
        return Some(Boot::RpmOstree);
    }
    if is(&["opensuse-microos", "sl-micro", "sle-micro", "opensuse-leap-micro"]) {
        return Some(Boot::Transactional);
    }
    if release.contains("-pve") || there("/etc/pve") {
        return Some(proxmox(root, cmdline));
    }
    if is(&["pop"]) {
        return Some(Boot::Kernelstub);
    }
    if there("/boot/firmware/cmdline.txt") || release.contains("+rpt") || release.ends_with("-raspi") {
        return Some(Boot::RaspberryPi);
    }
    let by_family = match Family::of(distribution) {
        Some(Family::Debian | Family::Ubuntu) => Some(Boot::UpdateGrub),
        Some(Family::Fedora) => Some(Boot::Grubby),
        Some(Family::Suse) => Some(Boot::Grub2),
        Some(Family::Arch | Family::Alpine) | None => None,
    };
    // Files count more than a name: many distributions leave the choice to whoever installs them.
    if there("/usr/sbin/grubby") || there("/usr/bin/grubby") {
        return Some(Boot::Grubby);
    }
    if there("/etc/default/grub") {
        return Some(match by_family {
            _ if there("/usr/sbin/update-grub") => Boot::UpdateGrub,
            Some(boot) => boot,
            None if there("/boot/grub2") => Boot::Grub2,
            None => Boot::Grub,
        });
    }
    if there("/etc/kernel/cmdline") {
        return Some(Boot::KernelInstall);
    }
    if there("/boot/loader/entries") || there("/efi/loader/entries") || there("/boot/efi/loader/entries") {
        return Some(Boot::LoaderEntries);
    }
    if there("/etc/update-extlinux.conf") {
        return Some(Boot::Extlinux);
    }
    by_family
}

fn variant(root: &Root) -> String {
    let text = read::text(root, "/etc/os-release").is().cloned().unwrap_or_default();
    let mut lines = text.lines();
    lines.find(|line| line.starts_with("VARIANT_ID=")).unwrap_or_default().to_owned()
}

/// GRUB names the image that it starts; systemd-boot the initrd on the EFI partition.
fn proxmox(root: &Root, cmdline: &str) -> Boot {
    let has = |name: &str, value: &str| {
        of_kernel(cmdline).any(|word| word.name == name && word.value.is_some_and(|it| it.starts_with(value)))
    };
    if has("BOOT_IMAGE", "") {
        Boot::UpdateGrub
    } else if has("initrd", "\\EFI\\proxmox") || root.exists("/etc/kernel/cmdline").unwrap_or(false) {
        Boot::ProxmoxBootTool
    } else {
        Boot::Proxmox
    }
}

/// Whether this kernel switches Intel's IOMMU on by itself, by its configuration where that is kept.
#[must_use]
pub fn intel_by_default(root: &Root, release: &str) -> Option<bool> {
    let places = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/usr/lib/modules/{release}/config"),
    ];
    let text = places.iter().find_map(|path| read::text(root, path).is().cloned())?;
    text.lines().find_map(|line| match line {
        "CONFIG_INTEL_IOMMU_DEFAULT_ON=y" => Some(true),
        "# CONFIG_INTEL_IOMMU_DEFAULT_ON is not set" => Some(false),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(id: &str, system: &str, release: &str, cmdline: &str, files: &[&str]) -> Option<Boot> {
        let tree = tempfile::tempdir().unwrap();
        for path in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let distribution: Vec<String> = id.split(' ').map(str::to_owned).collect();
        boot(&Root::hostile(tree.path()).unwrap(), &distribution, system, release, cmdline)
    }

    #[test]
    fn each_system_keeps_the_kernels_options_in_its_own_place() {
        for (id, system, release, cmdline, files, expected) in [
            ("nixos", "NixOS 25.05", "6.6.48", "", &[][..], Some(Boot::Nixos)),
            ("guix", "Guix System", "6.6.48", "", &[], Some(Boot::Guix)),
            ("talos", "Talos (v1.10)", "6.12.2-talos", "", &[], Some(Boot::Talos)),
            ("slackware", "Slackware 15.0", "6.1.79-Unraid", "", &[], Some(Boot::Unraid)),
            ("sle-micro-rancher", "Harvester v1.4.1", "5.14.21", "", &[], Some(Boot::Harvester)),
            ("fedora", "Fedora CoreOS 42", "6.14.0-63.fc42.x86_64", "", &[], Some(Boot::RpmOstree)),
            (
                "fedora",
                "Fedora Linux 42",
                "6.14.0",
                "ostree=/ostree/boot.1/x",
                &["usr/sbin/grubby"],
                Some(Boot::RpmOstree),
            ),
            (
                "opensuse-microos opensuse",
                "MicroOS",
                "6.8.1-1-default",
                "",
                &["etc/default/grub"],
                Some(Boot::Transactional),
            ),
            (
                "debian",
                "Debian",
                "6.8.12-9-pve",
                "BOOT_IMAGE=/boot/vmlinuz",
                &["etc/default/grub"],
                Some(Boot::UpdateGrub),
            ),
            (
                "debian",
                "Debian",
                "6.8.12-9-pve",
                "initrd=\\EFI\\proxmox\\6.8\\initrd.img",
                &[],
                Some(Boot::ProxmoxBootTool),
            ),
            ("debian", "Debian", "6.8.12-9-pve", "quiet", &[], Some(Boot::Proxmox)),
            ("debian", "Debian", "6.1.0-28-amd64", "", &[], Some(Boot::UpdateGrub)),
            ("ubuntu debian", "Ubuntu", "6.8.0-45-generic", "", &["etc/default/grub"], Some(Boot::UpdateGrub)),
            ("debian", "Debian", "6.12.25+rpt-rpi-2712", "", &[], Some(Boot::RaspberryPi)),
            ("fedora", "Fedora Linux 42", "6.14.0-63.fc42.x86_64", "", &[], Some(Boot::Grubby)),
            ("rocky rhel centos fedora", "Rocky", "5.14.0-503.el9.x86_64", "", &[], Some(Boot::Grubby)),
            ("opensuse-tumbleweed opensuse suse", "openSUSE", "6.8.1-1-default", "", &[], Some(Boot::Grub2)),
            ("arch", "Arch", "6.12.10-arch1-1", "", &["etc/default/grub"], Some(Boot::Grub)),
            ("arch", "Arch", "6.12.10-arch1-1", "", &["boot/loader/entries/arch.conf"], Some(Boot::LoaderEntries)),
            ("arch", "Arch", "6.12.10-arch1-1", "", &["etc/kernel/cmdline"], Some(Boot::KernelInstall)),
            ("pop ubuntu debian", "Pop!_OS", "6.9.3-76060903-generic", "", &[], Some(Boot::Kernelstub)),
            ("alpine", "Alpine", "6.6.1-0-lts", "", &["etc/update-extlinux.conf"], Some(Boot::Extlinux)),
            ("arch", "Arch", "6.12.10-arch1-1", "", &[], None),
            ("", "", "6.6.48", "", &[], None),
        ] {
            assert_eq!(
                of(id, system, release, cmdline, files),
                expected,
                "{id} {system} {release} {cmdline} {files:?}"
            );
        }
    }
}
