//! What is wrong with the configuration, and where: all of it, not only the first.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A place in a file. Places are in the order in which the files are read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which file it is in the order of reading, from 0.
    pub rank: usize,
    /// The file, as messages show it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// A file or directory that is there, and cannot be read.
    #[error("read {file}: {cause}")]
    Unreadable {
        /// The file, as messages show it.
        file: String,
        /// Why.
        cause: String,
    },
    /// A file, or a directory on the way to one, that others than root can change.
    #[error(
        "{file}: {what} with mode {mode:04o}, owner {}, group {}: others than root can change the configuration: \
         expected owner root and mode {expected:04o}",
        Named(*uid), Named(*gid)
    )]
    Untrusted {
        /// The file or directory, as messages show it.
        file: String,
        /// `file` or `directory`.
        what: &'static str,
        /// Its permissions.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// The permissions that would do.
        expected: u32,
    },
    /// A file that is no TOML.
    #[error("{at}: read TOML: {message}")]
    Syntax {
        /// Where.
        at: Place,
        /// The parser's words, with what it expected.
        message: String,
    },
    /// A key that does not exist.
    #[error("{at}: key `{key}`: unknown key{nearest}: expected {expected}")]
    UnknownKey {
        /// Where.
        at: Place,
        /// The key with the tables above it.
        key: String,
        /// `, nearest is …`, or nothing.
        nearest: String,
        /// The keys that exist there.
        expected: String,
    },
    /// A value that cannot be, alone or beside another one.
    #[error("{at}: key `{key}`: value {value}: expected {expected}")]
    Value {
        /// Where.
        at: Place,
        /// The key with the tables above it.
        key: String,
        /// The value as written, shortened.
        value: String,
        /// What would do.
        expected: String,
    },
    /// A table that lacks something.
    #[error("{at}: key `{key}`: incomplete: expected {expected}")]
    Incomplete {
        /// Where the table is first mentioned.
        at: Place,
        /// The table.
        key: String,
        /// What it must have.
        expected: String,
    },
}

/// A user or group by number: who has which name is not asked, since that may go over the network.
struct Named(u32);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("root"),
            id => write!(f, "{id}"),
        }
    }
}

impl Problem {
    /// Where it is; none for a whole file.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Problem::Unreadable { .. } | Problem::Untrusted { .. } => None,
            Problem::Syntax { at, .. }
            | Problem::UnknownKey { at, .. }
            | Problem::Value { at, .. }
            | Problem::Incomplete { at, .. } => Some(at),
        }
    }
}

/// All that is wrong, one problem a line: unreadable files first, then by place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Errors(Vec<Problem>);

impl Errors {
    /// The problems as errors, or `value` when there is none.
    pub(super) fn unless_none<T>(mut problems: Vec<Problem>, value: T) -> Result<T, Errors> {
        if problems.is_empty() {
            return Ok(value);
        }
        problems.sort_by(|a, b| a.place().cmp(&b.place()));
        Err(Errors(problems))
    }

    /// The problems, at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}
