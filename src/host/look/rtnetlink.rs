//! Links, addresses, routes and nexthops, from the kernel's rtnetlink.
//!
//! Only the few attributes that matter are decoded, each by its number from `linux/rtnetlink.h`:
//! a newer kernel's unknown attribute must not make the whole network unreadable. Numbers come in
//! the machine's byte order, addresses in the network's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NlasIterator;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The interfaces it is told to be related to: its master is above it …
    pub master: Option<u32>,
    /// … and this one is below it (a VLAN's device). Absent when that is in another namespace.
    pub lower: Option<u32>,
    /// Whether an XDP program takes what it receives.
    pub xdp: bool,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The interface it is on.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
}

/// A route; of any family, table and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its destination; none for the default, and for families that are neither v4 nor v6.
    pub to: Option<IpAddr>,
    /// The length of the destination's prefix.
    pub length: u8,
    /// The table, 254 = main, 255 = local.
    pub table: u32,
    /// Interfaces it leaves by.
    pub out: Vec<u32>,
    /// The nexthop object it leaves by.
    pub nexthop: Option<u32>,
}

/// A nexthop object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nexthop {
    /// Its id.
    pub id: u32,
    /// The interface it leaves by.
    pub out: Option<u32>,
    /// Its members, when it is a group.
    pub members: Vec<u32>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn attributes(payload: &[u8], header: usize) -> Option<BTreeMap<u16, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for attribute in NlasIterator::new(payload.get(header..)?) {
        let attribute = attribute.ok()?;
        found.insert(attribute.kind(), attribute.value().to_vec());
    }
    Some(found)
}

fn number(attributes: &BTreeMap<u16, Vec<u8>>, kind: u16) -> Option<u32> {
    u32_at(attributes.get(&kind)?, 0)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// `RTM_NEWLINK`. `None` for what makes no sense.
#[must_use]
pub fn link(payload: &[u8]) -> Option<Link> {
    const IFNAME: u16 = 3;
    const LINK: u16 = 5;
    const MASTER: u16 = 10;
    const LINK_NETNSID: u16 = 37;
    const XDP: u16 = 43;
    let attributes = attributes(payload, 16)?;
    let name = attributes.get(&IFNAME)?.split(|byte| *byte == 0).next()?;
    let here = !attributes.contains_key(&LINK_NETNSID);
    Some(Link {
        index: u32_at(payload, 4)?,
        name: String::from_utf8_lossy(name).into_owned(),
        master: number(&attributes, MASTER).filter(|master| *master != 0),
        lower: number(&attributes, LINK).filter(|lower| here && *lower != 0),
        xdp: attributes.get(&XDP).is_some_and(|nested| has_program(nested)),
    })
}

/// `IFLA_XDP_ATTACHED`, one byte: how a program is attached, 0 for none.
fn has_program(nested: &[u8]) -> bool {
    const ATTACHED: u16 = 2;
    attributes(nested, 0).and_then(|inner| inner.get(&ATTACHED)?.first().copied()).is_some_and(|how| how != 0)
}

/// `RTM_NEWADDR`. `None` for what makes no sense.
#[must_use]
pub fn owned(payload: &[u8]) -> Option<Owned> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let attributes = attributes(payload, 8)?;
    // On a point-to-point link ADDRESS is the peer's.
    let own = attributes.get(&LOCAL).or_else(|| attributes.get(&ADDRESS))?;
    Some(Owned { index: u32_at(payload, 4)?, address: address(own)? })
}

/// `RTM_NEWROUTE`. `None` for what makes no sense.
#[must_use]
pub fn route(payload: &[u8]) -> Option<Route> {
    const DST: u16 = 1;
    const OIF: u16 = 4;
    const MULTIPATH: u16 = 9;
    const TABLE: u16 = 15;
    const NH_ID: u16 = 30;
    let (family, length, table) = (*payload.first()?, *payload.get(1)?, *payload.get(4)?);
    let attributes = attributes(payload, 12)?;
    let inet = matches!(family, AF_INET | AF_INET6);
    let mut out: Vec<u32> = number(&attributes, OIF).into_iter().collect();
    if let Some(hops) = attributes.get(&MULTIPATH) {
        out.extend(multipath(hops)?);
    }
    Some(Route {
        to: attributes.get(&DST).filter(|_| inet).and_then(|bytes| address(bytes)),
        length,
        table: number(&attributes, TABLE).unwrap_or(u32::from(table)),
        out,
        nexthop: number(&attributes, NH_ID),
    })
}

/// `struct rtnexthop`, one after another: length, flags, hops, interface, attributes.
fn multipath(mut hops: &[u8]) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    while hops.len() >= 8 {
        let length = usize::from(u16_at(hops, 0)?);
        found.push(u32_at(hops, 4)?);
        if length < 8 {
            return None;
        }
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(found)
}

/// `RTM_NEWNEXTHOP`. `None` for what makes no sense.
#[must_use]
pub fn nexthop(payload: &[u8]) -> Option<Nexthop> {
    const ID: u16 = 1;
    const GROUP: u16 = 2;
    const OIF: u16 = 5;
    let attributes = attributes(payload, 8)?;
    // struct nexthop_grp: id, weight, padding: 8 bytes.
    let members = attributes.get(&GROUP).map(Vec::as_slice).unwrap_or_default().chunks_exact(8);
    Some(Nexthop {
        id: number(&attributes, ID)?,
        out: number(&attributes, OIF),
        members: members.filter_map(|member| u32_at(member, 0)).collect(),
    })
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// An attribute: length, kind, value, padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(value.len() + 4).unwrap().to_le_bytes().to_vec();
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(header: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
        [header, &attributes.concat()].concat()
    }

    #[test]
    fn a_vlan_on_a_bridge_names_both() {
        let header = [0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let name = attribute(3, b"eth0.5\0");
        let (lower, master) = (attribute(5, &[2, 0, 0, 0]), attribute(10, &[9, 0, 0, 0]));
        let found = link(&message(&header, &[name.clone(), lower.clone(), master])).unwrap();
        assert_eq!(found, Link { index: 7, name: "eth0.5".into(), master: Some(9), lower: Some(2), xdp: false });
        // A veth's peer in another namespace has an index that means nothing here.
        let found = link(&message(&header, &[name, lower, attribute(37, &[0; 4])])).unwrap();
        assert_eq!(found.lower, None);
    }

    #[test]
    fn an_xdp_program_shows_in_a_nested_attribute() {
        let header = [0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let name = attribute(3, b"eth0\0");
        for (how, wanted) in [(0, false), (1, true), (2, true), (4, true)] {
            // With the program's number; a kernel may mark it as nested (0x8000).
            for kind in [43, 43 | 0x8000] {
                let nested = attribute(kind, &[attribute(2, &[how]), attribute(4, &[9, 0, 0, 0])].concat());
                assert_eq!(link(&message(&header, &[name.clone(), nested])).unwrap().xdp, wanted, "{how} {kind}");
            }
        }
        assert!(!link(&message(&header, &[name])).unwrap().xdp);
    }

    #[test]
    fn a_default_route_in_table_100_keeps_its_table_and_interface() {
        // Captured: ip route add default via 10.0.2.2 dev eth0 table 100, eth0 being 2.
        let header = [2, 0, 0, 0, 100, 3, 0, 1, 0, 0, 0, 0];
        let attributes = [attribute(15, &[100, 0, 0, 0]), attribute(5, &[10, 0, 2, 2]), attribute(4, &[2, 0, 0, 0])];
        let found = route(&message(&header, &attributes)).unwrap();
        assert_eq!(found, Route { to: None, length: 0, table: 100, out: vec![2], nexthop: None });
    }

    #[test]
    fn every_leg_of_a_multipath_route_counts() {
        let hop = |interface: u8| [&[16, 0, 0, 0, interface, 0, 0, 0][..], &attribute(5, &[10, 0, 0, 1])].concat();
        let attributes = [attribute(1, &[10, 9, 0, 0]), attribute(9, &[hop(3), hop(4)].concat())];
        let found = route(&message(&[2, 16, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0], &attributes)).unwrap();
        assert_eq!((found.out, found.length), (vec![3, 4], 16));
    }

    #[test]
    fn a_group_of_nexthops_names_its_members() {
        let group = attribute(2, &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        let found = nexthop(&message(&[0; 8], &[attribute(1, &[10, 0, 0, 0]), group])).unwrap();
        assert_eq!(found, Nexthop { id: 10, out: None, members: vec![1, 2] });
    }

    #[test]
    fn an_address_is_the_local_one() {
        let header = [2, 32, 128, 0, 2, 0, 0, 0];
        let found = owned(&message(&header, &[attribute(1, &[10, 0, 0, 9]), attribute(2, &[10, 0, 0, 1])])).unwrap();
        assert_eq!(found, Owned { index: 2, address: "10.0.0.1".parse().unwrap() });
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            let _ = link(&bytes);
            let _ = owned(&bytes);
            let _ = route(&bytes);
            let _ = nexthop(&bytes);
            let _ = multipath(&bytes);
        }
    }
}
