//! `vfiod run` itself, with nothing declared: what it says, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The program with an empty configuration and these directories of state.
fn run(place: &tempfile::TempDir, run: &str, state: &str) -> Child {
    let config = place.path().join("vfiod.toml");
    fs::write(&config, "[watch]\nuevents = false\n").unwrap();
    Command::new(env!("CARGO_BIN_EXE_vfiod"))
        .args(["run", "--config"])
        .arg(config)
        .env_clear()
        .env("RUNTIME_DIRECTORY", run)
        .env("STATE_DIRECTORY", state)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it says until it has started; then it is told to stop, and does.
fn until_started(mut child: Child) -> Vec<String> {
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let started = line.contains("started");
        said.push(line);
        if started {
            kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        }
    }
    assert!(child.wait().unwrap().success(), "{said:?}");
    said
}

#[test]
fn it_starts_says_so_and_stops_when_it_is_told_to() {
    let place = tempfile::tempdir().unwrap();
    let directory = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let said = until_started(run(&place, &directory("run"), &directory("state")));
    assert!(said[0].contains("started: ready: nothing is declared"), "{said:?}");
    let (last, between) = said[1..].split_last().unwrap();
    assert!(last.contains("stopped; nothing is unbound"), "{said:?}");
    // Where tracefs is not for this test to write, or there is no system bus.
    let machine = ["who unloads modules cannot be told", "no system bus", "has the name org.vfiod1"];
    assert!(between.iter().all(|line| machine.iter().any(|words| line.contains(words))), "{said:?}");
}

#[test]
fn where_no_state_can_be_kept_it_watches_all_the_same_and_says_that_nothing_is_written() {
    let place = tempfile::tempdir().unwrap();
    let said = until_started(run(&place, "/proc/nowhere", "/proc/nowhere"));
    assert!(said.iter().any(|line| line.contains("nothing is written to the kernel")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("started")), "{said:?}");
}

#[test]
fn a_second_one_on_the_machine_ends_at_once() {
    let place = tempfile::tempdir().unwrap();
    let directory = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (runtime, state) = (directory("run"), directory("state"));
    let mut first = run(&place, &runtime, &state);
    let mut stderr = BufReader::new(first.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let second = run(&place, &runtime, &state).wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another vfiod is running"));
    kill(Pid::from_raw(first.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(first.wait().unwrap().success());
}

#[test]
fn its_lock_is_for_nobody_else_also_where_it_was() {
    let place = tempfile::tempdir().unwrap();
    let directory = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let lock = place.path().join("run/lock");
    fs::create_dir(place.path().join("run")).unwrap();
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
    // Whoever has it open could lock it whenever vfiod is not there.
    let open = fs::File::open(&lock).unwrap();
    until_started(run(&place, &directory("run"), &directory("state")));
    let now = fs::metadata(&lock).unwrap();
    assert_eq!(now.mode() & 0o777, 0o600);
    assert_ne!(now.ino(), open.metadata().unwrap().ino());
}

#[test]
fn a_child_that_is_given_more_than_its_errand_does_nothing() {
    for verb in ["act", "look", "check", "cmdline"] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_vfiod")).args([verb, "--bogus"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && said.contains("'--bogus'") && output.stdout.is_empty(),
            "{verb}: {said}"
        );
    }
}
