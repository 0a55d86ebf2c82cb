//! Packet sockets: a program takes what an interface receives, without an address of the host's on it
//! (DPDK's af_packet, Suricata, tcpdump, an AF_PACKET router).
//!
//! Not all of them are use. A program that listens to neighbours (LLDP) or authenticates the port
//! (802.1X) sits on every interface that there is, and takes no traffic. One that asks for an address
//! (DHCP, address conflict detection) is the host's will to use the interface, so it counts; but not on
//! a VF: the kernel gives a VF that was made anew to its host driver, network managers ask for an
//! address there within a second, and no VF could be kept.

use std::collections::{BTreeMap, BTreeSet};

use super::patience::failed;
use super::process::holder;
use crate::host::root::{Root, is_absent};
use crate::model::snapshot::Holder;

const FILE: &str = "/proc/net/packet";
/// Protocols of neighbours and ports: LLDP, 802.1X.
const OF_THE_PORT: [u16; 2] = [0x88cc, 0x888e];
/// Those that take all protocols and filter.
const NEIGHBOURS: [&str; 4] = ["lldpd", "lldpad", "ladvd", "cdpd"];
/// IPv4, as DHCP clients open it, and ARP.
const OF_ADDRESSES: [u16; 2] = [0x0800, 0x0806];
/// Those that take all protocols and filter.
const CLIENTS: [&str; 4] = ["dhclient", "dhcpcd", "udhcpc", "pump"];

/// A packet socket that is bound to one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// The interface.
    pub index: u32,
    /// Its ethernet protocol; 3 is all.
    pub protocol: u16,
    /// Its inode, by which its owner is found.
    pub inode: u64,
}

/// All packet sockets of this network namespace that are bound to an interface.
///
/// # Errors
/// A sentence. Where the kernel has no packet sockets there is no file.
pub fn bound(root: &Root) -> Result<Vec<Socket>, String> {
    match root.read_text(FILE) {
        Ok(text) => parse(&text).ok_or_else(|| format!("read {FILE}: a line makes no sense")),
        Err(e) if is_absent(&e) => Ok(Vec::new()),
        Err(e) => Err(failed("read", FILE, &e)),
    }
}

/// After a headline `sk RefCnt Type Proto Iface R Rmem User Inode`, the protocol in hexadecimal.
fn parse(text: &str) -> Option<Vec<Socket>> {
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(Socket {
            protocol: u16::from_str_radix(words.get(3)?, 16).ok()?,
            index: words.get(4)?.parse().ok()?,
            inode: words.get(8)?.parse().ok()?,
        })
    };
    let lines = text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let all: Option<Vec<Socket>> = lines.map(socket).collect();
    Some(all?.into_iter().filter(|socket| socket.index != 0).collect())
}

/// Who takes the traffic of an interface by packet sockets, a sentence each. `vf`: whether it is a VF's.
#[must_use]
pub fn uses(root: &Root, sockets: &[Socket], index: u32, name: &str, vf: bool) -> Vec<String> {
    let here = sockets.iter().filter(|socket| socket.index == index && !OF_THE_PORT.contains(&socket.protocol));
    let here: Vec<&Socket> = here.filter(|socket| !(vf && OF_ADDRESSES.contains(&socket.protocol))).collect();
    if here.is_empty() {
        return Vec::new();
    }
    let owners = owners(root, &here.iter().map(|socket| socket.inode).collect());
    let said = here.into_iter().filter_map(|socket| match owners.get(&socket.inode) {
        Some(owner) if NEIGHBOURS.contains(&owner.comm.as_str()) => None,
        Some(owner) if vf && CLIENTS.contains(&owner.comm.as_str()) => None,
        Some(owner) => Some(Holder { node: format!("a packet socket on {name}"), ..owner.clone() }.to_string()),
        None => Some(format!("a process that was not found has a packet socket on {name} open")),
    });
    let said: BTreeSet<String> = said.collect();
    said.into_iter().collect()
}

/// Who has these sockets open, by inode; those that nobody could be found for are left out.
fn owners(root: &Root, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Holder> {
    let mut found = BTreeMap::new();
    let pids = root.list("/proc").unwrap_or_default().into_iter().filter_map(|name| name.parse::<u32>().ok());
    for pid in pids {
        for descriptor in root.list(&format!("/proc/{pid}/fd")).unwrap_or_default() {
            let Ok(target) = root.read_link(&format!("/proc/{pid}/fd/{descriptor}")) else { continue };
            if let Some(inode) = target.to_str().and_then(socket_inode).filter(|inode| inodes.contains(inode)) {
                found.entry(inode).or_insert_with(|| holder(root, pid, "a packet socket"));
            }
        }
        if found.len() == inodes.len() {
            break;
        }
    }
    found
}

fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// As the kernel writes it: lldpd, tcpdump on all interfaces, and what takes all of interface 2 and asks for an address on 3.
    const CAPTURED: &str = "\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    88cc   2     1 0      102    20593
0000000000000000 3      3    0003   0     1 0      0      20594
0000000000000000 3      3    0003   2     1 0      0      20595
0000000000000000 3      2    0800   3     1 0      998    20596
";

    fn machine(comm: &str) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("proc/net")).unwrap();
        fs::write(tree.path().join("proc/net/packet"), CAPTURED).unwrap();
        fs::create_dir_all(tree.path().join("proc/8/fd")).unwrap();
        fs::write(tree.path().join("proc/8/comm"), format!("{comm}\n")).unwrap();
        symlink("socket:[20595]", tree.path().join("proc/8/fd/5")).unwrap();
        symlink("socket:[20596]", tree.path().join("proc/8/fd/6")).unwrap();
        tree
    }

    fn said(comm: &str, index: u32, vf: bool) -> Vec<String> {
        let tree = machine(comm);
        let root = Root::trusted(tree.path());
        uses(&root, &bound(&root).unwrap(), index, "eth0", vf)
    }

    #[test]
    fn a_packet_socket_that_is_bound_to_an_interface_is_use_and_its_owner_is_named() {
        for vf in [false, true] {
            assert_eq!(said("suricata", 2, vf), ["suricata[8] has a packet socket on eth0 open"]);
        }
        assert!(said("suricata", 4, false).is_empty());
    }

    #[test]
    fn an_owner_that_is_not_found_is_said_so() {
        let tree = machine("suricata");
        fs::remove_dir_all(tree.path().join("proc/8")).unwrap();
        let root = Root::trusted(tree.path());
        let found = uses(&root, &bound(&root).unwrap(), 2, "eth0", false);
        assert_eq!(found, ["a process that was not found has a packet socket on eth0 open"]);
    }

    #[test]
    fn whoever_listens_to_neighbours_uses_nothing() {
        assert!(said("lldpd", 2, false).is_empty());
    }

    #[test]
    fn asking_for_an_address_is_use_but_of_a_vf() {
        assert_eq!(said("systemd-network", 3, false), ["systemd-network[8] has a packet socket on eth0 open"]);
        assert!(said("systemd-network", 3, true).is_empty());
        // This one takes all protocols.
        assert_eq!(said("dhclient", 2, false).len(), 1);
        assert!(said("dhclient", 2, true).is_empty());
    }

    #[test]
    fn a_line_that_makes_no_sense_is_not_passed_over() {
        assert_eq!(parse("head\n1 2 3\n"), None);
        assert_eq!(parse("head\n\n"), Some(Vec::new()));
        assert_eq!(parse(""), Some(Vec::new()));
    }
}
