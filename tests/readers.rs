//! Readers as processes, with shell scripts in their place.
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vfiod::host::process::Program;
use vfiod::host::readers::Readers;

/// A shell that runs a text, in which DIR is the place.
fn script(place: &TempDir, text: &str) -> Program {
    let text = text.replace("DIR", place.path().to_str().unwrap());
    Program { exe: PathBuf::from("/bin/sh"), args: vec!["-c".into(), text.into()] }
}

/// A fifo: whoever opens it waits until the other end is opened too.
fn gate(place: &TempDir) -> PathBuf {
    let path = place.path().join("gate");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path
}

#[tokio::test]
async fn an_answer_is_taken_at_once_and_the_reader_left_to_end_by_itself() {
    let place = tempfile::tempdir().unwrap();
    let gate = gate(&place);
    let readers = Readers::new(script(&place, "read ask; echo \"[$ask]\"; read line < DIR/gate"));
    let before = Instant::now();
    let answer: Vec<u32> = readers.ask("7\n", Duration::from_secs(60)).await.unwrap();
    assert_eq!(answer, [7]);
    assert!(before.elapsed() < Duration::from_secs(30), "its end was not waited for");
    assert_eq!(readers.lingering(), 1);
    fs::OpenOptions::new().write(true).open(&gate).unwrap();
    wait_until(|| readers.lingering() == 0);
}

#[tokio::test]
async fn one_that_has_ended_is_reaped_in_passing_and_not_only_when_the_next_is_asked() {
    let place = tempfile::tempdir().unwrap();
    let readers = Readers::new(script(&place, "read ask; echo 7"));
    let (pid, answer) = readers.ask_one::<u32>("1\n", Duration::from_secs(60)).await.unwrap();
    assert_eq!(answer, 7);
    wait_until(|| {
        readers.reap();
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
}

#[tokio::test]
async fn readers_that_hang_do_not_block_and_do_not_pile_up() {
    let place = tempfile::tempdir().unwrap();
    let gate = gate(&place);
    let readers = Readers::new(script(&place, "exec < DIR/gate; read line"));
    let all = futures_util::future::join_all((0..8).map(|_| readers.ask::<u32>("1\n", Duration::ZERO)));
    for told in all.await {
        assert_eq!(told.unwrap_err(), "ask reader: no answer within 1000 ms");
    }
    let told = readers.ask::<u32>("1\n", Duration::ZERO).await.unwrap_err();
    assert_eq!(told, "begin reader: 8 have not returned yet");
    assert_eq!(readers.lingering(), 8);
    wait_until(|| {
        // One opening lets go of all that wait by then, the end of file ends their reading. Without
        // a reader it fails and does not wait.
        drop(fs::OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&gate));
        readers.lingering() == 0
    });
}

#[tokio::test]
async fn what_makes_no_sense_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    for (text, words) in [
        ("echo no", "read reader's answer: "),
        ("printf 7", "ended without a whole line"),
        ("exit 1", "ended without a whole line"),
    ] {
        let readers = Readers::new(script(&place, text));
        let why = readers.ask::<u32>("1\n", Duration::from_secs(20)).await.unwrap_err();
        assert!(why.contains(words), "{why}");
        wait_until(|| readers.lingering() == 0);
    }
}

/// Waits for another process, which has no other way to tell.
fn wait_until(done: impl Fn() -> bool) {
    let before = Instant::now();
    while !done() {
        assert!(before.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
}
