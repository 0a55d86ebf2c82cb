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
use vfiod::host::survey;
use vfiod::host::witness::line;
use vfiod::host::{card, install_rule, module_tree as tree, serial, uevents};
use vfiod::model::pci::{Address, BridgePath, Driver, Ids, Module, Slot};
use vfiod::model::preflight::firmware::Table;
use vfiod::model::variant::{Choice, Drivers, Known};

/// One target: what it takes is whatever bytes there are.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Target); 16] = [
    ("acts", acts),
    ("dmar", dmar),
    ("ivrs", ivrs),
    ("klog", klog),
    ("libvirt", libvirt),
    ("modprobe_d", modprobe_d),
    ("module_tree", module_tree),
    ("pci", pci),
    ("proc_modules", proc_modules),
    ("rtnetlink", rtnetlink),
    ("settings", settings),
    ("storage", storage),
    ("survey", survey),
    ("sysfs", sysfs),
    ("trace", trace),
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
            assert!(module.as_str() != line.name || modules.get(&module).is().is_some(), "{module} is lost");
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
    let drivers = Drivers::default();
    let best = Known { variants: &variants, drivers: &drivers }.best(modalias, None);
    let offered = variants.iter().any(|variant| variant.module == best.module);
    assert!(offered || best == Choice::vfio_pci(), "{} is nobody's", best.module);
}

/// A kernel's uevent, as it comes over the socket.
pub fn uevent(bytes: &[u8]) {
    if let Some(event) = uevents::parse(bytes) {
        assert!(event.path.starts_with('/'), "a path below /sys");
        let _ = event.wake();
    }
}

/// Lines of the kernel's trace: whoever did it, by whatever name, is the process that the kernel names.
pub fn trace(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = line::parse(line);
        let name = &line[..line.len().min(15)];
        let whole = [name, b"-7     [000] .....     1.000002: module_free: vfio_pci"].concat();
        let Some(line::Line::Freed(task, module)) = line::parse(&whole) else { panic!("{name:?} hides a line") };
        assert!((task.tid, task.at.0) == (7, 1_000_002) && module.as_str() == "vfio_pci", "{name:?} lies");
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

/// What a table reserves lies in order, and names no place beyond the table.
fn whole(table: Result<Table, String>, bytes: &[u8]) {
    let Ok(table) = table else { return };
    assert!(table.reservations.len() <= bytes.len() / 4, "more structures than bytes");
    for reservation in table.reservations {
        assert!(reservation.start <= reservation.end, "{reservation:?}");
        for scope in &reservation.scopes {
            if let (Ok(address), Ok(path)) = ("0000:04:01.0".parse(), "0000:00:07.0/00.0/01.0".parse()) {
                let _ = scope.covers(address, &path, |_| None);
            }
            let _ = scope.to_string();
        }
    }
}

/// Intel's table of IOMMUs.
pub fn dmar(bytes: &[u8]) {
    whole(survey::dmar::parse(bytes), bytes);
}

/// AMD's table of IOMMUs.
pub fn ivrs(bytes: &[u8]) {
    whole(survey::ivrs::parse(bytes), bytes);
}

/// The kernel's log: what is taken from it can be shown on one line.
pub fn klog(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for said in survey::log::recognise_all(text.lines()) {
        assert!(!said.text.contains(char::is_control), "{:?}", said.text);
    }
}

/// Definitions of virtual machines and networks, of libvirt and Proxmox: anybody who may define one writes it.
pub fn libvirt(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(domain) = survey::libvirt::parse(&text) {
        assert!(!domain.name.contains(char::is_control), "{:?}", domain.name);
    }
    if let Ok(Some(network)) = survey::libvirt_network::parse(&text) {
        assert!(!network.name.contains(char::is_control), "{:?}", network.name);
    }
    let _ = (survey::claims::proxmox::parse(&text), survey::claims::proxmox::mappings(&text));
    let words = survey::claims::qemu_args::words(&text);
    let _ = survey::claims::qemu_args::devices(words.iter().map(String::as_str));
}

/// The files of sysfs and proc that a survey reads beside those.
pub fn survey(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for region in survey::groups::regions(&text).into_iter().flatten() {
        assert!(region.start <= region.end, "{region}");
    }
    for (start, end) in survey::functions::bars(&text) {
        assert!(start < end, "0x{start:x}-0x{end:x}");
    }
    let _ = (survey::functions::total(&text), survey::iomem::parse(&text), survey::isolation::remapped(&text));
}
