//! One file's text, and what is where in it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Place, Problem};
use crate::model::printable::printable;

/// Longer values are cut in messages, to this many characters.
const SHOWN: usize = 60;

/// A configuration file that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    rank: usize,
    path: PathBuf,
    shown: Arc<str>,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

fn lines(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect()
}

impl Source {
    /// A file's bytes; `rank` is its place in the order of reading.
    ///
    /// # Errors
    /// When the bytes are no UTF-8, which TOML must be.
    pub fn new(rank: usize, path: &Path, bytes: Vec<u8>) -> Result<Source, Problem> {
        let shown = Arc::from(printable(&path.to_string_lossy()));
        let (bytes, valid) = match String::from_utf8(bytes) {
            Ok(text) => return Ok(Source { rank, path: path.to_owned(), shown, lines: lines(&text), text }),
            Err(e) => (e.as_bytes().to_vec(), e.utf8_error().valid_up_to()),
        };
        let text = String::from_utf8_lossy(&bytes[..valid]).into_owned();
        let source = Source { rank, path: path.to_owned(), shown, lines: lines(&text), text };
        let message = "byte that is no UTF-8, expected UTF-8 text".to_owned();
        Err(Problem::Syntax { at: source.place(valid), message })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of a byte.
    #[must_use]
    pub fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = self.lines.partition_point(|start| *start <= before.len());
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        Place { rank: self.rank, file: Arc::clone(&self.shown), line, column: before[start..].chars().count() + 1 }
    }

    /// The text of a value as written, on one line and not too long.
    #[must_use]
    pub fn excerpt(&self, span: Range<usize>) -> String {
        let whole = self.text.get(span).unwrap_or_default().trim();
        let line = whole.lines().next().unwrap_or_default();
        let cut: String = line.chars().take(SHOWN).collect();
        let more = if cut.len() < whole.len() { "…" } else { "" };
        format!("{}{more}", printable(&cut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_both_start_at_one() {
        let source = Source::new(0, Path::new("f"), "a = 1\né = 2".into()).unwrap();
        assert_eq!(source.place(0).to_string(), "f:1:1");
        assert_eq!(source.place(9).to_string(), "f:2:3");
        assert_eq!(source.place(999).to_string(), "f:2:6");
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_their_place() {
        let problem = Source::new(0, Path::new("f"), b"a = 1\nb\xff".to_vec()).unwrap_err();
        assert_eq!(problem.to_string(), "f:2:2: read TOML: byte that is no UTF-8, expected UTF-8 text");
    }

    #[test]
    fn a_name_cannot_break_the_line() {
        let source = Source::new(0, Path::new("a\nb\x1b[1m"), b"x = 1".to_vec()).unwrap();
        assert_eq!(source.place(0).to_string(), "a\\nb\\u{1b}[1m:1:1");
    }
}
