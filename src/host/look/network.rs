//! The network of this namespace: interfaces and what is on top of them, addresses, routes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::dump::{Kind, Rtnetlink, Trouble};
use super::packets::{self, Socket};
use super::patience::failed;
use super::rtnetlink::{Link, Nexthop, Owned, Route, link, nexthop, owned, route};
use super::view;
use crate::host::root::{Root, is_absent};

/// What rtnetlink says about this network namespace, but for what is link-local only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The interfaces.
    pub links: Vec<Link>,
    /// The addresses.
    pub addresses: Vec<Owned>,
    /// The routes.
    pub routes: Vec<Route>,
    /// Names of interfaces that PPPoE sessions run over. They need not have an address, a route or
    /// anything on top: the ppp interface is not related to them.
    pub sessions: Vec<String>,
    /// Packet sockets that are bound to an interface.
    pub sockets: Vec<Socket>,
}

const ATTEMPTS: usize = 3;

impl Network {
    /// Asks the kernel.
    ///
    /// # Errors
    /// A sentence; also when the answers kept changing while they came.
    pub fn ask(root: &Root) -> Result<Network, String> {
        view::of_network(root)?;
        for _ in 0..ATTEMPTS {
            match Network::dumped() {
                Err(Trouble::Interrupted) => {}
                Err(Trouble::Unsupported) => return Err("ask rtnetlink: not supported".to_owned()),
                Err(Trouble::Failed(why)) => return Err(why),
                Ok(network) => {
                    return Ok(Network { sessions: sessions(root)?, sockets: packets::bound(root)?, ..network });
                }
            }
        }
        Err("ask rtnetlink: the routes changed during each attempt".to_owned())
    }

    fn dumped() -> Result<Network, Trouble> {
        let mut rtnetlink = Rtnetlink::open()?;
        let links = all(&mut rtnetlink, Kind::Links, link, |_| true)?;
        let addresses = all(&mut rtnetlink, Kind::Addresses, owned, |owned: &Owned| !is_link_local(owned.address))?;
        let nexthops = match all(&mut rtnetlink, Kind::Nexthops, nexthop, |_| true) {
            // Nexthop objects came with 5.3.
            Err(Trouble::Unsupported) => Vec::new(),
            nexthops => nexthops?,
        };
        let mut routes = all(&mut rtnetlink, Kind::Routes, route, |route: &Route| !is_only_link_local(route))?;
        for route in &mut routes {
            route.out.extend(route.nexthop.iter().flat_map(|id| by_nexthop(&nexthops, *id)));
        }
        Ok(Network { links, addresses, routes, ..Network::default() })
    }

    /// The name of an interface.
    #[must_use]
    pub fn name(&self, index: u32) -> String {
        let named = self.links.iter().find(|link| link.index == index);
        named.map_or_else(|| format!("interface {index}"), |link| link.name.clone())
    }

    /// The index of an interface.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|link| link.name == name).map(|link| link.index)
    }

    /// All interfaces above one: masters of it, and what names it as the interface below.
    #[must_use]
    pub fn above(&self, index: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut todo = vec![index];
        while let Some(index) = todo.pop() {
            let masters = self.links.iter().filter(|link| link.index == index).filter_map(|link| link.master);
            let on_top = self.links.iter().filter(|link| link.lower == Some(index)).map(|link| link.index);
            for upper in masters.chain(on_top) {
                if found.insert(upper) {
                    todo.push(upper);
                }
            }
        }
        found
    }
}

/// The third column of `/proc/net/pppoe`, which is there when its module is.
fn sessions(root: &Root) -> Result<Vec<String>, String> {
    match root.read_text("/proc/net/pppoe") {
        Ok(text) => {
            Ok(text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect())
        }
        Err(e) if is_absent(&e) => Ok(Vec::new()),
        Err(e) => Err(failed("read", "/proc/net/pppoe", &e)),
    }
}

fn all<T>(
    rtnetlink: &mut Rtnetlink,
    kind: Kind,
    parse: impl Fn(&[u8]) -> Option<T>,
    wanted: impl Fn(&T) -> bool,
) -> Result<Vec<T>, Trouble> {
    let (mut found, mut nonsense) = (Vec::new(), false);
    rtnetlink.dump(kind, |payload| match parse(payload) {
        Some(object) if wanted(&object) => found.push(object),
        Some(_) => {}
        None => nonsense = true,
    })?;
    if nonsense { Err(Trouble::Failed(format!("read rtnetlink: nonsense among the {kind:?}"))) } else { Ok(found) }
}

fn by_nexthop(nexthops: &[Nexthop], id: u32) -> Vec<u32> {
    let of = |id: u32| nexthops.iter().filter(move |nexthop| nexthop.id == id);
    // A group's members are no groups.
    let members = of(id).flat_map(|group| &group.members).flat_map(|member| of(*member));
    of(id).chain(members).filter_map(|nexthop| nexthop.out).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    // IPv4's 169.254/16 is configured by somebody, so it counts as an address.
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Routes that every interface has which is up: fe80::/64, ff00::/8, and its own fe80:: address.
fn is_only_link_local(route: &Route) -> bool {
    match route.to {
        Some(IpAddr::V6(to)) => {
            (to.is_unicast_link_local() && route.length >= 10) || (to.is_multicast() && route.length >= 8)
        }
        Some(IpAddr::V4(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_route(to: Option<&str>, length: u8, table: u32, out: u32) -> Route {
        Route { to: to.map(|to| to.parse().unwrap()), length, table, out: vec![out], nexthop: None }
    }

    #[test]
    fn what_every_interface_has_that_is_up_is_no_use() {
        for (to, length) in [("fe80::", 64), ("fe80::5054:ff:fe12:3456", 128), ("ff00::", 8)] {
            assert!(is_only_link_local(&a_route(Some(to), length, 254, 2)), "{to}");
        }
        for (to, length) in [("fd00::", 64), ("::1", 128), ("10.0.2.0", 24), ("224.0.0.0", 4), ("169.254.0.0", 16)] {
            assert!(!is_only_link_local(&a_route(Some(to), length, 254, 2)), "{to}");
        }
        assert!(!is_only_link_local(&a_route(None, 0, 254, 2)));
        assert!(is_link_local("fe80::1".parse().unwrap()) && !is_link_local("169.254.1.1".parse().unwrap()));
    }

    #[test]
    fn a_route_by_a_group_of_nexthops_goes_out_by_its_members() {
        let nexthops = [
            Nexthop { id: 1, out: Some(2), members: vec![] },
            Nexthop { id: 2, out: Some(3), members: vec![] },
            Nexthop { id: 10, out: None, members: vec![1, 2] },
        ];
        assert_eq!(by_nexthop(&nexthops, 10), [2, 3]);
        assert_eq!(by_nexthop(&nexthops, 1), [2]);
        assert!(by_nexthop(&nexthops, 3).is_empty());
    }

    #[test]
    fn the_interfaces_under_pppoe_sessions_are_read_from_a_captured_file() {
        let tree = tempfile::tempdir().unwrap();
        let captured = "Id       Address              Device\n00000100 52:54:00:12:34:56     eth1\n";
        std::fs::create_dir_all(tree.path().join("proc/net")).unwrap();
        std::fs::write(tree.path().join("proc/net/pppoe"), captured).unwrap();
        assert_eq!(sessions(&Root::trusted(tree.path())).unwrap(), ["eth1"]);
    }
}
