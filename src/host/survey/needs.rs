//! What the host uses functions for, as far as that is told without opening anything.
//!
//! The guards open a disk exclusively before they touch its controller. A check looks at all disks, at any
//! time: such an open could come in the way of a mount. So it goes by what is listed: mounts, swap, arrays
//! and volumes, interfaces and routes. What is not listed may be in use all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::behind::{Way, functions, place};
use super::net_files;
use super::read;
use super::root_disk::{BLOCK, MOUNTS, Mount};
use crate::host::look::network::Network;
use crate::host::look::nodes::Interface;
use crate::host::look::patience::start;
use crate::host::look::storage::is_anybodys;
use crate::host::look::traffic;
use crate::host::root::Root;
use crate::model::pci::Address;
use crate::model::preflight::survey::{Function, Uses};
use crate::model::snapshot::Fact;

/// More mounts or disks than are looked at; a saved tree may hold anything.
const MANY: usize = 4096;

type Sentences = BTreeMap<Address, BTreeSet<String>>;

/// What they are used for; only those of which something is told.
#[must_use]
pub fn uses(
    root: &Root,
    functions: &BTreeMap<Address, Function>,
    patience: Duration,
    unread: &mut Vec<String>,
) -> BTreeMap<Address, Uses> {
    let disks = disks(root);
    let traffic = match interfaces(root, functions) {
        interfaces if interfaces.is_empty() => Sentences::new(),
        interfaces => traffic(root, &interfaces, patience).unwrap_or_else(|why| {
            unread.push(why);
            Sentences::new()
        }),
    };
    let told = |sentences: Option<&BTreeSet<String>>| match sentences {
        Some(sentences) => Fact::Is(sentences.iter().cloned().collect()),
        None => Fact::Absent,
    };
    let all: BTreeSet<&Address> =
        disks.keys().chain(traffic.keys()).filter(|address| functions.contains_key(address)).collect();
    let uses = |address: &Address| Uses { network: told(traffic.get(address)), storage: told(disks.get(address)) };
    all.into_iter().map(|address| (*address, uses(address))).collect()
}

/// Disks that are mounted, swapped to, or part of something.
fn disks(root: &Root) -> Sentences {
    let mut found = Sentences::new();
    let mut note = |way: &Way, sentence: &str| {
        for function in &way.functions {
            found.entry(*function).or_default().insert(sentence.to_owned());
        }
    };
    let mounts = MOUNTS.iter().find_map(|path| read::text(root, path).is().cloned()).unwrap_or_default();
    for line in mounts.lines().take(MANY) {
        // Where / is, `root_disk` tells.
        let named = |mount: &Mount<'_>| mount.number.starts_with("0:") && is_anybodys(mount.kind);
        let Some(mount) = Mount::of_line(line).filter(|mount| mount.at != "/" && !named(mount)) else { continue };
        let Ok(Some(link)) = mount.link(root) else { continue };
        let name = mount.source.strip_prefix("/dev/").unwrap_or(mount.source);
        note(&mount.way(root, link), &format!("{} is mounted at {}", read::shortened(name), read::shortened(mount.at)));
    }
    let swaps = read::text(root, "/proc/swaps").is().cloned().unwrap_or_default();
    for line in swaps.lines().skip(1).take(MANY) {
        let Some(name) = line.split_whitespace().next().and_then(|path| path.strip_prefix("/dev/")) else { continue };
        let way = Way::down(root, vec![format!("{BLOCK}/{}", name.replace('/', "!"))]);
        note(&way, &format!("{} is swapped to", read::shortened(name)));
    }
    for name in root.list(BLOCK).unwrap_or_default().iter().take(MANY) {
        let holders = root.list(&format!("{BLOCK}/{name}/holders")).unwrap_or_default();
        if holders.is_empty() {
            continue;
        }
        let shown: Vec<String> = holders.iter().take(4).map(|holder| read::shortened(holder)).collect();
        let way = Way::down(root, vec![format!("{BLOCK}/{name}")]);
        note(&way, &format!("{} is used by {}", read::shortened(name), shown.join(", ")));
    }
    found
}

/// Network interfaces by function: those in its own directory, and those that the class leads to below it.
fn interfaces(root: &Root, all: &BTreeMap<Address, Function>) -> BTreeMap<Address, Vec<Interface>> {
    let mut found: BTreeMap<Address, Vec<Interface>> = BTreeMap::new();
    let mut add = |address: Address, name: String, path: String| {
        let known = found.entry(address).or_default();
        if !known.iter().any(|one| one.name == name) {
            known.push(Interface { name, path });
        }
    };
    for name in root.list(net_files::CLASS).unwrap_or_default().into_iter().take(MANY) {
        let link = format!("{}/{name}", net_files::CLASS);
        let Ok(target) = root.read_link(&link) else { continue };
        let place = place(&link, &target);
        functions(&place).into_iter().for_each(|address| add(address, name.clone(), place.clone()));
    }
    let network = |function: &&Function| function.card.class >> 16 == 0x02;
    for (address, _) in all.iter().filter(|(_, function)| network(function)) {
        let directory = format!("/sys/bus/pci/devices/{address}/net");
        let names = root.list(&directory).unwrap_or_default();
        names.into_iter().take(MANY).for_each(|name| add(*address, name.clone(), format!("{directory}/{name}")));
    }
    found
}

/// What the interfaces are needed for: on this machine rtnetlink says it, in a saved tree the files.
fn traffic(
    root: &Root,
    interfaces: &BTreeMap<Address, Vec<Interface>>,
    patience: Duration,
) -> Result<Sentences, String> {
    let mut found = Sentences::new();
    if !root.is_live() {
        let network = net_files::read(root);
        for (address, interfaces) in interfaces {
            let of_one = |one: &Interface| traffic::uses(&network, &one.name, network.index(&one.name)?, &[]).into();
            let said: BTreeSet<String> = interfaces.iter().filter_map(of_one).flatten().collect();
            if !said.is_empty() {
                found.insert(*address, said);
            }
        }
        return Ok(found);
    }
    let asked = root.clone();
    let network = start("asking rtnetlink", patience, move || Network::ask(&asked))?;
    let network = network.wait().map_err(|unanswered| unanswered.why)??;
    for (address, interfaces) in interfaces {
        // One that is renamed or goes meanwhile says nothing of the others.
        let vf = root.exists(&format!("/sys/bus/pci/devices/{address}/physfn")).unwrap_or(false);
        let of_one = |one: &Interface| traffic::of_function(root, &network, std::slice::from_ref(one), vf).ok();
        let said: BTreeSet<String> = interfaces.iter().filter_map(of_one).flatten().collect();
        if !said.is_empty() {
            found.insert(*address, said);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A tree with files and links.
    fn tree(files: &[(&str, &str)], links: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for (link, target) in links {
            let path = tree.path().join(link);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(format!("{}{target}", "../".repeat(link.split('/').count() - 1)), path).unwrap();
        }
        tree
    }

    fn shown(sentences: &Sentences) -> Vec<String> {
        let shown = sentences.iter().flat_map(|(address, said)| said.iter().map(move |one| format!("{address} {one}")));
        shown.collect()
    }

    const DISK: &str = "sys/devices/pci0000:00/0000:00:17.0/ata1/block/sda";
    const NVME: &str = "sys/devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0/nvme0n1";

    #[test]
    fn disks_that_are_mounted_swapped_to_or_part_of_something_are_told_with_their_controllers() {
        let mounts = "20 1 8:9 / / rw - ext4 /dev/sda9 rw\n\
                      21 1 259:1 / /boot rw - ext4 /dev/nvme0n1p1 rw\n\
                      22 21 0:5 / /dev rw - devtmpfs udev rw\n\
                      23 21 8:1 / /srv/a\\040b rw - xfs /dev/sda1 rw\n\
                      24 21 0:77 / /home/u/x rw - fuse.sshfs /dev/sda2 rw,user_id=1000\nnonsense\n";
        let swaps = "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n/swapfile file 1 0 -3\n";
        let tree = tree(
            &[
                ("proc/1/mountinfo", mounts),
                ("proc/swaps", swaps),
                (&format!("{DISK}/sda3/holders/dm-0"), ""),
                (&format!("{DISK}/sda1/size"), "1"),
                (&format!("{DISK}/sda2/size"), "1"),
                (&format!("{NVME}/nvme0n1p1/size"), "1"),
            ],
            &[
                ("sys/dev/block/259:1", &format!("{NVME}/nvme0n1p1")),
                ("sys/dev/block/8:1", &format!("{DISK}/sda1")),
                ("sys/class/block/sda2", &format!("{DISK}/sda2")),
                ("sys/class/block/sda3", &format!("{DISK}/sda3")),
            ],
        );
        let found = disks(&Root::hostile(tree.path()).unwrap());
        assert_eq!(
            shown(&found),
            [
                "0000:00:17.0 sda1 is mounted at /srv/a\\040b",
                "0000:00:17.0 sda2 is swapped to",
                "0000:00:17.0 sda3 is used by dm-0",
                "0000:02:00.0 nvme0n1p1 is mounted at /boot",
            ]
        );
    }

    #[test]
    fn a_nic_below_a_bridge_with_the_default_route_carries_it() {
        let nic = "sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eno1";
        let bridge = "sys/devices/virtual/net/vmbr0";
        let tree = tree(
            &[
                (&format!("{nic}/ifindex"), "2\n"),
                (&format!("{bridge}/ifindex"), "5\n"),
                (
                    "proc/net/route",
                    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nvmbr0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n",
                ),
            ],
            &[("sys/class/net/eno1", nic), ("sys/class/net/vmbr0", bridge), (&format!("{nic}/master"), bridge)],
        );
        let root = Root::hostile(tree.path()).unwrap();
        let found = traffic(&root, &interfaces(&root, &BTreeMap::new()), Duration::from_secs(20)).unwrap();
        assert_eq!(
            shown(&found),
            ["0000:03:00.0 the default route goes out by vmbr0, above eno1", "0000:03:00.0 vmbr0 is on top of eno1"]
        );
    }
}
