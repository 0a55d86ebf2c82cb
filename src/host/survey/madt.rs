//! ACPI's table of interrupt controllers (MADT, signature `APIC`): whether Arm's has an ITS.

use super::acpi::{body, structures};

/// Kinds of structures in it: Arm's interrupt controllers, and the translation service.
const GIC: [u16; 2] = [11, 12];
const ITS: u16 = 15;
/// Where its structures begin.
const FIRST: usize = 44;

/// Whether the table lists an ITS; none where it lists none of Arm's controllers, or is cut.
#[must_use]
pub fn has_its(bytes: &[u8]) -> Option<bool> {
    let (table, cut) = body(bytes, b"APIC").ok()?;
    let (mut gic, mut its) = (false, false);
    let head = |rest: &[u8]| Some((u16::from(*rest.first()?), usize::from(*rest.get(1)?)));
    let trouble = structures(table, FIRST, head, |_, kind, _| {
        gic |= GIC.contains(&kind);
        its |= kind == ITS;
        Ok(())
    });
    match (its, gic && cut.is_none() && trouble.is_none()) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kinds: &[u8]) -> Vec<u8> {
        let mut bytes = b"APIC".to_vec();
        bytes.resize(FIRST, 0);
        for kind in kinds {
            bytes.extend([*kind, 8, 0, 0, 0, 0, 0, 0]);
        }
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        bytes[4..8].copy_from_slice(&length);
        bytes
    }

    #[test]
    fn an_its_is_there_or_not_or_the_table_is_not_arms() {
        assert_eq!(has_its(&table(&[12, 11, 15])), Some(true));
        assert_eq!(has_its(&table(&[12, 11, 13])), Some(false));
        assert_eq!(has_its(&table(&[0, 1, 2])), None);
        assert_eq!(has_its(b"APIC"), None);
        let whole = table(&[12, 11, 13]);
        assert_eq!(has_its(&whole[..whole.len() - 2]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = has_its(&bytes);
        }
    }
}
