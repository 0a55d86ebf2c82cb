//! What reading a file brings to light beside its values: what is wrong, and which keys there are.

use std::collections::BTreeMap;

use super::error::{Place, Problem};

/// What reading one file brings to light beside its values.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Every key that was asked for: by its name, with the tables above it.
    pub known: BTreeMap<&'static str, Vec<String>>,
    /// Keys that nothing asked for.
    pub unknown: Vec<Unknown>,
}

/// A key that nothing asked for.
#[derive(Debug)]
pub struct Unknown {
    /// Where it is.
    pub at: Place,
    /// The table it is in.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The keys that the table has.
    pub siblings: Vec<&'static str>,
}

impl Findings {
    /// All problems, once every table has been read: only then is it known which keys there are.
    pub fn close(mut self) -> Vec<Problem> {
        for unknown in std::mem::take(&mut self.unknown) {
            let key = join(&unknown.table, &unknown.name);
            let nearest = nearest(&unknown, &self.known);
            let nearest = nearest.map(|key| format!(", nearest is `{key}`")).unwrap_or_default();
            let expected = format!("one of {}", unknown.siblings.join(", "));
            self.problems.push(Problem::UnknownKey { at: unknown.at, key, nearest, expected });
        }
        self.problems
    }
}

/// A key of the same table that is written almost so, or else the same name in another table.
fn nearest(unknown: &Unknown, known: &BTreeMap<&str, Vec<String>>) -> Option<String> {
    let close = unknown.siblings.iter().map(|sibling| (distance(&unknown.name, sibling), sibling));
    let close = close.min_by_key(|(distance, _)| *distance);
    match close {
        Some((distance, sibling)) if distance <= (sibling.len() / 3).max(1) => Some(join(&unknown.table, sibling)),
        _ => known.get(unknown.name.as_str()).and_then(|keys| keys.first()).cloned(),
    }
}

/// How many letters must be added, dropped or replaced to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    // A key in a file may be of any length; no long one is near to any of ours.
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A key below a table, quoted where TOML wants it, shortened where nobody would read it.
pub fn join(table: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let more = if name.chars().nth(64).is_some() { "…" } else { "" };
    let name = if bare { format!("{name:.64}{more}") } else { format!("{:?}", format!("{name:.64}{more}")) };
    if table.is_empty() { name } else { format!("{table}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_near_and_another_word_is_not() {
        assert_eq!(distance("intervall", "interval"), 1);
        assert_eq!(distance("intrevla", "interval"), 4);
        assert_eq!(distance("", "id"), 2);
    }

    #[test]
    fn a_key_that_toml_would_quote_is_shown_quoted() {
        assert_eq!(join("device", "gpu0"), "device.gpu0");
        assert_eq!(join("device", "a b"), "device.\"a b\"");
        assert_eq!(join("", ""), "\"\"");
    }
}
