//! Holds: for a time, and while a command runs.

use std::io::Read;
use std::os::fd::OwnedFd;

use vfiod::cli::run::Surroundings;

use super::reading::READY;
use super::support::bus::Bus;
use super::support::command::{difference, terminal, vfiodctl};
use super::support::daemon::{Daemon, Error};

async fn scene() -> (Bus, Daemon, Surroundings) {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, READY).await;
    let around = Surroundings { bus: Some(bus.address.clone()), ..terminal() };
    (bus, daemon, around)
}

#[tokio::test(flavor = "local")]
async fn a_hold_for_a_time_is_told_with_its_end_and_its_number() {
    let (_bus, daemon, around) = scene().await;
    let words = ["hold", "gpu0", "--why", "firmware", "--for", "90min"];
    let done = vfiodctl(&words, &around).await;
    assert!(difference("hold-for", &done.shown(&words, None)).is_none(), "{done:?}");
    let words = ["hold", "module:vfio-pci", "--why", "x", "--who", "backup", "--for", "1500ms", "--json"];
    let done = vfiodctl(&words, &around).await;
    assert!(difference("hold-for.json", &done.shown(&words, None)).is_none(), "{done:?}");
    assert_eq!(daemon.calls(), [r#"Hold "gpu0" "alice" "firmware" 5400"#, r#"Hold "module:vfio_pci" "backup" "x" 2"#]);
}

#[tokio::test(flavor = "local")]
async fn a_card_that_is_not_there_yet_can_be_held() {
    let (_bus, daemon, around) = scene().await;
    let words = ["hold", "0b:00.0", "--why", "it is plugged in soon", "--for", "1h"];
    let done = vfiodctl(&words, &around).await;
    assert!(difference("hold-absent", &done.shown(&words, None)).is_none(), "{done:?}");
    assert_eq!(vfiodctl(&["hold", "0b:00.0", "--why", "x", "--", "true"], &around).await.status, 0);
    assert_eq!(
        daemon.calls(),
        [r#"Hold "0000:0b:00.0" "alice" "it is plugged in soon" 3600"#, r#"Inhibit "0000:0b:00.0" "alice" "x""#]
    );
    assert_eq!(vfiodctl(&["hold", "gpu9", "--why", "x", "--for", "1h"], &around).await.status, 4);
}

#[tokio::test(flavor = "local")]
async fn what_lasts_until_the_next_boot_only_is_told_with_it() {
    let bus = Bus::start();
    let trouble = "write /var/lib/vfiod/lasting.json: Read-only file system (os error 30)";
    let picture = READY.replacen('{', &format!("{{\"state_trouble\": {trouble:?},"), 1);
    let daemon = Daemon::start(&bus.address, &picture).await;
    let around = Surroundings { bus: Some(bus.address.clone()), ..terminal() };
    let commands: [&[&str]; 5] = [
        &["hold", "gpu0", "--why", "firmware", "--for", "90min"],
        &["unhold", "7", "--json"],
        &["release", "gpu0"],
        &["adopt", "gpu0"],
        &["status"],
    ];
    let mut shown = String::new();
    for words in commands {
        shown += &vfiodctl(words, &around).await.shown(words, None);
    }
    assert!(difference("until-the-next-boot", &shown).is_none());
    drop(daemon);
}

/// One end of a lease, to be read without waiting.
fn watched(lease: OwnedFd) -> std::fs::File {
    nix::fcntl::fcntl(&lease, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    std::fs::File::from(lease)
}

fn is_held(lease: &mut std::fs::File) -> bool {
    match lease.read(&mut [0]) {
        Ok(0) => false,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => true,
        other => panic!("{other:?}"),
    }
}

/// Until every copy of the other end is closed. A child that another test begins has one for a
/// moment, and the bus's own tasks close theirs when they come round.
async fn ended(mut lease: std::fs::File) {
    let ended = async {
        while is_held(&mut lease) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect("the lease has not ended");
}

#[tokio::test(flavor = "local")]
async fn a_command_runs_under_a_lease_and_its_status_is_handed_through() {
    let (_bus, daemon, around) = scene().await;
    for (script, status) in [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 128 + 15)] {
        let done = vfiodctl(&["hold", "gpu0", "--why", "test", "--", "sh", "-c", script], &around).await;
        assert_eq!((done.status, done.err.as_str()), (status, ""), "{script}");
        let lease = daemon.script.lock().unwrap().leases.pop().unwrap();
        ended(watched(lease)).await;
    }
    assert_eq!(daemon.calls()[0], r#"Inhibit "gpu0" "alice" "test""#);
}

#[tokio::test(flavor = "local")]
async fn the_lease_is_held_while_the_command_runs_and_not_by_the_command() {
    let (_bus, daemon, around) = scene().await;
    let directory = tempfile::tempdir().unwrap();
    let (fds, go) = (directory.path().join("fds"), directory.path().join("go"));
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("ls -l /proc/self/fd > {}; cat {}", fds.display(), go.display());
    let running = tokio::task::spawn_local(async move {
        vfiodctl(&["hold", "gpu0", "--why", "test", "--", "sh", "-c", &script], &around).await
    });
    // Opening the fifo for writing waits for the command to read it.
    let writer = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(go).unwrap());
    let writer = writer.await.unwrap();
    let lease = daemon.script.lock().unwrap().leases.pop().unwrap();
    let inode = nix::sys::stat::fstat(&lease).unwrap().st_ino;
    let mut lease = watched(lease);
    assert!(is_held(&mut lease), "while the command runs");
    drop(writer);
    assert_eq!(running.await.unwrap().status, 0);
    ended(lease).await;
    let fds = std::fs::read_to_string(fds).unwrap();
    assert!(fds.contains("/proc/") && !fds.contains(&format!("pipe:[{inode}]")), "{fds}");
}

#[tokio::test(flavor = "local")]
async fn a_command_that_may_not_hold_is_not_begun() {
    let (_bus, daemon, around) = scene().await;
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("mark");
    daemon.script.lock().unwrap().refusal = Some(Error::ZBus(zbus::Error::InvalidReply));
    let words = ["hold", "gpu0", "--why", "test", "--", "touch", mark.to_str().unwrap()];
    assert_eq!(vfiodctl(&words, &around).await.status, 5);
    assert!(!mark.exists());
    assert_eq!(vfiodctl(&words, &around).await.status, 0);
    assert!(mark.exists());
}

#[tokio::test(flavor = "local")]
async fn a_command_that_is_not_there_is_told_as_a_shell_would() {
    let (_bus, _daemon, around) = scene().await;
    let done = vfiodctl(&["hold", "gpu0", "--why", "test", "--", "/nonexistent/command"], &around).await;
    assert_eq!(done.status, 127);
    assert!(done.err.contains("run /nonexistent/command"), "{}", done.err);
    let done = vfiodctl(&["hold", "gpu0", "--why", "test", "--", "/etc/passwd"], &around).await;
    assert_eq!(done.status, 126);
}
