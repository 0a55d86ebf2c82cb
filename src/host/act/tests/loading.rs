//! Modules, with scripts for modprobe.

use std::collections::BTreeSet;
use std::fs;

use super::sim::*;
use crate::model::plan::Outcome;

const LOADED: &str = "echo 'vfio_pci 16384 0 - Live 0x0' >> ROOT/proc/modules";

#[test]
fn modprobe_gets_a_clean_environment_and_plain_arguments() {
    for (ignore_install, argv) in [(false, "--|vfio_pci|"), (true, "--ignore-install|--|vfio_pci|")] {
        let sim = Sim::new(None, "vfio-pci");
        let text = format!("printf '%s|' \"$@\" > ROOT/argv\n/usr/bin/env > ROOT/env\n{LOADED}");
        let told = sim.act_with(vec![load(vec![sim.target()], ignore_install)], sim.program(&text));
        assert_eq!(told, [(0, DONE)]);
        assert_eq!(sim.root.read_text("argv").unwrap(), argv);
        // The shell adds a few of its own.
        let env = sim.root.read_text("env").unwrap();
        let names: BTreeSet<_> = env.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        let own = BTreeSet::from(["_", "PWD", "OLDPWD", "SHLVL"]);
        assert_eq!(names.difference(&own).copied().collect::<Vec<_>>(), ["LC_ALL", "PATH"]);
    }
}

#[test]
fn the_module_list_decides_and_not_the_exit_status() {
    let cases = [
        ("exit 0", 'f', "vfio_pci: is absent although modprobe succeeded"),
        ("exit 1", 'r', "modprobe vfio_pci: exit status: 1"),
        ("echo 'modprobe: FATAL: not found' >&2; exit 1", 'r', "modprobe vfio_pci: modprobe: FATAL: not found"),
        ("echo 'vfio_pci 1 -1 - Unloading 0x0' >> ROOT/proc/modules", 'f', "is unloading although"),
        ("echo 'vfio_pci_core 1 0 - Live 0x0' >> ROOT/proc/modules", 'f', "is absent although"),
        ("echo 'e: Key was rejected by service' >&2; exit 1", 'r', "its signature is not accepted"),
    ];
    for (text, kind, words) in cases {
        let sim = Sim::new(None, "vfio-pci");
        let told = only(&sim.act_with(vec![load(Vec::new(), false)], sim.program(text)));
        assert!(told.0 == kind && told.1.contains(words), "{text}: {told:?}");
    }
    let sim = Sim::new(None, "vfio-pci");
    let told = sim.act_with(vec![load(Vec::new(), false)], sim.program(&format!("{LOADED}; exit 1")));
    assert_eq!(told, [(0, DONE)]);
}

#[test]
fn a_module_that_stays_loading_stalls_at_the_deadline() {
    let sim = Sim::new(None, "vfio-pci");
    let text = "echo 'vfio_pci 1 0 - Loading 0x0' >> ROOT/proc/modules";
    assert_eq!(sim.act_with(vec![load(Vec::new(), false)], sim.program(text)), [(0, Outcome::Stalled)]);
}

#[test]
fn a_module_that_is_there_or_just_going_is_not_loaded() {
    let sim = Sim::new(None, "vfio-pci");
    sim.put("/proc/modules", "vfio_pci 1 0 - Live 0x0\n");
    assert_eq!(sim.act(vec![load(Vec::new(), false)]), [(0, Outcome::AlreadySo)]);
    for state in ["1 - Loading", "-1 - Unloading"] {
        sim.put("/proc/modules", &format!("vfio_pci 1 {state} 0x0\n"));
        assert_eq!(only(&sim.act(vec![load(Vec::new(), false)])).0, 's');
    }
    sim.put("/proc/modules", "");
    fs::create_dir_all(sim.path("/sys/module/vfio_pci")).unwrap();
    assert_eq!(sim.act(vec![load(Vec::new(), false)]), [(0, Outcome::AlreadySo)], "built in");
}

#[test]
fn the_cause_of_an_eperm_is_named() {
    let cases = [
        ("/proc/sys/kernel/modules_disabled", "1\n", "kernel.modules_disabled is 1"),
        ("/proc/cmdline", "quiet module_blacklist=a,vfio_pci\n", "module_blacklist="),
        ("/proc/self/status", "CapEff:\t0000000000000000\n", "without CAP_SYS_MODULE"),
        ("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n", "locked down"),
    ];
    for (path, text, words) in cases {
        let sim = Sim::new(None, "vfio-pci");
        sim.put(path, text);
        let said = "echo \"modprobe: ERROR: could not insert 'vfio_pci': Operation not permitted\" >&2; exit 1";
        let (kind, why) = only(&sim.act_with(vec![load(Vec::new(), false)], sim.program(said)));
        assert!(kind == 'r' && why.contains(words), "{why}");
    }
}

#[test]
fn a_modprobe_that_leaves_something_running_is_not_waited_for_longer() {
    let sim = Sim::new(None, "vfio-pci");
    fs::create_dir_all(sim.path("/proc")).unwrap();
    let fifo = sim.path("/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // The shell in the background has stderr open until somebody opens the fifo.
    let told = sim.act_with(vec![load(Vec::new(), false)], sim.program(&format!("(: > ROOT/fifo) &\n{LOADED}")));
    assert_eq!(told, [(0, DONE)]);
    fs::read(&fifo).unwrap();
}

#[test]
fn a_modprobe_that_is_not_there_is_a_refusal() {
    let sim = Sim::new(None, "vfio-pci");
    let (kind, why) = only(&sim.act(vec![load(Vec::new(), false)]));
    assert_eq!((kind, why.as_str()), ('r', "run /nowhere/modprobe: No such file or directory (ENOENT)"));
}
