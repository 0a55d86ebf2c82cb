//! What is asked of the daemon, and what its answers become.

use vfiod::cli::run::Surroundings;
use vfiod::model::picture::{HoldView, Picture};

use super::reading::{BLOCKED, READY};
use super::support::bus::Bus;
use super::support::command::{Done, difference, terminal, vfiodctl};
use super::support::daemon::{Daemon, Error, Script};

struct Scene {
    _bus: Bus,
    daemon: Daemon,
    around: Surroundings,
}

async fn scene(results: &[(&str, &str)]) -> Scene {
    let bus = Bus::start();
    let results = results.iter().map(|(name, result)| ((*name).to_owned(), (*result).to_owned())).collect();
    let script = Script { picture: READY.to_owned(), results, ..Script::default() };
    let daemon = Daemon::with(&bus.address, script).await;
    let around = Surroundings { bus: Some(bus.address.clone()), ..terminal() };
    Scene { _bus: bus, daemon, around }
}

impl Scene {
    async fn run(&self, words: &[&str]) -> Done {
        vfiodctl(words, &self.around).await
    }

    /// Runs, compares with the fixture, and gives what was called.
    async fn compare(&self, name: &str, words: &[&str]) -> Vec<String> {
        let done = self.run(words).await;
        if let Some(difference) = difference(name, &done.shown(words, None)) {
            panic!("{difference}");
        }
        std::mem::take(&mut self.daemon.script.lock().unwrap().calls)
    }
}

#[tokio::test]
async fn a_repair_names_its_devices_as_the_daemon_knows_them() {
    let results =
        [("vfio_pci", "live"), ("0000:01:00.0", "ready"), ("0000:01:00.1", "assigned: qemu (4242) has it open")];
    let good = scene(&results).await;
    assert_eq!(good.compare("repair-all", &["repair"]).await, ["Repair []"]);
    let words = ["repair", "01:00.0", "pci_0000_05_00_0", "gpu0"];
    let calls = good.compare("repair-some", &words).await;
    assert_eq!(calls, [r#"Repair ["0000:01:00.0", "0000:05:00.0", "gpu0"]"#]);
    good.compare("repair-all.json", &["repair", "--json"]).await;
    let bad = scene(&[("0000:01:00.0", "held: in-use: qemu (4242) has it open: twice")]).await;
    bad.compare("repair-held", &["repair", "gpu0"]).await;
}

#[tokio::test]
async fn a_release_and_an_adoption_go_to_their_object() {
    let given = |driver: &str| format!("released: given back to the host, {driver}");
    let (first, second) = (given("on nouveau"), given("without a driver"));
    let released = scene(&[("0000:01:00.0", &first), ("0000:01:00.1", &second)]).await;
    assert_eq!(released.compare("release-entry", &["release", "gpu0"]).await, ["Release entry gpu0"]);
    assert_eq!(released.compare("release-device", &["release", "01:00.1"]).await, ["Release device 0000:01:00.1"]);
    released.compare("release-entry.json", &["release", "gpu0", "--json"]).await;
    let held = "released: it is on vfio-pci, not given back yet: in-use: qemu (4242) has it open";
    let late =
        scene(&[("0000:01:00.0", held), ("0000:01:00.1", "released: it is on vfio-pci, being given back")]).await;
    late.compare("release-late", &["release", "gpu0"]).await;
    let adopted = scene(&[("0000:01:00.0", "ready")]).await;
    assert_eq!(adopted.compare("adopt", &["adopt", "gpu0"]).await, ["Adopt entry gpu0"]);
    adopted.compare("adopt.json", &["adopt", "gpu0", "--json"]).await;
}

#[tokio::test]
async fn modules_are_loaded_by_any_form_of_their_name() {
    let scene = scene(&[("vfio_pci", "live")]).await;
    assert_eq!(scene.compare("load", &["load", "vfio-pci"]).await, [r#"LoadModules ["vfio_pci"]"#]);
    assert_eq!(scene.compare("load-all", &["load"]).await, ["LoadModules []"]);
    scene.compare("load.json", &["load", "--json"]).await;
}

#[tokio::test]
async fn small_things_are_done_and_said() {
    let scene = scene(&[]).await;
    assert_eq!(scene.compare("reload", &["reload"]).await, ["Reload"]);
    assert_eq!(scene.compare("unhold", &["unhold", "7"]).await, ["Unhold 7"]);
    assert_eq!(scene.compare("reset-failed", &["reset-failed"]).await, [r#"ResetFailed """#]);
    let calls = scene.compare("reset-failed-module", &["reset-failed", "module:vfio-pci"]).await;
    assert_eq!(calls, [r#"ResetFailed "module:vfio_pci""#]);
    for (name, words) in [
        ("reload.json", &["reload", "--json"][..]),
        ("unhold.json", &["unhold", "7", "--json"]),
        ("reset-failed.json", &["reset-failed", "gpu0", "--json"]),
    ] {
        scene.compare(name, words).await;
    }
}

#[tokio::test]
async fn holds_end_by_what_they_are_on_as_well_as_by_their_number() {
    let scene = scene(&[]).await;
    let mut picture: Picture = serde_json::from_str(BLOCKED).unwrap();
    let hold = HoldView { target: "nic0".to_owned(), ..picture.holds[0].clone() };
    let on = |id, target: &str| HoldView { id, target: target.to_owned(), ..hold.clone() };
    picture.holds =
        vec![on(7, "nic0"), on(8, "module:vfio_pci"), on(9, "nic0"), on(10, "0000:01:00.0"), on(11, "gone")];
    scene.daemon.script.lock().unwrap().picture = serde_json::to_string(&picture).unwrap();
    assert_eq!(scene.compare("unhold-target", &["unhold", "nic0"]).await, ["Unhold 7", "Unhold 9"]);
    assert_eq!(scene.compare("unhold-target.json", &["unhold", "module:vfio-pci", "--json"]).await, ["Unhold 8"]);
    for (target, call) in [("01:00.0", "Unhold 10"), ("pci_0000_01_00_0", "Unhold 10"), ("gone", "Unhold 11")] {
        assert_eq!(scene.run(&["unhold", target]).await.status, 0, "{target}");
        assert_eq!(std::mem::take(&mut scene.daemon.script.lock().unwrap().calls), [call], "{target}");
    }
    // Nothing but that: what is on all devices stays.
    for (target, status) in [("all", 4), ("gpu0", 4), ("nowhere", 4)] {
        let done = scene.run(&["unhold", target]).await;
        assert_eq!((done.status, done.out.as_str()), (status, ""), "{target}: {done:?}");
    }
    scene.compare("unhold-none", &["unhold", "gpu0"]).await;
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let scene = scene(&[]).await;
    let refusals = [
        (Error::ZBus(zbus::Error::InvalidReply), 5, "refused-denied"),
        (Error::NoSuchObject("there is no gpu7; near it are: gpu0, gpu1".into()), 4, "refused-no-such"),
        (Error::InUse("qemu-system-x86 (4242) has 0000:01:00.0 open".into()), 1, "refused-in-use"),
        (
            Error::InvalidConfiguration("/etc/vfiod/vfiod.toml:3:1: key `x`\n/etc/vfiod/vfiod.toml:9:1: y".into()),
            1,
            "refused-configuration",
        ),
    ];
    for (refusal, status, name) in refusals {
        scene.daemon.script.lock().unwrap().refusal = Some(refusal);
        let words = ["reload"];
        let done = scene.run(&words).await;
        assert_eq!(done.status, status, "{name}");
        assert!(difference(name, &done.shown(&words, None)).is_none(), "{name}: {done:?}");
    }
}

/// What the daemon finds counts: it may read what the caller may not.
#[tokio::test]
async fn a_check_asks_the_daemon() {
    let scene = scene(&[]).await;
    let tree = super::common::tree::Tree::new();
    for address in ["0000:01:00.0", "0000:01:00.1", "0000:05:00.0"] {
        let nic = super::common::tree::NIC;
        tree.add_device(super::common::tree::Device { address, driver: Some("vfio-pci"), group: Some(1), ..nic });
    }
    let saved = vfiodctl(&["--root", tree.path().to_str().unwrap(), "check", "--json"], &terminal()).await;
    scene.daemon.script.lock().unwrap().report.clone_from(&saved.out);
    let done = scene.run(&["check", "--json"]).await;
    assert_eq!(done.out, saved.out);
    assert_eq!(scene.daemon.calls(), [r#"Check """#]);
    let text = scene.run(&["check", "nic0"]).await.out;
    assert!(text.contains("0000:05:00.0") && !text.contains("0000:01:00.0 ["), "{text}");
}

#[tokio::test]
async fn where_no_daemon_runs_that_is_said_with_what_to_do() {
    let bus = Bus::start();
    let around = Surroundings { bus: Some(bus.address.clone()), ..terminal() };
    let mut differ = Vec::new();
    for (name, words) in [
        ("down-status", &["status"][..]),
        ("down-repair", &["repair"]),
        ("down-history", &["history"]),
        ("down-hold", &["hold", "all", "--why", "x", "--for", "1min"]),
    ] {
        let done = vfiodctl(words, &around).await;
        assert_eq!(done.status, 3, "{name}");
        differ.extend(difference(name, &done.shown(words, None)));
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    let no_bus = vfiodctl(&["status"], &terminal()).await;
    assert_eq!(no_bus.status, 3);
    assert!(no_bus.err.contains("the system bus cannot be reached"), "{}", no_bus.err);
}
