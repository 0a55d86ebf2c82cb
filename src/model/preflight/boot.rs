//! How each system is told with which options its kernel and its modules are started, by what keeps
//! them; [`system`](super::system) is about packages and the initramfs.

use serde::{Deserialize, Serialize};

use super::survey::Machine;

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

/// The same words for an option that is added and for one that is taken off.
const fn both(how: &'static str) -> (&'static str, &'static str) {
    (how, how)
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
            Boot::Guix => both("kernel-arguments of the operating-system, then `guix system reconfigure`"),
            Boot::Talos => {
                both("machine.install.extraKernelArgs in the machine's configuration, then `talosctl upgrade`")
            }
            Boot::Unraid => {
                both("on its append line in /boot/syslinux/syslinux.cfg: Main, Flash, Syslinux configuration")
            }
            Boot::Harvester => both(
                "the image is read-only: GRUB's variable third_party_kernel_args in /oem/grubenv, by `grub2-editenv`",
            ),
            Boot::RpmOstree => {
                ("`rpm-ostree kargs --append-if-missing={}`", "`rpm-ostree kargs --delete-if-present={}`")
            }
            Boot::Transactional => {
                both("GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then `transactional-update grub.cfg`")
            }
            Boot::ProxmoxBootTool => both("in /etc/kernel/cmdline, then `proxmox-boot-tool refresh`"),
            Boot::Proxmox => both(
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
            Boot::KernelInstall => both(
                "in /etc/kernel/cmdline, then install the kernel again: `kernel-install add-all`, `reinstall-kernels`",
            ),
            Boot::LoaderEntries => both("on the line options of its file in loader/entries on the boot partition"),
            Boot::RaspberryPi => ("in /boot/firmware/cmdline.txt, on its one line", "in /boot/firmware/cmdline.txt"),
            Boot::Extlinux => both("default_kernel_opts in /etc/update-extlinux.conf, then `update-extlinux`"),
            Boot::Unknown => both(""),
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

/// Where an option of a module is given: `options vfio_pci …` in a file of modprobe.d, or what makes that file.
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
        _ => format!("`options {module} {options}` in /etc/modprobe.d/vfio.conf"),
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

/// How a rule of modprobe.d that keeps a module away is taken back.
#[must_use]
pub fn without_rule(machine: &Machine) -> &'static str {
    match machine.boot {
        Some(Boot::Nixos) => {
            "Take it out of boot.blacklistedKernelModules or boot.extraModprobeConfig in the system's configuration, then `nixos-rebuild boot`."
        }
        Some(Boot::Unraid) => "Remove that line, in /boot/config/modprobe.d if it is from there, and boot again.",
        _ => "Remove that line, or override the file: one of the same name in /etc/modprobe.d wins.",
    }
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
        assert!(without_rule(&nixos).contains("boot.blacklistedKernelModules"));
        assert!(modprobe_place(&nixos).contains("boot.extraModprobeConfig"));
        assert!(module_options(&nixos, "vfio_pci", "x=1").contains("boot.extraModprobeConfig"));
        assert!(added(&nixos, "x").contains("boot.kernelParams = [ \"x\" ];"));
    }
}
