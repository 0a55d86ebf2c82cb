//! What a device, a module, a process is: given by the test, never changed by the kernel.

use crate::model::pci::{Address, Driver, Ids, Module};

/// A PCI function as it is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Where it sits.
    pub address: Address,
    /// `vendor` and `device`.
    pub ids: Ids,
    /// `subsystem_vendor` and `subsystem_device`.
    pub subsystem: Option<Ids>,
    /// `class`, 24 bits.
    pub class: u32,
    /// The driver that its ids match.
    pub native: Option<Driver>,
    /// The console is on it.
    pub boot_vga: bool,
    /// It has a bridge's header: vfio refuses it.
    pub bridge: bool,
    /// The bridge right above it; none on a root bus.
    pub parent: Option<Address>,
    /// Functions with the same tag share an IOMMU group.
    pub group_tag: Option<String>,
    /// They do so only if they were there at boot. Functions of a slot are: what is found later is
    /// given its group before the kernel knows that it has siblings (both kernels).
    pub grouped_at_boot: bool,
    /// The serial number capability.
    pub serial: Option<String>,
    /// `modalias`, where the one made from the ids will not do.
    pub modalias: Option<String>,
    /// `sriov_totalvfs` and what its VFs are.
    pub sriov: Option<Sriov>,
    /// For a VF: its PF.
    pub physfn: Option<Address>,
    /// On vfio's own denylist.
    pub denylisted: bool,
    /// Firmware wants a 1:1 region: binding works, opening does not.
    pub direct_region: bool,
    /// Its native driver gives it up at once, as nvme does a VF that got no resources.
    pub given_up: bool,
}

/// What a PF can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sriov {
    /// `sriov_totalvfs`.
    pub total: u32,
    /// The ids of its VFs.
    pub ids: Ids,
    /// The driver that its VFs' ids match.
    pub native: Option<Driver>,
    /// That driver gives them up at once.
    pub given_up: bool,
}

impl Spec {
    /// A function on a root bus, alone in its group, without a native driver.
    #[must_use]
    pub fn new(address: Address, ids: Ids, class: u32) -> Spec {
        Spec {
            address,
            ids,
            subsystem: None,
            class,
            native: None,
            boot_vga: false,
            bridge: false,
            parent: None,
            group_tag: None,
            grouped_at_boot: false,
            serial: None,
            modalias: None,
            sriov: None,
            physfn: None,
            denylisted: false,
            direct_region: false,
            given_up: false,
        }
    }

    /// The driver that its ids match.
    #[must_use]
    pub fn native(mut self, driver: Driver) -> Spec {
        self.native = Some(driver);
        self
    }

    /// `subsystem_vendor` and `subsystem_device`.
    #[must_use]
    pub fn subsystem(mut self, ids: Ids) -> Spec {
        self.subsystem = Some(ids);
        self
    }

    /// The console is on it.
    #[must_use]
    pub fn boot_vga(mut self) -> Spec {
        self.boot_vga = true;
        self
    }

    /// It has a bridge's header.
    #[must_use]
    pub fn bridge(mut self) -> Spec {
        self.bridge = true;
        self
    }

    /// It sits below this bridge.
    #[must_use]
    pub fn below(mut self, parent: Address) -> Spec {
        self.parent = Some(parent);
        self
    }

    /// It shares an IOMMU group with every function of the same tag.
    #[must_use]
    pub fn grouped(mut self, tag: &str) -> Spec {
        self.group_tag = Some(tag.to_owned());
        self
    }

    /// As a function of one slot it shares a group with the others of this tag: while they are
    /// what they were at boot. Removed and found again, each has a group of its own.
    #[must_use]
    pub fn grouped_at_boot(mut self, tag: &str) -> Spec {
        self.grouped_at_boot = true;
        self.grouped(tag)
    }

    /// Its serial number capability.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Spec {
        self.serial = Some(serial.to_owned());
        self
    }

    /// Its `modalias`, where the one made from the ids will not do.
    #[must_use]
    pub fn modalias(mut self, modalias: &str) -> Spec {
        self.modalias = Some(modalias.to_owned());
        self
    }

    /// A PF that can have this many VFs.
    #[must_use]
    pub fn sriov(mut self, sriov: Sriov) -> Spec {
        self.sriov = Some(sriov);
        self
    }

    /// On vfio's own denylist.
    #[must_use]
    pub fn denylisted(mut self) -> Spec {
        self.denylisted = true;
        self
    }

    /// Firmware wants a 1:1 region.
    #[must_use]
    pub fn direct_region(mut self) -> Spec {
        self.direct_region = true;
        self
    }

    /// What `modalias` shows.
    #[must_use]
    pub fn shown_modalias(&self) -> String {
        if let Some(given) = &self.modalias {
            return given.clone();
        }
        let (sv, sd) = self.subsystem.map_or((0, 0), |ids| (ids.vendor, ids.device));
        format!(
            "pci:v{:08X}d{:08X}sv{sv:08X}sd{sd:08X}bc{:02X}sc{:02X}i{:02X}",
            self.ids.vendor,
            self.ids.device,
            self.class >> 16 & 0xff,
            self.class >> 8 & 0xff,
            self.class & 0xff
        )
    }
}

/// A module as the running kernel's tree offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The modules whose symbols it uses itself: these count it in their refcount.
    pub uses: Vec<Module>,
    /// All it needs, nearest first, as `modules.dep` lists them.
    pub needs: Vec<Module>,
    /// Loaded after it by modprobe, if they can be (`softdep … post:`).
    pub post: Vec<Module>,
    /// PCI drivers that it registers.
    pub drivers: Vec<Driver>,
    /// Part of the kernel.
    pub builtin: bool,
}

/// A rule of modprobe.d for one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// `install M /bin/false`.
    Refuse,
    /// `install M …; modprobe -i M`: runs something and loads it.
    Run(String),
    /// `blacklist M`: stops udev and `modprobe -b`, not a load by name.
    Blacklist,
}

/// A process that opens devices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub comm: String,
    /// Its unit, or empty.
    pub unit: String,
    /// Its real user id.
    pub uid: u32,
}

impl Process {
    /// A process that is not root.
    #[must_use]
    pub fn new(pid: u32, comm: &str, uid: u32) -> Process {
        Process { pid, comm: comm.to_owned(), unit: String::new(), uid }
    }
}

/// Why the host needs a device while its host driver has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// A route, an upper device: one sentence.
    Network(String),
    /// Its network device was moved into another network namespace.
    Namespace(String),
    /// A mount, swap, md, dm: one sentence.
    Storage(String),
    /// A mediated device, by name.
    Mediated(String),
}
