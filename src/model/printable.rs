//! What may be shown of a text that comes from a file, a device or a process of anybody's.

use std::fmt::Write as _;

/// Control characters (also those from U+0080 on), line ends of any kind, and what turns the direction
/// of the text around it.
#[must_use]
pub fn turns_a_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text with nothing in it that would break a line or drive a terminal, or that D-Bus takes for no
/// text (NUL).
#[must_use]
pub fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same of a text of several lines.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    escaped(text, |c| c == '\n')
}

/// Makes a text printable where it lies; nearly all of them are.
pub fn clean(text: &mut String) {
    if text.contains(turns_a_terminal) {
        *text = printable(text);
    }
}

fn escaped(text: &str, may_stay: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if turns_a_terminal(c) && !may_stay(c) {
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
        assert_eq!(printable_lines("a\n\0b\r"), "a\n\\u{0}b\\r");
        let mut text = "a\0".to_owned();
        clean(&mut text);
        assert_eq!(text, "a\\u{0}");
        assert_eq!(printable("a\u{85}\u{2028}\u{2069}é→"), "a\\u{85}\\u{2028}\\u{2069}é→");
    }
}
