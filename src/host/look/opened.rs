//! Who may have a VFIO device open that no node gives away.
//!
//! `/proc/<pid>/fd` shows every opened VFIO device as `anon_inode:[vfio-device]`, whichever it is;
//! only from 6.17 on fdinfo tells. Whoever opened it has its group open too, as a rule, but a
//! descriptor can be handed over without the group's, to a process that has other groups open.
//!
//! The witness is the function's `enable`: VFIO enables a function when it is opened and disables it
//! when it is closed; bound and idle it shows 0 (seen on 6.1 and 6.12, VFs too), and nobody may
//! write it while a driver is bound. So 0 clears a function, and another number alone proves
//! nothing: a host driver may have left it enabled.

use std::collections::BTreeSet;

use super::attributes::{directory, driver_link};
use super::refcount;
use crate::host::root::Root;
use crate::model::pci::{Address, Driver};
use crate::model::snapshot::Holder;

/// What one process has of VFIO, as its descriptors tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The process.
    pub holder: Holder,
    /// Descriptors of devices that nothing names; an open device may have several.
    pub nameless: usize,
    /// Functions that it has open as devices, where something names them.
    pub named: BTreeSet<Address>,
    /// Groups that it has open, by name: `15` or `noiommu-15`.
    pub groups: BTreeSet<String>,
}

/// Who may have a function open that nobody holds by one of its nodes; empty when nobody can.
///
/// First whoever has more open devices than its own groups account for; then, when the driver's
/// module is used more often than all processes account for, a stand-in for the one not found.
///
/// To be asked after the scan that found `opened`: what is opened meanwhile then shows in the
/// reference count and in `enable`.
#[must_use]
pub fn perhaps(root: &Root, address: Address, driver: &Driver, opened: &[Opened]) -> Vec<Holder> {
    let used = refcount::of(root, driver);
    let nothing_is_open = used.as_ref().is_some_and(|(_, count)| *count == 0);
    if nothing_is_open || !is_enabled(root, address) {
        return Vec::new();
    }
    let mut unplaced = Vec::new();
    let mut accounted = BTreeSet::new();
    for process in opened {
        let (mut theirs, others) = members(root, &process.groups);
        theirs.retain(|member| *member != address && !process.named.contains(member));
        if process.nameless > theirs.len() + others {
            unplaced.push(process.holder.clone());
        }
        // A set over all processes: two that share their descriptors account for one open device.
        accounted.extend(theirs.into_iter().take(process.nameless));
        accounted.extend(process.named.iter().copied().filter(|named| is_enabled(root, *named)));
    }
    if !unplaced.is_empty() {
        return unplaced;
    }
    let Some((module, count)) = used else { return Vec::new() };
    let on_it = |address: &Address| {
        let driver = driver_link(root, *address).ok().flatten();
        driver.and_then(|driver| refcount::module(root, &driver)).is_some_and(|its| its == module)
    };
    let accounted = accounted.iter().filter(|address| on_it(address)).count();
    refcount::unexplained(&module, count, accounted).into_iter().collect()
}

/// The functions in these groups that may be open, and how many members are no PCI functions
/// (mediated devices). A group that cannot be listed accounts for nothing.
fn members(root: &Root, groups: &BTreeSet<String>) -> (BTreeSet<Address>, usize) {
    let (mut functions, mut others) = (BTreeSet::new(), 0);
    for group in groups {
        let number = group.strip_prefix("noiommu-").unwrap_or(group);
        for member in root.list(&format!("/sys/kernel/iommu_groups/{number}/devices")).unwrap_or_default() {
            match member.parse() {
                Ok(address) if is_enabled(root, address) => _ = functions.insert(address),
                Ok(_) => {}
                Err(_) => others += 1,
            }
        }
    }
    (functions, others)
}

/// Whether a function is enabled, or that cannot be told.
fn is_enabled(root: &Root, address: Address) -> bool {
    root.read_text(&format!("{}/enable", directory(address))).map_or(true, |text| text.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const GPU: &str = "0000:01:00.0";
    const NIC: &str = "0000:02:00.0";
    const DISK: &str = "0000:03:00.0";

    fn at(address: &str) -> Address {
        address.parse().unwrap()
    }

    /// A machine whose functions are all on VFIO, each in a group of its own: 1, 2, 3.
    struct Machine(tempfile::TempDir);

    impl Machine {
        /// How often `vfio_pci` is used, and the functions' `enable`.
        fn new(count: u32, enabled: &[(&str, u32)]) -> Machine {
            let machine = Machine(tempfile::tempdir().unwrap());
            machine.write("sys/module/vfio_pci/refcnt", &format!("{count}\n"));
            machine.link("sys/bus/pci/drivers/vfio-pci/module", "../../../../module/vfio_pci");
            machine.link("sys/bus/pci/drivers/mlx5_vfio_pci/module", "../../../../module/mlx5_vfio_pci");
            for (number, address) in [GPU, NIC, DISK].iter().enumerate() {
                machine.on(address, "vfio-pci");
                machine.write(&format!("sys/kernel/iommu_groups/{}/devices/{address}", number + 1), "");
                machine.enable(address, 0);
            }
            enabled.iter().for_each(|(address, enable)| machine.enable(address, *enable));
            machine
        }

        fn enable(&self, address: &str, enable: u32) {
            self.write(&format!("sys/bus/pci/devices/{address}/enable"), &format!("{enable}\n"));
        }

        fn on(&self, address: &str, driver: &str) {
            let link = format!("sys/bus/pci/devices/{address}/driver");
            let _ = fs::remove_file(self.0.path().join(&link));
            self.link(&link, &format!("../../drivers/{driver}"));
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn link(&self, path: &str, target: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }

        /// Who may have the GPU open.
        fn perhaps(&self, opened: &[Opened]) -> Vec<u32> {
            let holders = perhaps(&Root::trusted(self.0.path()), at(GPU), &Driver::vfio_pci(), opened);
            holders.into_iter().map(|holder| holder.pid).collect()
        }
    }

    fn process(pid: u32, groups: &[&str], nameless: usize) -> Opened {
        let holder = Holder { pid, comm: "qemu".into(), unit: String::new(), uid: 0, node: "a VFIO device".into() };
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Opened { holder, nameless, named: BTreeSet::new(), groups }
    }

    /// The holder that nobody knows.
    const UNKNOWN: u32 = 0;

    #[test]
    fn a_device_that_was_handed_over_is_not_free_because_its_holder_has_another_group_open() {
        let machine = Machine::new(1, &[(GPU, 1)]);
        assert_eq!(machine.perhaps(&[process(7, &["2"], 1)]), [7]);
        assert_eq!(machine.perhaps(&[process(7, &[], 1)]), [7]);
        assert_eq!(machine.perhaps(&[process(7, &["99"], 1)]), [7], "a group that cannot be listed");
        assert_eq!(machine.perhaps(&[process(7, &["1"], 1)]), [7], "its own group, by a node with another number");
    }

    #[test]
    fn a_device_that_was_handed_over_is_not_free_because_its_holder_has_devices_of_its_own() {
        let machine = Machine::new(2, &[(GPU, 1), (NIC, 1)]);
        assert_eq!(machine.perhaps(&[process(7, &["2"], 2)]), [7]);
        assert_eq!(machine.perhaps(&[process(7, &["2"], 1), process(8, &[], 1)]), [8]);
    }

    #[test]
    fn a_device_that_is_not_enabled_is_free_whatever_others_have_open() {
        let machine = Machine::new(3, &[(NIC, 1)]);
        for opened in [process(7, &["2"], 1), process(7, &["2"], 3), process(7, &[], 2), process(7, &["2", "3"], 1)] {
            assert!(machine.perhaps(&[opened]).is_empty());
        }
        assert!(machine.perhaps(&[]).is_empty());
    }

    #[test]
    fn an_unused_driver_has_nothing_open_even_if_a_host_driver_left_the_device_enabled() {
        let machine = Machine::new(0, &[(GPU, 2)]);
        assert!(machine.perhaps(&[process(7, &[], 1)]).is_empty());
        // What is not there is no 0.
        let machine = Machine::new(1, &[]);
        fs::remove_file(machine.0.path().join(format!("sys/bus/pci/devices/{GPU}/enable"))).unwrap();
        assert_eq!(machine.perhaps(&[]), [UNKNOWN]);
    }

    #[test]
    fn a_vm_with_devices_of_several_groups_does_not_keep_a_device_that_was_left_enabled() {
        let machine = Machine::new(2, &[(GPU, 1), (NIC, 1), (DISK, 1)]);
        assert!(machine.perhaps(&[process(7, &["2", "3"], 2)]).is_empty());
        assert!(machine.perhaps(&[process(7, &["2"], 1), process(8, &["noiommu-3"], 1)]).is_empty());
        // One of two open devices is out of sight.
        assert_eq!(machine.perhaps(&[process(7, &["2"], 1)]), [UNKNOWN]);
    }

    #[test]
    fn two_descriptors_of_one_device_do_not_hide_an_open_device_that_is_out_of_sight() {
        let machine = Machine::new(2, &[(GPU, 1), (NIC, 1)]);
        assert!(!machine.perhaps(&[process(7, &["2"], 2)]).is_empty());
        // Nor do two processes that share it.
        assert_eq!(machine.perhaps(&[process(7, &["2"], 1), process(8, &["2"], 1)]), [UNKNOWN]);
        // And they do not make an idle device in use.
        machine.enable(GPU, 0);
        assert!(machine.perhaps(&[process(7, &["2"], 2)]).is_empty());
    }

    #[test]
    fn an_open_device_of_another_driver_does_not_account_for_this_drivers_count() {
        let machine = Machine::new(1, &[(GPU, 1), (NIC, 1)]);
        assert!(machine.perhaps(&[process(7, &["2"], 1)]).is_empty());
        machine.on(NIC, "mlx5_vfio_pci");
        assert_eq!(machine.perhaps(&[process(7, &["2"], 1)]), [UNKNOWN]);
    }

    #[test]
    fn a_device_that_something_names_accounts_for_itself_and_for_no_other() {
        let machine = Machine::new(1, &[(GPU, 1), (NIC, 1)]);
        let named = |nameless| Opened { named: BTreeSet::from([at(NIC)]), ..process(7, &["2"], nameless) };
        assert!(machine.perhaps(&[named(0)]).is_empty());
        assert_eq!(machine.perhaps(&[named(1)]), [7]);
        // Its node is open, the device is not.
        machine.enable(NIC, 0);
        assert_eq!(machine.perhaps(&[named(0)]), [UNKNOWN]);
    }

    #[test]
    fn a_mediated_device_is_not_taken_for_a_function_that_was_handed_over() {
        let machine = Machine::new(0, &[(GPU, 1)]);
        machine.write("sys/kernel/iommu_groups/40/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "");
        fs::remove_file(machine.0.path().join("sys/module/vfio_pci/refcnt")).unwrap();
        // Where the kernel does not count, descriptors alone tell.
        assert!(machine.perhaps(&[process(7, &["40"], 1)]).is_empty());
        assert_eq!(machine.perhaps(&[process(7, &["40"], 2)]), [7]);
    }
}
