//! Devices that vfio-pci takes by its `ids=` parameter when it is loaded, pinned or not.
//!
//! modprobe hands it the parameter from modprobe.d (`options vfio-pci ids=…`) and from the kernel
//! command line (`vfio-pci.ids=…`). Subsystem and class of an entry are passed over: a device more
//! than the kernel takes is held for nothing, one fewer would be bound unannounced.

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::directory;
use crate::host::modprobe_d::{Rules, files};
use crate::host::root::{Root, is_absent};
use crate::model::pci::{Address, Driver};

/// Adds to what is pinned whatever has no driver, no override and matching ids.
///
/// # Errors
/// A sentence, when the parameter or a device's ids cannot be read or make no sense.
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
        let number = |name: &str| {
            let path = format!("{}/{name}", directory(*address));
            let text = root.read_text(&path).map_err(|e| format!("read {path}: {e}"))?;
            hex(text.trim().trim_start_matches("0x")).ok_or_else(|| format!("read {path}: `{}` is no id", text.trim()))
        };
        let (vendor, device) = (number("vendor")?, number("device")?);
        if wanted.iter().any(|(v, d)| (*v == ANY || *v == vendor) && (*d == ANY || *d == device)) {
            pinned.insert(*address, Driver::vfio_pci());
        }
    }
    Ok(pinned)
}

/// `PCI_ANY_ID`.
const ANY: u32 = u32::MAX;

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

/// The vendor and device ids of the parameter, from both places.
fn wanted(root: &Root) -> Result<Vec<(u32, u32)>, String> {
    let mut lists = Vec::new();
    for file in files(root).map_err(|e| e.to_string())? {
        match root.read_text(&file) {
            Ok(text) => lists.extend(Rules::options(&text, "vfio_pci", "ids")),
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(format!("read {file}: {e}")),
        }
    }
    match root.read_text("/proc/cmdline") {
        Ok(text) => lists.extend(from_cmdline(&text)),
        Err(e) if is_absent(&e) => {}
        Err(e) => return Err(format!("read /proc/cmdline: {e}")),
    }
    lists.iter().map(|list| parse(list)).collect::<Result<Vec<_>, _>>().map(|all| all.concat())
}

/// The list on a kernel command line.
#[must_use]
pub fn from_cmdline(text: &str) -> Option<String> {
    let mut words = text.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    // The last one counts, as for any parameter.
    let mine = words.by_ref().rev().find(|(key, _)| key.replace('-', "_") == "vfio_pci.ids");
    mine.map(|(_, value)| value.to_owned())
}

/// `vendor:device[:subvendor[:subdevice[:class[:mask]]]]`, with commas between entries.
fn parse(list: &str) -> Result<Vec<(u32, u32)>, String> {
    let list = list.trim_matches('"');
    let entry = |entry: &str| {
        let mut parts = entry.split(':').map(hex);
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(vendor), Some(device)) => Ok((vendor, device)),
            _ => Err(format!("`{entry}` in vfio-pci's ids= is no vendor and device id")),
        }
    };
    list.split(',').filter(|entry| !entry.is_empty()).map(entry).collect()
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
        for (address, device) in [("0000:01:00.0", "0x2684\n"), ("0000:02:00.0", "0x10d3\n")] {
            put(&format!("sys/bus/pci/devices/{address}/vendor"), "0x10de\n");
            put(&format!("sys/bus/pci/devices/{address}/device"), device);
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
    fn what_makes_no_sense_is_said_and_not_passed_over() {
        assert!(found("options vfio-pci ids=gpu\n", "").unwrap_err().contains("`gpu`"));
    }
}
