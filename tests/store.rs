//! State on disk: kept over a restart, void after a boot, and its troubles said once.

#![allow(clippy::disallowed_methods, reason = "a test looks at the files")]

use std::fs;
use std::path::Path;

use vfiod::model::event::{Event, Kind, Level};
use vfiod::model::memory::{Memory, Unit};
use vfiod::model::pace::Pace;
use vfiod::model::plan::About;
use vfiod::model::time::Time;
use vfiod::service::store::{Disk, Store};

fn disk(dir: &Path, boot: &str) -> Disk {
    Disk::new(dir.join("run"), dir.join("state"), boot.to_owned())
}

fn memory(lost: u64) -> Memory {
    let pace = Pace { lost: Some(Time(lost)), failures: 3, ..Pace::default() };
    let mut memory = Memory { vfio_seen: true, ..Memory::default() };
    memory.pace.insert(Unit::Entry("nic".to_owned()), pace);
    memory.originals.insert("0000:01:00.0".parse().unwrap(), "e1000e".parse().unwrap());
    memory
}

fn event() -> Event {
    Event {
        kind: Kind::Drifted,
        about: About::Entry("nic".to_owned()),
        entry: Some("nic".to_owned()),
        group: None,
        old: "ready".to_owned(),
        new: "drifted".to_owned(),
        cause: String::new(),
        latency: None,
        level: Level::Warning,
    }
}

fn directories() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    dir
}

#[test]
fn memory_is_kept_over_a_restart_and_void_after_a_boot_but_for_the_original_drivers() {
    let dir = directories();
    let mut first = disk(dir.path(), "one");
    assert_eq!(first.load(), (Memory::default(), vec![]));
    assert_eq!(first.save(&memory(5), &[event()]), [""; 0]);
    assert_eq!(disk(dir.path(), "one").load(), (memory(5), vec![]));
    let (after, trouble) = disk(dir.path(), "two").load();
    assert_eq!((after.originals, after.pace.len(), trouble), (memory(5).originals, 0, vec![]));
    let history = fs::read_to_string(dir.path().join("state/history.jsonl")).unwrap();
    assert_eq!(history.lines().count(), 1);
}

#[test]
fn what_has_not_changed_is_not_written() {
    let dir = directories();
    let mut disk = disk(dir.path(), "one");
    disk.load();
    disk.save(&memory(5), &[]);
    let file = dir.path().join("run/memory.json");
    fs::remove_file(&file).unwrap();
    disk.save(&memory(5), &[]);
    assert!(!file.exists());
}

#[test]
fn damaged_state_is_said_and_starts_anew() {
    let dir = directories();
    for damage in ["", "{", "[]", "null", "{\"boot\":\"one\",\"memory\":{\"pace\":7}}"] {
        fs::write(dir.path().join("run/memory.json"), damage).unwrap();
        fs::write(dir.path().join("state/originals.json"), damage).unwrap();
        let (memory, trouble) = disk(dir.path(), "one").load();
        assert_eq!(memory, Memory::default(), "{damage}");
        assert!((1..=2).contains(&trouble.len()), "{damage}: {trouble:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_is_said_once_until_it_can() {
    let dir = directories();
    let mut disk = disk(dir.path(), "one");
    disk.load();
    // Works for root as well: where the directory was is a file.
    for name in ["run", "state"] {
        fs::remove_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name), "").unwrap();
    }
    assert_eq!(disk.save(&memory(1), &[event()]).len(), 3);
    for lost in 2..5 {
        assert_eq!(disk.save(&memory(lost), &[event()]), [""; 0]);
        assert_eq!(disk.save(&memory(lost), &[]), [""; 0]);
    }
    for name in ["run", "state"] {
        fs::remove_file(dir.path().join(name)).unwrap();
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    assert_eq!(disk.save(&memory(6), &[event()]), [""; 0]);
    assert_eq!(self::disk(dir.path(), "one").load().0, memory(6));
}
