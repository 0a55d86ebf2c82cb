//! mdevctl: mediated devices that are made at boot, `/etc/mdevctl.d/PARENT/UUID`.

use serde_json::Value;

use super::search::Search;
use crate::host::survey::read::shortened;
use crate::model::pci::Address;
use crate::model::preflight::claim::{Claim, Role, Target};

const MDEVCTL: &str = "/etc/mdevctl.d";
const LIVE: &str = "/sys/bus/mdev/devices";

/// Reads them. A parent may be no PCI function (a channel of s390), and scripts lie there, too.
pub fn read(search: &mut Search<'_>) {
    for parent in search.names(MDEVCTL) {
        let Ok(address) = parent.parse::<Address>() else { continue };
        for uuid in search.names(&format!("{MDEVCTL}/{parent}")) {
            let source = format!("{MDEVCTL}/{parent}/{uuid}");
            let Some(text) = search.text(&source) else { continue };
            let value = match serde_json::from_str::<Value>(&text) {
                Ok(value) => value,
                Err(e) => {
                    search.trouble(format!("read {source}: {e}"));
                    continue;
                }
            };
            let field = |name: &str| shortened(value.get(name).and_then(Value::as_str).unwrap_or("unknown"));
            let text = format!("type {}, start {}", field("mdev_type"), field("start"));
            search.claim(Claim::new("mdevctl", source, Target::Device(address), Role::Parent, text));
        }
    }
}

/// The function that a mediated device is made of: as it is now, else as mdevctl would make it.
pub fn parent(search: &mut Search<'_>, uuid: &str) -> Option<Address> {
    // It becomes a part of a path.
    if uuid.len() != 36 || !uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return None;
    }
    let uuid = uuid.to_ascii_lowercase();
    if let Ok(target) = search.root.read_link(&format!("{LIVE}/{uuid}")) {
        return target.parent()?.file_name()?.to_str()?.parse().ok();
    }
    let parents = search.names(MDEVCTL).into_iter().filter_map(|name| name.parse::<Address>().ok());
    let mut with = parents.filter(|parent| {
        let parent = format!("{MDEVCTL}/{parent}/{uuid}");
        search.root.is_plain(&parent).unwrap_or(false)
    });
    with.next()
}
