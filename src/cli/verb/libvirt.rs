//! `vfiodctl show --libvirt`: the elements that give a whole group to a domain.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::device::{self, Meant};
use crate::cli::failure::Failure;
use crate::model::pci::Address;
use crate::model::picture::Picture;

/// Elements for the endpoints of all groups that are meant. Bridges stay with the host, and members
/// that are not in the picture are left out: of another machine nobody can tell whether they are some.
///
/// # Errors
/// When a device is in no group: nothing isolates it.
pub fn answer(meant: &Meant, picture: &Picture, setting: &Setting) -> Result<Answer, Failure> {
    let mut all = BTreeSet::new();
    for (address, view) in device::functions(meant, picture) {
        let Some(group) = view.group.and_then(|number| picture.groups.get(&number)) else {
            return Err(Failure::Refused(format!("{address} is in no IOMMU group: it cannot be passed through")));
        };
        all.insert(address);
        all.extend(group.members.iter().filter_map(|member| member.parse::<Address>().ok()));
    }
    all.retain(|address| picture.devices.get(address).is_some_and(|view| !view.class.starts_with("06")));
    let xml: String = all.iter().map(|address| element(*address)).collect();
    Ok(if setting.json { Answer::fields(json!({ "devices": all, "xml": xml })) } else { Answer::text(xml) })
}

/// vfiod keeps the driver, so libvirt is not to change it: `managed='no'`.
fn element(address: Address) -> String {
    let Address { domain, bus, device, function } = address;
    let mut xml = String::from("<hostdev mode='subsystem' type='pci' managed='no'>\n  <source>\n");
    let _ = writeln!(
        xml,
        "    <address domain='0x{domain:04x}' bus='0x{bus:02x}' slot='0x{device:02x}' function='0x{function:x}'/>"
    );
    xml += "  </source>\n</hostdev>\n";
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_as_libvirt_reads_it() {
        let xml = element("10000:e1:00.1".parse().unwrap());
        assert!(xml.contains("<address domain='0x10000' bus='0xe1' slot='0x00' function='0x1'/>"), "{xml}");
    }
}
