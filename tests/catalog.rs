//! The journal catalog explains each kind of journal entry, once, in the syntax of systemd.

use std::collections::{BTreeMap, BTreeSet};

const NAMES: &str = include_str!("../src/names.rs");
const CATALOG: &str = include_str!("../systemd/vfiod.catalog");

/// Fields that journalctl may put into a text. One that the entry lacks would show as its bare name.
const FIELDS: [&str; 6] = ["VFIOD_ENTRY", "VFIOD_DEVICE", "VFIOD_MODULE", "VFIOD_OLD", "VFIOD_NEW", "VFIOD_CAUSE"];

/// Name and id of every constant in `names::message`.
fn messages() -> Vec<(String, String)> {
    let (_, module) = NAMES.split_once("pub mod message {").expect("names.rs has a module `message`");
    let (module, _) = module.split_once("\n}").expect("the module `message` ends");
    module
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const "))
        .map(|constant| {
            let (name, rest) = constant.split_once(": &str = \"").expect("a message id is a &str");
            (name.to_owned(), rest.trim_end_matches("\";").to_owned())
        })
        .collect()
}

struct Entry {
    id: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// The syntax of systemd's catalog files: `-- ID [LANGUAGE]`, headers, an empty line, text; `#`
/// begins a comment.
fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut in_headers = false;
    for (number, line) in CATALOG.lines().enumerate() {
        let place = format!("systemd/vfiod.catalog:{}: {line:?}", number + 1);
        if line.starts_with('#') {
            continue;
        }
        if let Some(id) = line.strip_prefix("-- ") {
            entries.push(Entry { id: id.to_owned(), headers: BTreeMap::new(), body: String::new() });
            in_headers = true;
            continue;
        }
        let Some(entry) = entries.last_mut() else {
            assert!(line.is_empty(), "{place}: text before the first entry");
            continue;
        };
        if in_headers && line.is_empty() {
            in_headers = false;
        } else if in_headers {
            let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{place}: no header"));
            let before = entry.headers.insert(key.to_owned(), value.to_owned());
            assert!(before.is_none(), "{place}: the header comes twice");
        } else {
            entry.body.push_str(line);
            entry.body.push('\n');
        }
    }
    entries
}

#[test]
fn every_message_id_is_a_128_bit_number_in_lower_case_and_its_own() {
    let messages = messages();
    assert!(messages.len() > 10, "only {} found: did names.rs change its form?", messages.len());
    let mut seen = BTreeSet::new();
    for (name, id) in messages {
        let plain = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        assert!(plain, "{name}: {id:?} is no message id");
        assert!(seen.insert(id), "{name}: its id belongs to another message already");
    }
}

#[test]
fn every_message_is_explained_once_and_nothing_else_is() {
    let explained: Vec<String> = entries().into_iter().map(|entry| entry.id).collect();
    let names: BTreeMap<String, String> = messages().into_iter().map(|(name, id)| (id, name)).collect();
    for (id, name) in &names {
        let times = explained.iter().filter(|entry| *entry == id).count();
        assert_eq!(times, 1, "{name} ({id}) has {times} entries in the catalog");
    }
    for id in &explained {
        assert!(names.contains_key(id), "the catalog explains {id}, which no constant in names::message is");
    }
}

#[test]
fn every_explanation_has_its_headers_and_a_text() {
    for entry in entries() {
        for header in ["Subject", "Defined-By", "Support", "Documentation"] {
            assert!(entry.headers.contains_key(header), "{}: no {header}", entry.id);
        }
        assert_eq!(entry.headers["Defined-By"], "vfiod", "{}", entry.id);
        assert!(entry.body.trim().len() > 80, "{}: the text says too little", entry.id);
    }
}

#[test]
fn explanations_use_only_fields_that_entries_have() {
    for entry in entries() {
        let text = format!("{}\n{}", entry.headers["Subject"], entry.body);
        // Between the @ signs are the fields: every second piece.
        let pieces: Vec<&str> = text.split('@').collect();
        assert_eq!(pieces.len() % 2, 1, "{}: an @ is left over", entry.id);
        for field in pieces.iter().skip(1).step_by(2) {
            assert!(FIELDS.contains(field), "{}: unknown field @{field}@", entry.id);
        }
    }
}

#[test]
fn a_message_id_quoted_in_an_explanation_exists() {
    let ids: BTreeSet<String> = messages().into_iter().map(|(_, id)| id).collect();
    for entry in entries() {
        for quoted in entry.body.split("MESSAGE_ID=").skip(1) {
            let id: String = quoted.chars().take_while(char::is_ascii_hexdigit).collect();
            assert!(ids.contains(&id), "{}: quotes {id}", entry.id);
        }
    }
}
