//! The example of libvirt's hook: what it waits for, holds, and keeps from starting.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use vfiod::cli::answer::Answer;
use vfiod::model::picture::Picture;
use vfiod::model::state::State;

use super::reading::READY;

/// A `vfiodctl` that notes what it is asked, and answers what it is told to.
struct Scene(TempDir);

impl Scene {
    /// `status` and `wait` end so.
    fn new(picture: &Picture, [status, wait]: [u8; 2]) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        fs::write(directory.path().join("picture"), Answer::json(picture).text).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$@\" >>{at}/said\ncase $* in\n    *status*) cat {at}/picture; exit {status};;\n    \
             wait*) exit {wait};;\n    *hold*) echo '  \"id\": 7,';;\nesac\n"
        );
        let program = directory.path().join("vfiodctl");
        fs::write(&program, script).unwrap();
        fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Scene(directory)
    }

    /// The hook's exit status, and what it has asked but for the status.
    fn run(&self, operation: &str, xml: &str) -> (Option<i32>, Vec<String>) {
        let path = format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap());
        let (file, said) = (self.0.path().join("xml"), self.0.path().join("said"));
        let _ = fs::remove_file(&said);
        fs::write(&file, xml).unwrap();
        let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/hooks/libvirt-qemu");
        let mut hook = Command::new(hook);
        hook.args([&format!("test-{}", std::process::id()), operation, "begin", "-"]).env("PATH", path);
        let ended = hook.stdin(fs::File::open(file).unwrap()).output().unwrap();
        let said = fs::read_to_string(said).unwrap_or_default();
        let said = said.lines().filter(|line| *line != "--json status").map(str::to_owned);
        (ended.status.code(), said.collect())
    }
}

fn picture() -> Picture {
    serde_json::from_str(READY).unwrap()
}

/// A domain with these devices, as bus and slot, at other addresses in the guest.
fn domain(managed: &str, devices: &[(u8, u8)]) -> String {
    let device = |(bus, function): &(u8, u8)| {
        format!(
            "  <hostdev mode='subsystem' type='pci' managed='{managed}'>\n    <source>\n      \
             <address domain='0x0000' bus='0x{bus:02x}' slot='0x00' function='0x{function}'/>\n    </source>\n    \
             <address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>\n  </hostdev>\n"
        )
    };
    format!("<domain>\n{}</domain>\n", devices.iter().map(device).collect::<String>())
}

/// A domain with this VF as a network interface.
fn with_interface(managed: &str, (bus, function): (u8, u8)) -> String {
    format!(
        "<domain>\n  <interface type='hostdev' managed='{managed}'>\n    <mac address='52:54:00:6d:90:02'/>\n    \
         <source>\n      <address type='pci' domain='0x0000' bus='0x{bus:02x}' slot='0x00' function='0x{function}'/>\n    \
         </source>\n    <address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>\n  </interface>\n  \
         <interface type='network'>\n    <source network='default'/>\n    \
         <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>\n  </interface>\n</domain>\n"
    )
}

const WAIT: &str = "wait --timeout 30s 0000:01:00.1";

#[test]
fn a_domains_devices_that_an_entry_declares_are_waited_for_and_no_others() {
    let scene = Scene::new(&picture(), [0, 0]);
    let of = |devices: &[(u8, u8)]| scene.run("prepare", &domain("no", devices));
    assert_eq!(of(&[(1, 1)]), (Some(0), vec![WAIT.to_owned()]));
    // One is on VFIO and declared by nobody, one is not known at all.
    assert_eq!(of(&[(6, 0), (1, 1), (9, 0)]), (Some(0), vec![WAIT.to_owned()]));
    assert_eq!(of(&[(6, 0), (9, 0)]), (Some(0), vec![]));
    assert_eq!(scene.run("prepare", "<domain/>"), (Some(0), vec![]));
    assert_eq!(scene.run("stopped", &domain("no", &[(1, 1)])), (Some(0), vec![]));
}

#[test]
fn a_vf_that_is_a_network_interface_is_a_device_as_well() {
    let scene = Scene::new(&picture(), [0, 0]);
    assert_eq!(scene.run("prepare", &with_interface("no", (1, 1))), (Some(0), vec![WAIT.to_owned()]));
    assert_eq!(scene.run("prepare", &with_interface("no", (9, 0))), (Some(0), vec![]));
}

#[test]
fn each_device_is_waited_for_or_held_by_its_own_setting() {
    let scene = Scene::new(&picture(), [0, 0]);
    let both = domain("yes", &[(1, 0)]).replace("</domain>\n", "") + &domain("no", &[(1, 1)]).replace("<domain>\n", "");
    let (_, said) = scene.run("prepare", &both);
    assert_eq!(said.first().map(String::as_str), Some(WAIT));
    let may = nix::unistd::geteuid().is_root();
    assert_eq!(said.iter().any(|line| line.contains("hold 0000:01:00.0")), may, "{said:?}");
    assert!(said.iter().skip(1).all(|line| !line.contains("0000:01:00.1")), "{said:?}");
    let unready = Scene::new(&picture(), [1, 1]);
    assert_eq!(unready.run("prepare", &both), (Some(1), vec![WAIT.to_owned()]));
    scene.run("release", "");
}

#[test]
fn only_what_is_not_ready_keeps_a_domain_from_starting() {
    let domain = domain("no", &[(1, 1)]);
    for (wait, status) in [(0, 0), (1, 1), (3, 0), (4, 0)] {
        let waited = (Some(status), vec![WAIT.to_owned()]);
        assert_eq!(Scene::new(&picture(), [1, wait]).run("prepare", &domain), waited, "wait ends with {wait}");
    }
    assert_eq!(Scene::new(&picture(), [3, 1]).run("prepare", &domain), (Some(0), vec![]), "vfiod does not run");
}

#[test]
fn what_has_been_released_is_not_waited_for() {
    let mut picture = picture();
    picture.devices.get_mut(&"01:00.1".parse().unwrap()).unwrap().state = State::Released;
    let scene = Scene::new(&picture, [1, 1]);
    assert_eq!(scene.run("prepare", &domain("no", &[(1, 1)])), (Some(0), vec![]));
}

#[test]
fn what_libvirt_moves_is_held_where_an_entry_declares_it() {
    let scene = Scene::new(&picture(), [0, 0]);
    let (status, said) = scene.run("prepare", &domain("yes", &[(1, 0), (6, 0)]));
    // Its notes are below /run, where not everybody may write.
    let may = nix::unistd::geteuid().is_root();
    let hold = format!("--json hold 0000:01:00.0 --who libvirt --why starts test-{} --for 2min", std::process::id());
    assert_eq!((status == Some(0), said), (may, if may { vec![hold] } else { vec![] }));
    let released = if may { vec!["unhold 7".to_owned()] } else { vec![] };
    assert_eq!(scene.run("started", ""), (Some(0), released));
}
