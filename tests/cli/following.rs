//! `wait` and `monitor`: what happens while they look.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use tokio::sync::Notify;
use vfiod::cli::arguments::Arguments;
use vfiod::cli::run::{Surroundings, run};
use vfiod::model::picture::Picture;
use vfiod::model::state::{Health, State};
use zbus::Variant;

use super::reading::{BLOCKED, READY};
use super::support::bus::Bus;
use super::support::command::{Done, difference, terminal, vfiodctl};
use super::support::daemon::Daemon;

fn at(bus: &Bus) -> Surroundings {
    Surroundings { bus: Some(bus.address.clone()), ..terminal() }
}

/// Long enough for what must come, on the slowest machine.
const LONG: Duration = Duration::from_secs(60);

async fn begin(bus: &Bus, words: &'static [&'static str]) -> tokio::task::JoinHandle<Done> {
    let around = at(bus);
    tokio::task::spawn_local(async move { tokio::time::timeout(LONG, vfiodctl(words, &around)).await.unwrap() })
}

#[tokio::test(flavor = "local")]
async fn what_is_ready_is_not_waited_for() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus.address, READY).await;
    for words in [&["wait"][..], &["wait", "gpu0", "05:00.0"], &["wait", "--json"]] {
        let done = vfiodctl(words, &at(&bus)).await;
        assert_eq!((done.status, done.err.as_str()), (0, ""), "{words:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_behind_more_signals_than_are_kept_comes_all_the_same() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, READY).await;
    daemon.script.lock().unwrap().storm = 3000;
    assert_eq!(begin(&bus, &["wait"]).await.await.unwrap().status, 0);
    let (sink, _following) = follow(&bus, &["monitor"]);
    sink.until("vfiod 0").await;
}

#[tokio::test(flavor = "local")]
async fn a_change_ends_the_wait() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, BLOCKED).await;
    let waiting = begin(&bus, &["wait", "gpu0"]).await;
    // It has subscribed before it asks, so that whatever it was told is followed by the signal.
    while !waiting.is_finished() {
        daemon.change(READY).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting.await.unwrap().status, 0);
}

#[tokio::test(flavor = "local")]
async fn a_daemon_that_starts_later_is_waited_for() {
    let bus = Bus::start();
    let waiting = begin(&bus, &["wait"]).await;
    let watcher = zbus::connection::Builder::address(bus.address.as_str()).build().await.unwrap();
    // It is on the bus, waiting, before the daemon is.
    let names = zbus::fdo::DBusProxy::new(&watcher).await.unwrap();
    while names.list_names().await.unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    let _daemon = Daemon::start(&bus.address, READY).await;
    assert_eq!(waiting.await.unwrap().status, 0);
}

#[tokio::test(flavor = "local")]
async fn a_wait_that_is_over_tells_what_was_not_ready() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, BLOCKED).await;
    let mut differ = Vec::new();
    for (name, words) in [
        ("wait-over", &["wait", "--timeout", "50ms"][..]),
        ("wait-over-device", &["wait", "07:00.0", "--timeout", "50ms"]),
        ("wait-over.json", &["wait", "--timeout", "50ms", "--json"]),
        ("wait-unknown-address", &["wait", "05:00.1", "--timeout", "50ms"]),
        ("wait-beside-an-entry", &["wait", "gpu0", "05:00.1", "--timeout", "50ms"]),
        ("wait-unknown-entry", &["wait", "gpu", "--timeout", "1h"]),
    ] {
        differ.extend(difference(name, &vfiodctl(words, &at(&bus)).await.shown(words, None)));
    }
    drop(daemon);
    let words = ["wait", "--timeout", "50ms"];
    let none = Bus::start();
    differ.extend(difference("wait-no-daemon", &vfiodctl(&words, &at(&none)).await.shown(&words, None)));
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// nic0 is released.
fn released() -> String {
    let mut picture: Picture = serde_json::from_str(READY).unwrap();
    picture.health = Health::Held;
    picture.entries.get_mut("nic0").unwrap().state = State::Released;
    picture.devices.get_mut(&"05:00.0".parse().unwrap()).unwrap().state = State::Released;
    serde_json::to_string(&picture).unwrap()
}

#[tokio::test(flavor = "local")]
async fn what_has_been_released_is_waited_for_only_where_it_is_named() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, &released()).await;
    let mut differ = Vec::new();
    for (name, words) in [
        ("wait-released", &["wait", "--timeout", "50ms"][..]),
        ("wait-released.json", &["wait", "--timeout", "50ms", "--json"]),
        ("wait-released-named", &["wait", "nic0", "--timeout", "50ms"]),
    ] {
        differ.extend(difference(name, &vfiodctl(words, &at(&bus)).await.shown(words, None)));
    }
    // Of an entry that is released in part the rest is waited for.
    let mut part: Picture = serde_json::from_str(&released()).unwrap();
    part.entries.get_mut("gpu0").unwrap().state = State::Released;
    part.devices.get_mut(&"01:00.0".parse().unwrap()).unwrap().state = State::Released;
    part.devices.get_mut(&"01:00.1".parse().unwrap()).unwrap().state = State::Drifted;
    daemon.change(&serde_json::to_string(&part).unwrap()).await;
    let words = ["wait", "--timeout", "50ms"];
    differ.extend(difference("wait-released-part", &vfiodctl(&words, &at(&bus)).await.shown(&words, None)));
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// An output that can be watched.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>, Arc<Notify>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        self.1.notify_one();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    async fn until(&self, words: &str) {
        let come = async {
            while !self.text().contains(words) {
                self.1.notified().await;
            }
        };
        tokio::time::timeout(LONG, come).await.unwrap_or_else(|_| panic!("no {words:?} in {}", self.text()));
    }
}

/// An output on a full disk.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_cannot_be_written_is_a_failure() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus.address, READY).await;
    for words in [["vfiodctl", "list"], ["vfiodctl", "monitor"]] {
        let (around, mut out, mut err) = (at(&bus), Full, Vec::new());
        let running = run(Arguments::try_parse_from(words).unwrap(), &around, &mut out, &mut err);
        let status = tokio::time::timeout(LONG, running).await.unwrap();
        let err = String::from_utf8(err).unwrap();
        assert!(status == 1 && err.starts_with("vfiodctl: write standard output: "), "{words:?}: {status} {err}");
    }
}

fn follow(bus: &Bus, words: &[&str]) -> (Sink, tokio::task::JoinHandle<u8>) {
    let (sink, around) = (Sink::default(), at(bus));
    let arguments = Arguments::try_parse_from(std::iter::once(&"vfiodctl").chain(words)).unwrap();
    let mut out = sink.clone();
    let following = tokio::task::spawn_local(async move { run(arguments, &around, &mut out, &mut Vec::new()).await });
    (sink, following)
}

/// Lines without the time in front of them.
fn told(sink: &Sink) -> Vec<String> {
    sink.text().lines().map(|line| line.get(21..).unwrap_or(line).to_owned()).collect()
}

#[tokio::test(flavor = "local")]
async fn each_signal_is_a_line_also_over_a_restart_of_the_daemon() {
    let bus = Bus::start();
    let daemon = Daemon::start(&bus.address, BLOCKED).await;
    let (sink, following) = follow(&bus, &["monitor"]);
    sink.until("blocked").await;
    let lost = ["0000:01:00.0", "ready", "drifted", "it has no driver"];
    let details = || HashMap::from([("Entry", Variant::from("gpu0")), ("By", Variant::from("modprobe (4711)"))]);
    daemon.tell("Drifted", lost, details()).await;
    sink.until("drifted").await;
    daemon.change(READY).await;
    sink.until("Health ready").await;
    daemon.connection.clone().close().await.unwrap();
    drop(daemon);
    sink.until("stopped").await;
    let daemon = Daemon::start(&bus.address, READY).await;
    sink.until("started").await;
    let latency = HashMap::from([("LatencyUSec", Variant::from(1_500_000_u64))]);
    daemon.tell("Repaired", ["vfio_pci", "absent", "live", "loaded\x1b[2J"], latency).await;
    sink.until("loaded").await;
    assert!(!following.is_finished());
    assert_eq!(
        told(&sink),
        [
            "vfiod 0.1.0: blocked",
            "0000:01:00.0 (gpu0) ready -> drifted: it has no driver, by modprobe (4711)",
            "manager: Health ready",
            "vfiod has stopped",
            "vfiod has started",
            "vfio_pci absent -> live: loaded\\u{1b}[2J, after 1.500 s",
        ]
    );
}

#[tokio::test(flavor = "local")]
async fn a_monitor_can_be_begun_before_the_daemon_and_speaks_json() {
    let bus = Bus::start();
    let (sink, _following) = follow(&bus, &["monitor", "--json"]);
    sink.until("does not run").await;
    let daemon = Daemon::start(&bus.address, READY).await;
    sink.until("started").await;
    daemon.tell("RepairFailed", ["0000:01:00.0", "drifted", "failing", "busy"], HashMap::new()).await;
    sink.until("failing").await;
    let lines: Vec<serde_json::Value> = sink.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["schema"] == 1), "{lines:?}");
    let mut event = lines.last().unwrap()["event"].clone();
    assert!(event["timestamp_usec"].take().as_u64().unwrap() > 0);
    assert_eq!(
        (&event["kind"], &event["new"], &event["cause"]),
        (&"repair-failed".into(), &"failing".into(), &"busy".into())
    );
    daemon.change(BLOCKED).await;
    sink.until("\"Health\"").await;
    let text = sink.text();
    let line = text.lines().find(|line| line.contains("\"Health\"")).unwrap();
    let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(line["change"]["timestamp_usec"].take().as_u64().unwrap() > 0);
    assert_eq!(
        (&line["schema"], &line["change"]["object"], &line["change"]["properties"]["Health"]),
        (&1.into(), &"manager".into(), &"blocked".into())
    );
}

#[tokio::test(flavor = "local")]
async fn the_end_of_the_bus_ends_what_follows() {
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus.address, BLOCKED).await;
    let (sink, following) = follow(&bus, &["monitor"]);
    let waiting = begin(&bus, &["wait"]).await;
    sink.until("blocked").await;
    drop(bus);
    assert_eq!(tokio::time::timeout(LONG, following).await.unwrap().unwrap(), 3);
    assert_eq!(waiting.await.unwrap().status, 3);
}
