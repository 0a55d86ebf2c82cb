//! libvirt: what its domains and networks want, as they are defined and as they run.

use std::collections::BTreeSet;

use super::mdevctl;
use super::search::Search;
use crate::host::survey::libvirt::{self, What};
use crate::host::survey::libvirt_network;
use crate::model::pci::Address;
use crate::model::preflight::claim::{Claim, Kind, Role, Target};

/// Where a driver of libvirt has its domains: the defined ones first, then those that run, of which
/// one that is not defined (a transient one) is nowhere else. `autostart` holds links to the former.
const DOMAINS: [(&str, &str); 6] = [
    ("libvirt", "/etc/libvirt/qemu"),
    ("libvirt", "/run/libvirt/qemu"),
    ("libvirt", "/etc/libvirt/ch"),
    ("libvirt", "/run/libvirt/ch"),
    (LIBXL, "/etc/libvirt/libxl"),
    (LIBXL, "/run/libvirt/libxl"),
];
/// Xen's domains: libvirt's driver for it is called so.
pub const LIBXL: &str = "libvirt (libxl)";
const NETWORKS: [&str; 2] = ["/etc/libvirt/qemu/networks", "/run/libvirt/network"];

/// Reads them.
pub fn read(search: &mut Search<'_>) {
    let mut seen = BTreeSet::new();
    for (manager, directory) in DOMAINS {
        for source in search.files(directory, ".xml") {
            let Some(text) = search.text(&source) else { continue };
            match libvirt::parse(&text) {
                Ok(domain) => claim_all(search, manager, &source, &domain, &mut seen),
                Err(why) => search.trouble(format!("read {source}: {why}")),
            }
        }
    }
    for directory in NETWORKS {
        for source in search.files(directory, ".xml") {
            let Some(text) = search.text(&source) else { continue };
            match libvirt_network::parse(&text) {
                Ok(Some(network)) => of_network(search, &source, &network, &mut seen),
                Ok(None) => {}
                Err(why) => search.trouble(format!("read {source}: {why}")),
            }
        }
    }
}

/// A guest's name and what it wants: what runs is what was defined, mostly.
type Seen = BTreeSet<(String, Address, String)>;

fn claim_all(search: &mut Search<'_>, manager: &str, source: &str, domain: &libvirt::Domain, seen: &mut Seen) {
    for want in &domain.devices {
        let managed = format!("managed='{}'", if want.managed { "yes" } else { "no" });
        let text = match want.what {
            What::Hostdev | What::Interface => managed,
            What::Disk => format!("disk type='nvme', {managed}"),
            What::Argument => "qemu:commandline".to_owned(),
        };
        let role = if want.managed || manager == LIBXL { Role::Takes } else { Role::Expects };
        if seen.insert((domain.name.clone(), want.address, text.clone())) {
            let claim = Claim::new(manager, source, Target::Device(want.address), role, text);
            search.claim(claim.of(Kind::Domain, &domain.name));
        }
    }
    for uuid in &domain.mdevs {
        let Some(parent) = mdevctl::parent(search, uuid) else { continue };
        let text = format!("mediated device {uuid}");
        if seen.insert((domain.name.clone(), parent, text.clone())) {
            let claim = Claim::new(manager, source, Target::Device(parent), Role::Parent, text);
            search.claim(claim.of(Kind::Domain, &domain.name));
        }
    }
}

fn of_network(search: &mut Search<'_>, source: &str, network: &libvirt_network::Network, seen: &mut Seen) {
    let mut claim = |search: &mut Search<'_>, address: Address, role: Role, text: String| {
        if seen.insert((format!("network {}", network.name), address, text.clone())) {
            let claim = Claim::new("libvirt", source, Target::Device(address), role, text);
            search.claim(claim.of(Kind::Network, &network.name));
        }
    };
    let managed = format!("managed='{}'", if network.managed { "yes" } else { "no" });
    let role = if network.managed { Role::Takes } else { Role::Expects };
    for name in &network.pfs {
        let Some(pf) = function_of(search, name) else {
            search.trouble(format!("read {source}: no function has the network interface {name} now"));
            continue;
        };
        claim(search, pf, Role::Pool, format!("pf dev='{name}'"));
        for vf in search.vfs(pf) {
            claim(search, vf, role.clone(), format!("pf dev='{name}', {managed}"));
        }
    }
    for address in &network.devices {
        claim(search, *address, role.clone(), managed.clone());
    }
}

/// The function that has a network interface.
fn function_of(search: &Search<'_>, name: &str) -> Option<Address> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return None;
    }
    let link = |path: &str| search.root.read_link(path).ok();
    // …/0000:05:00.0/net/eth3; of a virtio interface …/0000:05:00.0/virtio1/net/eth3.
    let of_class = link(&format!("/sys/class/net/{name}")).and_then(|target| {
        let mut above = target.ancestors().filter_map(|above| above.file_name()?.to_str()?.parse::<Address>().ok());
        above.next()
    });
    let of_device = || search.root.link_name(&format!("/sys/class/net/{name}/device")).ok()?.parse().ok();
    let below = || {
        let all = search.root.list("/sys/bus/pci/devices").ok()?;
        let has = |function: &&String| {
            search.root.exists(&format!("/sys/bus/pci/devices/{function}/net/{name}")).unwrap_or(false)
        };
        all.iter().find(has)?.parse().ok()
    };
    of_class.or_else(of_device).or_else(below)
}
