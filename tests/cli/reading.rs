//! What is shown of a daemon's picture.

use std::collections::HashMap;

use vfiod::cli::run::Surroundings;
use vfiod::model::picture::{HoldView, Picture};
use zbus::{OwnedVariant, Variant};

use super::support::bus::Bus;
use super::support::command::{difference, terminal, vfiodctl};
use super::support::daemon::{Daemon, Script};

pub const READY: &str = include_str!("pictures/ready.json");
pub const BLOCKED: &str = include_str!("pictures/blocked.json");
const HOSTILE: &str = include_str!("pictures/hostile.json");
const NOTHING: &str = include_str!("pictures/nothing.json");

const PLAN: &str = r#"{
  "schema": 1, "mode": "observe",
  "acts": [
    { "key": "modules", "devices": ["0000:02:00.0"], "steps": ["load vfio_pci"] },
    { "key": "group-15", "devices": ["0000:01:00.0"], "steps": ["0000:01:00.0: driver_override = vfio-pci", "0000:01:00.0: unbind from nvidia", "0000:01:00.0: bind to vfio-pci"] }
  ],
  "held": [
    { "about": "0000:05:00.0", "guard": "carries-route", "reason": "enp5s0 carries the default route", "not_before_usec": 0 },
    { "about": "entry usb0", "guard": null, "reason": "it failed twice", "not_before_usec": 1795194060000000 }
  ],
  "also_binds": [{ "device": "0000:02:00.0", "driver": "vfio-pci" }]
}"#;

fn line(fields: &[(&str, Variant<'_>)]) -> HashMap<String, OwnedVariant> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.try_to_owned().unwrap())).collect()
}

fn history() -> Vec<HashMap<String, OwnedVariant>> {
    vec![
        line(&[
            ("Timestamp", 1_795_190_390_000_000_u64.into()),
            ("Kind", "drifted".into()),
            ("Object", "/org/vfiod1/module/vfio_pci".into()),
            ("Name", "vfio_pci".into()),
            ("Old", "live".into()),
            ("New", "absent".into()),
            ("By", "modprobe (4711, ssh.service)".into()),
        ]),
        line(&[
            ("Timestamp", 1_795_190_391_144_287_u64.into()),
            ("Kind", "repaired".into()),
            ("Object", "/org/vfiod1/device/pci_0000_01_00_0".into()),
            ("Name", "0000:01:00.0".into()),
            ("Entry", "gpu0".into()),
            ("Old", "repairing".into()),
            ("New", "ready".into()),
            ("Cause", "bound to vfio-pci".into()),
            ("LatencyUSec", 1_144_287_u64.into()),
        ]),
    ]
}

/// Runs each command line against a daemon with this picture, and compares with its fixture.
async fn compare(picture: &str, around: Surroundings, cases: &[(&str, &[&str])]) {
    let bus = Bus::start();
    let script = Script { picture: picture.to_owned(), plan: PLAN.to_owned(), history: history(), ..Script::default() };
    let _daemon = Daemon::with(&bus.address, script).await;
    let around = Surroundings { bus: Some(bus.address.clone()), ..around };
    let mut differ = Vec::new();
    for (name, words) in cases {
        let done = vfiodctl(words, &around).await;
        differ.extend(difference(name, &done.shown(words, None)));
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[tokio::test]
async fn what_is_ready_is_shown_as_ready() {
    let cases: [(&str, &[&str]); 12] = [
        ("ready-no-verb", &[]),
        ("ready-status.json", &["status", "--json"]),
        ("ready-list", &["list"]),
        ("ready-list.json", &["list", "--json"]),
        ("ready-show-address", &["show", "01:00.0"]),
        ("ready-show-libvirt-name", &["show", "pci_0000_05_00_0"]),
        ("ready-show-entry", &["show", "gpu0"]),
        ("ready-show.json", &["show", "nic0", "--json"]),
        ("ready-history", &["history"]),
        ("ready-history-one", &["history", "-n", "1"]),
        ("ready-history.json", &["history", "--json"]),
        ("ready-complete-targets", &["complete", "targets"]),
    ];
    compare(READY, terminal(), &cases).await;
}

#[tokio::test]
async fn what_is_not_ready_is_told_with_its_reason_and_remedy() {
    let cases: [(&str, &[&str]); 10] = [
        ("blocked-status", &["status"]),
        ("blocked-status.json", &["status", "--json"]),
        ("blocked-list", &["list"]),
        ("blocked-show", &["show", "usb0"]),
        ("blocked-show-function", &["show", "0000:01:00.0"]),
        ("blocked-plan", &["plan"]),
        ("blocked-plan.json", &["plan", "--json"]),
        ("blocked-complete-holds", &["complete", "holds"]),
        ("blocked-complete-devices", &["complete", "devices"]),
        ("blocked-complete-modules", &["complete", "modules"]),
    ];
    compare(BLOCKED, terminal(), &cases).await;
}

#[tokio::test]
async fn a_machine_that_declares_nothing_is_ready() {
    let cases: [(&str, &[&str]); 2] = [("nothing-status", &["status"]), ("nothing-list", &["list"])];
    compare(NOTHING, terminal(), &cases).await;
}

#[tokio::test]
async fn a_narrow_terminal_gets_narrow_lines() {
    let narrow = Surroundings { width: Some(60), ..terminal() };
    let cases: [(&str, &[&str]); 3] =
        [("narrow-status", &["status"]), ("narrow-list", &["list"]), ("narrow-show", &["show", "gpu0"])];
    compare(BLOCKED, narrow, &cases).await;
    for (name, _) in cases {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/expected").join(name);
        for line in std::fs::read_to_string(path).unwrap().lines() {
            assert!(line.chars().count() <= 60, "{name}: {line}");
        }
    }
}

#[tokio::test]
async fn the_status_fits_a_screen_whatever_there_is_to_tell() {
    let low = Surroundings { rows: Some(24), ..terminal() };
    compare(BLOCKED, low.clone(), &[("low-status", &["status"])]).await;
    let mut picture: Picture = serde_json::from_str(BLOCKED).unwrap();
    for n in 0..40 {
        picture.holds.push(HoldView { id: 100 + n, ..picture.holds[0].clone() });
        picture.entries.insert(format!("spare{n}"), picture.entries["usb0"].clone());
    }
    let crowd = serde_json::to_string(&picture).unwrap();
    compare(&crowd, low.clone(), &[("crowd-status", &["status"])]).await;
    picture.entries.retain(|name, _| name == "nic0");
    picture.modules.clear();
    let holds = serde_json::to_string(&picture).unwrap();
    compare(&holds, low.clone(), &[("holds-status", &["status"])]).await;
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus.address, &crowd).await;
    // One that has nobody knows how many rows has 24.
    for (width, rows) in [(100, Some(24)), (100, None), (80, Some(40)), (60, Some(24)), (200, Some(100))] {
        let around = Surroundings { bus: Some(bus.address.clone()), width: Some(width), rows, ..terminal() };
        let lines = vfiodctl(&["status"], &around).await.out.lines().count();
        let rows = usize::from(rows.unwrap_or(24));
        assert!(lines < rows && lines + 9 > rows, "{lines} on {width}x{rows}");
    }
}

#[tokio::test]
async fn colours_and_symbols_are_for_terminals_that_have_them() {
    let colored = Surroundings { no_color: false, ..terminal() };
    compare(BLOCKED, colored.clone(), &[("color-status", &["status"]), ("color-list", &["list"])]).await;
    let pipe = Surroundings { terminal: false, width: None, no_color: false, ..terminal() };
    compare(BLOCKED, pipe.clone(), &[("pipe-status", &["status"]), ("pipe-list", &["list"])]).await;
    compare(BLOCKED, pipe, &[("pipe-color-always-status", &["--color", "always", "status"])]).await;
    let off: &[(&str, &[&str])] =
        &[("color-off-status", &["status", "--no-color"]), ("color-never-status", &["status", "--color=never"])];
    compare(BLOCKED, colored.clone(), off).await;
    compare(BLOCKED, colored, &[("ascii-status", &["status", "--ascii", "--no-color"])]).await;
    let latin = Surroundings { utf8: false, ..terminal() };
    compare(BLOCKED, latin, &[("latin-status", &["status"])]).await;
}

#[tokio::test]
async fn nothing_from_outside_drives_the_terminal() {
    let cases: [(&str, &[&str]); 3] =
        [("hostile-status", &["status"]), ("hostile-list", &["list"]), ("hostile-show", &["show", "gpu0"])];
    compare(HOSTILE, terminal(), &cases).await;
    let bus = Bus::start();
    let _daemon = Daemon::start(&bus.address, HOSTILE).await;
    let around = Surroundings { bus: Some(bus.address.clone()), ..terminal() };
    for words in [["status", "--ascii"], ["list", "--ascii"]] {
        let done = vfiodctl(&words, &around).await;
        let odd: Vec<char> = done.out.chars().filter(|c| *c != '\n' && (c.is_control() || !c.is_ascii())).collect();
        assert!(odd.is_empty(), "{words:?}: {odd:?}");
    }
}

#[tokio::test]
async fn what_there_is_not_is_told_with_what_is_near() {
    let cases: [(&str, &[&str]); 6] = [
        ("unknown-entry", &["show", "gpu"]),
        ("unknown-address", &["release", "05:00.1"]),
        ("unknown-vf", &["release", "gpu0/3"]),
        ("unknown-word", &["adopt", "printer"]),
        ("unknown-module", &["load", "vfio-pic"]),
        ("unknown-target", &["reset-failed", "module:vfio"]),
    ];
    compare(READY, terminal(), &cases).await;
}
