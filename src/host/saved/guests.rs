//! What is kept of the files of virtual machines: the functions that they want, and their names.

use std::fmt::Write;

use super::subject::Subject;
use crate::host::survey::claims::proxmox;
use crate::host::survey::libvirt::{self, What};
use crate::host::survey::libvirt_network;
use crate::model::pci::Address;

/// The functions that a virtual machine of libvirt wants, and its name; none when it wants none.
/// Of what is no XML nothing is kept but that.
#[must_use]
pub fn domain(text: &str, _: &Subject) -> Option<String> {
    let Ok(domain) = libvirt::parse(text) else { return Some("<domain>".to_owned()) };
    if domain.devices.is_empty() && domain.mdevs.is_empty() {
        return None;
    }
    let mut xml = format!("<domain>\n  <name>{}</name>\n  <devices>\n", escaped(&domain.name));
    let mut arguments = String::new();
    for want in domain.devices {
        let managed = yes(want.managed);
        let address = element(want.address);
        // Writing into a string does not fail.
        let _ = match want.what {
            What::Hostdev => writeln!(
                xml,
                "    <hostdev mode='subsystem' type='pci' managed='{managed}'><source>{address}</source></hostdev>"
            ),
            What::Interface => {
                writeln!(
                    xml,
                    "    <interface type='hostdev' managed='{managed}'><source>{address}</source></interface>"
                )
            }
            What::Disk => {
                writeln!(xml, "    <disk type='nvme'><source type='pci' managed='{managed}'>{address}</source></disk>")
            }
            What::Argument => {
                writeln!(arguments, "    <arg value='-device'/><arg value='vfio-pci,host={}'/>", want.address)
            }
        };
    }
    for uuid in domain.mdevs {
        let uuid = escaped(&uuid);
        let _ = writeln!(
            xml,
            "    <hostdev mode='subsystem' type='mdev'><source><address uuid='{uuid}'/></source></hostdev>"
        );
    }
    Some(format!("{xml}  </devices>\n  <commandline>\n{arguments}  </commandline>\n</domain>\n"))
}

/// The functions that a network of libvirt hands out, and its name; none when it hands out none.
#[must_use]
pub fn network(text: &str, _: &Subject) -> Option<String> {
    let Ok(network) = libvirt_network::parse(text) else { return Some("<network>".to_owned()) };
    let network = network?;
    let mut xml = format!(
        "<network>\n  <name>{}</name>\n  <forward mode='hostdev' managed='{}'>\n",
        escaped(&network.name),
        yes(network.managed)
    );
    for pf in network.pfs {
        let _ = writeln!(xml, "    <pf dev='{}'/>", escaped(&pf));
    }
    for address in network.devices {
        let _ = writeln!(xml, "    {}", element(address));
    }
    Some(xml + "  </forward>\n</network>\n")
}

/// The functions that a virtual machine of Proxmox is given, and its name; none when it is given none.
#[must_use]
pub fn vm(text: &str, _: &Subject) -> Option<String> {
    let vm = proxmox::parse(text);
    if vm.passed.is_empty() && vm.arguments.is_empty() {
        return None;
    }
    let mut kept = format!("name: {}\n", vm.name);
    for passed in vm.passed {
        let _ = writeln!(kept, "{}: {}", passed.key, passed.value);
    }
    let arguments: Vec<String> =
        vm.arguments.iter().map(|address| format!("-device vfio-pci,host={address}")).collect();
    if !arguments.is_empty() {
        let _ = writeln!(kept, "args: {}", arguments.join(" "));
    }
    Some(kept)
}

/// Proxmox's mappings without descriptions.
#[must_use]
pub fn mappings(text: &str, _: &Subject) -> Option<String> {
    let kept = proxmox::mappings(text).into_iter().map(|mapping| {
        let proxmox::Mapping { name, node, places, ids } = mapping;
        format!("{name}\n\tmap id={ids},node={node},path={}\n", places.join(";"))
    });
    Some(kept.collect())
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&apos;")
}

fn element(address: Address) -> String {
    let Address { domain, bus, device, function } = address;
    format!("<address domain='0x{domain:04x}' bus='0x{bus:02x}' slot='0x{device:02x}' function='0x{function:x}'/>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_virtual_machine_only_its_name_and_functions_are_kept() {
        let address = "<address domain='0x0000' bus='0x02' slot='0x00' function='0x1'/>";
        let text = format!(
            "<domain><name>a&amp;b</name><uuid>83b8f4f2-509f-382f-3c1e-e6bfe0fa1001</uuid><devices>\
            <graphics type='spice' passwd='secret'/><interface type='bridge'><mac address='52:54:00:12:34:56'/></interface>\
            <hostdev mode='subsystem' type='pci' managed='yes'><source>{address}</source></hostdev>\
            <interface type='hostdev'><mac address='52:54:00:12:34:56'/><source>{address}</source></interface>\
            <disk type='nvme'><source type='pci' managed='yes' namespace='1'>{address}</source></disk>\
            <hostdev mode='subsystem' type='mdev'><source><address uuid='11111111-2222-3333-4444-555555555555'/></source></hostdev></devices>\
            <commandline><arg value='-device'/><arg value='vfio-pci,host=03:00.0'/><arg value='-secret'/></commandline></domain>"
        );
        let kept = domain(&text, &Subject::default()).unwrap();
        let found = libvirt::parse(&text).unwrap();
        assert_eq!((found.devices.len(), found.mdevs.len()), (4, 1));
        assert_eq!(libvirt::parse(&kept).unwrap(), found);
        assert!(!kept.contains("secret") && !kept.contains("52:54") && !kept.contains("509f"), "{kept}");
        assert_eq!(domain("<domain><name>x</name></domain>", &Subject::default()), None);
        let broken = domain("<domain><name>secret", &Subject::default()).unwrap();
        assert!(libvirt::parse(&broken).is_err() && !broken.contains("secret"));
    }

    #[test]
    fn of_a_network_only_its_name_and_functions_are_kept() {
        let text = "<network><name>p</name><uuid>u</uuid><forward mode='hostdev' managed='yes'><pf dev='eth3'/>\
            <address type='pci' domain='0' bus='4' slot='16' function='1'/></forward><portgroup name='secret'/></network>";
        let kept = network(text, &Subject::default()).unwrap();
        assert_eq!(libvirt_network::parse(&kept).unwrap(), libvirt_network::parse(text).unwrap());
        assert!(!kept.contains("secret"), "{kept}");
        assert_eq!(network("<network><name>n</name><forward mode='nat'/></network>", &Subject::default()), None);
    }

    #[test]
    fn of_proxmox_only_what_is_passed_through_is_kept() {
        let text = "name: win\nargs: -vnc :1,password=secret -device vfio-pci,host=03:00.0\ncipassword: secret\n\
            hostpci0: 0000:01:00,pcie=1\nhostpci1: mapping=hba\n[snap]\nhostpci0: 07:00.0\n";
        let kept = vm(text, &Subject::default()).unwrap();
        assert_eq!(proxmox::parse(&kept), proxmox::parse(text));
        assert!(!kept.contains("secret"), "{kept}");
        assert_eq!(vm("name: x\ncores: 4\n", &Subject::default()), None);
        let text = "hba\n\tdescription secret\n\tmap id=1000:0072,node=pve1,path=0000:03:00.0,iommugroup=1\n";
        let kept = mappings(text, &Subject::default()).unwrap();
        assert_eq!(proxmox::mappings(&kept), proxmox::mappings(text));
        assert!(!kept.contains("secret"), "{kept}");
    }
}
