//! Arm's table of IOMMUs (IORT): the memory that it wants mapped 1:1 (RMR nodes).
//!
//! For whom is told by numbers of streams, which only the SMMU's driver understands, so a region is
//! found again by its addresses. The table alone decides nothing: the kernel heeds such a node for a PCI
//! function only where the host bridge says so (`_DSM` 5; seen, 6.12 and 7.3).

use super::acpi::{body, structures, u16_at, u32_at, u64_at};
use crate::model::preflight::firmware::{Reservation, Table};

const RMR: u16 = 6;
/// Where the number of nodes stands, and that of the first.
const FIRST: usize = 40;
/// A node's head is this long; an RMR node's own part comes behind it.
const HEAD: usize = 16;
/// The length of one range.
const RANGE: usize = 20;
/// More ranges than any node has.
const MANY: usize = 1024;

/// Reads a table.
///
/// # Errors
/// When its header is none.
pub fn parse(bytes: &[u8]) -> Result<Table, String> {
    let (table, cut) = body(bytes, b"IORT")?;
    let mut found = Table { trouble: cut, ..Table::default() };
    let first = u32_at(table, FIRST).and_then(|at| usize::try_from(at).ok());
    let Some(first) = first.filter(|first| *first >= FIRST) else {
        found.trouble.get_or_insert_with(|| "it does not tell where its nodes are".to_owned());
        return Ok(found);
    };
    let head = |rest: &[u8]| Some((u16::from(*rest.first()?), usize::from(u16_at(rest, 1)?)));
    let trouble = structures(table, first, head, |at, kind, node| {
        if kind == RMR {
            found.reservations.extend(ranges(at, node)?);
        }
        Ok(())
    });
    found.trouble = found.trouble.or(trouble);
    Ok(found)
}

fn ranges(at: usize, node: &[u8]) -> Result<Vec<Reservation>, String> {
    let number = |at: usize| u32_at(node, at).and_then(|number| usize::try_from(number).ok());
    let (Some(count), Some(offset)) = (number(HEAD + 4), number(HEAD + 8)) else {
        return Err("an RMR without ranges".to_owned());
    };
    let range = |index: usize| {
        let place = offset.checked_add(index.checked_mul(RANGE)?)?;
        let (start, length) = (u64_at(node, place)?, u64_at(node, place.checked_add(8)?)?);
        let end = start.checked_add(length.checked_sub(1)?)?;
        Some(Reservation { structure: format!("RMR at byte 0x{at:x}"), start, end, scopes: Vec::new() })
    };
    (0..count.min(MANY))
        .map(|index| range(index).ok_or_else(|| "an RMR whose ranges make no sense".to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(start: u64, length: u64) -> Vec<u8> {
        let mut bytes = b"IORT".to_vec();
        bytes.resize(48, 0);
        bytes[36..40].copy_from_slice(&1_u32.to_le_bytes());
        bytes[40..44].copy_from_slice(&48_u32.to_le_bytes());
        let mut node = vec![6, 48, 0, 1];
        node.resize(HEAD, 0);
        node.extend([0; 4]);
        node.extend(1_u32.to_le_bytes());
        node.extend(28_u32.to_le_bytes());
        node.extend(start.to_le_bytes());
        node.extend(length.to_le_bytes());
        node.extend([0; 4]);
        bytes.extend(node);
        let whole = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        bytes[4..8].copy_from_slice(&whole);
        bytes
    }

    #[test]
    fn the_ranges_of_an_rmr_are_read_and_nonsense_is_told() {
        let found = parse(&table(0xc000_0000, 0x200_0000)).unwrap();
        let ranges: Vec<_> = found.reservations.iter().map(|range| (range.start, range.end)).collect();
        assert_eq!((ranges, found.trouble), (vec![(0xc000_0000, 0xc1ff_ffff)], None));
        assert_eq!(found.reservations[0].structure, "RMR at byte 0x30");
        assert!(parse(&table(u64::MAX, 2)).unwrap().trouble.is_some());
        assert!(parse(b"IORT\n").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&[b"IORT".to_vec(), bytes].concat());
        }
    }
}
