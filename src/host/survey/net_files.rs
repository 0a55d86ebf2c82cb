//! The network of a saved tree: interfaces and what is on top of them by sysfs, routes by /proc/net.
//!
//! It has the main tables only, and no addresses: what is not in it may be there all the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::read;
use crate::host::look::network::Network;
use crate::host::look::rtnetlink::{Link, Route};
use crate::host::root::Root;

/// All interfaces.
pub(super) const CLASS: &str = "/sys/class/net";
/// More interfaces or routes than are looked at.
const MANY: usize = 4096;
/// `RTF_REJECT` of `linux/route.h`: such a route leads nowhere.
const REJECT: u32 = 0x200;

/// What the files tell.
#[must_use]
pub fn read(root: &Root) -> Network {
    let mut names = Names::default();
    let mut links = Vec::new();
    for name in root.list(CLASS).unwrap_or_default().into_iter().take(MANY) {
        let directory = format!("{CLASS}/{name}");
        let index = names.index(&name);
        let master = root.link_name(&format!("{directory}/master")).ok();
        links.push(Link { index, name, master: master.map(|master| names.index(&master)), lower: None, xdp: false });
        let mut above = |upper: &str, names: &mut Names| {
            let upper = names.index(upper);
            links.push(Link { index, name: String::new(), master: Some(upper), lower: None, xdp: false });
        };
        let entries = root.list(&directory).unwrap_or_default();
        entries.iter().filter_map(|entry| entry.strip_prefix("upper_")).for_each(|upper| above(upper, &mut names));
        let ports = root.list(&format!("{directory}/brif")).unwrap_or_default();
        let slaves = read::text(root, &format!("{directory}/bonding/slaves")).is().cloned().unwrap_or_default();
        let below = entries.iter().filter_map(|entry| entry.strip_prefix("lower_"));
        let below = below.chain(ports.iter().map(String::as_str)).chain(slaves.split_whitespace());
        for lower in below.take(MANY) {
            let lower = names.index(lower);
            links.push(Link { index: lower, name: String::new(), master: Some(index), lower: None, xdp: false });
        }
    }
    let text = |name: &str| {
        let paths = [format!("/proc/net/{name}"), format!("/proc/1/net/{name}"), format!("/proc/self/net/{name}")];
        paths.iter().find_map(|path| read::text(root, path).is().cloned()).unwrap_or_default()
    };
    // `eth0.5  | 5  | eth0`.
    for line in text("vlan/config").lines().skip(2).take(MANY) {
        let mut words = line.split('|').map(str::trim);
        let (Some(vlan), Some(lower)) = (words.next(), words.nth(1)) else { continue };
        let (vlan, lower) = (names.index(vlan), names.index(lower));
        links.push(Link { index: vlan, name: String::new(), master: None, lower: Some(lower), xdp: false });
    }
    let mut routes: Vec<Route> = Vec::new();
    routes.extend(text("route").lines().skip(1).take(MANY).filter_map(|line| v4(line, &mut names)));
    routes.extend(text("ipv6_route").lines().take(MANY).filter_map(|line| v6(line, &mut names)));
    // What only stands for a relation has no name: each name is told once.
    let named = names.0.into_iter().map(|(name, index)| Link { index, name, master: None, lower: None, xdp: false });
    let links = named.chain(links).collect();
    Network { links, routes, ..Network::default() }
}

/// Numbers for names; those of the kernel mean nothing elsewhere.
#[derive(Default)]
struct Names(BTreeMap<String, u32>);

impl Names {
    fn index(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX).saturating_add(1);
        *self.0.entry(name.to_owned()).or_insert(next)
    }
}

/// A line of `route`: interface, destination, gateway, flags, three counts, mask; addresses are shown as
/// the machine has them in memory, little-endian but on a few.
fn v4(line: &str, names: &mut Names) -> Option<Route> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let mut hex = || u32::from_str_radix(words.next()?, 16).ok();
    let (to, _, flags) = (hex()?, hex()?, hex()?);
    let mask = u32::from_str_radix(words.nth(3)?, 16).ok()?;
    let length = u8::try_from(mask.count_ones()).ok()?;
    let to = (length > 0).then(|| IpAddr::V4(Ipv4Addr::from(to.swap_bytes())));
    (flags & REJECT == 0).then(|| Route { to, length, table: 254, out: vec![names.index(name)], nexthop: None })
}

/// A line of `ipv6_route`: destination, length, source, length, nexthop, metric, two counts, flags,
/// interface. Each interface that is up has fe80::/64 and ff00::/8.
fn v6(line: &str, names: &mut Names) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [to, length, _, _, _, _, _, _, flags, name] = words.as_slice() else { return None };
    let to = Ipv6Addr::from(u128::from_str_radix(to, 16).ok()?);
    let length = u8::from_str_radix(length, 16).ok()?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let own = *name == "lo" || to.is_unicast_link_local() || to.is_multicast() && length > 0;
    let to = (length > 0).then_some(IpAddr::V6(to));
    (flags & REJECT == 0 && !own).then(|| Route { to, length, table: 254, out: vec![names.index(name)], nexthop: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::look::traffic;

    fn network(files: &[(&str, &str)]) -> Network {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        read(&Root::hostile(tree.path()).unwrap())
    }

    fn uses(network: &Network, name: &str) -> Vec<String> {
        traffic::uses(network, name, network.index(name).unwrap(), &[])
    }

    #[test]
    fn routes_of_both_families_are_read_and_those_that_each_interface_has_are_not() {
        let network = network(&[
            ("sys/class/net/eth0/ifindex", "2"),
            ("sys/class/net/eth1/ifindex", "3"),
            (
                "proc/net/route",
                "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF\n",
            ),
            (
                "proc/net/ipv6_route",
                "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n\
                 fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 00000001 eth1\n\
                 00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 1 0 00200200 lo\n",
            ),
        ]);
        assert_eq!(uses(&network, "eth0"), ["the default route goes out by eth0 (and 1 more)"]);
        assert!(uses(&network, "eth1").is_empty());
    }

    #[test]
    fn what_is_on_top_is_found_by_bonds_bridges_and_vlans_alike() {
        let route = ("proc/net/route", "head\nvlan7 00000000 0100000A 0003 0 0 0 00000000\n");
        let network = network(&[
            route,
            ("sys/class/net/eth0/ifindex", "2"),
            ("sys/class/net/bond0/bonding/slaves", "eth0 eth1\n"),
            ("sys/class/net/vlan7/ifindex", "9"),
            ("proc/net/vlan/config", "VLAN Dev name | VLAN ID\nName-Type: x\nvlan7 | 7 | bond0\n"),
        ]);
        let said = uses(&network, "eth0").join("; ");
        assert!(said.contains("the default route goes out by vlan7, above eth0"), "{said}");
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in ".*") {
            let _ = (v4(&line, &mut Names::default()), v6(&line, &mut Names::default()));
        }
    }
}
