//! What drivers are called, and of which modules they are.
//!
//! A module's drivers are listed in `/sys/module/MODULE/drivers` as `pci:NAME`; a driver's directory
//! has a link `module`. Neither is read from a module's name: `xe_vfio_pci` has the driver
//! `xe-vfio-pci` (Linux 7.x).

use std::sync::Arc;

use super::module_tree::ModuleTree;
use super::proc_modules::ProcModules;
use super::root::Root;
use crate::model::pci::{Address, Driver, Module};
use crate::model::snapshot::Variant;
use crate::model::variant::Drivers;

const DRIVERS: &str = "/sys/bus/pci/drivers";

/// The PCI drivers of a module that is loaded, or part of the kernel.
#[must_use]
pub fn of_module(root: &Root, module: &Module) -> Vec<Driver> {
    if let Ok(names) = root.list(&format!("/sys/module/{module}/drivers")) {
        return names.iter().filter_map(|name| name.strip_prefix("pci:")?.parse().ok()).collect();
    }
    // An older kernel, or a saved tree that lacks the list.
    let all = root.list(DRIVERS).unwrap_or_default();
    let linked = |name: &&String| root.link_name(&format!("{DRIVERS}/{name}/module")).is_ok_and(|to| is(&to, module));
    let linked: Vec<Driver> = all.iter().filter(linked).filter_map(|name| name.parse().ok()).collect();
    if !linked.is_empty() {
        return linked;
    }
    all.iter().filter(|name| is(name, module)).filter_map(|name| name.parse().ok()).collect()
}

/// The variant drivers of a tree; see [`ModuleTree::variants`]. Where there is no tree, what else uses
/// VFIO's core at work may be a vendor's own driver, which has the host's devices as well: it is none if
/// it has one that is not registered with VFIO.
#[must_use]
pub fn variants(root: &Root, tree: &ModuleTree, loaded: Option<&ProcModules>) -> Arc<Vec<Variant>> {
    let variants = tree.variants(loaded);
    // Before 6.1 nothing tells.
    let tells =
        variants.iter().any(|one| one.pattern.is_empty()) && root.exists("/sys/class/vfio-dev").unwrap_or(false);
    if !tells {
        return variants;
    }
    let kept = variants.iter().filter(|one| !one.pattern.is_empty() || !has_the_hosts(root, &one.module));
    Arc::new(kept.cloned().collect())
}

/// Whether a module's driver has a device that is not registered with VFIO.
fn has_the_hosts(root: &Root, module: &Module) -> bool {
    of_module(root, module).iter().any(|driver| {
        let bound = root.list(&format!("{DRIVERS}/{driver}")).unwrap_or_default();
        let mut bound = bound.iter().filter(|name| name.parse::<Address>().is_ok());
        bound.any(|name| root.exists(&format!("/sys/bus/pci/devices/{name}/vfio-dev")).is_ok_and(|there| !there))
    })
}

/// Adds a module's drivers.
pub fn add_module(root: &Root, module: &Module, drivers: &mut Drivers) {
    drivers.0.extend(of_module(root, module).into_iter().map(|driver| (driver, module.clone())));
}

/// Adds a driver that a device is on. One that says no module is taken to be of its namesake.
pub fn add_at_work(root: &Root, driver: &Driver, drivers: &mut Drivers) {
    if !drivers.0.contains_key(driver) {
        let link = root.link_name(&format!("{DRIVERS}/{driver}/module"));
        let module = link.ok().and_then(|name| name.parse().ok()).unwrap_or_else(|| driver.module());
        drivers.0.insert(driver.clone(), module);
    }
}

/// Adds a driver that the configuration names, if it is there; and what its name may mean otherwise:
/// the driver of the module that is called so.
pub fn add_named(root: &Root, driver: &Driver, drivers: &mut Drivers) {
    if driver.is_plain() && root.exists(&format!("{DRIVERS}/{driver}")).unwrap_or(false) {
        add_at_work(root, driver, drivers);
    } else if driver.is_plain() {
        add_module(root, &driver.module(), drivers);
    }
}

fn is(name: &str, module: &Module) -> bool {
    name.parse::<Module>().is_ok_and(|named| named == *module)
}

#[cfg(test)]
mod tests {
    use std::fs::create_dir_all;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn names(root: &Path, module: &str) -> Vec<String> {
        of_module(&Root::trusted(root), &module.parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_module_says_what_its_drivers_are_called() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join("sys").join(path);
        assert!(names(tree.path(), "xe_vfio_pci").is_empty());
        create_dir_all(at("bus/pci/drivers/xe_vfio_pci")).unwrap();
        assert_eq!(names(tree.path(), "xe_vfio_pci"), ["xe_vfio_pci"]);
        create_dir_all(at("bus/pci/drivers/intel-vf")).unwrap();
        symlink("../../../../module/xe_vfio_pci", at("bus/pci/drivers/intel-vf/module")).unwrap();
        assert_eq!(names(tree.path(), "xe_vfio_pci"), ["intel-vf"]);
        create_dir_all(at("module/xe_vfio_pci/drivers/pci:xe-vfio-pci")).unwrap();
        create_dir_all(at("module/xe_vfio_pci/drivers/auxiliary:other")).unwrap();
        assert_eq!(names(tree.path(), "xe_vfio_pci"), ["xe-vfio-pci"]);
    }

    #[test]
    fn a_driver_that_is_named_is_looked_up_as_one_and_then_as_a_module() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join("sys").join(path);
        create_dir_all(at("bus/pci/drivers/pci-stub")).unwrap();
        create_dir_all(at("module/xe_vfio_pci/drivers/pci:xe-vfio-pci")).unwrap();
        let root = Root::trusted(tree.path());
        for (named, expected) in [
            ("pci-stub", Some(("pci-stub", "pci_stub"))),
            ("xe_vfio_pci", Some(("xe-vfio-pci", "xe_vfio_pci"))),
            ("xe-vfio-pci", Some(("xe-vfio-pci", "xe_vfio_pci"))),
            ("none", None),
            ("../x", None),
        ] {
            let mut drivers = Drivers::default();
            if let Ok(named) = named.parse() {
                add_named(&root, &named, &mut drivers);
            }
            let found = drivers.0.iter().map(|(driver, module)| (driver.as_str(), module.as_str())).next();
            assert_eq!(found, expected, "{named}");
        }
    }
}
