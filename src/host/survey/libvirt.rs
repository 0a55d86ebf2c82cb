//! A libvirt domain: which PCI functions it wants.

use roxmltree::{Document, Node, ParsingOptions};

use super::read;
use crate::model::pci::{Address, Slot};

/// What a domain wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its functions, and whether libvirt takes them from their drivers by itself.
    pub devices: Vec<(Address, bool)>,
}

/// Reads a domain's XML.
///
/// # Errors
/// A sentence, when it is no XML.
pub fn parse(text: &str) -> Result<Domain, String> {
    let options = ParsingOptions { nodes_limit: 100_000, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|e| e.to_string())?;
    let root = document.root_element();
    let name = root.children().find(|node| node.has_tag_name("name")).and_then(|node| node.text());
    // A network interface may be a function, too.
    let wanted = |node: &Node<'_, '_>| match node.attribute("type") {
        Some("pci") => node.has_tag_name("hostdev"),
        Some("hostdev") => node.has_tag_name("interface"),
        _ => false,
    };
    let devices = root.descendants().filter(wanted).filter_map(|node| {
        let source = node.children().find(|node| node.has_tag_name("source"))?;
        let address = source.children().find(|node| node.has_tag_name("address"))?;
        Some((function(&address)?, node.attribute("managed") == Some("yes")))
    });
    Ok(Domain { name: read::shortened(name.unwrap_or_default()), devices: devices.collect() })
}

fn function(address: &Node<'_, '_>) -> Option<Address> {
    let number = |name: &str| read::number(address.attribute(name)?);
    let byte = |name: &str| u8::try_from(number(name)?).ok();
    let domain = u32::try_from(number("domain").unwrap_or(0)).ok()?;
    let (bus, device, function) = (byte("bus")?, byte("slot")?, byte("function")?);
    (device < 32 && function < 8).then(|| Slot { domain, bus, device }.function(function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_of_a_domain_are_its_sources_and_not_where_the_guest_sees_them() {
        let text = "<!-- WARNING: THIS IS AN AUTO-GENERATED FILE. <hostdev type='pci'> -->
<domain type='kvm'>
  <name>win &amp; co</name>
  <devices>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <driver name='vfio'/>
      <source><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>
      <address type='pci' domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>
    </hostdev>
    <hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/></source></hostdev>
    <interface type='network'><source network='default'/></interface>
    <interface type='hostdev' managed='no'><source><address type='pci' domain='0' bus='0x2' slot='0x10' function='0x1'/></source></interface>
  </devices>
</domain>";
        let domain = parse(text).unwrap();
        assert_eq!(domain.name, "win & co");
        let found: Vec<String> = domain.devices.iter().map(|(a, managed)| format!("{a} {managed}")).collect();
        assert_eq!(found, ["0000:01:00.0 true", "0000:02:10.1 false"]);
    }

    #[test]
    fn what_is_no_address_is_no_device_and_what_is_no_xml_is_said() {
        let bad = "<domain><hostdev type='pci'><source><address bus='0x100' slot='0x40' function='9'/></source></hostdev></domain>";
        assert_eq!(parse(bad).unwrap().devices, []);
        for text in ["", "<domain>", "<!DOCTYPE a [<!ENTITY b \"&b;\">]><a>&b;</a>"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(<[/a-z !='\"&;-]{0,12}>?){0,30}") {
            let _ = parse(&text);
        }
    }
}
