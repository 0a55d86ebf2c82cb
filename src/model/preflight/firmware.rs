//! What the firmware's tables reserve, and for whom.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::pci::{Address, BridgePath, Hop, Slot};

/// What a DMAR or IVRS table says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// Whether it announces interrupt remapping; only DMAR does.
    pub remaps: Option<bool>,
    /// Memory that is reserved for devices, in the table's order.
    pub reservations: Vec<Reservation>,
    /// Where the table makes no sense first; what was read holds, and there may be more.
    pub trouble: Option<String>,
}

/// A range of memory that must stay mapped 1:1 for some devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The structure in the table: `RMRR at byte 0x48`.
    pub structure: String,
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub end: u64,
    /// For whom.
    pub scopes: Vec<Scope>,
}

/// For whom something is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One function.
    Function(Place),
    /// A bridge and all below it.
    Below(Place),
    /// Functions by number of bus, device and function, from the first to the last (AMD).
    Range {
        /// The domain (segment).
        domain: u32,
        /// Bus, device and function of the first, 16 bits.
        first: u16,
        /// Bus, device and function of the last, 16 bits.
        last: u16,
    },
    /// All functions of a domain (AMD).
    All {
        /// The domain (segment).
        domain: u32,
    },
}

/// A place by the way to it: a bus, then device and function of each step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The domain (segment).
    pub domain: u32,
    /// The bus that the way begins on.
    pub bus: u8,
    /// The steps, at least one.
    pub hops: Vec<Hop>,
}

impl Place {
    fn first(&self) -> Option<Address> {
        let hop = self.hops.first()?;
        Some(Slot { domain: self.domain, bus: self.bus, device: hop.device }.function(hop.function))
    }

    /// Whether the way leads to this function, or through it when `through`. Firmware may name a
    /// function by the bus it is on instead of the way from the root.
    fn leads(&self, address: Address, path: &BridgePath, through: bool) -> bool {
        let Some(first) = self.first() else { return false };
        let rest = self.hops.get(1..).unwrap_or_default();
        let along = path.root == first && if through { path.hops.starts_with(rest) } else { path.hops == rest };
        along || (rest.is_empty() && first == address)
    }
}

impl Scope {
    /// Whether a function is meant. `bridges` tells the path of a function by its address.
    #[must_use]
    pub fn covers(&self, address: Address, path: &BridgePath, bridges: impl Fn(Address) -> Option<BridgePath>) -> bool {
        let number = number(address);
        match self {
            Scope::Function(place) => place.leads(address, path, false),
            Scope::Below(place) => {
                let named = place.first().filter(|_| place.hops.len() == 1).and_then(bridges);
                let below = named.is_some_and(|above| above.root == path.root && path.hops.starts_with(&above.hops));
                place.leads(address, path, true) || below
            }
            Scope::Range { domain, first, last } => address.domain == *domain && (first..=last).contains(&&number),
            Scope::All { domain } => address.domain == *domain,
        }
    }

    /// Whether virtual functions that a function does not have yet could be meant: below a bridge they
    /// are where it is, and their numbers come after its own.
    #[must_use]
    pub fn may_cover_vfs(
        &self,
        address: Address,
        path: &BridgePath,
        bridges: impl Fn(Address) -> Option<BridgePath>,
    ) -> bool {
        match self {
            Scope::Function(_) => false,
            Scope::Below(_) | Scope::All { .. } => self.covers(address, path, bridges),
            Scope::Range { domain, first, last } => {
                let on_its_bus = *first <= u16::from_be_bytes([address.bus, 0xff]);
                address.domain == *domain && first < last && on_its_bus && number(address) < *last
            }
        }
    }

    /// Whether it names devices one by one.
    #[must_use]
    pub fn is_single(&self) -> bool {
        match self {
            Scope::Function(_) => true,
            Scope::Range { first, last, .. } => first == last,
            Scope::Below(_) | Scope::All { .. } => false,
        }
    }
}

/// Bus, device and function as one number of 16 bits.
fn number(address: Address) -> u16 {
    u16::from_be_bytes([address.bus, address.device << 3 | address.function])
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_number = |number: &u16| {
            let [bus, low] = number.to_be_bytes();
            format!("{bus:02x}:{:02x}.{:x}", low >> 3, low & 7)
        };
        match self {
            Scope::Function(place) => write!(f, "the function {place}"),
            Scope::Below(place) => write!(f, "the bridge {place} and all below it"),
            Scope::Range { domain, first, last } if first == last => {
                write!(f, "the function {domain:04x}:{}", by_number(first))
            }
            Scope::Range { domain, first, last } => {
                write!(f, "the functions {domain:04x}:{} to {}", by_number(first), by_number(last))
            }
            Scope::All { domain } => write!(f, "all functions of domain {domain:04x}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first() {
            Some(first) => write!(f, "{first}")?,
            None => write!(f, "{:04x}:{:02x}", self.domain, self.bus)?,
        }
        self.hops.iter().skip(1).try_for_each(|hop| write!(f, "/{:02x}.{:x}", hop.device, hop.function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bus: u8, hops: &[(u8, u8)]) -> Place {
        let hops = hops.iter().map(|(device, function)| Hop { device: *device, function: *function }).collect();
        Place { domain: 0, bus, hops }
    }

    fn covers(scope: &Scope, address: &str, path: &str) -> bool {
        let bridges = |bridge: Address| match bridge.to_string().as_str() {
            "0000:03:00.0" => "0000:00:07.0/00.0".parse().ok(),
            _ => None,
        };
        scope.covers(address.parse().unwrap(), &path.parse().unwrap(), bridges)
    }

    #[test]
    fn a_scope_covers_its_function_by_the_way_or_by_the_bus_and_no_neighbour() {
        let by_way = Scope::Function(place(0, &[(7, 0), (0, 0), (1, 0)]));
        assert!(covers(&by_way, "0000:04:01.0", "0000:00:07.0/00.0/01.0"));
        assert!(!covers(&by_way, "0000:04:02.0", "0000:00:07.0/00.0/02.0"));
        assert!(!covers(&by_way, "0000:03:00.0", "0000:00:07.0/00.0"));
        let by_bus = Scope::Function(place(4, &[(1, 0)]));
        assert!(covers(&by_bus, "0000:04:01.0", "0000:00:07.0/00.0/01.0"));
        assert_eq!(by_way.to_string(), "the function 0000:00:07.0/00.0/01.0");
    }

    #[test]
    fn a_bridge_covers_what_is_below_it() {
        for scope in [Scope::Below(place(0, &[(7, 0)])), Scope::Below(place(3, &[(0, 0)]))] {
            assert!(covers(&scope, "0000:04:02.0", "0000:00:07.0/00.0/02.0"), "{scope}");
            assert!(!covers(&scope, "0000:01:00.0", "0000:00:05.0/00.0"), "{scope}");
        }
    }

    #[test]
    fn amd_names_ranges_of_numbers() {
        let range = Scope::Range { domain: 0, first: 0x0018, last: 0x0021 };
        for (address, expected) in [("00:02.7", false), ("00:03.0", true), ("00:04.1", true), ("00:04.2", false)] {
            assert_eq!(covers(&range, address, &format!("0000:{address}")), expected, "{address}");
        }
        assert_eq!(range.to_string(), "the functions 0000:00:03.0 to 00:04.1");
        assert!(covers(&Scope::All { domain: 0 }, "05:00.0", "0000:00:0d.0/00.0"));
    }

    #[test]
    fn virtual_functions_may_be_meant_below_a_bridge_and_by_numbers_that_come_after_their_pf() {
        let pf = |scope: &Scope| {
            let path = "0000:00:07.0/00.0".parse().unwrap();
            scope.may_cover_vfs("0000:04:00.0".parse().unwrap(), &path, |_| None)
        };
        let range = |first, last| Scope::Range { domain: 0, first, last };
        for (scope, expected) in [
            (Scope::Function(place(0, &[(7, 0), (0, 0)])), false),
            (Scope::Below(place(0, &[(7, 0)])), true),
            (Scope::Below(place(0, &[(8, 0)])), false),
            (Scope::All { domain: 0 }, true),
            (Scope::All { domain: 1 }, false),
            (range(0x0400, 0x0400), false),
            (range(0x0400, 0x0401), true),
            (range(0x0300, 0x0400), false),
            (range(0x0410, 0x0420), true),
            (range(0x0500, 0x05ff), false),
        ] {
            assert_eq!(pf(&scope), expected, "{scope}");
        }
    }
}
