//! What other managers say about devices: driverctl, libvirt, vfio-pci's `ids=`, Harvester.

use super::libvirt;
use super::read;
use crate::host::look::ids::from_cmdline;
use crate::host::modprobe_d::{self, Rules};
use crate::host::root::{Root, is_absent};
use crate::model::pci::Address;
use crate::model::preflight::claim::{Claim, Pattern, Target};
use crate::model::preflight::survey::Machine;

const DRIVERCTL: &str = "/etc/driverctl.d";
const LIBVIRT: &str = "/etc/libvirt/qemu";
/// More files than any such directory has.
const MANY: usize = 10_000;

/// Reads all claims. What is there and cannot be read is said.
#[must_use]
pub fn read(root: &Root, machine: &Machine, unread: &mut Vec<String>) -> Vec<Claim> {
    let mut found = Vec::new();
    for name in names(root, DRIVERCTL, unread) {
        let Some(Ok(address)) = name.strip_prefix("pci-").map(str::parse::<Address>) else { continue };
        let source = format!("{DRIVERCTL}/{name}");
        if let Some(text) = text(root, &source, unread) {
            let text = read::shortened(text.trim());
            found.push(Claim { manager: "driverctl".to_owned(), source, target: Target::Device(address), text });
        }
    }
    for name in names(root, LIBVIRT, unread).into_iter().filter(|name| name.ends_with(".xml")) {
        let source = format!("{LIBVIRT}/{name}");
        let Some(text) = text(root, &source, unread) else { continue };
        match libvirt::parse(&text) {
            Ok(domain) => found.extend(domain.devices.into_iter().map(|(address, managed)| Claim {
                manager: "libvirt".to_owned(),
                source: source.clone(),
                target: Target::Device(address),
                text: format!("domain {}, managed='{}'", domain.name, if managed { "yes" } else { "no" }),
            })),
            Err(why) => unread.push(format!("read {source}: {why}")),
        }
    }
    found.extend(by_ids(root, &machine.cmdline, unread));
    if machine.system.to_ascii_lowercase().contains("harvester") {
        found.push(Claim {
            manager: "Harvester".to_owned(),
            source: "/etc/os-release".to_owned(),
            target: Target::Host,
            text: machine.system.clone(),
        });
    }
    found
}

fn names(root: &Root, directory: &str, unread: &mut Vec<String>) -> Vec<String> {
    match root.list(directory) {
        Ok(mut names) => {
            names.truncate(MANY);
            names
        }
        Err(e) => {
            if !is_absent(&e) {
                unread.push(format!("list {directory}: {e}"));
            }
            Vec::new()
        }
    }
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
        for ids in list.trim_matches('"').split(',').filter_map(ids) {
            let text = format!("ids={}", read::shortened(&list));
            found.push(Claim { manager: manager.to_owned(), source: source.clone(), target: Target::Ids(ids), text });
        }
    }
    found
}

/// `vendor:device[:subvendor[:subdevice[:class[:mask]]]]`; what is left out is any.
fn ids(entry: &str) -> Option<Pattern> {
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

    #[test]
    fn an_entry_of_ids_takes_what_the_kernel_would() {
        let card = |ids: &str, class: u32| {
            let mut card = crate::host::card::unknown("01:00.0".parse().unwrap(), 1, "");
            (card.ids, card.class) = (ids.parse().unwrap(), class);
            card.subsystem = Fact::Is("1043:0001".parse().unwrap());
            card
        };
        let takes = |entry: &str, ids: &str, class: u32| super::ids(entry).unwrap().takes(&card(ids, class));
        let graphics = "1002:ffffffff:ffffffff:ffffffff:00030000:ffff00ff";
        assert!(takes(graphics, "1002:7480", 0x03_00_00));
        assert!(!takes(graphics, "1002:ab30", 0x04_03_00));
        assert!(!takes(graphics, "10de:2684", 0x03_00_00));
        assert!(takes("1002:7480", "1002:7480", 0x03_00_00));
        assert!(takes("1002:7480:1043", "1002:7480", 0) && !takes("1002:7480:1044", "1002:7480", 0));
        // More than 16 bits are no "any".
        assert!(!takes("1002:10000", "1002:7480", 0) && !takes("1002:ffff", "1002:7480", 0));
        assert_eq!(super::ids("1002"), None);
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
