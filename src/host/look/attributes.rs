//! Attributes that are read under the device's lock: on 6.1 each of them blocks while the device
//! is being unbound (seen for `driver_override` and `uevent`; `sriov_numvfs` takes the same lock).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::patience::{Reading, failed};
use crate::host::root::{Root, is_absent};
use crate::model::pci::{Address, Driver};
use crate::model::snapshot::Fact;

/// Where the kernel lists the PCI functions.
pub const DEVICES: &str = "/sys/bus/pci/devices";

/// What was read, by path.
pub type Readings = BTreeMap<String, Reading>;

/// The directory of a function.
#[must_use]
pub fn directory(address: Address) -> String {
    format!("{DEVICES}/{address}")
}

fn attribute(address: Address, name: &str) -> String {
    format!("{DEVICES}/{address}/{name}")
}

/// The file with a function's override.
#[must_use]
pub fn override_file(address: Address) -> String {
    attribute(address, "driver_override")
}

/// The files that a look at a function reads under its lock.
#[must_use]
pub fn locked_files(address: Address) -> [String; 3] {
    [override_file(address), attribute(address, "uevent"), attribute(address, "sriov_numvfs")]
}

/// Whether a read under the lock did not come back in time.
#[must_use]
pub fn is_late(readings: &Readings, address: Address) -> bool {
    locked_files(address).iter().any(|path| matches!(readings.get(path), Some(Reading::Late(_))))
}

/// `driver_override` as it was read.
#[must_use]
pub fn pin(readings: &Readings, address: Address) -> Fact<Driver> {
    fact(readings, &override_file(address), Fact::Absent, parse_override)
}

/// `DRIVER=` in `uevent` as it was read.
#[must_use]
pub fn uevent_driver(readings: &Readings, address: Address) -> Fact<Driver> {
    fact(readings, &attribute(address, "uevent"), Fact::Absent, parse_uevent)
}

/// `sriov_numvfs` as it was read; what has no such file has no VFs.
#[must_use]
pub fn vfs(readings: &Readings, address: Address) -> Fact<u32> {
    let path = attribute(address, "sriov_numvfs");
    fact(readings, &path, Fact::Is(0), |text| match text.trim().parse() {
        Ok(number) => Fact::Is(number),
        Err(_) => Fact::Unreadable(format!("`{}` is no number of VFs", text.trim())),
    })
}

fn fact<T>(readings: &Readings, path: &str, gone: Fact<T>, parse: impl Fn(&str) -> Fact<T>) -> Fact<T> {
    match readings.get(path) {
        Some(Reading::Text(text)) => match parse(text) {
            Fact::Unreadable(why) => Fact::Unreadable(format!("read {path}: {why}")),
            fact => fact,
        },
        Some(Reading::Gone) => gone,
        Some(Reading::Failed(why) | Reading::Late(why)) => Fact::Unreadable(why.clone()),
        None => Fact::not_looked(),
    }
}

fn parse_override(text: &str) -> Fact<Driver> {
    match text.trim_end_matches('\n') {
        "(null)" | "" => Fact::Absent,
        name => name.parse().map_or_else(|e| Fact::Unreadable(format!("{e}")), Fact::Is),
    }
}

fn parse_uevent(text: &str) -> Fact<Driver> {
    match text.lines().find_map(|line| line.strip_prefix("DRIVER=")) {
        None => Fact::Absent,
        Some(name) => name.parse().map_or_else(|e| Fact::Unreadable(format!("{e}")), Fact::Is),
    }
}

/// All functions without a driver.
///
/// # Errors
/// A sentence, when the list or one driver link cannot be read.
pub fn without_driver(root: &Root) -> Result<BTreeSet<Address>, String> {
    let names = root.list(DEVICES).map_err(|e| failed("list", DEVICES, &e))?;
    let mut found = BTreeSet::new();
    for address in names.iter().filter_map(|name| name.parse().ok()) {
        if driver_link(root, address).map_err(|e| failed("read", &attribute(address, "driver"), &e))?.is_none() {
            found.insert(address);
        }
    }
    Ok(found)
}

/// The `driver` link; it takes no lock.
///
/// # Errors
/// As `readlink(2)`, but for a link that is not there.
pub fn driver_link(root: &Root, address: Address) -> io::Result<Option<Driver>> {
    match root.link_name(&attribute(address, "driver")) {
        Ok(name) => name.parse().map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What the load of a driver would bind, of the functions without one.
///
/// One override that nobody could read spoils the whole answer: that very function may be pinned.
#[must_use]
pub fn pinned(readings: &Readings, unbound: &BTreeSet<Address>) -> Fact<BTreeMap<Address, Driver>> {
    let mut found = BTreeMap::new();
    for address in unbound {
        match pin(readings, *address) {
            Fact::Is(driver) => drop(found.insert(*address, driver)),
            Fact::Absent => {}
            Fact::Unreadable(why) => return Fact::Unreadable(format!("{address}: {why}")),
        }
    }
    Fact::Is(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_a_name_or_null() {
        assert_eq!(parse_override("(null)\n"), Fact::Absent);
        assert_eq!(parse_override("vfio-pci\n"), Fact::Is(Driver::vfio_pci()));
        assert!(parse_override("../x\n").unreadable().is_some());
    }

    #[test]
    fn the_driver_is_found_in_a_captured_uevent() {
        let captured = "DRIVER=virtio-pci\nPCI_CLASS=10000\nPCI_ID=1AF4:1042\nPCI_SLOT_NAME=0000:00:02.0\n";
        assert_eq!(parse_uevent(captured), Fact::Is("virtio-pci".parse().unwrap()));
        assert_eq!(parse_uevent("PCI_CLASS=10000\nNO_DRIVER=x\n"), Fact::Absent);
    }

    #[test]
    fn one_override_that_cannot_be_read_is_named_and_spoils_the_list() {
        let address: Address = "0000:03:00.0".parse().unwrap();
        let other: Address = "0000:04:00.0".parse().unwrap();
        let mut readings = Readings::new();
        readings.insert(override_file(other), Reading::Text("vfio-pci\n".to_owned()));
        readings.insert(override_file(address), Reading::Text("(null)\n".to_owned()));
        let unbound = BTreeSet::from([address, other]);
        assert_eq!(pinned(&readings, &unbound), Fact::Is(BTreeMap::from([(other, Driver::vfio_pci())])));
        readings.insert(override_file(address), Reading::Failed("reading it did not return".to_owned()));
        let found = pinned(&readings, &unbound);
        assert_eq!(found.unreadable(), Some("0000:03:00.0: reading it did not return"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,200}") {
            let _ = parse_override(&text);
            let _ = parse_uevent(&text);
        }
    }
}
