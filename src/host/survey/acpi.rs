//! ACPI tables as the kernel shows them, and the bytes in them. A table may be cut, or lie about
//! its lengths: what comes before the place where it does so holds. A structure whose length is
//! right and whose values make no sense is passed over, and told.

use super::read;
use crate::host::root::Root;
use crate::model::preflight::firmware::Table;
use crate::model::snapshot::Fact;

/// The length of the header that all tables begin with.
const HEADER: usize = 36;
/// More structures than any table has.
const MANY: usize = 10_000;

/// Where a table is.
#[must_use]
pub fn path(name: &str) -> String {
    format!("/sys/firmware/acpi/tables/{name}")
}

/// Reads a table.
#[must_use]
pub fn read(root: &Root, name: &str, parse: impl FnOnce(&[u8]) -> Result<Table, String>) -> Fact<Table> {
    let path = path(name);
    match read::fact("read", &path, root.read(&path)) {
        Fact::Is(bytes) => match parse(&bytes) {
            Ok(table) => Fact::Is(table),
            Err(why) => Fact::Unreadable(format!("read {path}: {why}")),
        },
        Fact::Absent => Fact::Absent,
        Fact::Unreadable(why) => Fact::Unreadable(why),
    }
}

/// The part of a file that the table claims to be, and whether the file is shorter than that.
///
/// # Errors
/// When the header is not that of such a table.
pub(super) fn body<'b>(bytes: &'b [u8], signature: &[u8; 4]) -> Result<(&'b [u8], Option<String>), String> {
    if bytes.len() < HEADER || !bytes.starts_with(signature) {
        return Err(format!("{} bytes, no {} table", bytes.len(), String::from_utf8_lossy(signature)));
    }
    let length = u32_at(bytes, 4).and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    if length < HEADER {
        return Err(format!("the table claims to have {length} bytes"));
    }
    match bytes.get(..length) {
        Some(whole) => Ok((whole, None)),
        None => Ok((bytes, Some(format!("it ends at byte {} of {length}", bytes.len())))),
    }
}

/// Hands over each structure from `at` on: its place, its type and its bytes. `head` reads type and
/// length at its beginning. Gives what makes no sense.
pub(super) fn structures<'b>(
    table: &'b [u8],
    mut at: usize,
    head: impl Fn(&[u8]) -> Option<(u16, usize)>,
    mut visit: impl FnMut(usize, u16, &'b [u8]) -> Result<(), String>,
) -> Option<String> {
    let mut trouble = None;
    for _ in 0..MANY {
        let Some(rest) = table.get(at..).filter(|rest| !rest.is_empty()) else { return trouble };
        let cut = match head(rest) {
            None => "is cut".to_owned(),
            Some((_, length)) if length < 4 => format!("claims to have {length} bytes"),
            Some((kind, length)) => match rest.get(..length) {
                None => format!("claims {length} bytes, and {} are left", rest.len()),
                Some(structure) => {
                    if let Err(why) = visit(at, kind, structure) {
                        trouble.get_or_insert_with(|| format!("the structure at byte 0x{at:x}: {why}"));
                    }
                    at += length;
                    continue;
                }
            },
        };
        return trouble.or(Some(format!("the structure at byte 0x{at:x} {cut}")));
    }
    Some("it has too many structures".to_owned())
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
