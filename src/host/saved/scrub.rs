//! Numbers that tell a machine from all others, made zeros: MAC addresses and PCI serial numbers,
//! in texts and in names.
//!
//! Zeros keep the place: a line and column in a saved file are those of the original.

/// The fewest pairs of digits that make such a number: a MAC address has six, a serial number eight.
const PAIRS: usize = 6;
/// How systemd begins the name of an interface that it names after its MAC address.
const NAMES: [&str; 4] = ["enx", "wlx", "wwx", "slx"];

/// The same text without them.
#[must_use]
pub fn scrubbed(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let begins = at == 0 || !bytes.get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
        let length = if begins { pairs(&bytes[at..]).max(name(&bytes[at..])) } else { 0 };
        // What stands before the digits of a name is no digit, but may be a letter that is one.
        let lead = if length > 0 && name(&bytes[at..]) == length { 3 } else { 0 };
        for byte in bytes.iter_mut().skip(at + lead).take(length.saturating_sub(lead)) {
            if byte.is_ascii_hexdigit() {
                *byte = b'0';
            }
        }
        at += length.max(1);
    }
    // Only ASCII has been put in place of ASCII.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The length of pairs of digits with the same sign between them, if these are enough.
fn pairs(bytes: &[u8]) -> usize {
    let pair = |at: usize| bytes.get(at..at + 2).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    let Some(sign) = bytes.get(2).copied().filter(|sign| matches!(sign, b':' | b'-')) else { return 0 };
    if !pair(0) {
        return 0;
    }
    let more = (1..).take_while(|n| bytes.get(n * 3 - 1) == Some(&sign) && pair(n * 3)).count();
    let length = (more + 1) * 3 - 1;
    let ends = !bytes.get(length).is_some_and(u8::is_ascii_hexdigit);
    if more + 1 >= PAIRS && ends { length } else { 0 }
}

/// The length of an interface's name that is made of its MAC address.
fn name(bytes: &[u8]) -> usize {
    let Some((lead, digits)) = bytes.split_at_checked(3) else { return 0 };
    let address = digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if address == 12 && NAMES.iter().any(|name| name.as_bytes() == lead) { 15 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_machine_become_zeros_and_everything_else_stays() {
        for (text, expected) in [
            ("ether 52:54:00:12:34:ab up", "ether 00:00:00:00:00:00 up"),
            ("serial = \"00-1b-21-ff-ff-a2-b3-c4\"", "serial = \"00-00-00-00-00-00-00-00\""),
            ("hid-AA:BB:CC:DD:EE:FF-battery", "hid-00:00:00:00:00:00-battery"),
            ("enx00e04c680001", "enx000000000000"),
            ("net/wlxaabbccddeeff/queues", "net/wlx000000000000/queues"),
            ("0000:01:00.0 10000:e1:00.0", "0000:01:00.0 10000:e1:00.0"),
            ("pci0000:00/0000:00:1c.4", "pci0000:00/0000:00:1c.4"),
            ("83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"),
            ("enp5s0 enxyz", "enp5s0 enxyz"),
            ("Zeit: ä 52:54:00:12:34:56", "Zeit: ä 00:00:00:00:00:00"),
            ("17:00:00", "17:00:00"),
            ("", ""),
        ] {
            assert_eq!(scrubbed(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_changes_its_length_or_its_lines(text in "([0-9a-f]{2}[:-]|enx|.|\n){0,60}") {
            let done = scrubbed(&text);
            proptest::prop_assert_eq!(done.len(), text.len());
            proptest::prop_assert_eq!(done.lines().count(), text.lines().count());
            proptest::prop_assert_eq!(scrubbed(&done), done);
        }
    }
}
