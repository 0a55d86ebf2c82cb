//! Intel's DMAR table: reserved memory regions (RMRR) with the devices they are for.

use super::acpi::{body, structures, u16_at, u64_at};
use crate::model::pci::Hop;
use crate::model::preflight::firmware::{Place, Reservation, Scope, Table};

/// Where the structures begin: after the header, the address width, the flags and ten bytes.
const FIRST: usize = 48;
/// Of the flags: interrupt remapping is supported.
const INTR_REMAP: u8 = 1;
/// The type of a reserved memory region.
const RMRR: u16 = 1;
/// Where the scopes of one begin.
const SCOPES: usize = 24;

/// Reads a table. What makes no sense is left out, with the reason in `trouble`.
///
/// # Errors
/// When it is no DMAR table at all.
pub fn parse(bytes: &[u8]) -> Result<Table, String> {
    let (whole, cut) = body(bytes, b"DMAR")?;
    let mut table = Table { remaps: whole.get(37).map(|flags| flags & INTR_REMAP != 0), ..Table::default() };
    let head = |rest: &[u8]| Some((u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?)));
    let trouble = structures(whole, FIRST, head, |at, kind, structure| {
        if kind == RMRR {
            table.reservations.push(reservation(at, structure)?);
        }
        Ok(())
    });
    table.trouble = cut.or(trouble);
    Ok(table)
}

fn reservation(at: usize, structure: &[u8]) -> Result<Reservation, String> {
    let read = || Some((u16_at(structure, 6)?, u64_at(structure, 8)?, u64_at(structure, 16)?));
    let (segment, start, end) = read().ok_or("an RMRR of too few bytes")?;
    if end < start {
        return Err(format!("an RMRR from 0x{start:x} to 0x{end:x}"));
    }
    let mut scopes = Vec::new();
    let mut rest = structure.get(SCOPES..).unwrap_or_default();
    while !rest.is_empty() {
        let (scope, length) = scope(rest, u32::from(segment)).ok_or("a device scope that is cut")?;
        scopes.extend(scope);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(Reservation { structure: format!("RMRR at byte 0x{at:x}"), start, end, scopes })
}

/// A device scope: type, length, two bytes, an id, the bus, then two bytes for each step. Other
/// types than PCI functions and bridges are passed over.
fn scope(bytes: &[u8], domain: u32) -> Option<(Option<Scope>, usize)> {
    let (kind, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    let whole = bytes.get(..length).filter(|_| length >= 6)?;
    let steps = whole.get(6..)?.chunks_exact(2);
    let hops: Vec<Hop> = steps.map(|step| Hop { device: step[0] & 0x1f, function: step[1] & 7 }).collect();
    let place = Place { domain, bus: *whole.get(5)?, hops };
    let scope = match kind {
        _ if place.hops.is_empty() => None,
        1 => Some(Scope::Function(place)),
        2 => Some(Scope::Below(place)),
        _ => None,
    };
    Some((scope, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the lab with `--rmrr 04:01.0`.
    fn lab() -> Vec<u8> {
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/dmar/lab-rmrr-behind-a-bridge")).unwrap()
    }

    #[test]
    fn the_lab_reserves_a_region_for_a_function_behind_two_bridges() {
        let table = parse(&lab()).unwrap();
        assert_eq!((table.remaps, table.trouble), (Some(true), None));
        let [region] = table.reservations.as_slice() else { panic!("{:?}", table.reservations) };
        assert_eq!((region.start, region.end), (0xfffc_0000, 0xffff_ffff));
        let path = "0000:00:07.0/00.0/01.0".parse().unwrap();
        assert!(region.scopes[0].covers("0000:04:01.0".parse().unwrap(), &path, |_| None));
        assert_eq!(region.scopes[0].to_string(), "the function 0000:00:07.0/00.0/01.0");
    }

    #[test]
    fn a_scope_may_be_a_bridge_behind_another_one_and_is_all_that_is_below_it() {
        let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/dmar/rmrr-of-a-bridge")).unwrap();
        let table = parse(&bytes).unwrap();
        let [region] = table.reservations.as_slice() else { panic!("{:?}", table.reservations) };
        let [scope] = region.scopes.as_slice() else { panic!("{:?}", region.scopes) };
        assert_eq!(scope.to_string(), "the bridge 0000:00:07.0/00.0 and all below it");
        for (address, path, covered) in [
            ("0000:04:00.0", "0000:00:07.0/00.0/00.0", true),
            ("0000:03:00.0", "0000:00:07.0/00.0", true),
            ("0000:03:01.0", "0000:00:07.0/01.0", false),
            ("0000:00:07.0", "0000:00:07.0", false),
        ] {
            assert_eq!(scope.covers(address.parse().unwrap(), &path.parse().unwrap(), |_| None), covered, "{address}");
        }
    }

    #[test]
    fn what_comes_before_a_lie_holds() {
        let whole = lab();
        let mut lying = whole.clone();
        // The DRHD's length: the RMRR behind it is out of reach.
        lying[50] = 0xff;
        let table = parse(&lying).unwrap();
        assert!(table.reservations.is_empty());
        assert!(table.trouble.unwrap().contains("at byte 0x30 claims"));
        let cut = parse(&whole[..whole.len() - 4]).unwrap();
        assert!(cut.reservations.is_empty() && cut.trouble.is_some());
        assert!(parse(&whole[..20]).is_err());
        assert!(parse(b"").is_err());
    }

    #[test]
    fn a_region_that_makes_no_sense_is_told_and_the_next_one_holds() {
        let whole = lab();
        let region = &whole[72..];
        // Its end before its start, then a scope that is longer than what is left.
        for (at, bytes) in [(16, vec![0; 8]), (25, vec![0xff])] {
            let mut two = whole[..72].to_vec();
            let mut bad = region.to_vec();
            bad[at..at + bytes.len()].copy_from_slice(&bytes);
            two.extend(bad);
            two.extend(region);
            two[4] = u8::try_from(two.len()).unwrap();
            let table = parse(&two).unwrap();
            assert_eq!(table.reservations.len(), 1, "{at}");
            assert_eq!(table.reservations[0].structure, "RMRR at byte 0x6c");
            assert!(table.trouble.unwrap().starts_with("the structure at byte 0x48: "), "{at}");
        }
    }

    #[test]
    fn a_length_of_nothing_ends_the_table() {
        let mut endless = lab();
        (endless[50], endless[51]) = (0, 0);
        assert!(parse(&endless).unwrap().trouble.unwrap().contains("0 bytes"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = parse(&bytes);
            let whole = lab();
            let take = bytes.len().min(whole.len());
            bytes[..take.min(48)].copy_from_slice(&whole[..take.min(48)]);
            let _ = parse(&bytes);
        }
    }
}
