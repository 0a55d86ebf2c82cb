//! How each distribution is told what its kernel is to be started with: options, modules of the
//! initramfs, options of modules.

use serde::{Deserialize, Serialize};

use super::survey::Machine;
use super::system;

/// What keeps the kernel's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// NixOS' configuration.
    Nixos,
    /// Guix' configuration.
    Guix,
    /// Talos' machine configuration.
    Talos,
    /// Unraid's syslinux on its flash drive.
    Unraid,
    /// Harvester's image, which is read-only.
    Harvester,
    /// OSTree (Fedora CoreOS, Silverblue and their like).
    RpmOstree,
    /// SUSE's transactional systems.
    Transactional,
    /// Proxmox VE with systemd-boot.
    ProxmoxBootTool,
    /// Proxmox VE, where nothing tells with which boot loader.
    Proxmox,
    /// Fedora, Red Hat and their like.
    Grubby,
    /// Debian's and Ubuntu's GRUB.
    UpdateGrub,
    /// GRUB with `/boot/grub2`.
    Grub2,
    /// GRUB with `/boot/grub`.
    Grub,
    /// Pop!_OS.
    Kernelstub,
    /// A command line for kernel-install.
    KernelInstall,
    /// Entries of systemd-boot.
    LoaderEntries,
    /// Raspberry Pi's firmware.
    RaspberryPi,
    /// Alpine's extlinux.
    Extlinux,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Boot {
    /// Where the options are, and what must follow a change; `{}` stands for the option in a command
    /// that adds one, and in one that takes one off.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Boot::Nixos => (
                "boot.kernelParams = [ \"{}\" ]; in the system's configuration, then `nixos-rebuild boot`",
                "boot.kernelParams in the system's configuration, then `nixos-rebuild boot`",
            ),
            Boot::Guix => (
                "kernel-arguments of the operating-system, then `guix system reconfigure`",
                "kernel-arguments of the operating-system, then `guix system reconfigure`",
            ),
            Boot::Talos => (
                "machine.install.extraKernelArgs in the machine's configuration, then `talosctl upgrade`",
                "machine.install.extraKernelArgs in the machine's configuration, then `talosctl upgrade`",
            ),
            Boot::Unraid => (
                "on its append line in /boot/syslinux/syslinux.cfg: Main, Flash, Syslinux configuration",
                "on its append line in /boot/syslinux/syslinux.cfg: Main, Flash, Syslinux configuration",
            ),
            Boot::Harvester => (
                "the image is read-only: GRUB's variable third_party_kernel_args in /oem/grubenv, by `grub2-editenv`",
                "the image is read-only: GRUB's variable third_party_kernel_args in /oem/grubenv, by `grub2-editenv`",
            ),
            Boot::RpmOstree => {
                ("`rpm-ostree kargs --append-if-missing={}`", "`rpm-ostree kargs --delete-if-present={}`")
            }
            Boot::Transactional => (
                "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then `transactional-update grub.cfg`",
                "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then `transactional-update grub.cfg`",
            ),
            Boot::ProxmoxBootTool => (
                "in /etc/kernel/cmdline, then `proxmox-boot-tool refresh`",
                "in /etc/kernel/cmdline, then `proxmox-boot-tool refresh`",
            ),
            Boot::Proxmox => (
                "with systemd-boot in /etc/kernel/cmdline, then `proxmox-boot-tool refresh`; with GRUB in /etc/default/grub, then `update-grub`",
                "with systemd-boot in /etc/kernel/cmdline, then `proxmox-boot-tool refresh`; with GRUB in /etc/default/grub, then `update-grub`",
            ),
            Boot::Grubby => ("`grubby --update-kernel=ALL --args={}`", "`grubby --update-kernel=ALL --remove-args={}`"),
            Boot::UpdateGrub => (
                "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then `update-grub`",
                "in /etc/default/grub, then `update-grub`",
            ),
            Boot::Grub2 => (
                "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then `grub2-mkconfig -o /boot/grub2/grub.cfg`",
                "in /etc/default/grub, then `grub2-mkconfig -o /boot/grub2/grub.cfg`",
            ),
            Boot::Grub => (
                "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then `grub-mkconfig -o /boot/grub/grub.cfg`",
                "in /etc/default/grub, then `grub-mkconfig -o /boot/grub/grub.cfg`",
            ),
            Boot::Kernelstub => ("`kernelstub -a {}`", "`kernelstub -d {}`"),
            Boot::KernelInstall => (
                "in /etc/kernel/cmdline, then install the kernel again: `kernel-install add-all`, `reinstall-kernels`",
                "in /etc/kernel/cmdline, then install the kernel again: `kernel-install add-all`, `reinstall-kernels`",
            ),
            Boot::LoaderEntries => (
                "on the line options of its file in loader/entries on the boot partition",
                "on the line options of its file in loader/entries on the boot partition",
            ),
            Boot::RaspberryPi => ("in /boot/firmware/cmdline.txt, on its one line", "in /boot/firmware/cmdline.txt"),
            Boot::Extlinux => (
                "default_kernel_opts in /etc/update-extlinux.conf, then `update-extlinux`",
                "default_kernel_opts in /etc/update-extlinux.conf, then `update-extlinux`",
            ),
            Boot::Unknown => ("", ""),
        }
    }
}

/// "on the kernel command line" for an option that is to be there, with how that is done here.
#[must_use]
pub fn added(machine: &Machine, option: &str) -> String {
    shown("to the kernel command line", machine.boot.map_or("", |boot| boot.words().0), option)
}

/// The same for an option that is to go.
#[must_use]
pub fn taken_off(machine: &Machine, option: &str) -> String {
    shown("off the kernel command line", machine.boot.map_or("", |boot| boot.words().1), option)
}

fn shown(place: &str, how: &str, option: &str) -> String {
    // In a command a quoted option stays one word.
    let option = if option.contains('"') { format!("'{option}'") } else { option.to_owned() };
    if how.is_empty() { place.to_owned() } else { format!("{place} ({})", how.replace("{}", &option)) }
}

/// Where an option of a module is given: `options vfio_pci …` in modprobe.d, or what makes that file.
#[must_use]
pub fn module_options(machine: &Machine, module: &str, options: &str) -> String {
    match machine.boot {
        Some(Boot::Nixos) => {
            format!("`boot.extraModprobeConfig = \"options {module} {options}\";` in the system's configuration")
        }
        Some(Boot::Talos) => {
            format!("{options} as a parameter of {module} in machine.kernel.modules of the machine's configuration")
        }
        Some(Boot::Unraid) => format!("`options {module} {options}` in /boot/config/modprobe.d/vfio.conf"),
        _ => format!("`options {module} {options}` in modprobe.d"),
    }
}

/// Where such options are taken back.
#[must_use]
pub fn modprobe_place(machine: &Machine) -> &'static str {
    match machine.boot {
        Some(Boot::Nixos) => "boot.extraModprobeConfig",
        Some(Boot::Talos) => "machine.kernel.modules",
        Some(Boot::Unraid) => "/boot/config/modprobe.d",
        _ => "modprobe.d",
    }
}

/// How virtio_iommu gets into the initramfs: by the distributions that have a way of their own, by what
/// is there to build one, else by distribution.
#[must_use]
pub fn into_initramfs(machine: &Machine) -> Vec<String> {
    let own = match machine.boot {
        Some(Boot::Nixos) => Some(
            "boot.initrd.availableKernelModules = [ \"virtio_iommu\" ]; in the system's configuration, then `nixos-rebuild boot`",
        ),
        Some(Boot::Guix) => {
            Some("\"virtio_iommu\" in initrd-modules of the operating-system, then `guix system reconfigure`")
        }
        Some(Boot::Talos | Boot::Unraid | Boot::Harvester) => {
            Some("it is part of the system's image, so that takes an image that has the module in it")
        }
        Some(Boot::RpmOstree) => Some("`rpm-ostree initramfs --enable --arg=--add-drivers --arg=virtio_iommu`"),
        Some(Boot::Transactional) => Some(
            "`echo 'add_drivers+=\" virtio_iommu \"' >/etc/dracut.conf.d/virtio-iommu.conf && transactional-update initrd`",
        ),
        _ => None,
    };
    if let Some(own) = own {
        return vec![format!("Have it in the initramfs: {own}.")];
    }
    system::into_initramfs(machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(boot: Option<Boot>) -> Machine {
        Machine { boot, ..Machine::default() }
    }

    #[test]
    fn an_option_is_added_and_taken_off_as_the_system_wants_it() {
        for (boot, add, remove) in [
            (
                Some(Boot::RpmOstree),
                "to the kernel command line (`rpm-ostree kargs --append-if-missing=intel_iommu=on`)",
                "off the kernel command line (`rpm-ostree kargs --delete-if-present=intel_iommu=on`)",
            ),
            (
                Some(Boot::ProxmoxBootTool),
                "to the kernel command line (in /etc/kernel/cmdline, then `proxmox-boot-tool refresh`)",
                "off the kernel command line (in /etc/kernel/cmdline, then `proxmox-boot-tool refresh`)",
            ),
            (None, "to the kernel command line", "off the kernel command line"),
            (Some(Boot::Unknown), "to the kernel command line", "off the kernel command line"),
        ] {
            let machine = machine(boot);
            assert_eq!(added(&machine, "intel_iommu=on"), add);
            assert_eq!(taken_off(&machine, "intel_iommu=on"), remove);
        }
    }

    #[test]
    fn nixos_is_told_of_its_configuration_and_of_no_file_that_it_makes() {
        let nixos = machine(Some(Boot::Nixos));
        let steps = into_initramfs(&nixos);
        assert!(steps.len() == 1 && steps[0].contains("boot.initrd.availableKernelModules"), "{steps:?}");
        assert!(module_options(&nixos, "vfio_pci", "x=1").contains("boot.extraModprobeConfig"));
        assert!(added(&nixos, "x").contains("boot.kernelParams = [ \"x\" ];"));
    }
}
