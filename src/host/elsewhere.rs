//! What other programs' files give to VFIO: drivers that driverctl, DPDK or Unraid bind, vfio-pci's
//! `ids=`, and what virtual machines want. Read once, to write a configuration from it; nothing is
//! decided by it.

use std::collections::BTreeMap;

use super::modprobe_d::Rules;
use super::module_facts::Asked;
use super::module_watch::ModuleWatch;
use super::options;
use super::proc_modules::ProcModules;
use super::root::{Root, is_absent};
use super::survey::{claims, machine};
use crate::model::module::ModuleState;
use crate::model::parameter::{COMMAND_LINE, Given};
use crate::model::pci::{Address, Driver, Ids};
use crate::model::preflight::claim::{Claim, Role, Target};
use crate::model::vfio_ids::{Idle, Lists, Pattern, Seen, is_strayed};

/// All that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// In the order of the files.
    pub wishes: Vec<Wish>,
    /// What is written down and has no effect; a sentence each.
    pub idle: Vec<String>,
    /// What could not be read, or is passed over.
    pub notes: Vec<String>,
}

/// What a file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The file that says so, with the line where there are several.
    pub source: String,
    /// What it is about.
    pub about: About,
}

/// What a wish is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// driverctl, or another program at boot, gives this function this driver.
    Device(Address, Driver),
    /// A virtual machine takes this function when it starts, or finds it on VFIO: the sentence says which.
    Guest(Address, String),
    /// vfio-pci takes every function that this entry of `ids=` means.
    Ids(String, Pattern),
}

/// Reads them.
#[must_use]
pub fn wishes(root: &Root) -> Wishes {
    let mut found = Wishes::default();
    let claimed = claims::files(root, &machine::read(root), &mut found.notes);
    found.wishes = claimed.iter().flat_map(|claim| of_claim(root, claim)).collect();
    let cmdline = root.read_text(COMMAND_LINE).unwrap_or_else(|error| {
        if !is_absent(&error) {
            found.notes.push(format!("read {COMMAND_LINE}: {error}"));
        }
        String::new()
    });
    let rules = Rules::read(root);
    let given = options::given(&rules, &cmdline, "vfio_pci", is_builtin(root));
    by_ids(&given, &mut found);
    found.notes.extend(rules.notes.into_iter().chain(rules.trouble));
    found.notes.sort();
    found.notes.dedup();
    found
}

/// What a claim asks for; of a slot, a bus or ids, for each function that is there.
fn of_claim(root: &Root, claim: &Claim) -> Vec<Wish> {
    let there = |wanted: &dyn Fn(Address) -> bool| {
        let all = root.list("/sys/bus/pci/devices").unwrap_or_default();
        all.iter().filter_map(|name| name.parse().ok()).filter(|address| wanted(*address)).collect()
    };
    let addresses = match claim.target {
        Target::Device(address) => vec![address],
        Target::Within(..) => there(&|address| claim.target.holds(address)),
        Target::Ids(pattern) => there(&|address| seen(root, address).is_some_and(|seen| pattern.fits(seen))),
        Target::Host => Vec::new(),
    };
    let about = |address| match &claim.role {
        Role::Binds(driver) => Some(About::Device(address, driver.clone())),
        Role::Takes | Role::Expects if claim.guest.is_some() => Some(About::Guest(address, claim.sentence())),
        _ => None,
    };
    let wish = |about| Wish { source: claim.source.clone(), about };
    addresses.into_iter().filter_map(about).map(wish).collect()
}

/// What a function is matched by; none where its ids cannot be read.
fn seen(root: &Root, address: Address) -> Option<Seen> {
    let number = |name: &str| {
        let text = root.read_text(&format!("/sys/bus/pci/devices/{address}/{name}")).ok()?;
        u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    let ids = |vendor: &str, device: &str| {
        let [vendor, device] = [vendor, device].map(|name| number(name).and_then(|n| u16::try_from(n).ok()));
        Some(Ids { vendor: vendor?, device: device? })
    };
    Some(Seen {
        ids: ids("vendor", "device")?,
        subsystem: ids("subsystem_vendor", "subsystem_device"),
        class: number("class").unwrap_or_default(),
    })
}

fn by_ids(given: &[Given], found: &mut Wishes) {
    let lists = Lists::of(given);
    let winner = lists.in_force.map(|given| given.source.clone()).unwrap_or_default();
    for (given, why) in &lists.idle {
        let why = match why {
            Idle::Unheard => "vfio-pci is part of this kernel, and hears the kernel command line only".to_owned(),
            Idle::Overruled => format!("the last list counts, that of {winner}"),
            Idle::Refused => "the kernel refuses it".to_owned(),
        };
        found.idle.push(format!("{} ({}) has no effect: {why}", given.text(), given.source));
    }
    for given in given.iter().filter(|given| is_strayed(given)) {
        found.idle.push(format!(
            "`{}` ({}) stands behind a blank: it is no part of ids=, and the kernel passes over it",
            given.text(),
            given.source
        ));
    }
    for (entry, pattern) in lists.entries() {
        match pattern {
            Some(pattern) => {
                let about = About::Ids(entry.to_owned(), pattern);
                found.wishes.push(Wish { source: winner.clone(), about });
            }
            None => found
                .idle
                .push(format!("`{entry}` in ids= ({winner}) is no vendor and device id: the kernel passes over it")),
        }
    }
}

/// Whether vfio-pci is part of this kernel.
fn is_builtin(root: &Root) -> bool {
    let loaded = ProcModules::told(root);
    let Ok(vfio_pci) = "vfio_pci".parse() else { return false };
    let facts = ModuleWatch::default().facts(root, &loaded, BTreeMap::from([(vfio_pci, Asked::Auto)]), true);
    facts.iter().any(|(module, facts)| module.as_str() == "vfio_pci" && facts.state == ModuleState::Builtin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        tree
    }

    #[test]
    fn each_kind_of_file_is_read_and_of_several_lists_the_last_one_counts() {
        let tree = tree(&[
            ("etc/driverctl.d/pci-0000:01:00.0", "vfio-pci\n"),
            ("etc/driverctl.d/vmbus-1", "uio_hv_generic\n"),
            ("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2684,10de:22ba disable_vga=1\noptions kvm x=1\n"),
            ("proc/cmdline", "quiet vfio-pci.ids=8086:10d3:ffffffff,gpu\n"),
        ]);
        let Wishes { wishes, idle, notes } = wishes(&Root::hostile(tree.path()).unwrap());
        let shown: Vec<String> = wishes.iter().map(|wish| format!("{} {:?}", wish.source, wish.about)).collect();
        assert_eq!(shown.len(), 2, "{shown:#?}");
        assert!(shown[0].starts_with("/etc/driverctl.d/pci-0000:01:00.0 Device("), "{}", shown[0]);
        assert!(shown[1].starts_with("/proc/cmdline Ids(\"8086:10d3:ffffffff\""), "{}", shown[1]);
        let expected = [
            "ids=10de:2684,10de:22ba (/etc/modprobe.d/vfio.conf:1) has no effect: the last list counts, that of /proc/cmdline",
            "`gpu` in ids= (/proc/cmdline) is no vendor and device id: the kernel passes over it",
        ];
        assert_eq!(idle, expected);
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn a_driver_for_ids_is_a_wish_for_each_function_that_has_them() {
        let tree = tree(&[
            ("boot/config/vfio-pci.cfg", "BIND=8086:1521\n"),
            ("sys/bus/pci/devices/0000:03:00.0/vendor", "0x8086\n"),
            ("sys/bus/pci/devices/0000:03:00.0/device", "0x1521\n"),
            ("sys/bus/pci/devices/0000:03:00.0/class", "0x020000\n"),
            ("sys/bus/pci/devices/0000:04:00.0/vendor", "0x8086\n"),
            ("sys/bus/pci/devices/0000:04:00.0/device", "0x1522\n"),
            ("sys/bus/pci/devices/0000:05:00.0/vendor", "0x8086\n"),
        ]);
        let Wishes { wishes, .. } = wishes(&Root::hostile(tree.path()).unwrap());
        let expected = Wish {
            source: "/boot/config/vfio-pci.cfg".to_owned(),
            about: About::Device("03:00.0".parse().unwrap(), Driver::vfio_pci()),
        };
        assert_eq!(wishes, [expected]);
    }

    #[test]
    fn what_modprobe_says_of_a_part_of_the_kernel_is_no_wish() {
        let tree = tree(&[
            ("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2684\n"),
            ("proc/modules", "kvm 1 0 - Live 0x0\n"),
            ("sys/bus/pci/drivers/vfio-pci/bind", ""),
        ]);
        let Wishes { wishes, idle, .. } = wishes(&Root::hostile(tree.path()).unwrap());
        assert!(wishes.is_empty(), "{wishes:?}");
        assert!(idle[0].ends_with("hears the kernel command line only"), "{idle:?}");
    }
}
