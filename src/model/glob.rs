//! Shell patterns as `fnmatch(3)` takes them without flags: module aliases and modprobe.d use them.

/// Whether the whole text matches the pattern (`*`, `?`, `[a-z]`, `[!a-z]`).
///
/// Patterns come from files that may be hostile: the time is bounded by the product of the lengths.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: after the star, one byte later.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, from));
            at += 1;
        } else if let Some(length) = one(pattern.get(at..).unwrap_or_default(), text[from]) {
            at += length;
            from += 1;
        } else if let Some((after, begin)) = star {
            star = Some((after, begin + 1));
            (at, from) = (after, begin + 1);
        } else {
            return false;
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|b| *b == b'*')
}

/// How many `*` a pattern has: libvirt takes the alias with the fewest as the most special.
#[must_use]
pub fn wildcards(pattern: &str) -> usize {
    pattern.bytes().filter(|b| *b == b'*').count()
}

/// The length of the pattern's first element when it fits the byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((true, length)) => Some(length + 1),
            Some((false, _)) => None,
            // Without an end a bracket is a plain character.
            None => (byte == b'[').then_some(1),
        },
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [plain, ..] => (*plain == byte).then_some(1),
        [] => None,
    }
}

/// Whether a byte is in the set that follows a `[`, and how long the set is with its `]`.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let begin = usize::from(negated);
    // A `]` that comes first is a member.
    let end = begin + 1 + pattern.get(begin + 1..)?.iter().position(|b| *b == b']')?;
    let mut members = &pattern[begin..end];
    let mut found = false;
    while let [first, rest @ ..] = members {
        match rest {
            [b'-', last, rest @ ..] => {
                found |= (*first..=*last).contains(&byte);
                members = rest;
            }
            _ => {
                found |= *first == byte;
                members = rest;
            }
        }
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("vfio_pci", "vfio_pci", true),
            ("vfio_pci", "vfio_pci_core", false),
            ("vfio*", "vfio_pci", true),
            ("*core", "vfio_pci_core", true),
            ("v?io", "vfio", true),
            ("v[a-g]io", "vfio", true),
            ("v[!a-g]io", "vfio", false),
            ("v[]f]io", "vfio", true),
            ("v[f", "v[f", true),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("v000015B3d0000101Esv*sd*bc*sc*i*", "v000015B3d0000101Esv000015B3sd00000023bc02sc00i00", true),
            ("v000015B3d0000101Esv*sd*bc*sc*i*", "v000015B3d0000101Fsv000015B3sd00000023bc02sc00i00", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        assert!(!matches(&"*a".repeat(200), &"b".repeat(2_000)));
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[\\[\\]!a*?\\\\-]{0,20}", text in "[a\\[\\]-]{0,20}") {
            let _ = matches(&pattern, &text);
        }
    }
}
