//! What other managers say about devices, one file a manager.
//!
//! * [`search`]: bounded reads, what was found
//! * [`overrides`]: driverctl, DPDK; [`mdevctl`]; [`unraid`]; [`xen`] and pci-stub: bound at boot
//! * [`libvirt`], [`proxmox`]: for virtual machines; [`qemu_args`]: what both may pass on to QEMU
//! * here: Harvester. vfio-pci's `ids=` are [`ids`](super::ids)

pub mod libvirt;
pub mod mdevctl;
pub mod overrides;
pub mod proxmox;
pub mod qemu_args;
pub mod search;
pub mod unraid;
pub mod xen;

use self::search::Search;
use crate::host::live::PATIENCE;
use crate::host::modprobe_d::Rules;
use crate::host::options;
use crate::host::root::Root;
use crate::model::preflight::claim::{Claim, Role, Target};
use crate::model::preflight::survey::Machine;

/// Reads all claims. What is there and cannot be read is said.
#[must_use]
pub fn read(root: &Root, machine: &Machine, unread: &mut Vec<String>) -> Vec<Claim> {
    let mut found = files(root, machine, unread);
    if machine.system.to_ascii_lowercase().contains("harvester") {
        let text = machine.system.clone();
        found.push(Claim::new("Harvester", "/etc/os-release", Target::Host, Role::Takes, text));
    }
    found
}

/// The claims in the files of other managers: all but vfio-pci's `ids=`.
#[must_use]
pub fn files(root: &Root, machine: &Machine, unread: &mut Vec<String>) -> Vec<Claim> {
    let mut search = Search::new(root, unread);
    overrides::read(&mut search);
    libvirt::read(&mut search);
    // Its files are served by a daemon, which may be stuck.
    search.apart(PATIENCE, proxmox::read);
    unraid::read(&mut search, machine);
    mdevctl::read(&mut search);
    xen::read(&mut search, &machine.cmdline);
    search.found()
}

/// The value of a module's parameter that counts, with the place that says so.
fn counting(search: &Search<'_>, cmdline: &str, module: &str, parameter: &str) -> Option<(String, String)> {
    let rules = Rules::read(search.root);
    let given = options::given(&rules, cmdline, module, false).into_iter().rfind(|given| given.is(parameter))?;
    Some((given.source, given.parameter.value?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_manager_is_found_by_its_file() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/driverctl.d/pci-0000:01:00.0", "vfio-pci\n");
        put("etc/driverctl.d/vmbus-1", "uio_hv_generic\n");
        put(
            "etc/libvirt/qemu/win.xml",
            "<domain><name>win</name><devices><hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x02' slot='0x00' function='0x1'/></source></hostdev></devices></domain>",
        );
        put("etc/libvirt/qemu/broken.xml", "<domain>");
        let machine = Machine { system: "Harvester v1.5.0".to_owned(), ..Machine::default() };
        let mut unread = Vec::new();
        let found = read(&Root::hostile(tree.path()).unwrap(), &machine, &mut unread);
        let managers: Vec<&str> = found.iter().map(|claim| claim.manager.as_str()).collect();
        assert_eq!(managers, ["driverctl", "libvirt", "Harvester"]);
        assert_eq!(found[1].target, Target::Device("0000:02:00.1".parse().unwrap()));
        assert!(unread.len() == 1 && unread[0].contains("broken.xml"), "{unread:?}");
    }

    /// Each claim's guest or source, and the role.
    fn shown(root: &Root, cmdline: &str) -> (Vec<String>, Vec<String>) {
        let mut unread = Vec::new();
        let machine = Machine { cmdline: cmdline.to_owned(), ..Machine::default() };
        let found = files(root, &machine, &mut unread);
        let shown = |claim: &Claim| format!("{:?} {} [{:?}]", claim.target, claim.sentence(), claim.role);
        (found.iter().map(shown).collect(), unread)
    }

    #[test]
    fn a_mediated_device_is_a_claim_on_the_function_that_it_is_made_of() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let (live, defined) = ("11111111-2222-3333-4444-555555555555", "aaaaaaaa-2222-3333-4444-555555555555");
        for (name, uuid) in [("live", live), ("defined", defined), ("gone", "00000000-2222-3333-4444-555555555555")] {
            put(
                &format!("etc/libvirt/qemu/{name}.xml"),
                &format!(
                    "<domain><name>{name}</name><hostdev mode='subsystem' type='mdev'><source><address uuid='{uuid}'/></source></hostdev></domain>"
                ),
            );
        }
        put(
            "etc/libvirt/qemu/bad.xml",
            "<domain><name>bad</name><hostdev type='mdev'><source><address uuid='../../../../etc/passwd-aaaaaaaaaaaaaa'/></source></hostdev></domain>",
        );
        put(&format!("etc/mdevctl.d/0000:00:02.0/{defined}"), "{\"mdev_type\":\"i915-GVTg_V5_4\",\"start\":\"auto\"}");
        put("etc/mdevctl.d/scripts.d/callouts/x.sh", "");
        fs::create_dir_all(tree.path().join("sys/bus/mdev/devices")).unwrap();
        let parent = format!("../../../devices/pci0000:00/0000:00:03.0/{live}");
        std::os::unix::fs::symlink(parent, tree.path().join("sys/bus/mdev/devices").join(live)).unwrap();
        let (found, unread) = shown(&Root::hostile(tree.path()).unwrap(), "");
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(
            found[0].contains("device: 2") && found[0].contains("domain defined, mediated device aaaaaaaa"),
            "{found:#?}"
        );
        assert!(found[1].contains("device: 3") && found[1].contains("domain live"), "{found:#?}");
        assert!(found[2].contains("mdevctl: type i915-GVTg_V5_4, start auto [Parent]"), "{found:#?}");
        assert_eq!(unread, [""; 0]);
    }

    #[test]
    fn what_xen_and_pci_stub_keep_is_read_from_the_command_line_and_modprobe_d() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("etc/modprobe.d")).unwrap();
        fs::write(tree.path().join("etc/modprobe.d/x.conf"), "options xen-pciback hide=(05:00.0)\n").unwrap();
        let cmdline = "xen-pciback.hide=(01:00.0)(0000:02:00.*) pci-stub.ids=10de:1,8086:10d3 pci_stub.ids=10de:2684";
        let (found, _) = shown(&Root::trusted(tree.path()), cmdline);
        let expected = ["hide=(01:00.0)", "hide=(0000:02:00.*)", "ids=10de:2684"];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn on_this_machine_the_flash_drive_of_unraid_is_looked_at_on_unraid_alone() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("boot/config")).unwrap();
        fs::write(tree.path().join("boot/config/vfio-pci.cfg"), "BIND=03:00.0\n").unwrap();
        let (found, _) = shown(&Root::hostile(tree.path()).unwrap(), "");
        assert_eq!(found.len(), 1, "of a saved tree it always is: {found:#?}");
        let named = |release: &str| {
            unraid::is_unraid(
                &Root::trusted(tree.path()),
                &Machine { release: release.to_owned(), ..Machine::default() },
            )
        };
        assert!(named("6.12.24-Unraid") && !named("6.12.24-amd64"));
        fs::create_dir_all(tree.path().join("etc")).unwrap();
        fs::write(tree.path().join("etc/unraid-version"), "version=\"6.12.4\"\n").unwrap();
        assert!(named("6.1.49"));
    }
}
