//! Everything that the fuzzers were given and have found, as plain tests.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vfiod::config::settings::settings;
use vfiod::config::source::Source;
use vfiod::host::intent::Intent;
use vfiod::host::look::ask::Looked;
use vfiod::host::look::rtnetlink;
use vfiod::host::witness::line;
use vfiod::host::{serial, uevents};

fn names(directory: &str) -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn seed(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)).unwrap()
}

#[test]
fn the_whole_seeds_are_understood_so_that_a_fuzzer_begins_within_the_formats() {
    let intent: Intent = serde_json::from_slice(&seed("acts/intent")).unwrap();
    assert_eq!(intent.act.steps.len(), 2);
    let looked: Looked = serde_json::from_slice(&seed("acts/looked")).unwrap();
    assert_eq!(looked.looks.len(), 1);
    let wake = |name| uevents::parse(&seed(name)).and_then(|event| event.wake());
    assert!(wake("uevent/bind").is_some() && wake("uevent/module-gone").is_some());
    let traced = |name: &str| seed(name).split(|b| *b == b'\n').filter_map(line::parse).count();
    assert_eq!((traced("trace/debian-12"), traced("trace/names")), (7, 5));
    let bond = rtnetlink::link(&seed("rtnetlink/link")).unwrap();
    assert_eq!((bond.name.as_str(), bond.master, bond.lower), ("bond0", Some(5), Some(7)));
    assert_eq!(rtnetlink::route(&seed("rtnetlink/default-route")).unwrap().out, [2]);
    assert_eq!(rtnetlink::route(&seed("rtnetlink/multipath")).unwrap().out, [3, 4]);
    assert_eq!(rtnetlink::nexthop(&seed("rtnetlink/nexthop-group")).unwrap().members, [1, 2]);
    assert_eq!(serial::find(&seed("sysfs/serial-number")).is().unwrap(), "00-1b-21-ff-ff-00-00-00");
    let settled = Source::new(0, Path::new("x"), seed("settings/whole")).map(|source| settings(&[source], Vec::new()));
    assert!(settled.unwrap().is_ok());
}

#[test]
fn every_file_of_the_corpora_holds() {
    for (name, target) in targets::TARGETS {
        let files = names(&format!("tests/corpus/{name}"));
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name).join(file);
            let bytes = fs::read(&path).unwrap();
            println!("{}", path.display());
            target(&bytes);
            // Cut off anywhere, as a file on a full disk is.
            (0..bytes.len().min(4096)).for_each(|length| target(&bytes[..length]));
        }
    }
}

#[test]
fn there_is_a_fuzzer_and_a_corpus_for_each_target_and_no_other() {
    let targets: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("tests/corpus"), targets);
    assert_eq!(names("fuzz/fuzz_targets"), targets.iter().map(|name| format!("{name}.rs")).collect());
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
    for name in &targets {
        assert!(
            manifest.contains(&format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n")),
            "{name}"
        );
    }
}
