//! Which files are saved, how much of each, and why. vfiodctl(1) says the same in words.

use super::guests;
use super::part::{self, Part};

/// Some files of one directory, or of several alike.
#[derive(Debug, Clone, Copy)]
pub struct Collected {
    /// The directory. In a path, `*` is any name, FUNCTION a PCI address, GROUP a number, RELEASE the
    /// running kernel's, MODULE one that passing through is about, NEEDED one of VFIO's own.
    pub at: &'static str,
    /// Names in it, with the same words; none: the directory itself.
    pub names: &'static [&'static str],
    /// How much of them.
    pub how: How,
    /// What for.
    pub why: &'static str,
}

/// How much of a file is saved.
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// All of it.
    Whole,
    /// A part; none means that it is left out.
    Part(Part),
    /// A part of what is read under a lock, and may block. In place of what could not be read
    /// stands a text that makes no sense, so that it is taken for unreadable and not for absent.
    Slow(Part, &'static str),
    /// Only that it is there: it is never opened.
    Name,
    /// Where the link leads.
    Link,
}

const DEVICE: &str = "/sys/bus/pci/devices/FUNCTION";
const MODULES: [&str; 5] = [
    "/lib/modules/RELEASE",
    "/usr/lib/modules/RELEASE",
    "/run/booted-system/kernel-modules/lib/modules/RELEASE",
    "/run/current-system/kernel-modules/lib/modules/RELEASE",
    "/run/booted-system/kernel/lib/modules/RELEASE",
];

const OPTIONS: &str = "what keeps the kernel's options";

const fn whole(at: &'static str, names: &'static [&'static str], why: &'static str) -> Collected {
    Collected { at, names, how: How::Whole, why }
}

const fn part(at: &'static str, names: &'static [&'static str], part: Part, why: &'static str) -> Collected {
    Collected { at, names, how: How::Part(part), why }
}

const fn slow(at: &'static str, name: &'static [&'static str], unread: &'static str, why: &'static str) -> Collected {
    Collected { at, names: name, how: How::Slow(part::all, unread), why }
}

const fn proxmox(at: &'static str, names: &'static [&'static str], part: Part, why: &'static str) -> Collected {
    Collected { at, names, how: How::Slow(part, "\n"), why }
}

const fn link(at: &'static str, names: &'static [&'static str], why: &'static str) -> Collected {
    Collected { at, names, how: How::Link, why }
}

const fn name(at: &'static str, names: &'static [&'static str], why: &'static str) -> Collected {
    Collected { at, names, how: How::Name, why }
}

const fn rules(at: &'static str) -> Collected {
    part(at, &["*.conf"], part::rules, "rules about these modules")
}

/// All of it, but for [`below`](super::below) and [`odds`](super::odds).
pub const LIST: &[Collected] = &[
    whole(
        DEVICE,
        &["vendor", "device", "subsystem_vendor", "subsystem_device", "class", "modalias"],
        "what a function is",
    ),
    whole(DEVICE, &["boot_vga", "boot_display", "resource"], "whether the console is on it"),
    whole(DEVICE, &["enable", "power_state", "d3cold_allowed", "reset_method", "numa_node"], "its state"),
    whole("/sys/bus/pci/devices/FUNCTION/power", &["runtime_status"], "whether it sleeps"),
    whole(DEVICE, &["aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal"], "errors it had"),
    whole(DEVICE, &["sriov_totalvfs"], "how many virtual functions it can have"),
    name(DEVICE, &["reset"], "whether it can be reset, before 5.15"),
    link(DEVICE, &["driver", "iommu_group", "iommu", "physfn", "virtfn*"], "what it belongs to"),
    slow(DEVICE, &["driver_override"], ".\n", "which driver it is pinned to"),
    slow(DEVICE, &["uevent"], "DRIVER=.\n", "which driver is being unbound from it"),
    slow(DEVICE, &["sriov_numvfs"], "?\n", "how many virtual functions it has"),
    link("/sys/bus/mdev/devices", &["*"], "mediated devices"),
    link("/sys/bus/mdev/devices/*", &["iommu_group", "mdev_type"], "which group and kind they are"),
    whole("/sys/bus/pci", &["drivers_autoprobe"], "whether drivers take devices by themselves"),
    link("/sys/bus/pci/drivers/*", &["module", "FUNCTION"], "which module a driver is of, and what is on it"),
    name("/sys/kernel/iommu_groups", &[], "whether there are groups"),
    whole("/sys/kernel/iommu_groups/GROUP", &["name", "type", "reserved_regions"], "what a group is"),
    link("/sys/kernel/iommu_groups/GROUP/devices", &["*"], "its members"),
    link("/sys/class/iommu", &["*"], "the IOMMUs"),
    link("/sys/class/iommu/*/device", &["driver"], "whose they are"),
    name("/sys/class/misc/vfio", &[], "whether /dev/vfio/vfio is served"),
    whole("/sys/class/vfio/*", &["dev"], "the number of a group's node"),
    link("/sys/class/vfio-dev", &["*"], "what is registered with VFIO"),
    link("/sys/class/vfio-dev/*", &["device"], "whose node is whose"),
    whole("/sys/class/dmi/id", &["sys_vendor", "product_name"], "what the machine is"),
    link("/sys/module/MODULE/drivers", &["pci:*"], "what its drivers are called"),
    whole("/sys/module/MODULE", &["initstate", "refcnt"], "whether a module is in use"),
    whole("/sys/module/NEEDED/parameters", &["*"], "what a reload would change"),
    whole("/sys/firmware/acpi/tables", &["DMAR", "IVRS", "IORT"], "what the firmware reserves"),
    whole("/sys/firmware/acpi/tables", &["APIC"], "whether interrupts are remapped"),
    name("/sys/firmware/devicetree", &["base"], "whether a device tree describes the machine"),
    whole("/proc/xen", &["capabilities"], "whether this is Xen's dom0"),
    whole("/sys/hypervisor", &["type"], "whether it runs on Xen"),
    name("/sys/firmware/acpi/tables", &["VIOT"], "whether there is a virtual IOMMU"),
    whole("/sys/kernel/security", &["lockdown"], "whether modules must be signed"),
    part("/sys/kernel/debug", &["devices_deferred"], part::deferred, "functions that wait for a driver"),
    part("/proc", &["modules"], part::modules, "which modules are loaded"),
    part("/proc", &["cmdline"], part::cmdline, "options about IOMMUs, PCI, VFIO and these modules"),
    part("/proc", &["iomem"], part::iomem, "framebuffers"),
    part("/proc", &["interrupts"], part::interrupts, "whether interrupts are remapped"),
    part("/proc", &["cpuinfo"], part::cpuinfo, "the processor's make, and whether it is a virtual one"),
    whole("/proc/sys/kernel", &["osrelease", "arch", "modules_disabled"], "which kernel"),
    Collected {
        at: "/proc/driver/nvidia/gpus/FUNCTION",
        names: &["information"],
        how: How::Slow(part::nvidia, "?\n"),
        why: "the number of a GPU's node",
    },
    part(MODULES[0], &["modules.dep", "modules.builtin"], part::index, "what this kernel has"),
    part(MODULES[0], &["modules.alias"], part::aliases, "variant drivers"),
    part(MODULES[0], &["modules.softdep"], part::softdeps, "what else is loaded with a module"),
    part(MODULES[1], &["modules.dep", "modules.builtin"], part::index, "what this kernel has"),
    part(MODULES[1], &["modules.alias"], part::aliases, "variant drivers"),
    part(MODULES[1], &["modules.softdep"], part::softdeps, "what else is loaded with a module"),
    part(MODULES[2], &["modules.dep", "modules.builtin"], part::index, "what this kernel has"),
    part(MODULES[2], &["modules.alias"], part::aliases, "variant drivers"),
    part(MODULES[2], &["modules.softdep"], part::softdeps, "what else is loaded with a module"),
    part(MODULES[3], &["modules.dep", "modules.builtin"], part::index, "what this kernel has"),
    part(MODULES[3], &["modules.alias"], part::aliases, "variant drivers"),
    part(MODULES[3], &["modules.softdep"], part::softdeps, "what else is loaded with a module"),
    part(MODULES[4], &["modules.dep", "modules.builtin"], part::index, "what this kernel has"),
    part(MODULES[4], &["modules.alias"], part::aliases, "variant drivers"),
    part(MODULES[4], &["modules.softdep"], part::softdeps, "what else is loaded with a module"),
    name("/lib/modules", &[], "whether there are modules of any kernel"),
    name("/usr/lib/modules", &[], "whether there are modules of any kernel"),
    rules("/etc/modprobe.d"),
    rules("/run/modprobe.d"),
    rules("/usr/local/lib/modprobe.d"),
    rules("/usr/lib/modprobe.d"),
    rules("/lib/modprobe.d"),
    whole("/etc/vfiod", &["vfiod.toml"], "what is declared"),
    whole("/usr/lib/vfiod/conf.d", &["*.toml"], "what is declared"),
    whole("/etc/vfiod/conf.d", &["*.toml"], "what is declared"),
    whole("/run/vfiod/conf.d", &["*.toml"], "what is declared"),
    part("/etc/driverctl.d", &["pci-*"], part::first_word, "what driverctl has set"),
    part("/etc/dpdk", &["interfaces"], part::all, "what DPDK's init script binds"),
    whole("/etc/mdevctl.d/FUNCTION", &["*"], "mediated devices that mdevctl makes"),
    part("/etc/libvirt/qemu", &["*.xml"], guests::domain, "functions that virtual machines want"),
    part("/etc/libvirt/ch", &["*.xml"], guests::domain, "functions that virtual machines want"),
    part("/etc/libvirt/libxl", &["*.xml"], guests::domain, "functions that virtual machines want"),
    part("/etc/libvirt/qemu/networks", &["*.xml"], guests::network, "functions that networks hand out"),
    link("/etc/pve", &["local"], "which node of Proxmox it is"),
    // A file system of Proxmox's own serves these.
    proxmox("/etc/pve/qemu-server", &["*.conf"], guests::vm, "functions that virtual machines want"),
    proxmox("/etc/pve/mapping", &["pci.cfg"], guests::mappings, "names of functions"),
    name("/etc/kernel", &["cmdline"], OPTIONS),
    name("/etc/default", &["grub"], OPTIONS),
    name("/etc", &["NIXOS", "unraid-version", "harvester-release.yaml", "update-extlinux.conf"], OPTIONS),
    name("/run", &["ostree-booted"], OPTIONS),
    name("/boot", &["grub2"], OPTIONS),
    name("/boot/firmware", &["cmdline.txt"], OPTIONS),
    name("/boot/loader", &["entries"], OPTIONS),
    name("/efi/loader", &["entries"], OPTIONS),
    name("/boot/efi/loader", &["entries"], OPTIONS),
    name("/usr/bin", &["grubby"], OPTIONS),
    name("/usr/sbin", &["grubby", "update-grub"], OPTIONS),
    name("/usr/bin", &["dracut", "mkinitcpio"], "what builds the initramfs"),
    name("/usr/sbin", &["mkinitramfs", "update-initramfs"], "what builds the initramfs"),
    name("/dev/vfio", &["*"], "which nodes there are"),
    name("/dev/vfio/devices", &["*"], "which nodes there are"),
    name("/dev", &["iommu"], "whether iommufd serves"),
];

/// Where the system says what it is; the first of them that is there counts.
pub const SYSTEM: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
