//! Reads a table's keys. What was not asked for is unknown.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::{Place, Problem};
use super::field::{Field, Given};
use super::findings::{Findings, Unknown, join};
use super::source::Source;
use super::value::{Raw, Read};

/// A table that is being read. What is not asked for before [`Table::finish`] is unknown.
#[derive(Debug)]
pub struct Table<'t> {
    source: &'t Source,
    findings: &'t mut Findings,
    path: String,
    table: Option<&'t DeTable<'t>>,
    asked: Vec<&'static str>,
}

impl<'t> Table<'t> {
    /// The table of the whole file.
    pub fn whole(source: &'t Source, findings: &'t mut Findings, table: &'t DeTable<'t>) -> Table<'t> {
        Table { source, findings, path: String::new(), table: Some(table), asked: Vec::new() }
    }

    /// Asks for a value.
    pub fn take<T>(&mut self, name: &'static str, read: impl Fn(&Raw<'_>) -> Read<T>) -> Field<T> {
        let key = join(&self.path, name);
        self.asked.push(name);
        self.findings.known.entry(name).or_default().push(key.clone());
        let Some(raw) = self.table.and_then(|table| table.get(name)) else { return Field::Absent };
        match read(raw) {
            Ok(value) => {
                let (at, written) = (self.source.place(raw.span().start), self.source.excerpt(raw.span()));
                Field::Given(Given { value, key, at, written })
            }
            Err(wrong) => {
                for wrong in wrong {
                    complain(self.source, self.findings, key.clone(), wrong.span, wrong.expected);
                }
                Field::Wrong
            }
        }
    }

    /// Asks for a table; one that is not there has no keys.
    pub fn table(&mut self, name: &'static str) -> Table<'_> {
        self.asked.push(name);
        let path = join(&self.path, name);
        let raw = self.table.and_then(|table| table.get(name));
        let table = raw.and_then(|raw| raw.get_ref().as_table());
        if let (Some(raw), None) = (raw, table) {
            let header = if name == "device" { "device.NAME" } else { &path };
            complain(self.source, self.findings, path.clone(), raw.span(), a_table(header));
        }
        Table { source: self.source, findings: self.findings, path, table, asked: Vec::new() }
    }

    /// Every table in this one whose name will do, with where it is first mentioned.
    pub fn each(
        self,
        is_name: impl Fn(&str) -> Result<(), &'static str>,
        mut read: impl FnMut(&str, Place, Table<'_>),
    ) {
        for (name, raw) in self.table.into_iter().flatten() {
            let path = join(&self.path, name.get_ref());
            if let Err(expected) = is_name(name.get_ref()) {
                complain(self.source, self.findings, path, name.span(), expected);
                continue;
            }
            let place = self.source.place(name.span().start);
            let DeValue::Table(table) = raw.get_ref() else {
                let expected = a_table(&path);
                complain(self.source, self.findings, path, raw.span(), expected);
                continue;
            };
            let (source, findings) = (self.source, &mut *self.findings);
            read(name.get_ref(), place, Table { source, findings, path, table: Some(table), asked: Vec::new() });
        }
    }

    /// Whatever was not asked for is unknown.
    pub fn finish(self) {
        for (name, _) in self.table.into_iter().flatten() {
            if !self.asked.contains(&name.get_ref().as_ref()) {
                self.findings.unknown.push(Unknown {
                    at: self.source.place(name.span().start),
                    table: self.path.clone(),
                    name: name.get_ref().to_string(),
                    siblings: self.asked.clone(),
                });
            }
        }
    }
}

fn a_table(header: &str) -> String {
    format!("a table [{header}]")
}

fn complain(source: &Source, findings: &mut Findings, key: String, span: Range<usize>, expected: impl Into<String>) {
    let (at, value) = (source.place(span.start), source.excerpt(span));
    let expected = expected.into();
    findings.problems.push(Problem::Value { at, key, value, expected });
}
