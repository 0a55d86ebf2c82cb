//! A libvirt domain: which PCI functions it wants.

use roxmltree::{Document, Node, ParsingOptions};

use super::claims::qemu_args;
use super::read;
use crate::model::pci::{Address, Slot};

/// What a domain wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its functions.
    pub devices: Vec<Want>,
    /// The UUIDs of its mediated devices.
    pub mdevs: Vec<String>,
}

/// A function that a domain wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The function.
    pub address: Address,
    /// Whether libvirt takes it from its driver by itself.
    pub managed: bool,
    /// As what.
    pub what: What,
}

/// As what a domain wants a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// `<hostdev type='pci'>`
    Hostdev,
    /// `<interface type='hostdev'>`, or one of a network that hands out functions.
    Interface,
    /// `<disk type='nvme'>`: QEMU drives the controller by itself, over VFIO.
    Disk,
    /// An argument of QEMU's that libvirt passes on: it knows nothing of it.
    Argument,
}

/// Reads a domain's XML, defined or as it runs.
///
/// # Errors
/// A sentence, when it is no XML.
pub fn parse(text: &str) -> Result<Domain, String> {
    let document = document(text)?;
    // What runs is within <domstatus>, which has no name.
    let domain = document.descendants().find(|node| node.has_tag_name("domain"));
    let name = domain.unwrap_or_else(|| document.root_element());
    let name = name.children().find(|node| node.has_tag_name("name")).and_then(|node| node.text());
    // What other programs keep in <metadata> says nothing to libvirt.
    let nodes = || document.descendants().filter(|node| !node.ancestors().any(|above| above.has_tag_name("metadata")));
    let devices = nodes().filter_map(|node| wanted(&node));
    let arguments = nodes().filter(|node| node.tag_name().name() == "arg");
    let arguments = qemu_args::devices(arguments.filter_map(|node| node.attribute("value")));
    let arguments = arguments.into_iter().map(|address| Want { address, managed: false, what: What::Argument });
    Ok(Domain {
        name: read::shortened(name.unwrap_or_default()),
        devices: devices.chain(arguments).collect(),
        mdevs: nodes().filter_map(|node| mdev(&node)).collect(),
    })
}

/// A text as XML, within bounds.
pub(super) fn document(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { nodes_limit: 100_000, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|e| e.to_string())
}

fn wanted(node: &Node<'_, '_>) -> Option<Want> {
    let source = || node.children().find(|node| node.has_tag_name("source"));
    let managed = |node: &Node<'_, '_>| node.attribute("managed") == Some("yes");
    let (what, managed, source) = match (node.tag_name().name(), node.attribute("type")?) {
        ("hostdev", "pci") => (What::Hostdev, managed(node), source()?),
        // A network interface may be a function, too; <actual> is what one of a network has got.
        ("interface" | "actual", "hostdev") => (What::Interface, managed(node), source()?),
        // A disk, its mirror, or what it is built upon: the source says what it is, and whether it is managed.
        ("source", "pci") if node.parent().is_some_and(|above| above.attribute("type") == Some("nvme")) => {
            // Managed where nothing is said, but of what a disk is built upon (virDomainDiskDefPostParse).
            let of_disk = node.parent().is_some_and(|above| above.has_tag_name("disk"));
            (What::Disk, managed(node) || of_disk && !node.has_attribute("managed"), *node)
        }
        _ => return None,
    };
    let address = source.children().find(|node| node.has_tag_name("address"))?;
    Some(Want { address: function(&address)?, managed, what })
}

fn mdev(node: &Node<'_, '_>) -> Option<String> {
    if !node.has_tag_name("hostdev") || node.attribute("type") != Some("mdev") {
        return None;
    }
    let source = node.children().find(|node| node.has_tag_name("source"))?;
    let address = source.children().find(|node| node.has_tag_name("address"))?;
    Some(read::shortened(address.attribute("uuid")?))
}

/// The function that an `<address>` is.
pub(super) fn function(address: &Node<'_, '_>) -> Option<Address> {
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
        assert_eq!(shown(&domain), ["0000:01:00.0 true Hostdev", "0000:02:10.1 false Interface"]);
    }

    fn shown(domain: &Domain) -> Vec<String> {
        domain.devices.iter().map(|want| format!("{} {} {:?}", want.address, want.managed, want.what)).collect()
    }

    #[test]
    fn a_disk_may_be_a_whole_controller_also_below_another_image() {
        let address = |bus: u8| format!("<address domain='0x0000' bus='0x0{bus}' slot='0x00' function='0x0'/>");
        let text = format!(
            "<domain><name>d</name><devices>
            <disk type='nvme' device='disk'><driver name='qemu' type='raw'/>
              <source type='pci' managed='yes' namespace='1'>{}</source><target dev='vda' bus='virtio'/>
              <address type='pci' domain='0x0000' bus='0x09' slot='0x00' function='0x0'/></disk>
            <disk type='nvme'><source type='pci' namespace='2'>{}</source></disk>
            <disk type='file'><source file='/x'/><backingStore type='nvme'><source type='pci' managed='no' namespace='1'>{}</source></backingStore></disk>
            <disk type='volume'><source pool='p' volume='v'/></disk></devices></domain>",
            address(1),
            address(2),
            address(3)
        );
        let expected = ["0000:01:00.0 true Disk", "0000:02:00.0 true Disk", "0000:03:00.0 false Disk"];
        assert_eq!(shown(&parse(&text).unwrap()), expected);
    }

    #[test]
    fn what_other_programs_keep_in_the_metadata_is_no_want() {
        let hostdev =
            "<hostdev type='pci'><source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev>";
        let text = format!(
            "<domain><name>a</name><metadata><x:note xmlns:x='http://x'>{hostdev}<arg value='-device'/><arg value='vfio-pci,host=02:00.0'/></x:note></metadata></domain>"
        );
        assert_eq!(shown(&parse(&text).unwrap()), [""; 0]);
    }

    #[test]
    fn a_domain_that_runs_shows_what_its_networks_gave_it() {
        let text = "<domstatus state='running'><domain type='kvm'><name>run</name><devices><interface type='network'>\
            <source network='pool'/><actual type='hostdev' managed='yes'><source><address type='pci' domain='0x0000' bus='0x04' slot='0x10' function='0x1'/></source></actual>\
            </interface></devices></domain></domstatus>";
        let domain = parse(text).unwrap();
        assert_eq!(domain.name, "run");
        assert_eq!(shown(&domain), ["0000:04:10.1 true Interface"]);
    }

    #[test]
    fn arguments_and_mediated_devices_are_found() {
        let text = "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>a</name><devices>\
            <hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci'><source><address uuid='83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'/></source></hostdev></devices>\
            <qemu:commandline><qemu:arg value='-device'/><qemu:arg value='vfio-pci,host=01:00.0'/>\
            <qemu:arg value='-device'/><qemu:arg value='{&quot;driver&quot;:&quot;vfio-pci&quot;,&quot;host&quot;:&quot;0000:02:00.0&quot;}'/></qemu:commandline></domain>";
        let domain = parse(text).unwrap();
        assert_eq!(shown(&domain), ["0000:01:00.0 false Argument", "0000:02:00.0 false Argument"]);
        assert_eq!(domain.mdevs, ["83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"]);
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
