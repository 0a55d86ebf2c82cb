//! A libvirt network that hands out PCI functions: `<forward mode='hostdev'>`.

use super::libvirt::{document, function};
use super::read;
use crate::model::pci::Address;

/// A network that hands out functions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Whether libvirt takes the functions from their drivers by itself.
    pub managed: bool,
    /// Functions whose virtual functions it hands out, by the names of their network interfaces.
    pub pfs: Vec<String>,
    /// Functions that it hands out.
    pub devices: Vec<Address>,
}

/// Reads a network's XML; none when it hands out no functions.
///
/// # Errors
/// A sentence, when it is no XML.
pub fn parse(text: &str) -> Result<Option<Network>, String> {
    let document = document(text)?;
    // What runs is within <networkstatus>.
    let Some(network) = document.descendants().find(|node| node.has_tag_name("network")) else { return Ok(None) };
    let child = |name: &str| network.children().find(|node| node.has_tag_name(name));
    let Some(forward) = child("forward").filter(|forward| forward.attribute("mode") == Some("hostdev")) else {
        return Ok(None);
    };
    let name = read::shortened(child("name").and_then(|node| node.text()).unwrap_or_default());
    let managed = forward.attribute("managed") == Some("yes");
    let of = |tag: &'static str| forward.children().filter(move |node| node.has_tag_name(tag));
    let pfs = of("pf").filter_map(|pf| pf.attribute("dev")).map(read::shortened).collect();
    let devices = of("address").filter_map(|address| function(&address)).collect();
    Ok(Some(Network { name, managed, pfs, devices }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_hands_out_the_functions_of_a_pf_or_of_a_list() {
        let text = "<network><name>pool</name><forward mode='hostdev' managed='yes'><driver name='vfio'/><pf dev='eth3'/></forward></network>";
        let network = parse(text).unwrap().unwrap();
        assert_eq!((network.name.as_str(), network.managed), ("pool", true));
        assert_eq!(network.pfs, ["eth3"]);
        let text = "<networkstatus><network><name>list</name><forward mode='hostdev'>\
            <address type='pci' domain='0x0000' bus='0x04' slot='0x10' function='0x1'/><address type='pci' domain='0' bus='4' slot='16' function='3'/>\
            </forward></network></networkstatus>";
        let network = parse(text).unwrap().unwrap();
        let shown: Vec<String> = network.devices.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0000:04:10.1", "0000:04:10.3"]);
        assert!(!network.managed);
    }

    #[test]
    fn a_network_of_another_kind_hands_out_none() {
        for text in [
            "<network><name>default</name><forward mode='nat'/></network>",
            "<network><name>isolated</name></network>",
            "<network><forward mode='bridge' dev='eth0'><interface dev='eth0'/></forward></network>",
            "<domain/>",
        ] {
            assert_eq!(parse(text).unwrap(), None, "{text}");
        }
        assert!(parse("<network>").is_err());
    }
}
