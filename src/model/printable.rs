//! What may be shown of a text that comes from a file, a device or a process of anybody's.

use std::fmt::Write as _;

/// Control characters (also those from U+0080 on), line ends of any kind, and what turns the direction
/// of the text around it.
#[must_use]
pub fn turns_a_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text with nothing in it that would break a line or drive a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if turns_a_terminal(c) {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_is_shown() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}1m\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{9b}1m\\u{202e}");
        assert_eq!(printable("a\u{85}\u{2028}\u{2069}é→"), "a\\u{85}\\u{2028}\\u{2069}é→");
    }
}
