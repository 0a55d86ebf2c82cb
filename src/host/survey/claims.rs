//! What other managers say about devices, one file a manager.
//!
//! * [`search`]: bounded reads, what was found
//! * [`overrides`]: driverctl, DPDK; [`mdevctl`]; [`unraid`]; [`xen`] and pci-stub: bound at boot
//! * [`libvirt`], [`proxmox`]: for virtual machines; [`qemu_args`]: what both may pass on to QEMU
//! * here: vfio-pci's `ids=`, Harvester

pub mod libvirt;
pub mod mdevctl;
pub mod overrides;
pub mod proxmox;
pub mod qemu_args;
pub mod search;
pub mod unraid;
pub mod xen;

use self::search::Search;
use super::read;
use crate::host::kernel_policy::words;
use crate::host::live::PATIENCE;
use crate::host::look::ids::from_cmdline;
use crate::host::modprobe_d::{self, Rules};
use crate::host::root::{Root, is_absent};
use crate::model::preflight::claim::{Claim, Pattern, Role, Target};
use crate::model::preflight::survey::Machine;

/// Reads all claims. What is there and cannot be read is said.
#[must_use]
pub fn read(root: &Root, machine: &Machine, unread: &mut Vec<String>) -> Vec<Claim> {
    let mut found = files(root, machine, unread);
    found.extend(by_ids(root, &machine.cmdline, unread));
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

/// The values of a module's parameter, each with the place that says so: on the kernel command line,
/// where the last one counts, and in modprobe.d.
fn listed(search: &Search<'_>, cmdline: &str, module: &str, parameter: &str) -> Vec<(String, String)> {
    let mut lists = Vec::new();
    for file in modprobe_d::files(search.root).unwrap_or_default() {
        // What cannot be read is said once, where vfio-pci's own options are.
        let Ok(text) = search.root.read_text(&file) else { continue };
        let values = Rules::options(&text, module, parameter);
        lists.extend(values.into_iter().map(|value| (file.clone(), value)));
    }
    let key = format!("{module}.{parameter}");
    let values = words(cmdline).filter_map(|word| word.split_once('='));
    let mine = values.filter(|(name, _)| name.trim_matches('"').replace('-', "_") == key).last();
    lists.extend(mine.map(|(_, value)| ("/proc/cmdline".to_owned(), value.trim_matches('"').to_owned())));
    lists
}

fn text(root: &Root, path: &str, unread: &mut Vec<String>) -> Option<String> {
    match root.read_text(path) {
        Ok(text) => Some(text),
        Err(e) => {
            if !is_absent(&e) {
                unread.push(format!("read {path}: {e}"));
            }
            None
        }
    }
}

/// vfio-pci's `ids=`, from modprobe.d and from the kernel command line.
fn by_ids(root: &Root, cmdline: &str, unread: &mut Vec<String>) -> Vec<Claim> {
    let mut lists: Vec<(&str, String, String)> = Vec::new();
    match modprobe_d::files(root) {
        Ok(files) => {
            for file in files {
                let Some(text) = text(root, &file, unread) else { continue };
                let options = Rules::options(&text, "vfio_pci", "ids");
                lists.extend(options.into_iter().map(|list| ("modprobe", file.clone(), list)));
            }
        }
        Err(e) => unread.push(e.to_string()),
    }
    let list = from_cmdline(cmdline);
    lists.extend(list.map(|list| ("kernel command line", "/proc/cmdline".to_owned(), list)));
    let mut found = Vec::new();
    for (manager, source, list) in lists {
        for ids in list.trim_matches('"').split(',').filter_map(pattern) {
            let text = format!("ids={}", read::shortened(&list));
            found.push(Claim::new(manager, &source, Target::Ids(ids), Role::default(), text));
        }
    }
    found
}

/// `vendor:device[:subvendor[:subdevice[:class[:mask]]]]`; what is left out is any.
fn pattern(entry: &str) -> Option<Pattern> {
    let mut parts = entry.split(':').map(|part| u32::from_str_radix(part.trim().trim_start_matches("0x"), 16).ok());
    let (vendor, device) = (parts.next()??, parts.next()??);
    // As sscanf(3): the first part that is no number ends it.
    let mut more = parts.map_while(|part| part);
    let (subvendor, subdevice) = (more.next().unwrap_or(Pattern::ANY), more.next().unwrap_or(Pattern::ANY));
    let (class, mask) = (more.next().unwrap_or(0), more.next().unwrap_or(0));
    Some(Pattern { ids: [vendor, device, subvendor, subdevice], class, mask })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::Fact;
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
        put("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2684,10de:ffffffff\n");
        let machine = Machine {
            cmdline: "vfio-pci.ids=8086:10d3".to_owned(),
            system: "Harvester v1.5.0".to_owned(),
            ..Machine::default()
        };
        let mut unread = Vec::new();
        let found = read(&Root::hostile(tree.path()).unwrap(), &machine, &mut unread);
        let managers: Vec<&str> = found.iter().map(|claim| claim.manager.as_str()).collect();
        assert_eq!(managers, ["driverctl", "libvirt", "modprobe", "modprobe", "kernel command line", "Harvester"]);
        assert_eq!(found[1].target, Target::Device("0000:02:00.1".parse().unwrap()));
        let any = Pattern { ids: [0x10de, Pattern::ANY, Pattern::ANY, Pattern::ANY], class: 0, mask: 0 };
        assert_eq!(found[3].target, Target::Ids(any));
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
        let expected = ["hide=(05:00.0)", "hide=(01:00.0)", "hide=(0000:02:00.*)", "ids=10de:2684"];
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

    #[test]
    fn an_entry_of_ids_takes_what_the_kernel_would() {
        let card = |ids: &str, class: u32| {
            let mut card = crate::host::card::unknown("01:00.0".parse().unwrap(), 1, "");
            (card.ids, card.class) = (ids.parse().unwrap(), class);
            card.subsystem = Fact::Is("1043:0001".parse().unwrap());
            card
        };
        let takes = |entry: &str, ids: &str, class: u32| super::pattern(entry).unwrap().takes(&card(ids, class));
        let graphics = "1002:ffffffff:ffffffff:ffffffff:00030000:ffff00ff";
        assert!(takes(graphics, "1002:7480", 0x03_00_00));
        assert!(!takes(graphics, "1002:ab30", 0x04_03_00));
        assert!(!takes(graphics, "10de:2684", 0x03_00_00));
        assert!(takes("1002:7480", "1002:7480", 0x03_00_00));
        assert!(takes("1002:7480:1043", "1002:7480", 0) && !takes("1002:7480:1044", "1002:7480", 0));
        // More than 16 bits are no "any".
        assert!(!takes("1002:10000", "1002:7480", 0) && !takes("1002:ffff", "1002:7480", 0));
        assert_eq!(super::pattern("1002"), None);
    }

    #[test]
    fn of_several_lists_on_the_command_line_the_last_one_counts() {
        let tree = tempfile::tempdir().unwrap();
        let cmdline = "vfio-pci.ids=8086:10d3 vfio_pci.ids=10de:2684".to_owned();
        let machine = Machine { cmdline, ..Machine::default() };
        let found = read(&Root::trusted(tree.path()), &machine, &mut Vec::new());
        assert_eq!(found.iter().map(|claim| claim.text.as_str()).collect::<Vec<_>>(), ["ids=10de:2684"]);
    }
}
