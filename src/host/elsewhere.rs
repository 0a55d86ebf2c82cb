//! What other programs' files give to VFIO: driverctl's overrides and vfio-pci's `ids=`. Read once,
//! to write a configuration from it; nothing is decided by it.

use super::modprobe_d::{Rules, files};
use super::root::{Root, is_absent};
use crate::model::pci::{Address, Driver, Ids};

const DRIVERCTL: &str = "/etc/driverctl.d";

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
    /// driverctl gives this function this driver.
    Device(Address, Driver),
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
    for name in root.list(DRIVERCTL).unwrap_or_default() {
        let Some(Ok(address)) = name.strip_prefix("pci-").map(str::parse::<Address>) else { continue };
        let source = format!("{DRIVERCTL}/{name}");
        if let Ok(driver) = text(&source).trim().parse::<Driver>() {
            wishes.push(Wish { source, about: About::Device(address, driver) });
        }
    }
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
    (wishes, trouble)
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
            ("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2684,10de:22ba disable_vga=1\noptions kvm x=1\n"),
            ("proc/cmdline", "quiet vfio-pci.ids=8086:10d3:ffffffff\n"),
        ] {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let (wishes, trouble) = wishes(&Root::hostile(tree.path()).unwrap());
        let shown: Vec<String> = wishes.iter().map(|wish| format!("{} {:?}", wish.source, wish.about)).collect();
        assert_eq!(shown.len(), 4, "{shown:#?}");
        assert!(shown[0].starts_with("/etc/driverctl.d/pci-0000:01:00.0 Device("), "{}", shown[0]);
        assert!(shown[2].starts_with("/etc/modprobe.d/vfio.conf Ids("), "{}", shown[2]);
        assert!(shown[3].starts_with("the kernel command line Ids("), "{}", shown[3]);
        assert!(trouble.is_empty(), "{trouble:?}");
    }
}
