//! A saved machine as a tar file. All of it is below one directory, and nothing in it is owned by
//! anybody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::gather::Saved;
use super::places::Item;
use crate::host::root::WHOLE;

/// The directory that all is below.
pub const TOP: &str = "vfiod-snapshot";

/// Writes the archive; `taken` is in seconds since the epoch.
///
/// # Errors
/// As `write(2)`.
pub fn write(saved: &Saved, taken: u64, out: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(out);
    let head = |kind, size: usize| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_mtime(taken);
        header.set_size(size as u64);
        header
    };
    archive.append_data(&mut head(EntryType::Directory, 0), format!("{TOP}/"), io::empty())?;
    let about = about(saved);
    archive.append_data(&mut head(EntryType::Regular, about.len()), format!("{TOP}/snapshot"), about.as_bytes())?;
    for (path, item) in &saved.items {
        let path = format!("{TOP}{path}");
        match item {
            Item::Directory => {
                archive.append_data(&mut head(EntryType::Directory, 0), format!("{path}/"), io::empty())?;
            }
            Item::Link(target) => archive.append_link(&mut head(EntryType::Symlink, 0), path, target)?,
            Item::File(bytes) => {
                archive.append_data(&mut head(EntryType::Regular, bytes.len()), path, bytes.as_slice())?;
            }
        }
    }
    archive.into_inner()?.flush()
}

/// What the tree says of itself.
fn about(saved: &Saved) -> String {
    let mut text = format!("vfiod {}\nLook at it: vfiodctl --root {TOP} check\n", env!("CARGO_PKG_VERSION"));
    if saved.whole {
        text += &format!("{WHOLE}what is not in it, nor named below, was not there.\n");
    }
    if !saved.unread.is_empty() {
        text += "Could not be read:\n";
        text.extend(saved.unread.iter().map(|why| format!("  {why}\n")));
    }
    text
}

/// Writes the archive to a file that only its owner may read. A file that is there is replaced when
/// `force` says so; one that could not be written whole is removed.
///
/// # Errors
/// As `open(2)` and `write(2)`; `AlreadyExists`; `InvalidInput` for what is there and no plain file.
pub fn create(saved: &Saved, taken: u64, path: &Path, force: bool) -> io::Result<()> {
    if force {
        match fs::symlink_metadata(path) {
            Ok(there) if there.is_file() => fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is there, and no plain file")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    let file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    write(saved, taken, BufWriter::new(file)).inspect_err(|_| {
        // The first failure is told; a second one would only hide it.
        let _ = fs::remove_file(path);
    })
}
