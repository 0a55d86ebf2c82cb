//! Takes the whole survey.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    claims, functions, groups, ids, iomem, kmsg, machine, modules, needs, private, read, remapping, root_disk, usb,
};
use crate::host::drivers;
use crate::host::mediated;
use crate::host::module_tree::ModuleTree;
use crate::host::proc_modules::ProcModules;
use crate::host::root::Root;
use crate::model::preflight::survey::Survey;
use crate::model::snapshot::Fact;
use crate::model::variant::Drivers;

/// Reads every fact. `patience` bounds what may block: that long for all of it together.
#[must_use]
pub fn take(root: &Root, patience: Duration) -> Survey {
    let mut unread = Vec::new();
    let wanted = ["virtio_iommu"].iter().filter_map(|name| name.parse().ok()).collect();
    let tree = ModuleTree::read(root, &wanted);
    let functions = functions::read(root, patience, &mut unread);
    let uses = needs::uses(root, &functions, patience, &mut unread);
    let groups = groups::read(root, &mut unread);
    let mediated = match mediated::all(root, &functions.keys().copied().collect()) {
        Ok(found) => Fact::Is(found),
        Err(why) => Fact::Unreadable(why),
    };
    let machine = machine::read(root);
    let mut claims = claims::read(root, &machine, &mut unread);
    let vfio = modules::read(root, &machine.cmdline, &tree, &mut unread);
    let vfio_pci = vfio.iter().find(|(module, _)| module.as_str() == "vfio_pci");
    claims.extend(vfio_pci.map(|(_, vfio)| ids::claims(&vfio.given)).unwrap_or_default());
    let variants = drivers::variants(root, &tree, ProcModules::told(root).ok().as_ref());
    let mut drivers = Drivers::default();
    let modules: BTreeSet<_> = variants.iter().map(|variant| &variant.module).collect();
    for module in modules.into_iter().filter(|module| module.as_str() != "vfio_pci") {
        drivers::add_module(root, module, &mut drivers);
    }
    let bound: BTreeSet<_> = functions.values().filter_map(|function| function.driver.is()).collect();
    bound.into_iter().for_each(|driver| drivers::add_at_work(root, driver, &mut drivers));
    Survey {
        iommu: remapping::read(root, &tree, machine.arch),
        people: usb::read(root, &functions),
        modules: vfio,
        variants: variants.to_vec(),
        drivers,
        lockdown: modules::lockdown(root),
        autoprobe: read::parsed(root, "/sys/bus/pci/drivers_autoprobe", read::switch),
        framebuffers: iomem::read(root),
        private: private::places(root, &claims, &unread),
        claims,
        log: kmsg::read(root, patience),
        root_disk: root_disk::root_disk(root),
        uses,
        container: groups::node(root, "/dev/vfio/vfio"),
        device_nodes: groups::device_nodes(root),
        iommufd: groups::node(root, "/dev/iommu"),
        iommufd_unsafe: read::parsed(root, "/sys/module/iommufd/parameters/allow_unsafe_interrupts", read::switch),
        holders: match groups::holders(root, &groups, mediated.is().unwrap_or(&BTreeMap::new())) {
            Ok(holders) => Fact::Is(holders),
            Err(why) => Fact::Unreadable(why),
        },
        mediated,
        machine,
        functions,
        groups,
        unread,
        saved: !root.is_live(),
    }
}
