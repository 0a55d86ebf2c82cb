//! What lies below functions: the numbers of their nodes, their interfaces and disks, as
//! [`look::nodes`](crate::host::look::nodes) looks for them.

use super::gather::Gathering;
use crate::host::look::attributes::DEVICES;
use crate::host::look::nodes::{BARREN, multipath_head};
use crate::model::pci::Address;

/// More directories than any machine has below its functions; a hostile tree may.
const MOST: usize = 1_000_000;

/// Walks each function's directory without following a link. A function below another one is
/// walked by itself.
pub fn keep(gathering: &mut Gathering<'_>) {
    let names = gathering.root.list(DEVICES).unwrap_or_default();
    let mut todo: Vec<(String, String)> = Vec::new();
    for name in names.iter().filter(|name| name.parse::<Address>().is_ok()) {
        match gathering.places.directory(&format!("{DEVICES}/{name}")) {
            Ok(place) => todo.push((place, String::new())),
            Err(e) => gathering.failed("find", &format!("{DEVICES}/{name}"), &e),
        }
    }
    let mut seen = 0;
    while let Some((path, name)) = todo.pop() {
        seen += 1;
        if seen > MOST {
            gathering.unread.push("there are too many directories below the functions".to_owned());
            return;
        }
        let entries = match gathering.root.entries(&path) {
            Ok(entries) => entries,
            Err(e) => {
                gathering.failed("list", &path, &e);
                continue;
            }
        };
        if name == "net" {
            directory(gathering, &path);
            let interfaces = entries.iter().filter(|(_, is_directory)| *is_directory);
            interfaces.for_each(|(interface, _)| directory(gathering, &format!("{path}/{interface}")));
        } else if !name.is_empty() && entries.iter().any(|(entry, _)| entry == "dev") {
            node(gathering, &path);
        }
        if name == "vfio-dev" {
            directory(gathering, &path);
        }
        if let Some(head) = multipath_head(&name) {
            directory(gathering, &path);
            heads(gathering, &head);
        }
        let wanted = |name: &str| !BARREN.contains(&name) && name.parse::<Address>().is_err();
        let inner = entries.into_iter().filter(|(name, is_directory)| *is_directory && wanted(name));
        todo.extend(inner.map(|(name, _)| (format!("{path}/{name}"), name)));
    }
}

fn directory(gathering: &mut Gathering<'_>, path: &str) {
    if let Err(e) = gathering.places.directory(path) {
        gathering.failed("find", path, &e);
    }
}

fn node(gathering: &mut Gathering<'_>, path: &str) {
    gathering.whole(&format!("{path}/dev"));
    gathering.link(&format!("{path}/subsystem"));
}

/// The disk that stands for a path to an NVMe namespace, its partitions and its character device.
fn heads(gathering: &mut Gathering<'_>, head: &str) {
    let disk = format!("/sys/class/block/{head}");
    let Ok(entries) = gathering.root.entries(&disk) else { return };
    node(gathering, &disk);
    for (name, is_directory) in entries {
        if is_directory && name.starts_with(head) {
            node(gathering, &format!("{disk}/{name}"));
        }
    }
    node(gathering, &format!("/sys/class/nvme-generic/{}", head.replacen("nvme", "ng", 1)));
}
