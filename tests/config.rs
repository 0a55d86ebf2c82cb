//! Configuration cases: a directory of `tests/config` is a tree of files and what comes of it.
//!
//! `UPDATE_EXPECT=1 cargo test --test config` writes what comes of it now.

use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;
use vfiod::config::{self, Errors, Settings};

fn rendered(result: Result<Settings, Errors>) -> String {
    match result {
        Ok(settings) => format!("{}\n", serde_json::to_string_pretty(&settings).unwrap()),
        Err(errors) => format!("{errors}\n"),
    }
}

/// What differs between the expectation in a file and what came of it.
fn difference(expected: &Path, actual: &str) -> Option<String> {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(expected, actual).unwrap();
    }
    let wanted = fs::read_to_string(expected).unwrap_or_default();
    let name = expected.display().to_string();
    (wanted != actual)
        .then(|| TextDiff::from_lines(wanted.as_str(), actual).unified_diff().header(&name, "now").to_string())
}

fn children(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<PathBuf> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn each_tree_gives_the_settings_or_the_errors_beside_it() {
    let cases = children("tests/config");
    assert!(cases.len() >= 20, "only {} cases found", cases.len());
    let differ = cases
        .iter()
        .filter_map(|case| difference(&case.join("expected"), &rendered(config::load(&case.join("root"), None))));
    let differ: Vec<String> = differ.collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn each_example_is_a_whole_configuration() {
    let examples: Vec<PathBuf> =
        children("config/examples").into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(examples.len() >= 6, "only {} examples found", examples.len());
    for example in &examples {
        let mut settings = config::load(Path::new("/"), Some(example)).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(settings.sources, std::slice::from_ref(example));
        assert!(!settings.desired.entries.is_empty(), "{} declares nothing", example.display());
        settings.sources.clear();
        let expected = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/config-examples")
            .join(example.with_extension("json").file_name().unwrap());
        if let Some(difference) = difference(&expected, &rendered(Ok(settings))) {
            panic!("{difference}");
        }
    }
}

/// The shipped file with the lines that begin so taken out of their comment.
fn shipped(prefix: &str, keep_tables: bool) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/vfiod.toml");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| match line.strip_prefix(prefix) {
        Some(rest) if !rest.starts_with(' ') => Some(rest),
        _ => Some(line).filter(|line| keep_tables && line.starts_with('[')),
    });
    lines.filter(|line| *line != "#" && !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn loaded(text: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vfiod.toml");
    fs::write(&file, text).unwrap();
    let settings = config::load(Path::new("/"), Some(&file)).unwrap_or_else(|errors| panic!("{errors}"));
    Settings { sources: Vec::new(), ..settings }
}

#[test]
fn the_shipped_file_changes_nothing() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/vfiod.toml")).unwrap();
    assert_eq!(loaded(&text), Settings::default());
}

#[test]
fn the_shipped_file_uncommented_is_the_default() {
    let text = shipped("#", true);
    assert!(text.contains("interval = \"5s\""), "{text}");
    assert_eq!(loaded(&text), Settings::default());
}

/// The device examples of the shipped file, tables of one name joined as a reader would.
fn shipped_devices() -> toml::Table {
    let mut devices = toml::Table::new();
    for table in shipped("#     ", false).split_inclusive('\n').fold(Vec::<String>::new(), |mut tables, line| {
        match tables.last_mut() {
            Some(table) if !line.starts_with('[') => table.push_str(line),
            _ => tables.push(line.to_owned()),
        }
        tables
    }) {
        let table: toml::Table = toml::from_str(&table).unwrap();
        for (name, part) in table["device"].as_table().unwrap() {
            let entry = devices.entry(name.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            entry.as_table_mut().unwrap().extend(part.as_table().unwrap().clone());
        }
    }
    toml::Table::from_iter([("device".to_owned(), toml::Value::Table(devices))])
}

#[test]
fn the_shipped_device_examples_hold_together() {
    let settings = loaded(&toml::to_string(&shipped_devices()).unwrap());
    let names: Vec<&str> = settings.desired.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["card1", "gpu0", "nic0"]);
}

#[test]
fn every_key_there_is_stands_in_the_manual_page() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man/vfiod.toml.5");
    let page = fs::read_to_string(page).unwrap();
    let literals = page.lines().filter_map(|line| line.strip_prefix(".It Cm ").or(line.strip_prefix(".Cm ")));
    let named: Vec<&str> = literals.flat_map(str::split_whitespace).collect();
    for key in config::settings::known_keys() {
        let last = key.rsplit('.').next().unwrap();
        assert!(named.contains(&last), "vfiod.toml(5) does not tell of {key}");
    }
}

fn keys(table: &toml::Table, path: &str, found: &mut Vec<String>) {
    for (name, value) in table {
        let name = if path == "device." { "NAME" } else { name };
        match value {
            toml::Value::Table(below) => keys(below, &format!("{path}{name}."), found),
            _ => found.push(format!("{path}{name}")),
        }
    }
}

#[test]
fn every_key_there_is_stands_in_the_shipped_file_and_no_other() {
    let mut found = Vec::new();
    keys(&toml::from_str(&shipped("#", true)).unwrap(), "", &mut found);
    keys(&shipped_devices(), "", &mut found);
    found.sort();
    found.dedup();
    let mut known = config::settings::known_keys();
    known.sort();
    assert_eq!(found, known);
}
