//! What other programs' files give to VFIO: drivers that driverctl, DPDK or Unraid bind, vfio-pci's
//! `ids=`, and what virtual machines want. Read once, to write a configuration from it; nothing is
//! decided by it.

use super::modprobe_d::{Rules, files};
use super::root::{Root, is_absent};
use super::survey::{claims, machine};
use crate::model::pci::{Address, Driver, Ids};
use crate::model::preflight::claim::{Claim, Role, Target};

/// What a file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The file that says so.
    pub source: String,
    /// What it is about.
    pub about: About,
}

/// What a wish is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// driverctl, or another program at boot, gives this function this driver.
    Device(Address, Driver),
    /// A virtual machine takes this function when it starts, or finds it on VFIO: the sentence says which.
    Guest(Address, String),
    /// vfio-pci takes every function with these ids.
    Ids(Ids),
}

/// All wishes, in the order of the files, and what could not be read.
#[must_use]
pub fn wishes(root: &Root) -> (Vec<Wish>, Vec<String>) {
    let (mut wishes, mut trouble) = (Vec::new(), Vec::new());
    let mut text = |path: &str| match root.read_text(path) {
        Ok(text) => text,
        Err(error) => {
            if !is_absent(&error) {
                trouble.push(format!("read {path}: {error}"));
            }
            String::new()
        }
    };
    let mut lists = Vec::new();
    let rules = files(root);
    for file in rules.as_deref().unwrap_or_default() {
        let found = Rules::options(&text(file), "vfio_pci", "ids");
        lists.extend(found.into_iter().map(|list| (file.clone(), list)));
    }
    let cmdline = text("/proc/cmdline");
    let words = cmdline.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    let ids = words.filter(|(key, _)| key.replace('-', "_") == "vfio_pci.ids");
    lists.extend(ids.map(|(_, list)| ("the kernel command line".to_owned(), list.to_owned())));
    trouble.extend(rules.err().map(|error| error.to_string()));
    for (source, list) in lists {
        let ids = list.trim_matches('"').split(',').filter_map(vendor_and_device);
        wishes.extend(ids.map(|ids| Wish { source: source.clone(), about: About::Ids(ids) }));
    }
    let claimed = claims::files(root, &machine::read(root), &mut trouble);
    let mut all: Vec<Wish> = claimed.iter().flat_map(|claim| of_claim(root, claim)).collect();
    all.extend(wishes);
    (all, trouble)
}

/// What a claim asks for; of a slot or a bus, for each function that is there.
fn of_claim(root: &Root, claim: &Claim) -> Vec<Wish> {
    let addresses = match claim.target {
        Target::Device(address) => vec![address],
        Target::Within(..) => {
            let all = root.list("/sys/bus/pci/devices").unwrap_or_default();
            all.iter().filter_map(|name| name.parse().ok()).filter(|address| claim.target.holds(*address)).collect()
        }
        Target::Ids(_) | Target::Host => Vec::new(),
    };
    let about = |address| match &claim.role {
        Role::Binds(driver) => Some(About::Device(address, driver.clone())),
        Role::Takes | Role::Expects if claim.guest.is_some() => Some(About::Guest(address, claim.sentence())),
        _ => None,
    };
    let wish = |about| Wish { source: claim.source.clone(), about };
    addresses.into_iter().filter_map(about).map(wish).collect()
}

/// `vendor:device[:…]`; the kernel takes numbers without leading zeros, too.
fn vendor_and_device(entry: &str) -> Option<Ids> {
    let mut parts = entry.split(':').map(|part| u16::from_str_radix(part, 16).ok());
    Some(Ids { vendor: parts.next()??, device: parts.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_is_read() {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("etc/driverctl.d/pci-0000:01:00.0", "vfio-pci\n"),
            ("etc/driverctl.d/vmbus-1", "uio_hv_generic\n"),
            ("etc/pve/qemu-server/101.conf", "hostpci0: 0000:02:00\nname: win\n"),
            ("sys/bus/pci/devices/0000:02:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:02:00.1/vendor", "0x10de\n"),
            ("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2684,10de:22ba disable_vga=1\noptions kvm x=1\n"),
            ("proc/cmdline", "quiet vfio-pci.ids=8086:10d3:ffffffff\n"),
        ] {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let (wishes, trouble) = wishes(&Root::hostile(tree.path()).unwrap());
        let shown: Vec<String> = wishes.iter().map(|wish| format!("{} {:?}", wish.source, wish.about)).collect();
        assert_eq!(shown.len(), 6, "{shown:#?}");
        assert!(shown[0].starts_with("/etc/driverctl.d/pci-0000:01:00.0 Device("), "{}", shown[0]);
        for (shown, function) in shown[1..].iter().zip(["0", "1"]) {
            assert!(shown.starts_with("/etc/pve/qemu-server/101.conf Guest("), "{shown}");
            assert!(shown.contains(&format!("function: {function}")) && shown.contains("VM 101 (win)"), "{shown}");
        }
        assert!(shown[3].starts_with("/etc/modprobe.d/vfio.conf Ids("), "{}", shown[3]);
        assert!(shown[5].starts_with("the kernel command line Ids("), "{}", shown[5]);
        assert!(trouble.is_empty(), "{trouble:?}");
    }
}
