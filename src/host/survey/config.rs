//! Whether a function answers: the first bytes of its configuration space.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::host::root::{Root, is_absent};
use crate::model::pci::Address;
use crate::model::snapshot::Fact;

/// Asks each function, one after another in a thread of its own: while a device is reset, reading
/// waits. Only the vendor's id is read; some devices hang when registers are read that they lack.
#[must_use]
pub fn answers(root: &Root, asked: Vec<Address>, patience: Duration) -> BTreeMap<Address, Fact<bool>> {
    let (sender, answers) = channel();
    let (root, addresses) = (root.clone(), asked.clone());
    let work = move || {
        for address in addresses {
            if sender.send((address, ask(&root, address))).is_err() {
                return;
            }
        }
    };
    let why = match Builder::new().spawn(work) {
        Ok(_) => format!("reading config did not return within {patience:?}"),
        Err(e) => format!("read config: start a thread: {e}"),
    };
    let mut found: BTreeMap<Address, Fact<bool>> =
        asked.into_iter().map(|address| (address, Fact::Unreadable(why.clone()))).collect();
    let deadline = Instant::now() + patience;
    loop {
        match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((address, answer)) => _ = found.insert(address, answer),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return found,
        }
    }
}

fn ask(root: &Root, address: Address) -> Fact<bool> {
    let path = format!("/sys/bus/pci/devices/{address}/config");
    let mut vendor = [0; 2];
    match root.reader(&path).and_then(|mut reader| reader.read_exact(&mut vendor)) {
        Ok(()) => Fact::Is(vendor != [0xff; 2]),
        Err(e) if is_absent(&e) => Fact::Absent,
        Err(e) => Fact::Unreadable(format!("read {path}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ones_is_no_answer_and_a_read_that_blocks_holds_up_nobody_for_ever() {
        let tree = tempfile::tempdir().unwrap();
        let addresses: Vec<Address> =
            ["00:01.0", "00:02.0", "00:03.0"].iter().map(|text| text.parse().unwrap()).collect();
        for (address, bytes) in addresses.iter().zip([Some([0x86, 0x80]), Some([0xff, 0xff]), None]) {
            let device = tree.path().join(format!("sys/bus/pci/devices/{address}"));
            std::fs::create_dir_all(&device).unwrap();
            match bytes {
                Some(bytes) => std::fs::write(device.join("config"), bytes).unwrap(),
                // Opening a fifo without a writer blocks as the kernel does.
                None => nix::unistd::mkfifo(&device.join("config"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
            }
        }
        let found = answers(&Root::trusted(tree.path()), addresses.clone(), Duration::from_millis(300));
        assert_eq!(found[&addresses[0]], Fact::Is(true));
        assert_eq!(found[&addresses[1]], Fact::Is(false));
        assert!(found[&addresses[2]].unreadable().unwrap().contains("did not return within 300ms"));
    }
}
