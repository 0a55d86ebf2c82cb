//! Files of vfiod's own: whole or not at all, and for nobody else.

#![allow(clippy::disallowed_methods, reason = "the files are vfiod's own, below its own directories")]

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The mode of files that nobody else may open: they have command lines of others, and whoever can
/// open the lock can lock it.
const PRIVATE: u32 = 0o600;

/// Opens a file, which is made where it is missing, and takes it from everybody else: whatever the
/// umask, and whatever mode it had.
///
/// # Errors
/// As `open(2)` and `fchmod(2)`.
pub fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.create(true).mode(PRIVATE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o7777 != PRIVATE {
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
    }
    Ok(file)
}

/// Reads a whole file; none where there is none.
///
/// # Errors
/// As `read(2)`; `InvalidData` and `UnexpectedEof` where it makes no sense.
pub fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a whole file or none: a crash in between leaves the old one. It is on disk when this
/// returns, under its name as well.
///
/// # Errors
/// As `write(2)`, `fsync(2)` and `rename(2)`.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = put(&new, path, value);
    if written.is_err() {
        // It takes room where there is none.
        let _ = fs::remove_file(&new);
    }
    written
}

fn put<T: Serialize>(new: &Path, path: &Path, value: &T) -> io::Result<()> {
    let mut file = private(OpenOptions::new().write(true).truncate(true), new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_data()?;
    fs::rename(new, path)?;
    // Until the directory is on disk a power cut brings the old file back.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Removes a file, if it is there.
///
/// # Errors
/// As `unlink(2)`.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
