//! Use that shows in a module's reference count alone.
//!
//! An opened VFIO device pins its driver's module. The descriptor may be out of sight: on its way
//! through a socket, registered with io_uring, or its process is ending and its memory is still
//! being unmapped. Binding pins nothing, and neither does opening just the group (seen on 6.1).

use crate::host::root::Root;
use crate::model::pci::Driver;
use crate::model::snapshot::Holder;

/// The module that a driver is in; none where it is built in.
#[must_use]
pub fn module(root: &Root, driver: &Driver) -> Option<String> {
    root.link_name(&format!("/sys/bus/pci/drivers/{driver}/module")).ok()
}

/// How often the module of a driver is used; none where the kernel does not count (built in).
#[must_use]
pub fn of(root: &Root, driver: &Driver) -> Option<(String, u32)> {
    let module = module(root, driver)?;
    let count = root.read_text(&format!("/sys/module/{module}/refcnt")).ok()?;
    Some((module, count.trim().parse().ok()?))
}

/// A stand-in for the holder that was not found, when the module is used more often than open
/// devices of it were seen. They are counted once each, never by their descriptors.
///
/// The count must be read after the scan: a device opened meanwhile then shows here, and one
/// closed meanwhile does not.
#[must_use]
pub fn unexplained(module: &str, count: u32, devices_seen: usize) -> Option<Holder> {
    (count as usize > devices_seen).then(|| Holder {
        pid: 0,
        comm: "unknown".to_owned(),
        unit: String::new(),
        uid: 0,
        node: format!("{module} (module refcount {count}, open devices found {devices_seen})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_count_that_nobody_explains_is_a_holder_nobody_knows() {
        let holder = unexplained("vfio_pci", 1, 0).unwrap();
        assert_eq!((holder.pid, holder.comm.as_str()), (0, "unknown"));
        assert!(holder.node.contains("vfio_pci (module refcount 1"));
        assert_eq!(unexplained("vfio_pci", 1, 1), None);
        assert_eq!(unexplained("vfio_pci", 0, 0), None);
    }

    #[test]
    fn the_module_is_the_one_the_driver_links_to() {
        let tree = tempfile::tempdir().unwrap();
        let driver = tree.path().join("sys/bus/pci/drivers/vfio-pci");
        fs::create_dir_all(&driver).unwrap();
        let root = Root::trusted(tree.path());
        assert_eq!(of(&root, &Driver::vfio_pci()), None);
        symlink("../../../../module/vfio_pci", driver.join("module")).unwrap();
        fs::create_dir_all(tree.path().join("sys/module/vfio_pci")).unwrap();
        fs::write(tree.path().join("sys/module/vfio_pci/refcnt"), "2\n").unwrap();
        assert_eq!(of(&root, &Driver::vfio_pci()), Some(("vfio_pci".to_owned(), 2)));
    }
}
