//! Whether the host's traffic needs a network interface.
//!
//! What counts: an address or a route that is more than link-local (every interface that is up has
//! an fe80:: address), of any table and family; any interface on top of it; its being in another
//! network namespace; a packet socket or an XDP program on it. Being up is nothing.

use std::collections::BTreeSet;

use super::network::Network;
use super::nodes::{Below, Interface};
use super::packets;
use super::patience::failed;
use super::rtnetlink::Route;
use crate::host::root::Root;

/// What an interface is needed for: one sentence each; none when nothing is known.
#[must_use]
pub fn uses(network: &Network, name: &str, index: u32, uppers: &[String]) -> Vec<String> {
    let mut above = network.above(index);
    for upper in uppers.iter().filter_map(|upper| network.index(upper)) {
        above.insert(upper);
        above.extend(network.above(upper));
    }
    above.remove(&index);
    let mut on_top: BTreeSet<String> = above.iter().map(|index| network.name(*index)).collect();
    on_top.extend(uppers.iter().cloned());
    let mut said: Vec<String> = on_top.iter().map(|upper| format!("{upper} is on top of {name}")).collect();
    if network.links.iter().any(|link| link.index == index && link.xdp) {
        said.push(format!("an XDP program takes what {name} receives"));
    }
    for index in [index].into_iter().chain(above) {
        let own = network.name(index);
        said.extend(
            network.sessions.iter().filter(|over| **over == own).map(|_| format!("a PPPoE session runs over {own}")),
        );
        let place = match own {
            own if own == name => own,
            upper => format!("{upper}, above {name}"),
        };
        let own = network.addresses.iter().filter(|owned| owned.index == index);
        said.extend(summary(own.map(|owned| format!("{} is an address of {place}", owned.address)).collect()));
        // The default route is what an administrator looks for: it is named first.
        let mut routes: Vec<&Route> = network.routes.iter().filter(|route| route.out.contains(&index)).collect();
        routes.sort_by_key(|route| (route.length, route.table));
        said.extend(summary(routes.iter().map(|route| format!("{} goes out by {place}", shown(route))).collect()));
    }
    said
}

/// The first sentence, and how many more there are.
fn summary(sentences: Vec<String>) -> Option<String> {
    let more = sentences.len().saturating_sub(1);
    let first = sentences.into_iter().next()?;
    Some(if more == 0 { first } else { format!("{first} (and {more} more)") })
}

fn shown(route: &Route) -> String {
    let to = match route.to {
        Some(to) => format!("the route to {to}/{}", route.length),
        None if route.length == 0 => "the default route".to_owned(),
        None => "a route".to_owned(),
    };
    match route.table {
        254 | 255 => to,
        table => format!("{to} in table {table}"),
    }
}

/// What the interfaces of one function, a VF or another, are needed for.
///
/// # Errors
/// A sentence, when an interface's own files cannot be read.
pub fn of_function(root: &Root, network: &Network, interfaces: &[Interface], vf: bool) -> Result<Vec<String>, String> {
    let mut said = Vec::new();
    for Interface { name, path } in interfaces {
        let file = format!("{path}/ifindex");
        let index = root.read_text(&file).map_err(|e| failed("read", &file, &e))?;
        let index = index.trim().parse().map_err(|e| format!("read {file}: {e}"))?;
        // Renamed or moved meanwhile, or this /sys was mounted in another network namespace.
        if network.index(name) != Some(index) {
            return Err(format!("find {name}: rtnetlink knows no interface {index} of that name"));
        }
        let entries = root.list(path).map_err(|e| failed("list", path, &e))?;
        let uppers: Vec<_> =
            entries.iter().filter_map(|entry| entry.strip_prefix("upper_")).map(str::to_owned).collect();
        said.extend(uses(network, name, index, &uppers));
        said.extend(packets::uses(root, &network.sockets, index, name, vf));
    }
    Ok(said)
}

/// What to say of interfaces in other network namespaces.
#[must_use]
pub fn elsewhere(below: &Below) -> Vec<String> {
    let empty = below.empty_nets.iter();
    let all = empty.map(|path| format!("its network interface is in another network namespace ({path} is empty)"));
    let partial = below.partial_nets.iter();
    let some = partial.map(|path| {
        format!("one of its network interfaces is in another network namespace ({path} has more than it lists)")
    });
    all.chain(some).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rtnetlink::{Link, Owned};
    use super::*;

    fn a_link(index: u32, name: &str, master: Option<u32>, lower: Option<u32>) -> Link {
        Link { index, name: name.to_owned(), master, lower, xdp: false }
    }

    fn a_route(to: Option<&str>, length: u8, table: u32, out: u32) -> Route {
        Route { to: to.map(|to| to.parse().unwrap()), length, table, out: vec![out], nexthop: None }
    }

    /// eth0 in bond0 in br0, and eth1 for itself.
    fn network() -> Network {
        let links = vec![
            a_link(2, "eth0", Some(4), None),
            a_link(3, "eth1", None, None),
            a_link(4, "bond0", Some(5), None),
            a_link(5, "br0", None, None),
            a_link(6, "veth0", Some(5), Some(7)),
        ];
        Network { links, ..Network::default() }
    }

    #[test]
    fn an_interface_under_a_bond_under_a_bridge_carries_the_bridges_route() {
        let mut network = network();
        network.routes = vec![a_route(Some("10.0.0.0"), 24, 254, 5), a_route(None, 0, 100, 5)];
        network.addresses = vec![Owned { index: 5, address: "10.0.0.1".parse().unwrap() }];
        assert_eq!(
            uses(&network, "eth0", 2, &["bond0".to_owned()]),
            [
                "bond0 is on top of eth0",
                "br0 is on top of eth0",
                "10.0.0.1 is an address of br0, above eth0",
                "the default route in table 100 goes out by br0, above eth0 (and 1 more)",
            ]
        );
        assert!(uses(&network, "eth1", 3, &[]).is_empty());
    }

    #[test]
    fn an_upper_device_counts_even_when_only_sysfs_knows_it() {
        assert_eq!(uses(&network(), "eth1", 3, &["macvlan0".to_owned()]), ["macvlan0 is on top of eth1"]);
    }

    #[test]
    fn a_vlan_and_a_loop_of_relations_are_followed_once() {
        let mut network = network();
        network.links = vec![a_link(2, "eth0", None, Some(8)), a_link(8, "eth0.5", None, Some(2))];
        assert_eq!(uses(&network, "eth0", 2, &[]), ["eth0.5 is on top of eth0"]);
    }

    #[test]
    fn an_interface_under_a_pppoe_session_is_in_use_without_an_address() {
        let network = Network { sessions: vec!["eth1".to_owned()], ..network() };
        assert_eq!(uses(&network, "eth1", 3, &[]), ["a PPPoE session runs over eth1"]);
    }

    #[test]
    fn an_interface_with_an_xdp_program_is_in_use_without_an_address() {
        let mut network = network();
        network.links[1].xdp = true;
        assert_eq!(uses(&network, "eth1", 3, &[]), ["an XDP program takes what eth1 receives"]);
        assert_eq!(uses(&network, "eth0", 2, &["bond0".to_owned()]).len(), 2);
    }

    #[test]
    fn an_interface_that_rtnetlink_does_not_know_is_not_free() {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::trusted(tree.path());
        let of = |name: &str, index: &str| {
            let path = tree.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("ifindex"), index).unwrap();
            of_function(&root, &network(), &[Interface { name: name.to_owned(), path: format!("/{name}") }], false)
        };
        assert_eq!(of("eth1", "3\n"), Ok(Vec::new()));
        assert!(of("eth1", "9\n").is_err());
        assert!(of("eth9", "3\n").is_err());
    }

    #[test]
    fn an_empty_net_directory_is_an_interface_elsewhere() {
        let below = |empty: &str, partial: &str| Below {
            empty_nets: empty.split_whitespace().map(str::to_owned).collect(),
            partial_nets: partial.split_whitespace().map(str::to_owned).collect(),
            ..Below::default()
        };
        let said = elsewhere(&below("/sys/x/net", ""));
        assert_eq!(said, ["its network interface is in another network namespace (/sys/x/net is empty)"]);
        assert!(elsewhere(&below("", "/sys/x/net"))[0].contains("one of its network interfaces is in another"));
        assert!(elsewhere(&below("", "")).is_empty());
    }
}
