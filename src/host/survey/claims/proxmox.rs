//! Proxmox VE: `hostpciN` and `args` of this node's virtual machines, and the mappings that they name.
//!
//! /etc/pve is a file system of Proxmox's own. A node has its virtual machines in
//! `nodes/NODE/qemu-server`; `/etc/pve/local` and `/etc/pve/qemu-server` are links to this node's.
//! Formats: PVE/QemuServer.pm (`parse_vm_config`), PVE/QemuServer/PCI.pm, PVE/Mapping/PCI.pm.

use super::qemu_args;
use super::search::{Search, loosely, slot};
use crate::host::survey::read::shortened;
use crate::model::pci::{Address, Slot};
use crate::model::preflight::claim::{Claim, Kind, Role, Target};

const MAPPINGS: &str = "/etc/pve/mapping/pci.cfg";
const NODES: &str = "/etc/pve/nodes";

/// Reads them.
pub fn read(search: &mut Search<'_>) {
    if !search.root.exists("/etc/pve").unwrap_or(true) {
        return;
    }
    let node = node(search);
    let mappings: Vec<Mapping> = match search.text(MAPPINGS) {
        Some(text) => mappings(&text).into_iter().filter(|mapping| is_here(search, node.as_deref(), mapping)).collect(),
        None => Vec::new(),
    };
    for source in definitions(search, node.as_deref()) {
        let Some(text) = search.text(&source) else { continue };
        let number = source.rsplit('/').next().unwrap_or_default().trim_end_matches(".conf").to_owned();
        let vm = parse(&text);
        let name = shortened(&if vm.name.is_empty() { number } else { format!("{number} ({})", vm.name) });
        for Passed { key, value, places, mapping, role } in vm.passed {
            let named = mappings.iter().filter(|named| Some(&named.name) == mapping.as_ref());
            let places = places.iter().chain(named.flat_map(|named| &named.places));
            for target in places.filter_map(|place| target(place)) {
                let text = format!("{key}: {}", shortened(&value));
                search.claim(Claim::new("Proxmox", &source, target, role.clone(), text).of(Kind::Vm, &name));
            }
        }
        for address in vm.arguments {
            let claim =
                Claim::new("Proxmox", &source, Target::Device(address), Role::Expects, "args: -device vfio-pci");
            search.claim(claim.of(Kind::Vm, &name));
        }
    }
    for Mapping { name, places, ids, .. } in mappings {
        for target in places.iter().filter_map(|place| target(place)) {
            let text = format!("id={}", shortened(&ids));
            let claim = Claim::new("Proxmox", MAPPINGS, target, Role::Names, text);
            search.claim(claim.of(Kind::Mapping, shortened(&name)));
        }
    }
}

/// The name of this node; none where a saved tree does not tell.
fn node(search: &Search<'_>) -> Option<String> {
    let host = |path: &str| {
        let text = search.root.read_text(path).ok()?;
        let name = text.trim().split('.').next()?.to_owned();
        (!name.is_empty()).then_some(name)
    };
    let only = || match search.root.list(NODES).ok()?.as_slice() {
        [node] => Some(node.clone()),
        _ => None,
    };
    search
        .root
        .link_name("/etc/pve/local")
        .ok()
        .or_else(|| host("/proc/sys/kernel/hostname"))
        .or_else(|| host("/etc/hostname"))
        .or_else(only)
}

/// The files of this node's virtual machines.
fn definitions(search: &mut Search<'_>, node: Option<&str>) -> Vec<String> {
    let own = node.filter(|node| !node.contains('/')).map(|node| format!("{NODES}/{node}/qemu-server"));
    let places = ["/etc/pve/qemu-server".to_owned(), "/etc/pve/local/qemu-server".to_owned()].into_iter().chain(own);
    for place in places {
        let found = search.files(&place, ".conf");
        if !found.is_empty() {
            return found;
        }
    }
    if node.is_none() && search.root.list(NODES).is_ok_and(|nodes| nodes.len() > 1) {
        search.trouble(format!("list {NODES}: nothing tells which of the nodes this is"));
    }
    Vec::new()
}

/// Whether a mapping is this node's. Where the node has no name, whether the card is there.
fn is_here(search: &Search<'_>, node: Option<&str>, mapping: &Mapping) -> bool {
    if let Some(node) = node {
        return mapping.node == node;
    }
    let Some(Target::Device(address) | Target::Within(address, _)) = mapping.places.first().and_then(|p| target(p))
    else {
        return false;
    };
    let number = |name: &str| {
        let text = search.root.read_text(&format!("/sys/bus/pci/devices/{address}/{name}")).unwrap_or_default();
        text.trim().trim_start_matches("0x").to_ascii_lowercase()
    };
    mapping.ids.to_ascii_lowercase() == format!("{}:{}", number("vendor"), number("device"))
}

/// `0000:01:00.0`, or without a function: all of the slot.
fn target(place: &str) -> Option<Target> {
    let place = place.trim();
    if let Some(address) = loosely(place) {
        return Some(Target::Device(address));
    }
    let (first, last) = slot(place.parse::<Slot>().ok()?);
    Some(Target::Within(first, last))
}

/// What a virtual machine of Proxmox is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vm {
    /// Its name, if it has one.
    pub name: String,
    /// Its `hostpciN` lines.
    pub passed: Vec<Passed>,
    /// Functions in its `args` line.
    pub arguments: Vec<Address>,
}

/// A `hostpciN` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// `hostpci0`
    pub key: String,
    /// All of the value.
    pub value: String,
    /// The functions and slots, as they are written.
    pub places: Vec<String>,
    /// The mapping that it names instead.
    pub mapping: Option<String>,
    /// What Proxmox does with the device.
    pub role: Role,
}

/// Reads a virtual machine's file: what it has now. What follows in sections is of its snapshots, or
/// not in force yet.
#[must_use]
pub fn parse(text: &str) -> Vm {
    let mut vm = Vm::default();
    let section = |line: &str| line.starts_with('[') && line.trim_end().ends_with(']');
    for line in text.lines().take_while(|line| !section(line)) {
        let Some((key, value)) = line.split_once(':').map(|(key, value)| (key.trim_end(), value.trim())) else {
            continue;
        };
        match key {
            "name" => value.clone_into(&mut vm.name),
            "args" => {
                let words = qemu_args::words(value);
                vm.arguments = qemu_args::devices(words.iter().map(String::as_str));
            }
            _ => {
                let number = key.strip_prefix("hostpci").unwrap_or_default();
                if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                    vm.passed.push(passed(key, value));
                }
            }
        }
    }
    vm
}

fn passed(key: &str, value: &str) -> Passed {
    let (mut places, mut mapping, mut role) = (Vec::new(), None, Role::Takes);
    for part in value.split(',') {
        match part.split_once('=').unwrap_or(("host", part)) {
            ("host", list) => places.extend(list.split(';').map(|place| place.trim().to_owned())),
            ("mapping", name) => mapping = Some(name.trim().to_owned()),
            ("mdev", _) => role = Role::Parent,
            ("driver", "keep") => role = Role::Keeps,
            _ => {}
        }
    }
    Passed { key: key.to_owned(), value: value.to_owned(), places, mapping, role }
}

/// A line `map` of a mapping: what it means on one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// The mapping's name.
    pub name: String,
    /// The node.
    pub node: String,
    /// The functions and slots there, as they are written; one that is free is taken.
    pub places: Vec<String>,
    /// The vendor and device id that is expected there, as it is written.
    pub ids: String,
}

/// Reads the mappings: a name at the beginning of a line, below it lines `map key=value,…`.
#[must_use]
pub fn mappings(text: &str) -> Vec<Mapping> {
    let (mut found, mut name) = (Vec::new(), "");
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if !line.starts_with([' ', '\t']) {
            // Other files of Proxmox have a type before it.
            name = line.trim().trim_start_matches("pci:").trim();
            continue;
        }
        let Some(("map", value)) = line.trim().split_once([' ', '\t']) else { continue };
        let mut mapping = Mapping { name: name.to_owned(), ..Mapping::default() };
        for (key, value) in value.trim().split(',').filter_map(|pair| pair.split_once('=')) {
            match key {
                "node" => value.clone_into(&mut mapping.node),
                "path" => mapping.places = value.split(';').map(str::to_owned).collect(),
                "id" => value.clone_into(&mut mapping.ids),
                _ => {}
            }
        }
        if !mapping.name.is_empty() && !mapping.places.is_empty() {
            found.push(mapping);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_virtual_machine_has_now_is_read_and_not_its_snapshots() {
        let text = "#hostpci9: 09:00.0\nargs: -device 'vfio-pci,host=0a:00.0' -smp 4\nhostpci0: 0000:01:00,pcie=1\n\
                    hostpci1: host=02:00.0;02:00.1,x-vga=1\nhostpci12: mapping=hba,pcie=1\nhostpci3: 00:02.0,mdev=i915-GVTg_V5_4\n\
                    hostpci4: 0000:05:00.4,driver=keep\nname: win11\nhostpcix: 07:00.0\n\n[PENDING]\nhostpci5: 08:00.0\n\
                    [before]\nhostpci0: 0000:07:00.0\n";
        let vm = parse(text);
        assert_eq!(vm.name, "win11");
        let shown: Vec<String> = vm
            .passed
            .iter()
            .map(|p| format!("{} {} {:?} {:?}", p.key, p.places.join("+"), p.mapping, p.role))
            .collect();
        let expected = [
            "hostpci0 0000:01:00 None Takes",
            "hostpci1 02:00.0+02:00.1 None Takes",
            "hostpci12  Some(\"hba\") Takes",
            "hostpci3 00:02.0 None Parent",
            "hostpci4 0000:05:00.4 None Keeps",
        ];
        assert_eq!(shown, expected);
        assert_eq!(vm.arguments.len(), 1);
    }

    #[test]
    fn a_mapping_has_lines_for_each_node() {
        let text = "hba\n\tdescription a, b=c\n\tmap id=1000:0072,iommugroup=12,node=pve1,path=0000:03:00.0;0000:04:00,subsystem-id=1:2\n\
                    \tmap id=1000:0073,node=pve2,path=0000:05:00.0\n\tmdev 1\n\npci: gpu\n\tmap path=0000:01:00,node=pve1,id=10de:2684\n";
        let shown: Vec<String> =
            mappings(text).iter().map(|m| format!("{} {} {} {}", m.name, m.node, m.ids, m.places.join("+"))).collect();
        let expected = [
            "hba pve1 1000:0072 0000:03:00.0+0000:04:00",
            "hba pve2 1000:0073 0000:05:00.0",
            "gpu pve1 10de:2684 0000:01:00",
        ];
        assert_eq!(shown, expected);
        assert_eq!(mappings("\tmap\n map x\n\n"), []);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(hostpci[0-9]?|map|args|[:;,=.\\[\\]\t\n '\"a-f0-9]){0,40}") {
            let _ = (parse(&text), mappings(&text));
        }
    }
}
