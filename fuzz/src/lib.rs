//! What the fuzzers try: one function a target, which panics when something does not hold.
//!
//! `tests/corpus.rs` of vfiod includes this file and runs it over `tests/corpus/<target>`, so that
//! what a fuzzer has found once is a plain test from then on.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use vfiod::config::settings::settings as settle;
use vfiod::config::source::Source;
use vfiod::host::act::Line;
use vfiod::host::intent::Intent;
use vfiod::host::kernel_policy::Cmdline;
use vfiod::host::look::ask::{Ask, Looked};
use vfiod::host::look::nodes::{Node, parse_number};
use vfiod::host::look::{rtnetlink as messages, storage as disks};
use vfiod::host::modprobe_d::Rules;
use vfiod::host::proc_modules::ProcModules;
use vfiod::host::{card, install_rule, module_tree as tree, serial, uevents};
use vfiod::model::pci::{Address, BridgePath, Driver, Ids, Module, Slot};
use vfiod::model::variant;

/// One target: what it takes is whatever bytes there are.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("acts", acts),
    ("modprobe_d", modprobe_d),
    ("module_tree", module_tree),
    ("pci", pci),
    ("proc_modules", proc_modules),
    ("rtnetlink", rtnetlink),
    ("settings", settings),
    ("storage", storage),
    ("sysfs", sysfs),
    ("uevent", uevent),
];

fn vfio_pci() -> Module {
    Driver::vfio_pci().module()
}

/// `/proc/modules`: every line that is understood is found again by its name.
pub fn proc_modules(bytes: &[u8]) {
    let modules = ProcModules::parse(String::from_utf8_lossy(bytes));
    for line in modules.lines() {
        let _ = line.users();
        if let Ok(module) = line.name.parse::<Module>() {
            assert!(module.as_str() != line.name || modules.get(&module).is_some(), "{module} is lost");
        }
    }
}

/// A file of modprobe.d, and the kernel's command line.
pub fn modprobe_d(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut rules = Rules::default();
    rules.add("/etc/modprobe.d/x.conf", &text);
    let module = vfio_pci();
    let _ = (rules.blacklist(&module), rules.redirect(&module));
    if let Some((place, command)) = rules.install(&module) {
        assert!(place.line > 0, "lines count from 1");
        let _ = install_rule::judge(command, &module);
    }
    let _ = install_rule::judge(&text, &module);
    let _ = Cmdline::parse(&text);
}

/// Lines of modules.dep and modules.alias, and the choice among the latter.
pub fn module_tree(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut variants = Vec::new();
    for line in text.lines() {
        let _ = tree::dependencies(line, |_| true);
        variants.extend(tree::variant(line));
    }
    let modalias = text.lines().next_back().unwrap_or_default();
    let best = variant::best(modalias, &variants);
    let offered = variants.iter().any(|variant| variant.module == best.module());
    assert!(offered || best == Driver::vfio_pci(), "{best} is nobody's");
}

/// A kernel's uevent, as it comes over the socket.
pub fn uevent(bytes: &[u8]) {
    if let Some(event) = uevents::parse(bytes) {
        assert!(event.path.starts_with('/'), "a path below /sys");
        let _ = event.wake();
    }
}

/// A configuration file: a refusal says in which, on one line each.
pub fn settings(bytes: &[u8]) {
    let refusal = match Source::new(0, Path::new("vfiod.toml"), bytes.to_vec()) {
        Ok(source) => settle(&[source], Vec::new()).err().map(|errors| errors.to_string()),
        Err(problem) => Some(problem.to_string()),
    };
    for line in refusal.iter().flat_map(|refusal| refusal.split('\n')) {
        assert!(line.starts_with("vfiod.toml"), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// Addresses and the like: what is shown is read as the same.
pub fn pci(bytes: &[u8]) {
    fn same<T: std::str::FromStr + ToString + PartialEq>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            let shown = value.to_string();
            assert!(shown.parse::<T>().is_ok_and(|again| again == value), "{text:?} is shown as {shown:?}");
        }
    }
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        same::<Address>(line);
        same::<Slot>(line);
        same::<BridgePath>(line);
        same::<Ids>(line);
        same::<Driver>(line);
        same::<Module>(line);
    }
}

/// Mounts, and swaps behind them, as /proc lists them.
pub fn storage(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let swaps = text.find("Filename").and_then(|at| text.get(at..)).unwrap_or_default();
    let claims = disks::Claims::parse(&text, swaps);
    for (name, number) in [("sda1", Some((true, 8, 1))), ("dm-0", None)] {
        let node = Node { name: name.to_owned(), number };
        assert!(claims.of(&node).iter().all(|claim| claim.starts_with("is ")), "a sentence each");
    }
    let _ = parse_number(&text);
}

/// The payload of an rtnetlink message, taken for each kind.
pub fn rtnetlink(bytes: &[u8]) {
    let _ = (messages::link(bytes), messages::owned(bytes), messages::route(bytes), messages::nexthop(bytes));
}

/// What vfiod's own processes tell each other and keep: an interrupted write leaves anything.
pub fn acts(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(line) = serde_json::from_slice::<Line>(line) {
            let _ = line.outcome.words();
        }
    }
    if let Ok(intent) = serde_json::from_slice::<Intent>(bytes) {
        let key = intent.act.key.to_string();
        assert!(key.parse() == Ok(intent.act.key), "{key} is another key");
        intent.act.steps.iter().for_each(|step| drop(step.to_string()));
    }
    let _ = serde_json::from_slice::<Ask>(bytes);
    let _ = serde_json::from_slice::<Looked>(bytes);
}

/// Where a device's link leads, and its configuration space.
pub fn sysfs(bytes: &[u8]) {
    let _ = serial::find(bytes);
    if let Ok(address) = "0000:03:00.0".parse() {
        let path = card::bridge_path(OsStr::from_bytes(bytes), address);
        let shown = path.to_string();
        assert!(shown.parse() == Ok(path), "{shown} is another path");
    }
}
