//! A key of a file: absent, wrong, or given with the place it came from.

use super::error::{Place, Problem};

/// A key of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// Not there.
    #[default]
    Absent,
    /// There, and already complained about: no check may build on it.
    Wrong,
    /// There.
    Given(Given<T>),
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Its key with the tables above it.
    pub key: String,
    /// Where it is.
    pub at: Place,
    /// How it is written there.
    pub written: String,
}

impl<T> Given<T> {
    /// The complaint that the value cannot be, beside others.
    pub fn contradiction(&self, expected: impl Into<String>) -> Problem {
        let (key, value) = (self.key.clone(), self.written.clone());
        Problem::Value { at: self.at.clone(), key, value, expected: expected.into() }
    }

    /// The same without its value.
    pub fn place_only(&self) -> Given<()> {
        Given { value: (), key: self.key.clone(), at: self.at.clone(), written: self.written.clone() }
    }
}

impl<T> Field<T> {
    /// This, or `earlier` where this file does not have the key.
    pub fn or(self, earlier: Field<T>) -> Field<T> {
        if matches!(self, Field::Absent) { earlier } else { self }
    }

    /// What is given.
    pub fn given(&self) -> Option<&Given<T>> {
        if let Field::Given(given) = self { Some(given) } else { None }
    }

    /// The value that is given.
    pub fn value(self) -> Option<T> {
        if let Field::Given(given) = self { Some(given.value) } else { None }
    }

    /// Whether it has been complained about.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Field::Wrong)
    }
}
