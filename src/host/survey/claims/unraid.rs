//! Unraid: what its flash drive has bound at boot. `vfio-pci.cfg` for functions, `sriov.cfg` and
//! `sriovvfs.cfg` (7.2 and later) for virtual functions. Formats: webgui of Unraid, `SysDevs.php`,
//! `update.sriov.php`.

use super::search::{Search, loosely};
use crate::host::root::Root;
use crate::host::survey::read::shortened;
use crate::model::pci::{Address, Driver, Ids};
use crate::model::preflight::claim::{Claim, Pattern, Role, Target};
use crate::model::preflight::survey::Machine;

const BIND: &str = "/boot/config/vfio-pci.cfg";
const SRIOV: &str = "/boot/config/sriov.cfg";
const VFS: &str = "/boot/config/sriovvfs.cfg";

/// Reads them; on this machine only where it is Unraid: elsewhere /boot may be mounted by the first look into it.
pub fn read(search: &mut Search<'_>, machine: &Machine) {
    if search.root.is_live() && !is_unraid(search.root, machine) {
        return;
    }
    for item in list(search, BIND, "BIND=") {
        let (first, ids) = item.split_once('|').map_or((item.as_str(), None), |(first, ids)| (first, Some(ids)));
        let target = match (loosely(first), first.parse::<Ids>()) {
            // Another card at the address is left alone.
            (Some(address), _) if differs(search, address, ids) => continue,
            (Some(address), _) => Target::Device(address),
            (None, Ok(ids)) => Target::Ids(Pattern {
                ids: [ids.vendor.into(), ids.device.into(), Pattern::ANY, Pattern::ANY],
                class: 0,
                mask: 0,
            }),
            (None, Err(_)) => continue,
        };
        search.claim(claim(BIND, target, Role::Binds(Driver::vfio_pci()), &format!("BIND={item}")));
    }
    for item in list(search, SRIOV, "VFS=") {
        let mut parts = item.split('|');
        let (address, ids, number) = (parts.next().and_then(loosely), parts.next(), parts.next());
        if let Some(address) = address.filter(|address| !differs(search, *address, ids))
            && number.is_some_and(|number| number != "0")
        {
            search.claim(claim(SRIOV, Target::Device(address), Role::Pool, &format!("VFS={item}")));
        }
    }
    for item in list(search, VFS, "VFSETTINGS=") {
        let mut parts = item.split('|');
        let (address, ids, bound) = (parts.next().and_then(loosely), parts.next(), parts.next());
        if let Some(address) = address.filter(|address| bound == Some("1") && !differs(search, *address, ids)) {
            // What follows is the MAC address.
            let text = item.rsplit_once('|').map_or(item.as_str(), |(rest, _)| rest);
            let role = Role::Binds(Driver::vfio_pci());
            search.claim(claim(VFS, Target::Device(address), role, &format!("VFSETTINGS={text}")));
        }
    }
}

/// Whether the machine is one of Unraid's, by what needs no look at the flash drive.
pub(super) fn is_unraid(root: &Root, machine: &Machine) -> bool {
    [&machine.release, &machine.system].iter().any(|name| name.to_ascii_lowercase().contains("unraid"))
        || root.exists("/etc/unraid-version").unwrap_or(false)
}

fn claim(source: &str, target: Target, role: Role, text: &str) -> Claim {
    Claim::new("Unraid", source, target, role, shortened(text))
}

fn list(search: &mut Search<'_>, file: &str, key: &str) -> Vec<String> {
    let text = search.text(file).unwrap_or_default();
    let lists = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    lists.flat_map(|list| list.trim_matches('"').split_whitespace()).map(str::to_owned).collect()
}

/// Whether another card than the one with these ids is at the address.
fn differs(search: &Search<'_>, address: Address, ids: Option<&str>) -> bool {
    let Some(Ok(wanted)) = ids.map(str::parse::<Ids>) else { return false };
    let number = |name: &str| {
        let text = search.root.read_text(&format!("/sys/bus/pci/devices/{address}/{name}")).ok()?;
        u16::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    match (number("vendor"), number("device")) {
        (Some(vendor), Some(device)) => wanted != Ids { vendor, device },
        _ => false,
    }
}
