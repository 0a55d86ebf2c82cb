//! What other managers (driverctl, libvirt, Proxmox, Unraid, modprobe …) say about devices, as it was read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::pci::{Address, Driver};
pub use crate::model::vfio_ids::Pattern;

/// What another manager says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who: `driverctl`, `libvirt`, `Proxmox`, `Unraid`, `mdevctl`, `DPDK`, `xl`, `xen-pciback`, `pci-stub`,
    /// `modprobe`, `kernel command line`, `Harvester`.
    pub manager: String,
    /// The file, with the line where that helps. Private where [`Claim::guest`] is: it often holds the name.
    pub source: String,
    /// About what.
    pub target: Target,
    /// What it says, without the guest's name.
    pub text: String,
    /// The guest, network or mapping that it is for. Private: the file is one that only root may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// What the manager does with the device.
    #[serde(default)]
    pub role: Role,
}

impl Claim {
    /// A claim for no guest.
    pub fn new(manager: &str, source: impl Into<String>, target: Target, role: Role, text: impl Into<String>) -> Claim {
        Claim { manager: manager.to_owned(), source: source.into(), target, text: text.into(), guest: None, role }
    }

    /// The same for a guest, a network or a mapping.
    #[must_use]
    pub fn of(mut self, kind: Kind, name: impl Into<String>) -> Claim {
        self.guest = Some(Guest { kind, name: name.into() });
        self
    }

    /// Who says what, on one line: `libvirt: domain win, managed='yes'`.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.guest {
            Some(guest) => format!("{}: {guest}, {}", self.manager, self.text),
            None => format!("{}: {}", self.manager, self.text),
        }
    }
}

/// What a manager has a device for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// What it is.
    pub kind: Kind,
    /// Its name; of Proxmox its number as well.
    pub name: String,
}

/// What a [`Guest`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A virtual machine, in libvirt's and Xen's word.
    Domain,
    /// A virtual machine, in Proxmox's word.
    Vm,
    /// A network of libvirt that hands out functions.
    Network,
    /// A name of Proxmox for functions.
    Mapping,
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Domain => "domain",
            Kind::Vm => "VM",
            Kind::Network => "network",
            Kind::Mapping => "mapping",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// What a manager does with a device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It takes the device for a guest when that starts.
    #[default]
    Takes,
    /// It hands the device to QEMU as it is: it has to be on VFIO before.
    Expects,
    /// It gives the device to a guest on the driver that it is on.
    Keeps,
    /// It binds the device to this driver at boot, or whenever it appears.
    Binds(Driver),
    /// It has a name for the device, by which a guest may get it.
    Names,
    /// It hands out or makes virtual functions of the device.
    Pool,
    /// It hands out or makes mediated devices of the device.
    Parent,
}

/// What a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// One function.
    Device(Address),
    /// All functions from the first to the last: of a slot, of a bus.
    Within(Address, Address),
    /// All functions that an entry of `ids=` takes.
    Ids(Pattern),
    /// The whole machine.
    Host,
}

impl Target {
    /// Whether it is about this function; of ids and of the whole machine that cannot be told by the address.
    #[must_use]
    pub fn holds(&self, address: Address) -> bool {
        match self {
            Target::Device(device) => *device == address,
            Target::Within(first, last) => (*first..=*last).contains(&address),
            Target::Ids(_) | Target::Host => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_for_a_guest_names_it() {
        let target = Target::Device("01:00.0".parse().unwrap());
        let claim = Claim::new("libvirt", "/etc/libvirt/qemu/win.xml", target, Role::Takes, "managed='yes'");
        assert_eq!(claim.sentence(), "libvirt: managed='yes'");
        assert_eq!(claim.of(Kind::Domain, "win").sentence(), "libvirt: domain win, managed='yes'");
    }

    #[test]
    fn a_claim_that_was_written_by_an_older_version_is_read() {
        let old = r#"{"manager":"libvirt","source":"/x","target":{"device":"0000:01:00.0"},"text":"domain win"}"#;
        let claim: Claim = serde_json::from_str(old).unwrap();
        assert_eq!((claim.guest, claim.role), (None, Role::Takes));
    }
}
