//! The device serial number: an extended capability in PCI configuration space.
//!
//! From Linux 7.2 on the kernel shows it in `serial_number`, to root without any capability. Of `config`
//! a reader without CAP_SYS_ADMIN gets the first 64 bytes only, in which it is not.

use super::root::Root;
use crate::model::pci;
use crate::model::snapshot::Fact;

/// Where extended capabilities begin. Without the rights, sysfs gives the first 64 bytes only.
const EXTENDED: usize = 0x100;
const SERIAL: u32 = 0x0003;

/// Reads the serial number of the device at `directory`.
pub(in crate::host) fn read(root: &Root, directory: &str) -> Fact<String> {
    // Older kernels have no such file, and a device without a serial number has none, or EIO is read.
    let shown = root.read_text(&format!("{directory}/serial_number")).ok();
    if let Some(serial) = shown.as_deref().and_then(pci::serial) {
        return Fact::Is(serial);
    }
    let path = format!("{directory}/config");
    match root.read(&path) {
        Ok(config) => find(&config),
        Err(e) => Fact::Unreadable(format!("read {path}: {e}")),
    }
}

/// Finds the serial number in the content of `config`, as lspci shows it: `00-1b-21-ff-ff-a2-b3-c4`.
#[must_use]
pub fn find(config: &[u8]) -> Fact<String> {
    match config.len() {
        256 => return Fact::Absent,
        0..EXTENDED => {
            return Fact::Unreadable(format!("config has {} bytes: not permitted to read all", config.len()));
        }
        _ => {}
    }
    if config[..4] == [0xff; 4] {
        return Fact::Unreadable("config is all ones: the device does not answer".to_owned());
    }
    let mut at = EXTENDED;
    // Each capability has at least 8 bytes; a chain that is longer than that allows runs in a circle.
    for _ in 0..(4096 - EXTENDED) / 8 {
        let Some(header) = word(config, at) else {
            return Fact::Unreadable(format!("config ends at {} bytes, before its capabilities do", config.len()));
        };
        if header == 0 || header == u32::MAX {
            return Fact::Absent;
        }
        if header & 0xffff == SERIAL {
            let (Some(low), Some(high)) = (word(config, at + 4), word(config, at + 8)) else {
                return Fact::Unreadable("config ends within the serial number".to_owned());
            };
            let bytes = (u64::from(high) << 32 | u64::from(low)).to_be_bytes();
            return Fact::Is(bytes.map(|byte| format!("{byte:02x}")).join("-"));
        }
        at = (header >> 20) as usize & !3;
        if at < EXTENDED {
            return Fact::Absent;
        }
    }
    Fact::Unreadable("the capabilities in config form a circle".to_owned())
}

fn word(config: &[u8], at: usize) -> Option<u32> {
    let bytes = config.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(length: usize, words: &[(usize, u32)]) -> Vec<u8> {
        let mut config = vec![0; length];
        config[..4].copy_from_slice(&[0x86, 0x80, 0xd3, 0x10]);
        for (at, word) in words {
            config[*at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        config
    }

    #[test]
    fn the_serial_number_is_found_behind_other_capabilities() {
        // QEMU's e1000e: advanced error reporting, then the serial number.
        let config =
            config(4096, &[(0x100, 0x1401_0001), (0x140, 0x0001_0003), (0x144, 0xff12_3456), (0x148, 0x5254_00ff)]);
        assert_eq!(find(&config), Fact::Is("52-54-00-ff-ff-12-34-56".to_owned()));
    }

    #[test]
    fn what_the_kernel_shows_comes_before_configuration_space() {
        let serial = |shown: Option<&str>, config: Option<Vec<u8>>| {
            let tree = tempfile::tempdir().unwrap();
            let at = |name: &str| tree.path().join(name);
            if let Some(shown) = shown {
                std::fs::write(at("serial_number"), shown).unwrap();
            }
            if let Some(config) = config {
                std::fs::write(at("config"), config).unwrap();
            }
            read(&Root::trusted(tree.path()), "")
        };
        let whole = || Some(config(4096, &[(0x100, 0x0001_0003), (0x104, 0xff12_3456), (0x108, 0x5254_00ff)]));
        let is = |serial: &str| Fact::Is(serial.to_owned());
        let without_rights = || Some(config(64, &[]));
        assert_eq!(serial(Some("52-54-00-FF-FF-12-34-57\n"), without_rights()), is("52-54-00-ff-ff-12-34-57"));
        assert_eq!(serial(Some("52-54-00-ff-ff-12-34-57\n"), None), is("52-54-00-ff-ff-12-34-57"));
        assert_eq!(serial(None, whole()), is("52-54-00-ff-ff-12-34-56"));
        // What makes no sense is not taken for one, nor for none.
        assert_eq!(serial(Some("\n"), whole()), is("52-54-00-ff-ff-12-34-56"));
        assert!(serial(Some("garbage"), without_rights()).unreadable().is_some());
        assert!(serial(None, None).unreadable().is_some());
        assert_eq!(serial(None, Some(config(256, &[]))), Fact::Absent);
    }

    #[test]
    fn none_is_absent_and_what_cannot_be_read_is_not() {
        assert_eq!(find(&config(4096, &[])), Fact::Absent);
        assert_eq!(find(&config(4096, &[(0x100, 0x0001_0001)])), Fact::Absent);
        assert_eq!(find(&config(256, &[])), Fact::Absent);
        for config in [
            config(64, &[]),
            vec![],
            vec![0xff; 4096],
            config(4096, &[(0x100, 0x1401_0001), (0x140, 0x1001_0001)]),
            config(260, &[(0x100, 0x1401_0001)]),
            config(264, &[(0x100, 0x0001_0003)]),
        ] {
            assert!(find(&config).unreadable().is_some());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_config_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..5000)) {
            let _ = find(&bytes);
        }
    }
}
