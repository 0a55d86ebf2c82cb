//! All PCI functions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{config, read};
use crate::host::card;
use crate::host::dir::Dir;
use crate::host::root::{Root, is_absent};
use crate::host::unsaved;
use crate::model::pci::{Address, Driver};
use crate::model::preflight::survey::{Errors, Function, Resource};
use crate::model::snapshot::Fact;

const DEVICES: &str = "/sys/bus/pci/devices";
/// More entries than any machine has; a hostile tree may.
const MANY: usize = 1 << 16;

/// Reads all functions.
#[must_use]
pub fn read(root: &Root, patience: Duration, unread: &mut Vec<String>) -> BTreeMap<Address, Function> {
    let devices = match Dir::open(root, DEVICES) {
        Ok(devices) => devices,
        Err(e) => {
            if !is_absent(&e) {
                unread.push(format!("open {DEVICES}: {e}"));
            }
            return BTreeMap::new();
        }
    };
    let mut addresses: Vec<Address> = Vec::new();
    // Where no domain is asked for, short names would be read too; sysfs has none.
    if let Err(e) = devices.each(".", MANY, |name| addresses.extend(name.parse::<Address>())) {
        unread.push(format!("list {DEVICES}: {e}"));
    }
    let deferred = deferred(root);
    let mut functions: BTreeMap<Address, Function> = addresses
        .into_iter()
        .filter_map(|address| Some((address, function(root, &devices, address, &deferred)?)))
        .collect();
    unsaved_facts(root, &mut functions, unread);
    // Only what is awake is asked: reading `config` wakes what sleeps. A VF's ids are all ones there.
    let awake = functions
        .iter()
        .filter(|(address, function)| function.card.physfn.is_none() && is_awake(root, **address, function));
    let answers = config::answers(root, awake.map(|(address, _)| *address).collect(), patience);
    for (address, answer) in answers {
        if let Some(function) = functions.get_mut(&address) {
            function.answers = answer;
        }
    }
    functions
}

/// What a saved tree leaves out of all functions is unknown of each, and told once.
fn unsaved_facts(root: &Root, functions: &mut BTreeMap<Address, Function>, unread: &mut Vec<String>) {
    let groups = unsaved::iommu(root);
    let drivers = unsaved::drivers(root);
    // What cannot be reset has no such file either. That no function has one is no machine's way, where
    // the tree leaves other things out as well.
    let shown = |address: &Address| {
        ["reset_method", "reset"].iter().any(|name| root.exists(&format!("{DEVICES}/{address}/{name}")).unwrap_or(true))
    };
    let partial = groups.is_some() || root.lacks("/proc/modules");
    let resets =
        unsaved::why(root, &format!("{DEVICES}/*/reset_method")).filter(|_| partial && !functions.keys().any(shown));
    for function in functions.values_mut() {
        unless_known(&mut function.group, groups.as_ref());
        unless_known(&mut function.driver, drivers.as_ref());
        unless_known(&mut function.reset, resets.as_ref());
    }
    if !functions.is_empty() {
        unread.extend([groups, drivers, resets].into_iter().flatten());
    }
}

fn unless_known<T>(fact: &mut Fact<T>, why: Option<&String>) {
    if let Some(why) = why.filter(|_| fact.is_absent()) {
        *fact = Fact::Unreadable(why.clone());
    }
}

/// Whether reading a function's configuration space wakes nothing.
///
/// Older kernels have no `power_state`. What has no driver is D0 for the kernel whatever it is, and
/// reading from it wakes the bridge above.
fn is_awake(root: &Root, address: Address, function: &Function) -> bool {
    let runtime = |of: Address| read::text(root, &format!("{DEVICES}/{of}/power/runtime_status"));
    let awake = match &function.power {
        Fact::Is(state) => state == "D0",
        Fact::Absent => runtime(address).is().is_some_and(|status| status == "active" || status == "unsupported"),
        Fact::Unreadable(_) => false,
    };
    let above =
        || bridge_above(root, address).is_some_and(|bridge| runtime(bridge) == Fact::Is("suspended".to_owned()));
    awake && (!function.driver.is_absent() || !above())
}

fn bridge_above(root: &Root, address: Address) -> Option<Address> {
    let path = root.read_link(&format!("{DEVICES}/{address}")).ok()?;
    path.parent()?.file_name()?.to_str()?.parse().ok()
}

fn function(root: &Root, devices: &Dir<'_>, address: Address, deferred: &Fact<Vec<Address>>) -> Option<Function> {
    let path = |name: &str| format!("{DEVICES}/{address}/{name}");
    let object = devices.inode(&address.to_string()).ok()?;
    let (card, above) = match card::read(root, devices, address, object) {
        Ok(read) => (read.card, read.above),
        // It went while it was read.
        Err(_) if devices.inode(&address.to_string()).is_err_and(|e| is_absent(&e)) => return None,
        Err(e) => (card::unknown(address, object, &e.to_string()), None),
    };
    let driver: Fact<Driver> = read::link(root, &path("driver"), |name| name.parse().ok());
    let reset = match read::text(root, &path("reset_method")) {
        Fact::Is(methods) if methods.is_empty() => Fact::Absent,
        Fact::Is(methods) => Fact::Is(methods.split_whitespace().map(str::to_owned).collect()),
        // Before 5.15 there was only the file that resets.
        Fact::Absent if root.exists(&path("reset")).unwrap_or(false) => Fact::Is(vec!["reset".to_owned()]),
        Fact::Absent => Fact::Absent,
        Fact::Unreadable(why) => Fact::Unreadable(why),
    };
    Some(Function {
        card,
        above,
        registered: driver.is().is_some() && root.exists(&path("vfio-dev")).unwrap_or(false),
        driver,
        group: read::link(root, &path("iommu_group"), |name| name.parse().ok()),
        unit: read::link(root, &path("iommu"), |name| Some(name.to_owned())),
        power: read::text(root, &path("power_state")),
        reset,
        answers: Fact::Unreadable("asleep or a virtual function, so it was not asked".to_owned()),
        bars: read::parsed(root, &path("resource"), |text| Some(bars(text))),
        resources: read::parsed(root, &path("resource"), |text| Some(resources(text))),
        most_vfs: read::parsed(root, &path("sriov_totalvfs"), |text| text.parse().ok()),
        vfs: vfs(root, devices, address),
        errors: errors(root, address),
        waiting: match deferred {
            Fact::Is(listed) => Fact::Is(listed.contains(&address)),
            Fact::Unreadable(why) => Fact::Unreadable(why.clone()),
            Fact::Absent => Fact::Is(false),
        },
    })
}

/// Devices whose probe was put off.
///
/// Never from a device's own `waiting_for_supplier`. Reading that takes the device's lock; the probe
/// that holds the lock removes the file when it has succeeded, and waits for its readers first. So
/// reader and probe wait for each other for ever, and whoever loads, binds or shuts down with them
/// (seen, 6.1 and 6.12: two processes in D, no reboot).
fn deferred(root: &Root) -> Fact<Vec<Address>> {
    let names = |text: &str| {
        let first = text.lines().filter_map(|line| line.split_whitespace().next());
        Some(first.filter_map(|name| name.parse().ok()).collect())
    };
    read::parsed(root, "/sys/kernel/debug/devices_deferred", names)
}

/// The lines of `resource` that are not all zeros: start, end and flags. The BARs come first, then the
/// ROM and the BARs of VFs; what follows is a bridge's.
#[must_use]
pub fn resources(text: &str) -> Vec<Resource> {
    let resource = |(number, line): (u8, &str)| {
        let mut numbers = line.split_whitespace().map(read::number);
        let (start, end, flags) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (flags != 0 || end != 0).then_some(Resource { number, start, end, flags })
    };
    (0..=12).zip(text.lines()).filter_map(resource).collect()
}

/// The memory BARs in `resource` that have an address.
#[must_use]
pub fn bars(text: &str) -> Vec<(u64, u64)> {
    const MEMORY: u64 = 0x200;
    let memory = |resource: &Resource| resource.number < 6 && resource.flags & MEMORY != 0;
    let there = |resource: &Resource| resource.start > 0 && resource.end > resource.start;
    let found = resources(text).into_iter().filter(|resource| memory(resource) && there(resource));
    found.map(|resource| (resource.start, resource.end)).collect()
}

fn vfs(root: &Root, devices: &Dir<'_>, address: Address) -> BTreeMap<u32, Address> {
    let mut indexes: Vec<u32> = Vec::new();
    // What cannot be listed has none to show; the bind itself is refused while there are any.
    let _ = devices.each(&address.to_string(), MANY, |name| {
        indexes.extend(name.strip_prefix("virtfn").and_then(|index| index.parse::<u32>().ok()));
    });
    let vf = |index: u32| {
        let link = root.link_name(&format!("{DEVICES}/{address}/virtfn{index}")).ok()?;
        Some((index, link.parse().ok()?))
    };
    indexes.into_iter().filter_map(vf).collect()
}

fn errors(root: &Root, address: Address) -> Fact<Errors> {
    let count = |kind: &str| read::parsed(root, &format!("{DEVICES}/{address}/aer_dev_{kind}"), total);
    match (count("fatal"), count("nonfatal"), count("correctable")) {
        (Fact::Is(fatal), Fact::Is(nonfatal), Fact::Is(correctable)) => {
            let unsupported = read::parsed(root, &format!("{DEVICES}/{address}/aer_dev_nonfatal"), unsupported);
            Fact::Is(Errors { fatal, nonfatal, unsupported: unsupported.is().copied().unwrap_or(0), correctable })
        }
        (Fact::Unreadable(why), _, _) | (_, Fact::Unreadable(why), _) | (_, _, Fact::Unreadable(why)) => {
            Fact::Unreadable(why)
        }
        _ => Fact::Absent,
    }
}

/// The total in a file of error counts: its last line.
#[must_use]
pub fn total(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("TOTAL_ERR_"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The unsupported requests in a file of error counts.
fn unsupported(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("UnsupReq "))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_without_an_address_is_no_memory_that_anybody_could_hold() {
        let text = "0x00000000c8000000 0x00000000c8ffffff 0x0000000000040200\n\
                    0x0000000000000000 0x00000005ffffffff 0x000000002014220c\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
        assert_eq!(bars(text), [(0xc800_0000, 0xc8ff_ffff)]);
        let numbers: Vec<(u8, u64)> = resources(text).into_iter().map(|one| (one.number, one.end)).collect();
        assert_eq!(numbers, [(0, 0xc8ff_ffff), (1, 0x5_ffff_ffff)]);
    }

    #[test]
    fn memory_bars_are_told_from_ports_and_from_unused_ones() {
        let text = "0x00000000feb80000 0x00000000feb9ffff 0x0000000000040200\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x000000000000c080 0x000000000000c09f 0x0000000000040101\n\
                    garbage\n";
        assert_eq!(bars(text), [(0xfeb8_0000, 0xfeb9_ffff)]);
    }

    #[test]
    fn only_what_is_awake_is_asked_whether_it_answers() {
        let tree = tempfile::tempdir().unwrap();
        let set = |path: &str, text: &str| {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let link = |target: &str, path: &str| {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, path).unwrap();
        };
        let mut expected = Vec::new();
        let cases = [
            ("D0", "active", true, "active", true),
            ("D0", "", true, "suspended", true),
            ("D0", "active", false, "active", true),
            ("D0", "active", false, "suspended", false),
            ("D3hot", "active", true, "active", false),
            ("unknown", "active", true, "active", false),
            ("", "active", true, "active", true),
            ("", "unsupported", true, "active", true),
            ("", "suspended", true, "active", false),
            ("", "", true, "active", false),
        ];
        for (bus, (power, status, bound, above, asked)) in cases.into_iter().enumerate() {
            let bus = bus + 1;
            let port = format!("sys/devices/pci0000:00/0000:00:{bus:02x}.0");
            let (address, device) = (format!("0000:{bus:02x}:00.0"), format!("{port}/0000:{bus:02x}:00.0"));
            set(&format!("{port}/power/runtime_status"), above);
            for (name, text) in [("vendor", "0x8086"), ("device", "0x10d3"), ("class", "0x020000")] {
                set(&format!("{device}/{name}"), text);
            }
            set(&format!("{device}/config"), "\u{6}\u{6}");
            for (name, text) in [("power_state", power), ("power/runtime_status", status)] {
                if !text.is_empty() {
                    set(&format!("{device}/{name}"), text);
                }
            }
            if bound {
                link("../../../../bus/pci/drivers/e1000e", &format!("{device}/driver"));
            }
            link(&format!("../../../../{device}"), &format!("sys/bus/pci/devices/{address}"));
            link(&format!("../../../../{port}"), &format!("sys/bus/pci/devices/0000:00:{bus:02x}.0"));
            expected.push((address.parse::<Address>().unwrap(), asked));
        }
        let found = read(&Root::trusted(tree.path()), Duration::from_secs(20), &mut Vec::new());
        for (address, asked) in expected {
            assert_eq!(found[&address].answers.is().is_some(), asked, "{address}");
        }
    }

    #[test]
    fn the_total_of_errors_is_the_last_line() {
        assert_eq!(total("Undefined 0\nDLP 1\nTOTAL_ERR_FATAL 1\n"), Some(1));
        assert_eq!(total("Undefined 0\n"), None);
    }
}
