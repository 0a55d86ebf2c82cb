//! What binds devices to a driver at boot, one file or line a device: driverctl and DPDK's init script.

use super::search::{Search, loosely};
use crate::host::survey::read::shortened;
use crate::model::pci::Address;
use crate::model::preflight::claim::{Claim, Role, Target};

const DRIVERCTL: &str = "/etc/driverctl.d";
const DPDK: &str = "/etc/dpdk/interfaces";

/// Reads them.
pub fn read(search: &mut Search<'_>) {
    // `BUS-DEVICE`; of a device that is not there, too: the udev rule waits for it.
    for name in search.names(DRIVERCTL) {
        let Some(Ok(address)) = name.strip_prefix("pci-").map(str::parse::<Address>) else { continue };
        let source = format!("{DRIVERCTL}/{name}");
        // An empty file is no override (driverctl 0.121).
        if let Some(text) = search.text(&source).filter(|text| !text.trim().is_empty()) {
            search.claim(binds("driverctl", source, address, text.trim()));
        }
    }
    for line in search.text(DPDK).unwrap_or_default().lines() {
        // `pci 0000:04:00.0 vfio-pci`, blanks or tabs between them.
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let (Some("pci"), Some(address), Some(driver)) = (words.next(), words.next(), words.next())
            && let Some(address) = loosely(address)
        {
            search.claim(binds("DPDK", DPDK.to_owned(), address, driver));
        }
    }
}

fn binds(manager: &str, source: String, address: Address, driver: &str) -> Claim {
    let text = shortened(driver);
    let role = driver.parse().map_or(Role::Takes, Role::Binds);
    Claim::new(manager, source, Target::Device(address), role, text)
}
