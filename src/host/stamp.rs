//! A number that changes when any of the files it was made of does.

use super::root::Root;

/// Stamps of files, folded into one number. The same files give the same number in any process of
/// any version: it is kept in the state of the boot.
#[derive(Debug, Clone, Copy)]
pub struct Stamp(u64);

impl Stamp {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Stamp {
        // FNV-1a: no key, no version.
        Stamp(0xcbf2_9ce4_8422_2325)
    }

    /// Folds in a value.
    pub fn value(&mut self, bytes: &[u8]) {
        // The length keeps `ab` + `c` apart from `a` + `bc`.
        for byte in bytes.iter().copied().chain((bytes.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Folds in whether a file or directory is there, and as of when.
    pub fn file(&mut self, root: &Root, path: &str) {
        match root.stamp(path) {
            Ok(stamp) => self.value(&stamp.to_le_bytes()),
            Err(e) => self.value(e.kind().to_string().as_bytes()),
        }
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl Default for Stamp {
    fn default() -> Self {
        Stamp::new()
    }
}
