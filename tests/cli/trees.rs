//! What can be seen without a daemon, on saved trees.

use std::path::Path;

use vfiod::cli::screen::Screen;
use vfiod::config;
use vfiod::model::printable::turns_a_terminal;

use super::common::tree::{Device, NIC, Tree};
use super::support::command::{Done, difference, terminal, vfiodctl};

const PCI_IDS: &str = include_str!("names/usr/share/misc/pci.ids");

/// A card of two functions behind a root port, one of them on its host driver; and two cards alike.
fn machine() -> Tree {
    let tree = Tree::new();
    tree.set("usr/share/misc/pci.ids", PCI_IDS);
    let port = Device {
        address: "0000:00:01.0",
        ids: "8086:0c01",
        class: 0x06_04_00,
        driver: Some("pcieport"),
        group: Some(1),
        below: None,
    };
    let gpu = Device {
        address: "0000:01:00.0",
        ids: "10de:2684",
        class: 0x03_00_00,
        driver: Some("vfio-pci"),
        group: Some(1),
        below: Some("0000:00:01.0"),
    };
    tree.add_device(port);
    tree.add_device(gpu);
    tree.add_device(Device {
        address: "0000:01:00.1",
        ids: "10de:22ba",
        class: 0x04_03_00,
        driver: Some("snd_hda_intel"),
        ..gpu
    });
    tree.add_device(Device { address: "0000:05:00.0", driver: Some("vfio-pci"), group: Some(5), ..NIC });
    tree.add_device(Device { address: "0000:06:00.0", driver: Some("e1000e"), group: Some(6), ..NIC });
    tree.set("sys/kernel/iommu_groups/1/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n");
    tree.set("sys/class/iommu/dmar0/x", "");
    tree
}

const DECLARED: &str = "\
[device.gpu0]
address = \"0000:01:00\"
id = \"10de:2684\"

[device.nic0]
address = \"0000:05:00.0\"
id = \"8086:10d3\"
";

async fn on(tree: &Tree, words: &[&str]) -> Done {
    let root = tree.path().to_str().unwrap();
    let words: Vec<&str> = ["--root", root].iter().chain(words).copied().collect();
    vfiodctl(&words, &terminal()).await
}

async fn compare(tree: &Tree, cases: &[(&str, &[&str])]) {
    let mut differ = Vec::new();
    for (name, words) in cases {
        let shown = on(tree, words).await.shown(words, Some(tree.path()));
        differ.extend(difference(name, &shown));
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[tokio::test]
async fn a_saved_tree_shows_its_devices_and_groups() {
    let tree = machine();
    tree.set("etc/vfiod/vfiod.toml", DECLARED);
    let cases: [(&str, &[&str]); 21] = [
        ("tree-status", &["status"]),
        ("tree-status.json", &["status", "--json"]),
        ("tree-list", &["list"]),
        ("tree-list-all", &["list", "--all"]),
        ("tree-list-all.json", &["list", "--all", "--json"]),
        ("tree-groups", &["groups"]),
        ("tree-groups-device", &["groups", "gpu0"]),
        ("tree-groups.json", &["groups", "--json"]),
        ("tree-show", &["show", "gpu0"]),
        ("tree-show-undeclared", &["show", "06:00.0"]),
        ("tree-show-undeclared.json", &["show", "06:00.0", "--json"]),
        ("tree-libvirt", &["show", "01:00.0", "--libvirt"]),
        ("tree-libvirt.json", &["show", "01:00.0", "--libvirt", "--json"]),
        ("tree-plan", &["plan"]),
        ("tree-plan.json", &["plan", "--json"]),
        ("tree-unknown", &["show", "01:00.2"]),
        ("tree-check", &["check"]),
        ("tree-check.json", &["check", "--json"]),
        ("tree-check-entry", &["check", "gpu0"]),
        ("tree-check-undeclared", &["check", "06:00.0"]),
        ("tree-check-unknown", &["check", "01:00.2"]),
    ];
    compare(&tree, &cases).await;
}

#[tokio::test]
async fn a_member_that_is_no_pci_device_keeps_its_group_from_being_viable() {
    let tree = machine();
    tree.set("etc/vfiod/vfiod.toml", DECLARED);
    tree.set("sys/kernel/iommu_groups/5/devices/soc-dma/uevent", "");
    let cases: [(&str, &[&str]); 2] = [("platform-show", &["show", "nic0"]), ("platform-groups", &["groups", "nic0"])];
    compare(&tree, &cases).await;
}

const ABSENT: &str = "[device.gone]\naddress = \"0000:09:00.0\"\n";

#[tokio::test]
async fn of_a_card_that_is_not_there_nothing_is_checked() {
    let tree = machine();
    tree.set("etc/vfiod/vfiod.toml", &format!("{DECLARED}{ABSENT}"));
    let cases: [(&str, &[&str]); 2] =
        [("absent-check", &["check", "gone"]), ("absent-check.json", &["check", "gone", "--json"])];
    compare(&tree, &cases).await;
    let both = on(&tree, &["check", "gone", "nic0"]).await;
    assert!(both.status == 1 && both.out.contains("0000:05:00.0") && !both.out.contains("0000:01:00.0"), "{both:?}");
    assert_eq!(both.err, "vfiodctl: no device of gone is there\n");
}

#[tokio::test]
async fn only_where_there_are_no_groups_at_all_the_iommu_is_doubted() {
    let tree = machine();
    tree.add_device(Device { address: "0000:07:00.0", driver: Some("e1000e"), group: None, ..NIC });
    tree.set("etc/vfiod/vfiod.toml", &format!("{DECLARED}{ABSENT}"));
    let cases: [(&str, &[&str]); 3] = [
        ("absent-groups", &["groups", "gone"]),
        ("absent-groups.json", &["groups", "gone", "--json"]),
        ("without-group", &["groups", "07:00.0", "nic0"]),
    ];
    compare(&tree, &cases).await;
    let none = Tree::new();
    none.add_device(Device { address: "0000:07:00.0", driver: Some("e1000e"), group: None, ..NIC });
    compare(&none, &[("no-groups", &["groups"]), ("no-groups-device", &["groups", "07:00.0"])]).await;
}

#[tokio::test]
async fn a_vf_is_found_by_its_index() {
    let tree = Tree::new();
    let pf = Device { address: "0000:03:00.0", driver: Some("i40e"), group: Some(30), ..NIC };
    tree.add_device(pf);
    for (index, vf) in [(0, "0000:03:02.0"), (1, "0000:03:02.1"), (3, "0000:03:02.3")] {
        tree.add_device(Device { address: vf, driver: Some("vfio-pci"), group: Some(31 + index), ..NIC });
        tree.make_vf("0000:03:00.0", index, vf);
    }
    tree.set("etc/vfiod/vfiod.toml", "[device.nics]\npf = \"0000:03:00.0\"\nvf = \"1-3\"\n");
    compare(&tree, &[("tree-show-vf", &["show", "nics/3"]), ("tree-show-no-vf", &["show", "nics/2"])]).await;
    let checked = on(&tree, &["check", "nics/3", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&checked.out).unwrap();
    let about: Vec<&String> = report["devices"].as_object().unwrap().keys().collect();
    assert_eq!(about, ["0000:03:02.3"], "{checked:?}");
}

#[tokio::test]
async fn a_check_ends_with_one_where_what_is_declared_is_blocked_and_nowhere_else() {
    let tree = machine();
    // The group of the first has a member on a host driver.
    let declare = |address: &str| format!("[device.it]\naddress = \"{address}\"\n");
    let status = async |words: &[&str]| {
        let text = on(&tree, words).await.status;
        let json = on(&tree, &[words, &["--json"]].concat()).await.status;
        assert_eq!(text, json, "{words:?}");
        text
    };
    assert_eq!(status(&["check"]).await, 0, "nothing is declared");
    assert_eq!(status(&["check", "01:00.0"]).await, 0, "nothing is declared");
    tree.set("etc/vfiod/vfiod.toml", &declare("0000:01:00.0"));
    assert_eq!(status(&["check"]).await, 1);
    assert_eq!(status(&["check", "01:00.0"]).await, 1);
    assert_eq!(status(&["check", "it"]).await, 1);
    assert_eq!(status(&["check", "05:00.0"]).await, 0, "another one");
    let text = on(&tree, &["check"]).await.out;
    assert!(text.ends_with("\nDeclared: 1 device, 1 blocked.\n"), "{text}");
    tree.set("etc/vfiod/vfiod.toml", &declare("0000:05:00.0"));
    assert_eq!(status(&["check", "01:00.0"]).await, 0, "not declared");
}

/// Whatever stands in vfiod's own texts has something else where only ASCII is shown.
#[test]
fn every_symbol_of_our_own_texts_is_known_in_ascii() {
    let ascii =
        Screen { color: false, symbols: false, width: None, rows: None, zone: jiff::tz::TimeZone::UTC, now_usec: 0 };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut todo = vec![root.join("src"), root.join("tests/cli/expected")];
    let (mut symbols, mut unknown) = (0, std::collections::BTreeSet::new());
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = path.extension().is_some_and(|extension| extension == "rs");
        // Neither comments nor what tests make up.
        let text = if code { text.split("#[cfg(test)]").next().unwrap() } else { &text };
        for line in text.lines().filter(|line| !code || !line.trim_start().starts_with("//")) {
            for symbol in line.chars().filter(|c| !c.is_ascii()) {
                symbols += 1;
                let shown = ascii.plain(&symbol.to_string());
                if shown == "?" || !shown.is_ascii() {
                    unknown.insert((symbol, path.clone()));
                }
            }
        }
    }
    assert!(symbols > 20, "only {symbols} found");
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn of_a_tree_that_is_made_to_keep_its_reader_busy_nothing_is_said() {
    let tree = machine();
    for n in 0..5 {
        let name = format!("etc/modprobe.d/{n}.conf");
        tree.set(&name, "");
        std::fs::File::create(tree.path().join(name)).unwrap().set_len(16 << 20).unwrap();
    }
    let done = on(&tree, &["list"]).await;
    assert_eq!((done.status, done.out.as_str()), (1, ""));
    let why = "vfiodctl: --root: more than 67108864 bytes would have to be read of this tree; nothing is said of half of one\n";
    assert_eq!(done.err, why);
}

#[tokio::test]
async fn a_tree_has_no_daemon_to_ask() {
    compare(&machine(), &[("tree-repair", &["repair"])]).await;
}

#[tokio::test]
async fn the_configuration_is_checked_and_shown_with_where_each_value_is_from() {
    let tree = machine();
    tree.set("etc/vfiod/vfiod.toml", DECLARED);
    tree.set("etc/vfiod/conf.d/50-quick.toml", "[watch]\ninterval = \"2s\"\n[device.nic0]\ndriver = \"auto\"\n");
    let right: [(&str, &[&str]); 4] = [
        ("config-check", &["config", "check"]),
        ("config-check.json", &["config", "check", "--json"]),
        ("config-show", &["config", "show"]),
        ("config-show.json", &["config", "show", "--json"]),
    ];
    compare(&tree, &right).await;
    let shown = on(&tree, &["config", "show"]).await.out;
    let (before, after) = (config::load(tree.path(), None).unwrap(), reread(&shown));
    assert_eq!((before.watch, before.policy, before.desired), (after.watch, after.policy, after.desired));
    tree.set("etc/vfiod/conf.d/60-wrong.toml", "[watch]\nintervall = \"2s\"\n[repair]\nmode = \"never\"\n");
    let wrong: [(&str, &[&str]); 4] = [
        ("config-check-wrong", &["config", "check"]),
        ("config-check-wrong.json", &["config", "check", "--json"]),
        ("config-show-wrong", &["config", "show"]),
        ("tree-list-wrong-config", &["list"]),
    ];
    compare(&tree, &wrong).await;
}

fn reread(text: &str) -> config::Settings {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vfiod.toml");
    std::fs::write(&file, text).unwrap();
    config::load(Path::new("/"), Some(&file)).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

#[tokio::test]
async fn what_is_on_vfio_today_becomes_a_configuration_that_keeps_it() {
    let tree = machine();
    tree.bind_instead("0000:01:00.1", "vfio-pci");
    tree.add_device(Device {
        address: "0000:03:00.0",
        ids: "8086:1572",
        class: 0x02_00_00,
        driver: Some("i40e"),
        group: Some(30),
        below: None,
    });
    for (index, vf) in ["0000:03:02.0", "0000:03:02.1", "0000:03:02.2"].iter().enumerate() {
        let index = u32::try_from(index).unwrap();
        let driver = if index == 2 { "iavf" } else { "vfio-pci" };
        tree.add_device(Device {
            address: vf,
            ids: "8086:154c",
            class: 0x02_00_00,
            driver: Some(driver),
            group: Some(31 + index),
            below: None,
        });
        tree.make_vf("0000:03:00.0", index, vf);
    }
    tree.set_attribute("0000:06:00.0", "subsystem_device", "0x0002\n");
    compare(&tree, &[("generate", &["config", "generate"]), ("generate.json", &["config", "generate", "--json"])])
        .await;
    let text = on(&tree, &["config", "generate"]).await.out;
    let names: Vec<String> = reread(&text).desired.entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["gpu0", "nic0", "vfs0"]);
    // Kept means: with it, nothing is left to do.
    tree.set("etc/vfiod/vfiod.toml", &text);
    let plan = on(&tree, &["plan"]).await;
    assert_eq!(
        (plan.status, plan.out.as_str()),
        (0, "nothing to do: all that is declared is as declared\n"),
        "{plan:?}"
    );
}

#[tokio::test]
async fn what_driverctl_and_modprobe_have_set_is_taken_over() {
    let tree = machine();
    tree.set("etc/driverctl.d/pci-0000:06:00.0", "vfio-pci\n");
    tree.set("etc/driverctl.d/pci-0000:01:00.1", "snd_hda_intel\n");
    tree.set("etc/driverctl.d/pci-0000:0a:00.0", "vfio-pci\n");
    tree.set("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:22ba,1b36:000d\n");
    compare(&tree, &[("generate-elsewhere", &["config", "generate"])]).await;
    reread(&on(&tree, &["config", "generate"]).await.out);
}

#[tokio::test]
async fn a_hostile_tree_leads_nowhere_and_its_words_drive_nothing() {
    let tree = machine();
    std::os::unix::fs::symlink("/etc/passwd", tree.path().join("usr/share/misc/pci.ids.d")).unwrap();
    tree.remove("usr/share/misc/pci.ids");
    std::os::unix::fs::symlink("/../../../../../../etc/passwd", tree.path().join("usr/share/misc/pci.ids")).unwrap();
    tree.set("usr/share/hwdata/pci.ids", "10de  Evil\x1b[2J\x07 Corporation\n\t2684  card\u{9b}31m\u{202e}\n");
    tree.set("etc/driverctl.d/pci-0000:0a:00.0\x1b[2J", "vfio-pci\n");
    tree.set("etc/modprobe.d/a\x1b[2J\n[device.x].conf", "options vfio-pci ids=10de:22ba\n");
    let name = "etc/vfiod/conf.d/\n[device.x]\n\u{9b}2J\u{202e}\u{2066}\u{200f}'\"";
    tree.set(&format!("{name}.toml"), "[watch]\ninterval = \"2s\"\n");
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(std::ffi::OsStr::new("etc/vfiod/conf.d/"));
    let odd = [bytes, b"\xff.toml"].concat();
    std::fs::write(tree.path().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&odd)), "").unwrap();
    let config = |verb| vec!["config", verb];
    let mut commands: Vec<Vec<&str>> = ["check", "show", "generate"].map(config).into();
    commands.extend([vec!["list", "--all"], vec!["groups"], vec!["show", "01:00.0"], vec!["plan"]]);
    nothing_driven(&tree, &commands).await;
    reread(&on(&tree, &["config", "show"]).await.out);
    for words in [["config", "check", "--json"], ["config", "show", "--json"]] {
        assert_eq!(on(&tree, &words).await.status, 0, "{words:?}");
    }
    let wrong = "x\u{202e} = 1\n[\"device\".\"\u{9b}\u{2067}\\n[device.x]\"]\naddress = '\u{9b}1m\u{202e}'\n";
    tree.set(&format!("{name}2.toml"), wrong);
    nothing_driven(&tree, &["check", "show"].map(config)).await;
}

async fn nothing_driven(tree: &Tree, commands: &[Vec<&str>]) {
    for words in commands {
        let done = on(tree, words).await;
        let text = done.out + &done.err;
        assert!(!text.contains("root:"), "{text}");
        let odd: Vec<char> = text.chars().filter(|c| *c != '\n' && turns_a_terminal(*c)).collect();
        assert!(odd.is_empty(), "{words:?}: {odd:?}");
        assert!(!text.lines().any(|line| line.starts_with("[device.x]")), "{text}");
    }
}

#[tokio::test]
async fn where_only_ascii_is_shown_that_holds_for_reports_notes_and_failures() {
    let tree = machine();
    tree.set("etc/vfiod/vfiod.toml", "[device.nic0]\naddress = \"0000:09:00.0\"\n[device.é]\n");
    for words in [&["check", "01:00.0"][..], &["list"], &["config", "check"], &["config", "show"], &["show", "é→…"]]
    {
        let words: Vec<&str> = ["--ascii"].iter().chain(words).copied().collect();
        let done = on(&tree, &words).await;
        assert!((done.out.clone() + &done.err).is_ascii(), "{words:?}: {done:?}");
    }
    let missing = on(&tree, &["--ascii", "list", "--root", "/nonexistent…"]).await;
    assert!(missing.err.contains("/nonexistent...") && missing.err.is_ascii(), "{missing:?}");
}

#[tokio::test]
async fn a_root_that_is_none_is_a_wrong_command_line() {
    let done = vfiodctl(&["--root", "/nonexistent", "list"], &terminal()).await;
    assert_eq!(done.status, 2);
    assert!(done.err.contains("--root /nonexistent"), "{}", done.err);
}
