//! What is not saved as it is, but as it was understood: the kernel's log, whether a function
//! answers, the host's keyboards, and the way from the root file system to its disk.

use std::collections::BTreeMap;

use super::gather::Gathering;
use super::places::Item;
use crate::host::survey::behind::Way;
use crate::host::survey::root_disk::{BTRFS, MOUNTS as TABLES, Mount};
use crate::host::survey::usb;
use crate::host::surveyor;
use crate::model::pci::Address;
use crate::model::preflight::survey::{Function, Said};
use crate::model::snapshot::Fact;

/// A table of mounts larger than this is none.
const MOUNTS: u64 = 16 << 20;

/// Keeps all of it.
pub async fn keep(gathering: &mut Gathering<'_>) {
    match surveyor::take(gathering.root).await {
        Ok(survey) => {
            answers(gathering, survey.functions);
            people(gathering, survey.people);
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

/// What people use by controllers of USB: the classes of those interfaces, and nothing of what they are.
fn people(gathering: &mut Gathering<'_>, people: BTreeMap<Address, Fact<Vec<String>>>) {
    for (address, used) in people {
        let Fact::Is(used) = used else { continue };
        let path = format!("/sys/bus/pci/devices/{address}");
        let path = match gathering.places.directory(&path) {
            Ok(path) => path,
            Err(e) => {
                gathering.failed("find", &path, &e);
                continue;
            }
        };
        // The hubs between are left out, so these places are not the machine's own.
        let mut put = |path: String, text: &str| {
            gathering.places.items.insert(path, Item::File(format!("{text}\n").into_bytes()));
        };
        if used.is_empty() {
            // A bus with nothing on it but its own hub.
            put(format!("{path}/usb1/1-0:1.0/bInterfaceClass"), "09");
        }
        for (number, (protocol, place)) in used.iter().filter_map(|sentence| usb::read_back(sentence)).enumerate() {
            let bus = place.split('-').next().unwrap_or_default();
            let interface = format!("{path}/usb{bus}/{place}/{place}:1.{number}");
            put(format!("{interface}/bInterfaceClass"), "03");
            put(format!("{interface}/bInterfaceProtocol"), protocol);
        }
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
    let mount = Mount::of_system(&text, root).into_iter().next();
    let mount = mount.filter(|mount| mount.number.bytes().all(|b| b.is_ascii_digit() || b == b':'));
    let link = mount.as_ref().map(|mount| mount.link(root));
    let line = mount.as_ref().map(|mount| {
        // What has no number is found again by the kernel's name of its device.
        let (kind, source) = match &link {
            Some(Ok(None)) => (mount.kind, "none"),
            Some(Ok(Some(link))) => {
                // Of a btrfs the other devices are looked for, too.
                let kind = if mount.kind == "btrfs" { "btrfs" } else { "none" };
                (kind, link.strip_prefix("/sys/class/block/").unwrap_or("none"))
            }
            _ => ("none", "none"),
        };
        let device = if source == "none" { "" } else { "/dev/" };
        format!("1 0 {} / / rw - {kind} {device}{source} rw\n", mount.number)
    });
    gathering.places.items.insert("/proc/self/mountinfo".to_owned(), Item::File(line.unwrap_or_default().into_bytes()));
    if let (Some(mount), Some(Ok(Some(link)))) = (mount, link) {
        if mount.kind == "btrfs"
            && let Err(e) = gathering.places.directory(BTRFS)
        {
            gathering.failed("list", BTRFS, &e);
        }
        way(gathering, mount.way(root, link));
    }
}

/// Keeps the links on the way. That of a btrfs has the file system's own number in its path, which is
/// nobody's business: another name leads the same way.
fn way(gathering: &mut Gathering<'_>, way: Way) {
    for (link, place) in way.links {
        let Some(device) = link.strip_prefix(BTRFS).and_then(|rest| rest.rsplit('/').next()) else {
            gathering.link(&link);
            continue;
        };
        // Of what has no place the copy has a file, which leads nowhere either.
        let item = match place.as_deref().and_then(|place| place.strip_prefix("/sys/")) {
            Some(place) => Item::Link(format!("../../../../{place}")),
            None => Item::File(Vec::new()),
        };
        gathering.places.items.insert(format!("{BTRFS}/root/devices/{device}"), item);
    }
}
