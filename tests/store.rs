//! State on disk: kept over a restart, void after a boot, and its troubles said once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use vfiod::model::event::{Event, Kind, Level};
use vfiod::model::memory::{Memory, Unit};
use vfiod::model::pace::Pace;
use vfiod::model::plan::About;
use vfiod::model::time::Time;
use vfiod::service::store::{Disk, Saved, Store};

fn disk(dir: &Path, boot: &str) -> Disk {
    Disk::new(dir.join("run"), dir.join("state"), boot.to_owned())
}

fn memory(lost: u64) -> Memory {
    let pace = Pace { lost: Some(Time(lost)), failures: 3, ..Pace::default() };
    let mut memory = Memory { vfio_seen: true, ..Memory::default() };
    memory.pace.insert(Unit::Entry("nic".to_owned()), pace);
    memory.lasting.originals.insert("0000:01:00.0".parse().unwrap(), "e1000e".parse().unwrap());
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
        by: None,
    }
}

fn directories() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    dir
}

#[test]
fn memory_is_kept_over_a_restart_and_void_after_a_boot_but_for_what_lasts() {
    let dir = directories();
    let mut first = disk(dir.path(), "one");
    assert_eq!(first.load(), (Memory::default(), vec![]));
    assert_eq!(first.save(&memory(5), &[event()]), Saved::default());
    assert_eq!(disk(dir.path(), "one").load(), (memory(5), vec![]));
    let (after, trouble) = disk(dir.path(), "two").load();
    assert_eq!((after.lasting, after.pace.len(), trouble), (memory(5).lasting, 0, vec![]));
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
        fs::write(dir.path().join("state/lasting.json"), damage).unwrap();
        let (memory, trouble) = disk(dir.path(), "one").load();
        assert_eq!(Memory { unsure: None, ..memory }, Memory::default(), "{damage}");
        assert!((1..=3).contains(&trouble.len()), "{damage}: {trouble:?}");
    }
}

#[test]
fn lasting_state_that_is_damaged_is_set_aside_and_known_to_be_unknown_until_the_next_boot() {
    let dir = directories();
    let at = |name: &str| dir.path().join("state").join(name);
    fs::write(at("lasting.json"), "{\"releases\":").unwrap();
    let mut first = disk(dir.path(), "one");
    let (memory, trouble) = first.load();
    assert_eq!(memory.unsure.as_ref().unwrap().why, trouble[0].split(';').next().unwrap());
    assert!(trouble[1].ends_with("lasting.json.damaged"), "{trouble:?}");
    assert_eq!(first.save(&memory, &[]), Saved::default());
    // A second one does not take the first one's place.
    let (again, trouble) = disk(dir.path(), "one").load();
    assert_eq!((again, trouble), (memory, vec![]));
    fs::write(at("lasting.json"), "[").unwrap();
    assert_eq!(disk(dir.path(), "one").load().1.len(), 2);
    assert_eq!(fs::read_to_string(at("lasting.json.damaged")).unwrap(), "{\"releases\":");
    fs::remove_file(at("lasting.json")).unwrap();
    assert_eq!(disk(dir.path(), "two").load(), (Memory::default(), vec![]));
}

#[test]
fn lasting_state_that_cannot_be_read_stays_where_it_is_until_it_would_be_written_over() {
    let dir = directories();
    let at = |name: &str| dir.path().join("state").join(name);
    // Works for root as well: a directory in its place.
    fs::create_dir(at("lasting.json")).unwrap();
    let mut disk = disk(dir.path(), "one");
    let (memory, trouble) = disk.load();
    assert!(memory.unsure.is_some() && trouble.len() == 1, "{trouble:?}");
    assert_eq!(disk.save(&Memory { vfio_seen: true, ..memory }, &[]), Saved::default());
    assert!(at("lasting.json").is_dir());
    assert_eq!(disk.save(&self::memory(5), &[]).trouble.len(), 1);
    assert!(at("lasting.json.damaged").is_dir() && at("lasting.json").is_file());
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
    let first = disk.save(&memory(1), &[event()]);
    assert_eq!(first.trouble.len(), 3, "{first:?}");
    for file in ["run/memory.json", "run/lasting.json", "state/lasting.json"] {
        let path = dir.path().join(file);
        assert!(first.lost.as_ref().unwrap().contains(&format!("write {}: Not a dir", path.display())), "{first:?}");
    }
    for lost in 2..5 {
        for events in [&[event()][..], &[]] {
            // Said once, and not stored all the same.
            assert_eq!(disk.save(&memory(lost), events), Saved { trouble: vec![], ..first.clone() });
        }
    }
    for name in ["run", "state"] {
        fs::remove_file(dir.path().join(name)).unwrap();
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    // Nothing has changed since: what could not be written is tried again all the same.
    assert_eq!(disk.save(&memory(4), &[]), Saved::default());
    assert_eq!(self::disk(dir.path(), "one").load().0, memory(4));
    let history = fs::read_to_string(dir.path().join("state/history.jsonl")).unwrap();
    assert_eq!(history.lines().count(), 4, "none of what happened meanwhile is lost");
}

/// Puts a file where the state directory is, so that nobody can write below it, root neither; or takes
/// it away again.
fn block(dir: &Path, blocked: bool) {
    let (state, aside) = (dir.join("state"), dir.join("aside"));
    if blocked {
        fs::rename(&state, &aside).unwrap();
        fs::write(&state, "").unwrap();
    } else {
        fs::remove_file(&state).unwrap();
        fs::rename(&aside, &state).unwrap();
    }
}

fn original(driver: &str) -> Memory {
    let mut memory = memory(5);
    memory.lasting.originals.insert("0000:02:00.0".parse().unwrap(), driver.parse().unwrap());
    memory
}

#[test]
fn what_lasts_is_kept_under_run_for_this_boot_while_its_directory_cannot_be_written_to() {
    let dir = directories();
    let mut disk = disk(dir.path(), "one");
    disk.load();
    assert_eq!(disk.save(&memory(5), &[]), Saved::default());
    block(dir.path(), true);
    let saved = disk.save(&original("nvme"), &[]);
    let why = saved.this_boot.unwrap();
    assert!(why.starts_with(&format!("write {}: ", dir.path().join("state/lasting.json").display())), "{why}");
    assert_eq!((saved.lost, saved.trouble.len()), (None, 1), "{:?}", saved.trouble);
    assert!(saved.trouble[0].ends_with("until the next boot"), "{:?}", saved.trouble);
    // The older one is there to be read, and is not believed.
    block(dir.path(), false);
    assert_eq!(self::disk(dir.path(), "one").load(), (original("nvme"), vec![]));
    // Another boot has what was on disk.
    assert_eq!(self::disk(dir.path(), "two").load().0.lasting, memory(5).lasting);
}

#[test]
fn the_copy_is_never_older_than_what_is_on_disk_and_goes_when_it_is_not_needed() {
    let dir = directories();
    let copy = dir.path().join("run/lasting.json");
    let mut before = disk(dir.path(), "one");
    before.load();
    block(dir.path(), true);
    assert!(before.save(&original("nvme"), &[]).this_boot.is_some());
    assert!(before.save(&original("e1000e"), &[]).this_boot.is_some());
    assert_eq!(before.save(&original("e1000e"), &[]).trouble, [""; 0], "tried again, and said once");
    block(dir.path(), false);
    // A restart in between: it is written where it belongs at the first chance.
    let mut after = disk(dir.path(), "one");
    assert_eq!(after.load().0, original("e1000e"));
    assert_eq!(after.save(&original("e1000e"), &[]), Saved::default());
    assert!(!copy.exists());
    assert_eq!(disk(dir.path(), "two").load().0.lasting, original("e1000e").lasting);
    assert_eq!(after.save(&original("nvme"), &[]), Saved::default());
    assert!(!copy.exists());
    assert_eq!(disk(dir.path(), "one").load().0, original("nvme"));
}

#[test]
fn a_copy_that_cannot_be_read_leaves_it_unknown_what_is_released() {
    let dir = directories();
    let mut first = disk(dir.path(), "one");
    first.load();
    first.save(&memory(5), &[]);
    fs::write(dir.path().join("run/lasting.json"), "{\"boot\":").unwrap();
    let mut second = disk(dir.path(), "one");
    let (memory, trouble) = second.load();
    assert!(memory.unsure.as_ref().unwrap().why.contains("run/lasting.json"), "{memory:?}");
    assert_eq!((&memory.lasting, trouble.len()), (&self::memory(5).lasting, 1), "{trouble:?}");
    assert_eq!(second.save(&memory, &[]), Saved::default());
    assert_eq!(disk(dir.path(), "one").load(), (memory, vec![]), "it is remembered, and said once");
}

#[test]
fn half_a_line_takes_no_other_with_it_and_is_told_once() {
    let dir = directories();
    let path = dir.path().join("state/history.jsonl");
    let mut first = disk(dir.path(), "one");
    first.load();
    first.save(&memory(5), &[event()]);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
    let mut second = disk(dir.path(), "one");
    second.load();
    second.save(&memory(5), &[event()]);
    second.save(&memory(5), &[event()]);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert_eq!(second.history(10).unwrap().len(), 3);
    let told = second.save(&memory(5), &[]).trouble;
    assert_eq!(told, [format!("read {}: 1 line makes no sense; left out", path.display())]);
    assert_eq!(second.history(10).unwrap().len(), 3);
    assert_eq!(second.save(&memory(5), &[]), Saved::default());
}

#[test]
fn what_is_kept_is_for_nobody_else_whatever_the_umask() {
    let dir = directories();
    let mut disk = disk(dir.path(), "one");
    disk.load();
    let before = umask(Mode::empty());
    assert_eq!(disk.save(&memory(5), &[event()]), Saved::default());
    umask(before);
    for name in ["run/memory.json", "state/lasting.json", "state/history.jsonl"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn what_was_open_to_others_is_taken_from_them() {
    let dir = directories();
    let names = ["run/memory.json", "run/memory.new", "state/lasting.json", "state/lasting.new", "state/history.jsonl"];
    for name in names {
        fs::write(dir.path().join(name), "").unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let mut disk = disk(dir.path(), "one");
    disk.load();
    assert_eq!(disk.save(&memory(5), &[event()]).lost, None);
    for name in names.iter().filter(|name| !name.ends_with(".new")) {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn the_history_is_read_once_and_has_what_is_written_since() {
    let dir = directories();
    let state = dir.path().join("state");
    let nth = |nth: usize| Event { cause: format!("loss {nth}"), ..event() };
    let mut first = disk(dir.path(), "one");
    first.load();
    first.save(&memory(5), &(0..600).map(nth).collect::<Vec<_>>());
    fs::rename(state.join("history.jsonl"), state.join("history.jsonl.1")).unwrap();
    first.save(&memory(5), &(600..1_200).map(nth).collect::<Vec<_>>());
    // Cut off by a crash, and no text at all.
    let noise = [fs::read(state.join("history.jsonl")).unwrap(), b"{\"timestamp_usec\":\n\xff\xfe\n".to_vec()].concat();
    fs::write(state.join("history.jsonl"), noise).unwrap();
    let mut disk = disk(dir.path(), "one");
    disk.load();
    let causes = |disk: &mut Disk, most| {
        let lines = disk.history(most).unwrap();
        lines.into_iter().map(|line| line.cause).collect::<Vec<_>>()
    };
    assert_eq!(causes(&mut disk, 2), ["loss 1198", "loss 1199"]);
    assert_eq!(causes(&mut disk, 5_000), (200..1_200).map(|nth| format!("loss {nth}")).collect::<Vec<_>>());
    fs::remove_file(state.join("history.jsonl.1")).unwrap();
    disk.save(&memory(5), &[nth(1_200), nth(1_201)]);
    assert_eq!(causes(&mut disk, 3), ["loss 1199", "loss 1200", "loss 1201"]);
    assert_eq!(causes(&mut disk, 1_000).len(), 1_000);
}
