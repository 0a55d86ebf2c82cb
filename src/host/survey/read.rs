//! Files as facts: a value, the answer that there is none, or why nobody knows.

use std::io;

use crate::host::root::{Root, is_absent};
use crate::model::printable::turns_a_terminal;
use crate::model::snapshot::Fact;

/// What came of a read.
pub fn fact<T>(verb: &str, path: &str, result: io::Result<T>) -> Fact<T> {
    match result {
        Ok(value) => Fact::Is(value),
        Err(e) if is_absent(&e) => Fact::Absent,
        Err(e) => Fact::Unreadable(format!("{verb} {path}: {e}")),
    }
}

/// A text file without the white space around it.
#[must_use]
pub fn text(root: &Root, path: &str) -> Fact<String> {
    fact("read", path, root.read_text(path).map(|text| text.trim().to_owned()))
}

/// A text file, made something else. What makes no sense is unreadable.
pub fn parsed<T>(root: &Root, path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Fact<T> {
    match text(root, path) {
        Fact::Is(text) => match parse(&text) {
            Some(value) => Fact::Is(value),
            None => Fact::Unreadable(format!("read {path}: `{}` makes no sense", shortened(&text))),
        },
        Fact::Absent => Fact::Absent,
        Fact::Unreadable(why) => Fact::Unreadable(why),
    }
}

/// The last component of a link's target, made something else.
pub fn link<T>(root: &Root, path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Fact<T> {
    match fact("read link", path, root.link_name(path)) {
        Fact::Is(name) => match parse(&name) {
            Some(value) => Fact::Is(value),
            None => Fact::Unreadable(format!("read link {path}: it leads to {}", shortened(&name))),
        },
        Fact::Absent => Fact::Absent,
        Fact::Unreadable(why) => Fact::Unreadable(why),
    }
}

/// `0` and `1`, `N` and `Y`.
#[must_use]
pub fn switch(text: &str) -> Option<bool> {
    match text {
        "0" | "N" => Some(false),
        "1" | "Y" => Some(true),
        _ => None,
    }
}

/// A number as sysfs writes it: `0x10de` or `1`.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// At most 60 characters of a text that may be anything, on one line.
#[must_use]
pub fn shortened(text: &str) -> String {
    text.chars().take(60).map(|c| if turns_a_terminal(c) { ' ' } else { c }).collect()
}
