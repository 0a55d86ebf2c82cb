//! The program itself: argument and environment in, exit status out.

use std::process::{Command, Output, Stdio};

use super::common::tree::{NIC, Tree};
use super::reading::BLOCKED;
use super::support::bus::Bus;
use super::support::daemon::{Daemon, Error};

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfiodctl"));
    command.args(words).env_clear().env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus").env("TZ", "UTC");
    command
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs it beside the fake daemon, which lives in the test's own thread.
async fn beside(mut command: Command) -> (Option<i32>, String, String) {
    tokio::task::spawn_blocking(move || text(&command.output().unwrap())).await.unwrap()
}

#[test]
fn a_command_line_that_makes_no_sense_is_told_with_status_two() {
    for words in [
        &["frobnicate"][..],
        &["show"],
        &["hold", "gpu0", "--why", "x"],
        &["hold", "gpu0", "--why", "x", "--for", "0s"],
        &["hold", "gpu0", "--why", "x", "--for", "1h", "--", "true"],
        &["list", "--root", "/", "--host", "other"],
        &["unhold"],
        &["history", "-n", "0"],
        &["wait", "--timeout", "soon"],
        &["config"],
    ] {
        let (status, out, err) = text(&program(words).output().unwrap());
        assert_eq!((status, out.as_str()), (Some(2), ""), "{words:?}");
        assert!(err.contains("vfiodctl") || err.contains("try '--help'"), "{words:?}: {err}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for (words, part) in [(["--help"], "passthrough"), (["--version"], "vfiodctl 0.1.0")] {
        let (status, out, _) = text(&program(&words).output().unwrap());
        assert_eq!(status, Some(0));
        assert!(out.contains(part), "{out}");
    }
}

#[test]
fn a_bus_that_is_not_there_is_status_three() {
    let (status, out, err) = text(&program(&["status"]).output().unwrap());
    assert_eq!((status, out.as_str()), (Some(3), ""));
    assert!(err.starts_with("vfiodctl: the system bus cannot be reached"), "{err}");
}

#[test]
fn what_may_block_is_read_by_a_child_that_is_not_waited_for() {
    let output = program(&["survey"]).output().unwrap();
    let survey: vfiod::model::preflight::survey::Survey = serde_json::from_slice(&output.stdout).unwrap();
    let (status, out, err) = text(&program(&["--json", "check"]).output().unwrap());
    assert!(status == Some(0) || status == Some(1), "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["devices"].as_object().unwrap().len(), survey.functions.len());
    assert!(err.contains("this is what can be seen without it"), "{err}");
}

#[tokio::test]
async fn the_bus_is_the_one_of_the_environment_and_a_pipe_gets_no_colour() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus.address, BLOCKED).await;
    let run = |words: &[&str]| {
        let mut command = program(words);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address).env("LANG", "C.UTF-8");
        beside(command)
    };
    let (status, out, err) = run(&["status"]).await;
    assert_eq!((status, err.as_str()), (Some(1), ""));
    assert!(out.starts_with("- blocked: ") && !out.contains('\x1b'), "{out}");
    let (_, out, _) = run(&["status", "--color=always"]).await;
    assert!(out.contains("\x1b[31m"), "{out}");
    let (status, out, _) = run(&["--json"]).await;
    assert_eq!(status, Some(1));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["health"], "blocked");
}

#[tokio::test]
async fn a_terminal_gets_colours_and_symbols_unless_it_is_told_otherwise() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus.address, BLOCKED).await;
    let run = |environment: &[(&str, &str)]| {
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut command = program(&["status"]);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address).envs(environment.iter().copied());
        command.stdout(Stdio::from(pty.slave)).stdin(Stdio::null());
        let shown = move || {
            let mut child = command.spawn().unwrap();
            drop(command);
            let (mut out, mut terminal) = (Vec::new(), std::fs::File::from(pty.master));
            // The terminal's other end is gone with the last who had it open: EIO.
            let _ = std::io::Read::read_to_end(&mut terminal, &mut out);
            child.wait().unwrap();
            String::from_utf8(out).unwrap()
        };
        async { tokio::task::spawn_blocking(shown).await.unwrap() }
    };
    let utf8 = ("LANG", "C.UTF-8");
    let out = run(&[utf8]).await;
    assert!(out.starts_with("\x1b[31m○ blocked\x1b[0m"), "{out:?}");
    for quiet in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let out = run(&[utf8, quiet]).await;
        assert!(out.starts_with("○ blocked") && !out.contains('\x1b'), "{quiet:?}: {out:?}");
    }
    let out = run(&[("LC_ALL", "C"), utf8, ("NO_COLOR", "1")]).await;
    assert!(out.is_ascii() && out.starts_with("- blocked"), "{out:?}");
    let out = run(&[utf8, ("NO_COLOR", "1"), ("COLUMNS", "50")]).await;
    assert!(out.lines().all(|line| line.trim_end().chars().count() <= 50), "{out}");
    for (lines, least) in [("24", 15), ("60", 30)] {
        let out = run(&[utf8, ("LINES", lines)]).await;
        let shown = out.lines().count();
        assert!((least..lines.parse().unwrap()).contains(&shown), "{out}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let tree = Tree::new();
    for n in 0..200 {
        let (bus, device) = (n / 32 + 1, n % 32);
        tree.add_device(vfiodctl_nic(&format!("0000:{bus:02x}:{device:02x}.0")));
    }
    let mut child = program(&["--root", tree.path().to_str().unwrap(), "list", "--all", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe is closed before anything can be in it.
    drop(child.stdout.take());
    let (status, _, err) = text(&child.wait_with_output().unwrap());
    assert_eq!((status, err.as_str()), (Some(0), ""));
}

fn vfiodctl_nic(address: &str) -> super::common::tree::Device<'_> {
    super::common::tree::Device { address, ..NIC }
}

/// ssh is whatever the path finds: here a program that is the bus of the other machine.
#[tokio::test]
async fn another_machine_is_asked_the_way_systemctl_does() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, BLOCKED).await;
    let directory = tempfile::tempdir().unwrap();
    let (ssh, said) = (directory.path().join("ssh"), directory.path().join("said"));
    let socket = bus.address.strip_prefix("unix:path=").unwrap().split(',').next().unwrap().to_owned();
    let bridge = "import os, select, socket, sys\n\
        s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
        while True:\n\
        \x20   for f in select.select([0, s], [], [])[0]:\n\
        \x20       data = os.read(0, 65536) if f == 0 else s.recv(65536)\n\
        \x20       if not data: sys.exit(0)\n\
        \x20       (s.sendall if f == 0 else lambda d: os.write(1, d))(data)\n";
    std::fs::write(directory.path().join("bridge.py"), bridge).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >{}\nexec python3 {}/bridge.py {socket}\n",
        said.display(),
        directory.path().display()
    );
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let mut command = program(&["-H", "root@other:2222", "status"]);
    command.env("PATH", &path).env("HOME", "/");
    let (status, out, err) = beside(command).await;
    assert_eq!((status, err.as_str()), (Some(1), ""), "{out}");
    assert!(out.starts_with("- blocked"), "{out}");
    assert_eq!(std::fs::read_to_string(said).unwrap(), "-xT -p 2222 -- root@other systemd-stdio-bridge\n");
    daemon.script.lock().unwrap().refusal = Some(Error::ZBus(zbus::Error::InvalidReply));
    let mut command = program(&["-H", "me@[::1]:22", "reload"]);
    command.env("PATH", &path).env("HOME", "/");
    let (status, _, err) = beside(command).await;
    assert_eq!(status, Some(5));
    assert!(err.contains("as root it is allowed: vfiodctl -H root@[::1]:22"), "{err}");
}
