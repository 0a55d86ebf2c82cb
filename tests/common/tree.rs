//! A fake machine in a temporary directory, spoken to in the words of the domain.
//!
//! The links are as sysfs has them, so that code that follows them meets the real shapes. Verbs
//! panic when they fail: a test's tree that cannot be made is a failed test.
#![allow(dead_code, reason = "a test's support; each user takes what it needs")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Debian 12's kernel.
pub const RELEASE: &str = "6.1.0-50-amd64";

/// What `modprobe vfio-pci` leaves in /proc/modules there.
pub const MODULES: &str = "\
vfio_pci 16384 0 - Live 0x0000000000000000
vfio_pci_core 73728 1 vfio_pci, Live 0x0000000000000000
vfio_virqfd 16384 1 vfio_pci_core, Live 0x0000000000000000
vfio_iommu_type1 45056 0 - Live 0x0000000000000000
vfio 45056 3 vfio_pci_core,vfio_iommu_type1, Live 0x0000000000000000
irqbypass 16384 1 vfio_pci_core, Live 0x0000000000000000
";

/// The lines of its modules.dep about VFIO.
pub const MODULES_DEP: &str = "\
kernel/drivers/vfio/pci/vfio-pci.ko: kernel/drivers/vfio/pci/vfio-pci-core.ko kernel/drivers/vfio/vfio_virqfd.ko kernel/drivers/vfio/vfio.ko kernel/virt/lib/irqbypass.ko
kernel/drivers/vfio/pci/vfio-pci-core.ko: kernel/drivers/vfio/vfio_virqfd.ko kernel/drivers/vfio/vfio.ko kernel/virt/lib/irqbypass.ko
kernel/drivers/vfio/vfio_virqfd.ko:
kernel/drivers/vfio/vfio_iommu_type1.ko: kernel/drivers/vfio/vfio.ko
kernel/drivers/vfio/vfio.ko:
kernel/virt/lib/irqbypass.ko:
";

/// A function to add.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    /// `0000:01:00.0`.
    pub address: &'a str,
    /// `10de:2684`.
    pub ids: &'a str,
    /// 24 bits.
    pub class: u32,
    /// The driver it is on.
    pub driver: Option<&'a str>,
    /// Its IOMMU group.
    pub group: Option<u32>,
    /// The function it sits below: its bridge.
    pub below: Option<&'a str>,
}

/// A network card without a driver or group.
pub const NIC: Device<'static> =
    Device { address: "0000:00:03.0", ids: "8086:10d3", class: 0x02_00_00, driver: None, group: None, below: None };

/// The machine.
pub struct Tree {
    dir: TempDir,
}

impl Tree {
    /// A machine with an IOMMU, a module tree and VFIO loaded, and no devices.
    pub fn new() -> Tree {
        let tree = Tree { dir: tempfile::tempdir().unwrap() };
        for directory in [
            "sys/bus/pci/devices",
            "sys/bus/pci/drivers",
            "sys/devices/pci0000:00",
            "sys/kernel/iommu_groups",
            "sys/class/misc/vfio",
            "dev/vfio",
            "proc/sys/kernel",
        ] {
            fs::create_dir_all(tree.at(directory)).unwrap();
        }
        tree.set("dev/vfio/vfio", "");
        tree.set("proc/modules", MODULES);
        tree.set("proc/cmdline", "quiet\n");
        tree.set("proc/sys/kernel/osrelease", &format!("{RELEASE}\n"));
        tree.set("proc/sys/kernel/modules_disabled", "0\n");
        tree.set("sys/bus/pci/drivers_autoprobe", "1\n");
        tree.module_file("modules.dep", MODULES_DEP);
        tree.module_file("modules.builtin", "kernel/drivers/pci/pcie/portdrv.ko\n");
        tree.module_file("modules.alias", "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n");
        tree.add_driver("vfio-pci");
        tree
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file.
    pub fn set(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Removes a file or a whole directory.
    pub fn remove(&self, path: &str) {
        let path = self.at(path);
        if path.is_dir() { self.set_aside(&path) } else { fs::remove_file(path).unwrap() }
    }

    /// Removes a directory in such a way that its inode is not given to another one: sysfs does not
    /// use a number twice, and ext4 and tmpfs do at once.
    fn set_aside(&self, path: &Path) {
        let removed = self.dir.path().join("removed");
        fs::create_dir_all(&removed).unwrap();
        let number = fs::read_dir(&removed).unwrap().count();
        fs::rename(path, removed.join(number.to_string())).unwrap();
    }

    /// Writes an index file of the module tree.
    pub fn module_file(&self, name: &str, text: &str) {
        self.set(&format!("lib/modules/{RELEASE}/{name}"), text);
    }

    /// Takes the module tree away, as an upgrade does.
    pub fn lose_module_tree(&self) {
        self.remove(&format!("lib/modules/{RELEASE}"));
    }

    /// Adds a line to /proc/modules.
    pub fn add_module_line(&self, line: &str) {
        let text = fs::read_to_string(self.at("proc/modules")).unwrap();
        self.set("proc/modules", &format!("{text}{line}\n"));
    }

    /// Unloads a module: its driver goes, and silently unbinds what is on it.
    pub fn unload(&self, module: &str) {
        let text = fs::read_to_string(self.at("proc/modules")).unwrap();
        let rest = text.lines().filter(|line| !line.starts_with(&format!("{module} ")));
        self.set("proc/modules", &rest.map(|line| format!("{line}\n")).collect::<String>());
        let driver = self.at(&format!("sys/bus/pci/drivers/{}", module.replace('_', "-")));
        if driver.is_dir() {
            for bound in fs::read_dir(&driver).unwrap() {
                self.unbind(bound.unwrap().file_name().to_str().unwrap());
            }
            fs::remove_dir(driver).unwrap();
        }
    }

    /// Registers a driver.
    pub fn add_driver(&self, driver: &str) {
        fs::create_dir_all(self.at(&format!("sys/bus/pci/drivers/{driver}"))).unwrap();
    }

    /// The place of a function below sys/, without it: `devices/pci0000:00/0000:00:03.0`.
    fn place(&self, address: &str) -> String {
        let link = fs::read_link(self.at(&format!("sys/bus/pci/devices/{address}"))).unwrap();
        link.to_str().unwrap().trim_start_matches("../").to_owned()
    }

    /// Plugs a function in.
    pub fn add_device(&self, device: Device<'_>) {
        let Device { address, ids, class, driver, group, below } = device;
        let parent = match below {
            Some(bridge) => self.place(bridge),
            None => format!("devices/pci{}", &address[..address.len() - 5]),
        };
        let place = format!("{parent}/{address}");
        let (vendor, id) = ids.split_once(':').unwrap();
        let modalias = format!(
            "pci:v0000{}d0000{}sv00000000sd00000000bc{:02X}sc{:02X}i{:02X}",
            vendor.to_uppercase(),
            id.to_uppercase(),
            class >> 16,
            class >> 8 & 0xff,
            class & 0xff
        );
        for (name, value) in [
            ("vendor", format!("0x{vendor}\n")),
            ("device", format!("0x{id}\n")),
            ("subsystem_vendor", format!("0x{vendor}\n")),
            ("subsystem_device", "0x0001\n".to_owned()),
            ("class", format!("0x{class:06x}\n")),
            ("modalias", format!("{modalias}\n")),
        ] {
            self.set(&format!("sys/{place}/{name}"), &value);
        }
        symlink(format!("../../../{place}"), self.at(&format!("sys/bus/pci/devices/{address}"))).unwrap();
        if let Some(group) = group {
            self.join(address, group);
        }
        if let Some(driver) = driver {
            self.bind(address, driver);
        }
    }

    /// Puts a function into a group.
    pub fn join(&self, address: &str, group: u32) {
        let place = self.place(address);
        let up = "../".repeat(place.matches('/').count() + 1);
        let members = self.at(&format!("sys/kernel/iommu_groups/{group}/devices"));
        fs::create_dir_all(&members).unwrap();
        symlink(format!("../../../../{place}"), members.join(address)).unwrap();
        symlink(
            format!("{up}kernel/iommu_groups/{group}"),
            self.at(&format!("sys/bus/pci/devices/{address}/iommu_group")),
        )
        .unwrap();
    }

    /// The group of a function, by its link.
    fn group(&self, address: &str) -> Option<String> {
        let link = fs::read_link(self.at(&format!("sys/bus/pci/devices/{address}/iommu_group"))).ok()?;
        Some(link.file_name()?.to_str()?.to_owned())
    }

    /// Binds a function; on a driver with `vfio` in its name its group gets a node.
    pub fn bind(&self, address: &str, driver: &str) {
        self.add_driver(driver);
        let place = self.place(address);
        let up = "../".repeat(place.matches('/').count() + 1);
        let link = self.at(&format!("sys/bus/pci/devices/{address}/driver"));
        symlink(format!("{up}bus/pci/drivers/{driver}"), link).unwrap();
        symlink(format!("../../../../{place}"), self.at(&format!("sys/bus/pci/drivers/{driver}/{address}"))).unwrap();
        if let Some(group) = self.group(address).filter(|_| driver.contains("vfio")) {
            self.set(&format!("dev/vfio/{group}"), "");
        }
    }

    /// Unbinds a function; its group's node goes.
    pub fn unbind(&self, address: &str) {
        let link = self.at(&format!("sys/bus/pci/devices/{address}/driver"));
        let driver = fs::read_link(&link).unwrap();
        let driver = driver.file_name().unwrap().to_str().unwrap();
        fs::remove_file(link).unwrap();
        self.remove(&format!("sys/bus/pci/drivers/{driver}/{address}"));
        if let Some(group) = self.group(address) {
            let _ = fs::remove_file(self.at(&format!("dev/vfio/{group}")));
        }
    }

    /// Takes a function from its driver to another one.
    pub fn bind_instead(&self, address: &str, driver: &str) {
        self.unbind(address);
        self.bind(address, driver);
    }

    /// Pulls a function out.
    pub fn remove_device(&self, address: &str) {
        if self.at(&format!("sys/bus/pci/devices/{address}/driver")).is_symlink() {
            self.unbind(address);
        }
        if let Some(group) = self.group(address) {
            self.remove(&format!("sys/kernel/iommu_groups/{group}/devices/{address}"));
        }
        self.remove(&format!("sys/{}", self.place(address)));
        fs::remove_file(self.at(&format!("sys/bus/pci/devices/{address}"))).unwrap();
    }

    /// Sets an attribute of a function.
    pub fn set_attribute(&self, address: &str, name: &str, value: &str) {
        self.set(&format!("sys/bus/pci/devices/{address}/{name}"), value);
    }

    /// Makes a function that is there a VF of another.
    pub fn make_vf(&self, pf: &str, index: u32, vf: &str) {
        self.set_attribute(pf, "sriov_totalvfs", "8\n");
        symlink(format!("../{vf}"), self.at(&format!("sys/bus/pci/devices/{pf}/virtfn{index}"))).unwrap();
        symlink(format!("../{pf}"), self.at(&format!("sys/bus/pci/devices/{vf}/physfn"))).unwrap();
    }

    /// Removes a VF.
    pub fn remove_vf(&self, pf: &str, index: u32, vf: &str) {
        fs::remove_file(self.at(&format!("sys/bus/pci/devices/{pf}/virtfn{index}"))).unwrap();
        self.remove_device(vf);
    }
}
