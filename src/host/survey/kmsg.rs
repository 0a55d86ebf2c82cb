//! The kernel's log: `/dev/kmsg`, where this process may read it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::libc::{EPIPE, O_NONBLOCK};

use super::log::recognise_all;
use super::read;
use crate::host::look::patience::start;
use crate::host::root::Root;
use crate::model::preflight::survey::Said;
use crate::model::snapshot::Fact;

const KMSG: &str = "/dev/kmsg";
/// More records than a kernel keeps.
const MANY: usize = 1 << 17;

/// Reads what the kernel has said. In a saved tree it is a plain file of the same lines, or the
/// output of dmesg.
#[must_use]
pub fn read(root: &Root, patience: Duration) -> Fact<Vec<Said>> {
    if !root.is_live() {
        return match read::fact("read", KMSG, root.read_text(KMSG)) {
            Fact::Is(text) => Fact::Is(recognise_all(text.lines())),
            Fact::Absent => Fact::Absent,
            Fact::Unreadable(why) => Fact::Unreadable(why),
        };
    }
    let root = root.clone();
    let reading = start("reading /dev/kmsg", patience, move || records(&root));
    reading.and_then(|pending| Ok(pending.wait()?)).unwrap_or_else(Fact::Unreadable)
}

/// All records that the kernel still has: each read gives one, the end is "would block".
fn records(root: &Root) -> Fact<Vec<Said>> {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(root.join(KMSG));
    let mut file = match read::fact("open", KMSG, file) {
        Fact::Is(file) => file,
        Fact::Absent => return Fact::Absent,
        Fact::Unreadable(why) => return Fact::Unreadable(why),
    };
    let mut record = vec![0; 8192];
    let mut lines: Vec<String> = Vec::new();
    for _ in 0..MANY {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default()).into_owned();
                // Behind the message come lines about the device; only the message counts.
                lines.extend(text.lines().next().map(str::to_owned));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            // Records were overwritten while they were read: the next one is there.
            Err(e) if e.raw_os_error() == Some(EPIPE) || e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Fact::Unreadable(format!("read {KMSG}: {e}")),
        }
    }
    Fact::Is(recognise_all(lines.iter().map(String::as_str)))
}
