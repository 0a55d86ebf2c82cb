//! Devices that vfio-pci takes by its `ids=` parameter when it is loaded, pinned or not.
//!
//! A device more than the kernel takes would be held for nothing, one fewer would be bound
//! unannounced: what cannot be read of a device is taken to fit.

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::directory;
use crate::host::modprobe_d::Rules;
use crate::host::options;
use crate::host::root::{Root, is_absent};
use crate::model::pci::{Address, Driver, Ids};
use crate::model::vfio_ids::{Lists, Pattern, Seen};

/// Adds to what is pinned whatever has no driver, no override and is meant by the list in force.
///
/// # Errors
/// A sentence, when the list or a device's ids cannot be read.
pub fn add(
    root: &Root,
    unbound: &BTreeSet<Address>,
    mut pinned: BTreeMap<Address, Driver>,
    overridden: impl Fn(Address) -> bool,
) -> Result<BTreeMap<Address, Driver>, String> {
    let wanted = wanted(root)?;
    if wanted.is_empty() {
        return Ok(pinned);
    }
    for address in unbound.iter().filter(|address| !overridden(**address)) {
        let seen = seen(root, *address)?;
        if wanted.iter().any(|pattern| pattern.fits(seen)) {
            pinned.insert(*address, Driver::vfio_pci());
        }
    }
    Ok(pinned)
}

/// The patterns of the list that a load would hand over. What is part of the kernel is never loaded.
fn wanted(root: &Root) -> Result<Vec<Pattern>, String> {
    let rules = Rules::read(root);
    if let Some(trouble) = rules.trouble {
        return Err(trouble);
    }
    let cmdline = match root.read_text("/proc/cmdline") {
        Ok(text) => text,
        Err(e) if is_absent(&e) => String::new(),
        Err(e) => return Err(format!("read /proc/cmdline: {e}")),
    };
    let given = options::given(&rules, &cmdline, "vfio_pci", false);
    Ok(Lists::of(&given).entries().filter_map(|(_, pattern)| pattern).collect())
}

fn seen(root: &Root, address: Address) -> Result<Seen, String> {
    let number = |name: &str| {
        let path = format!("{}/{name}", directory(address));
        let text = root.read_text(&path).map_err(|e| format!("read {path}: {e}"))?;
        let digits = text.trim().trim_start_matches("0x");
        u32::from_str_radix(digits, 16).map_err(|_| format!("read {path}: `{}` is no number", text.trim()))
    };
    let half = |name: &str| number(name).map(|number| (number & 0xffff) as u16);
    let ids = Ids { vendor: half("vendor")?, device: half("device")? };
    let subsystem = match (half("subsystem_vendor"), half("subsystem_device")) {
        (Ok(vendor), Ok(device)) => Some(Ids { vendor, device }),
        _ => None,
    };
    Ok(Seen { ids, subsystem, class: number("class")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(conf: &str, cmdline: &str) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/modprobe.d/vfio.conf", conf);
        put("proc/cmdline", cmdline);
        for (address, device, class) in
            [("0000:01:00.0", "0x2684\n", "0x030000\n"), ("0000:02:00.0", "0x10d3\n", "0x040300\n")]
        {
            put(&format!("sys/bus/pci/devices/{address}/vendor"), "0x10de\n");
            put(&format!("sys/bus/pci/devices/{address}/device"), device);
            put(&format!("sys/bus/pci/devices/{address}/subsystem_vendor"), "0x1043\n");
            put(&format!("sys/bus/pci/devices/{address}/subsystem_device"), "0x0001\n");
            put(&format!("sys/bus/pci/devices/{address}/class"), class);
        }
        tree
    }

    fn found(conf: &str, cmdline: &str) -> Result<Vec<String>, String> {
        let tree = tree(conf, cmdline);
        let unbound = ["0000:01:00.0", "0000:02:00.0"].iter().map(|text| text.parse().unwrap()).collect();
        let overridden = |address: Address| address.to_string() == "0000:03:00.0";
        let found = add(&Root::trusted(tree.path()), &unbound, BTreeMap::new(), overridden)?;
        Ok(found.keys().map(ToString::to_string).collect())
    }

    #[test]
    fn a_device_is_found_by_the_options_line_or_the_command_line() {
        assert_eq!(found("options vfio-pci disable_vga=1 ids=10de:2684,8086:1\n", "quiet").unwrap(), ["0000:01:00.0"]);
        assert_eq!(found("", "quiet vfio-pci.ids=10de:10d3:ffffffff:ffffffff").unwrap(), ["0000:02:00.0"]);
        assert_eq!(found("options vfio_pci ids=10de:ffffffff\n", "").unwrap().len(), 2);
        assert!(
            found("options nvme ids=10de:2684\n# options vfio-pci ids=10de:2684\n", "vfio.ids=1:2").unwrap().is_empty()
        );
    }

    #[test]
    fn only_what_the_kernel_would_take_is_found() {
        let (gpu, audio) = (["0000:01:00.0"], ["0000:02:00.0"]);
        // The last list counts, and an entry that makes no sense is passed over.
        assert_eq!(
            found("options vfio-pci ids=10de:2684\noptions vfio-pci ids=gpu,0x10de:0x10d3\n", "").unwrap(),
            audio
        );
        assert_eq!(found("options vfio-pci ids=10de:10d3\n", "vfio-pci.ids=10de:2684").unwrap(), gpu);
        assert_eq!(found("options vfio-pci ids=10de:ffffffff:ffffffff:ffffffff:030000:ff0000\n", "").unwrap(), gpu);
        assert!(found("options vfio-pci ids=10de:2684:1044\n", "").unwrap().is_empty());
        assert_eq!(found("options vfio-pci ids=\"8086:1, 10de:2684\"\n", "").unwrap(), gpu);
    }

    #[test]
    fn a_directory_in_modprobe_d_hides_nothing() {
        let tree = tree("options vfio-pci ids=10de:2684\n", "");
        fs::create_dir(tree.path().join("etc/modprobe.d/old.conf")).unwrap();
        let unbound = BTreeSet::from(["0000:01:00.0".parse().unwrap()]);
        assert_eq!(add(&Root::trusted(tree.path()), &unbound, BTreeMap::new(), |_| false).unwrap().len(), 1);
    }
}
