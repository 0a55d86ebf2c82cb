//! How much of somebody's tree is read at most: it may be made to keep its reader busy.

use std::io::{self, Error, ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::words::count;

/// Look-ups by path, and names in directories. A machine of 4,096 functions takes a seventh of it.
const FILES: u64 = 4_000_000;
/// What files hold, links lead to and names have. A machine has some megabytes.
const BYTES: u64 = 64 << 20;
/// Files larger than this are not read: no kernel file that vfiod reads is.
const LARGEST: u64 = 16 << 20;

/// What may still be read of a tree, by all who read it together.
#[derive(Debug)]
pub struct Budget {
    files: (u64, AtomicU64),
    bytes: (u64, AtomicU64),
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::of(FILES, BYTES)
    }
}

impl Budget {
    /// So many files and bytes.
    #[must_use]
    pub fn of(files: u64, bytes: u64) -> Budget {
        Budget { files: (files, AtomicU64::new(0)), bytes: (bytes, AtomicU64::new(0)) }
    }

    /// Takes one look-up, or one name of so many bytes.
    ///
    /// # Errors
    /// `QuotaExceeded` when there is nothing left, here and from then on.
    pub fn take(&self, bytes: usize) -> io::Result<()> {
        self.files.1.fetch_add(1, Ordering::Relaxed);
        self.take_bytes(bytes)
    }

    fn take_bytes(&self, bytes: usize) -> io::Result<()> {
        self.bytes.1.fetch_add(bytes as u64, Ordering::Relaxed);
        self.overrun().map_or(Ok(()), |why| Err(Error::new(ErrorKind::QuotaExceeded, why)))
    }

    /// Why no more is read; none while more is.
    #[must_use]
    pub fn overrun(&self) -> Option<String> {
        let over = |(most, taken): &(u64, AtomicU64)| taken.load(Ordering::Relaxed) > *most;
        let what = match (over(&self.files), over(&self.bytes)) {
            (true, _) => count(self.files.0, "file"),
            (false, true) => count(self.bytes.0, "byte"),
            (false, false) => return None,
        };
        Some(format!("more than {what} would have to be read of this tree"))
    }

    /// Reads a file of the tree on the account of all.
    ///
    /// # Errors
    /// `FileTooLarge` when it says that it is larger than any file that vfiod reads.
    pub fn reader<R: Read>(&self, file: R, size: u64) -> io::Result<Metered<'_, R>> {
        if size > LARGEST {
            return Err(too_large());
        }
        Ok(Metered { file, budget: self, read: 0 })
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::FileTooLarge, format!("larger than {LARGEST} bytes"))
}

/// A file whose bytes are counted.
#[derive(Debug)]
pub struct Metered<'b, R> {
    file: R,
    budget: &'b Budget,
    read: u64,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read += length as u64;
        self.budget.take_bytes(length)?;
        // It may grow, or have said nothing of its size, as files of /proc do.
        if self.read > LARGEST { Err(too_large()) } else { Ok(length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_end_is_left_after_a_time() {
        let budget = Budget::default();
        let mut bytes = Vec::new();
        let error = budget.reader(io::repeat(0), 0).unwrap().read_to_end(&mut bytes).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::FileTooLarge, "larger than 16777216 bytes"));
        assert_eq!(budget.reader(io::empty(), 1 << 40).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_is_taken_by_one_is_not_there_for_another() {
        let budget = Budget::of(3, 100);
        assert!(budget.take(10).is_ok() && budget.take(10).is_ok());
        let mut bytes = Vec::new();
        assert_eq!(budget.reader(&[7; 80][..], 80).unwrap().read_to_end(&mut bytes).unwrap(), 80);
        assert_eq!(budget.overrun(), None);
        assert_eq!(budget.take(1).unwrap_err().to_string(), "more than 100 bytes would have to be read of this tree");
        assert!(budget.reader(&[7; 80][..], 80).unwrap().read(&mut [0]).is_err());
        let budget = Budget::of(1, 100);
        assert!(budget.take(0).is_ok() && budget.take(0).is_err());
        assert_eq!(budget.overrun().unwrap(), "more than 1 file would have to be read of this tree");
    }
}
