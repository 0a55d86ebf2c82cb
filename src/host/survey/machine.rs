//! The machine and its system.

use std::collections::BTreeSet;

use super::{arch, device_tree, hypervisor, read, system};
use crate::host::module_tree;
use crate::host::root::Root;
use crate::model::preflight::survey::{Builder, Machine};

/// Reads what the machine is. What cannot be read stays empty: no verdict hangs on it.
#[must_use]
pub fn read(root: &Root) -> Machine {
    let text = |path: &str| read::text(root, path).is().map(|text| read::shortened(text)).unwrap_or_default();
    let processor = read::text(root, "/proc/cpuinfo").is().cloned().unwrap_or_default();
    let (vendor, product) = (text("/sys/class/dmi/id/sys_vendor"), text("/sys/class/dmi/id/product_name"));
    let names = read::text(root, "/etc/os-release").is().cloned();
    let names = names.or_else(|| read::text(root, "/usr/lib/os-release").is().cloned()).unwrap_or_default();
    let flag =
        field(&processor, "flags").is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let (distribution, release) = (distribution(&names), module_tree::release(root).unwrap_or_default());
    let cmdline = read::text(root, "/proc/cmdline").is().cloned().unwrap_or_default();
    let system = assignment(&names, "PRETTY_NAME").unwrap_or_default();
    let virtually = hypervisor::read(root, flag, &vendor, &product);
    Machine {
        arch: arch::read(root),
        processor: field(&processor, "vendor_id").unwrap_or_default(),
        platform: virtually.as_ref().map(|(platform, _)| *platform),
        hypervisor: virtually.map(|(_, told)| told),
        device_tree: device_tree::describes(root),
        boot: system::boot(root, &distribution, &system, &release, &cmdline),
        intel_by_default: system::intel_by_default(root, &release),
        builders: builders(root),
        release,
        cmdline,
        vendor,
        product,
        distribution,
        system,
    }
}

/// What is there to build an initramfs. Debian's dracut may bring an `update-initramfs` of its own.
fn builders(root: &Root) -> BTreeSet<Builder> {
    let there = |path: &str| root.exists(path).unwrap_or(false);
    let dracut = there("/usr/bin/dracut");
    let tools = there("/usr/sbin/mkinitramfs") || (there("/usr/sbin/update-initramfs") && !dracut);
    [(Builder::InitramfsTools, tools), (Builder::Dracut, dracut), (Builder::Mkinitcpio, there("/usr/bin/mkinitcpio"))]
        .into_iter()
        .filter_map(|(builder, there)| there.then_some(builder))
        .collect()
}

/// A field of /proc/cpuinfo's first processor.
fn field(cpuinfo: &str, name: &str) -> Option<String> {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn assignment(system: &str, key: &str) -> Option<String> {
    let mut values = system.lines().filter_map(|line| line.split_once('='));
    values.find(|(name, _)| *name == key).map(|(_, value)| read::shortened(value.trim_matches(['"', '\''])))
}

fn distribution(system: &str) -> Vec<String> {
    let words = ["ID", "ID_LIKE"].into_iter().filter_map(|key| assignment(system, key));
    words.flat_map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_builds_the_initramfs_is_told_by_its_program() {
        for (programs, expected) in [
            (&[][..], &[][..]),
            (&["/usr/bin/dracut"], &[Builder::Dracut]),
            (&["/usr/bin/dracut", "/usr/sbin/update-initramfs"], &[Builder::Dracut]),
            (&["/usr/sbin/update-initramfs"], &[Builder::InitramfsTools]),
            (&["/usr/sbin/mkinitramfs", "/usr/bin/dracut"], &[Builder::InitramfsTools, Builder::Dracut]),
            (&["/usr/bin/mkinitcpio"], &[Builder::Mkinitcpio]),
        ] {
            let tree = tempfile::tempdir().unwrap();
            for program in programs {
                let path = tree.path().join(program.trim_start_matches('/'));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            let found = builders(&Root::trusted(tree.path()));
            assert_eq!(found, expected.iter().copied().collect(), "{programs:?}");
        }
    }

    #[test]
    fn a_distribution_is_itself_and_what_it_is_like() {
        let text = "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=\"debian other\"\nPRETTY_NAME=\"Ubuntu 24.04\"\n";
        assert_eq!(distribution(text), ["ubuntu", "debian", "other"]);
    }
}
