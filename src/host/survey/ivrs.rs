//! AMD's IVRS table: memory definitions (IVMD) with the devices they are for.

use super::acpi::{body, structures, u16_at, u64_at};
use crate::model::preflight::firmware::{Reservation, Scope, Table};

/// Where the blocks begin: after the header, the IOMMU information and eight bytes.
const FIRST: usize = 48;
/// The length of a memory definition.
const IVMD: usize = 32;
/// Of the flags: the range must stay mapped 1:1.
const UNITY: u8 = 1;
/// Of the flags: the range is left to the device untranslated.
const EXCLUSION: u8 = 1 << 3;

/// Reads a table. What makes no sense is left out, with the reason in `trouble`.
///
/// # Errors
/// When it is no IVRS table at all.
pub fn parse(bytes: &[u8]) -> Result<Table, String> {
    let (whole, cut) = body(bytes, b"IVRS")?;
    let mut table = Table::default();
    let head = |rest: &[u8]| Some((u16::from(*rest.first()?), usize::from(u16_at(rest, 2)?)));
    let trouble = structures(whole, FIRST, head, |at, kind, block| {
        if matches!(kind, 0x20..=0x22) {
            table.reservations.extend(definition(at, kind, block)?);
        }
        Ok(())
    });
    table.trouble = cut.or(trouble);
    Ok(table)
}

/// One memory definition: all functions (0x20), one (0x21), or a range of them (0x22).
fn definition(at: usize, kind: u16, block: &[u8]) -> Result<Option<Reservation>, String> {
    let block = block.get(..IVMD).ok_or("an IVMD of too few bytes")?;
    let read =
        || Some((u16_at(block, 4)?, u16_at(block, 6)?, u16_at(block, 8)?, u64_at(block, 16)?, u64_at(block, 24)?));
    let (first, last, segment, start, length) = read().ok_or("an IVMD of too few bytes")?;
    let flags = block.get(1).copied().unwrap_or_default();
    if flags & (UNITY | EXCLUSION) == 0 {
        return Ok(None);
    }
    let end = length.checked_sub(1).and_then(|length| start.checked_add(length));
    let end = end.ok_or_else(|| format!("an IVMD of 0x{length:x} bytes at 0x{start:x}"))?;
    let domain = u32::from(segment);
    let scope = match kind {
        0x20 => Scope::All { domain },
        0x21 => Scope::Range { domain, first, last: first },
        _ => Scope::Range { domain, first, last },
    };
    let structure = format!("IVMD 0x{kind:x} at byte 0x{at:x}");
    Ok(Some(Reservation { structure, start, end, scopes: vec![scope] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(blocks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"IVRS".to_vec();
        let length = u32::try_from(48 + blocks.iter().map(|block| block.len()).sum::<usize>()).unwrap();
        bytes.extend(length.to_le_bytes());
        bytes.resize(48, 0);
        blocks.iter().for_each(|block| bytes.extend(*block));
        bytes
    }

    fn ivmd(kind: u8, flags: u8, first: u16, last: u16, start: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![kind, flags, 32, 0];
        bytes.extend(first.to_le_bytes());
        bytes.extend(last.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(start.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes
    }

    #[test]
    fn each_kind_of_definition_names_its_functions() {
        let blocks = [
            ivmd(0x20, 1, 0, 0, 0x1000, 0x1000),
            ivmd(0x21, 7, 0x18, 0, 0x2000, 0x10),
            ivmd(0x22, 8, 0x18, 0x20, 0x3000, 1),
            ivmd(0x21, 0, 0x18, 0, 0x4000, 1),
        ];
        let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let table = parse(&table(&blocks)).unwrap();
        assert_eq!(table.trouble, None);
        let words: Vec<String> =
            table.reservations.iter().map(|r| format!("0x{:x}-0x{:x} {}", r.start, r.end, r.scopes[0])).collect();
        assert_eq!(
            words,
            [
                "0x1000-0x1fff all functions of domain 0000",
                "0x2000-0x200f the function 0000:00:03.0",
                "0x3000-0x3000 the functions 0000:00:03.0 to 00:04.0"
            ]
        );
    }

    #[test]
    fn a_definition_that_makes_no_sense_is_told_and_the_next_one_holds() {
        let good = ivmd(0x21, 1, 0x18, 0, 0x1000, 0x1000);
        let short = [&[0x21, 1, 16, 0], [0; 12].as_slice()].concat();
        let overflow = ivmd(0x21, 1, 0x18, 0, u64::MAX, 2);
        let empty = ivmd(0x21, 1, 0x18, 0, 0x1000, 0);
        for (bad, why) in [(short, "too few bytes"), (overflow, "0x2 bytes at 0xffff"), (empty, "0x0 bytes at 0x1000")]
        {
            let table = parse(&table(&[&bad, &good])).unwrap();
            assert_eq!(table.reservations.len(), 1, "{why}");
            let trouble = table.trouble.unwrap();
            assert!(trouble.starts_with("the structure at byte 0x30: ") && trouble.contains(why), "{trouble}");
        }
    }

    #[test]
    fn lengths_that_lie_end_the_table() {
        let mut lying = table(&[]);
        lying[4] = 200;
        assert!(parse(&lying).unwrap().trouble.unwrap().contains("ends at byte 48 of 200"));
        let mut long = ivmd(0x21, 1, 0x18, 0, 0, 1);
        long[2] = 33;
        assert!(parse(&table(&[&long])).unwrap().trouble.unwrap().contains("claims 33 bytes, and 32 are left"));
    }

    #[test]
    fn qemus_table_reserves_nothing() {
        let captured = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/ivrs/qemu")).unwrap();
        let table = parse(&captured).unwrap();
        assert_eq!((table.reservations.len(), table.trouble), (0, None));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(blocks in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&blocks);
            let _ = parse(&table(&[&blocks]));
        }
    }
}
