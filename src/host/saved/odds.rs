//! What is not saved as it is, but as it was understood: the kernel's log, whether a function
//! answers, and the way from the root file system to its disk.

use std::collections::BTreeMap;

use super::gather::Gathering;
use crate::host::survey::root_disk::{MOUNTS as TABLES, Mount};
use crate::host::surveyor;
use crate::model::pci::Address;
use crate::model::preflight::survey::{Function, Said};
use crate::model::snapshot::Fact;

/// More disks than any mapped device has.
const MANY: usize = 64;
/// A table of mounts larger than this is none.
const MOUNTS: u64 = 16 << 20;

/// Keeps all of it.
pub async fn keep(gathering: &mut Gathering<'_>) {
    match surveyor::take(gathering.root).await {
        Ok(survey) => {
            answers(gathering, survey.functions);
            log(gathering, survey.log);
        }
        Err(why) => gathering.unread.push(format!("read config and /dev/kmsg: {why}")),
    }
    root_disk(gathering);
}

/// The first two bytes of configuration space, of those that are awake: the vendor's id, or all ones.
fn answers(gathering: &mut Gathering<'_>, functions: BTreeMap<Address, Function>) {
    for (address, function) in functions {
        let bytes = match function.answers {
            Fact::Is(true) => function.card.ids.vendor.to_le_bytes(),
            Fact::Is(false) => [0xff; 2],
            Fact::Absent | Fact::Unreadable(_) => continue,
        };
        gathering.put(&format!("/sys/bus/pci/devices/{address}/config"), bytes.to_vec());
    }
}

/// The kernel's messages that bear on passing through, as records of `/dev/kmsg`.
fn log(gathering: &mut Gathering<'_>, log: Fact<Vec<Said>>) {
    match log {
        Fact::Is(said) => {
            let text: String = said.iter().map(|said| format!("6,0,0,-;{}\n", said.text)).collect();
            gathering.put("/dev/kmsg", text.into_bytes());
        }
        Fact::Absent => {}
        Fact::Unreadable(why) => gathering.unread.push(why),
    }
}

/// The root file system's line in the table of mounts, without what it names, and the links from its
/// device to the disk.
///
/// It is saved as the reader's own table: with a process in /proc the tree would seem to know who has
/// devices open.
fn root_disk(gathering: &mut Gathering<'_>) {
    let root = gathering.root;
    let Some(bytes) = TABLES.iter().find_map(|path| {
        let plain = root.is_plain(path).unwrap_or(false);
        plain.then(|| root.read(path).ok()).flatten().filter(|bytes| bytes.len() as u64 <= MOUNTS)
    }) else {
        return;
    };
    let text = String::from_utf8_lossy(&bytes);
    let mount = Mount::of_root(&text).filter(|mount| mount.number.bytes().all(|b| b.is_ascii_digit() || b == b':'));
    let link = mount.as_ref().map(|mount| mount.link(root));
    let line = mount.map(|mount| {
        // What has no number is found again by the kernel's name of its device.
        let (kind, source) = match &link {
            Some(Ok(None)) => (mount.kind, "none"),
            Some(Ok(Some(link))) => ("none", link.strip_prefix("/sys/class/block/").unwrap_or("none")),
            _ => ("none", "none"),
        };
        let device = if source == "none" { "" } else { "/dev/" };
        format!("1 0 {} / / rw - {kind} {device}{source} rw\n", mount.number)
    });
    gathering
        .places
        .items
        .insert("/proc/self/mountinfo".to_owned(), super::places::Item::File(line.unwrap_or_default().into_bytes()));
    if let Some(Ok(Some(link))) = link {
        behind(gathering, &link, 4);
    }
}

/// Keeps a link of a block device; of a mapped device, those of the ones below it too.
fn behind(gathering: &mut Gathering<'_>, link: &str, depth: u32) {
    let Ok(target) = gathering.root.read_link(link) else { return };
    gathering.link(link);
    let function = |step: &str| step.len() >= 12 && step.parse::<Address>().is_ok();
    if depth == 0 || target.iter().filter_map(|step| step.to_str()).any(function) {
        return;
    }
    let slaves = format!("{link}/slaves");
    let Ok(names) = gathering.root.list(&slaves) else { return };
    for slave in names.iter().take(MANY) {
        behind(gathering, &format!("{slaves}/{slave}"), depth - 1);
    }
}
