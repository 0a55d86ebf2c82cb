//! A tree of files that is written down in one: readable in a diff, and git keeps empty directories.
//!
//! ```text
//! # a comment
//! include linux-6.1                    the lines of ../linux-6.1.tree come first
//! proc/cmdline = quiet                 a file, with a line break at its end; \n is one within it
//! sys/bus/pci/devices/X -> ../target   a link
//! sys/firmware/acpi/tables/DMAR <- corpus/dmar/lab-rmrr     the bytes of a file below tests/
//! sys/devices/pci0000:00/X/            a directory
//!     vendor = 0x8086                  below the last directory
//! without sys/module/vfio_pci          what an included file has and this tree has not
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

/// Makes the tree that a file describes.
pub fn unpack(file: &Path) -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    unpack_into(tree.path(), file);
    tree
}

fn unpack_into(root: &Path, file: &Path) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut above = String::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{}:{}: {line}", file.display(), number + 1);
        let indented = line.starts_with(' ');
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("include ") {
            unpack_into(root, &file.parent().unwrap().with_file_name(format!("{name}.tree")));
        } else if let Some(path) = line.strip_prefix("without ") {
            let path = root.join(path);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                .unwrap_or_else(|e| panic!("{}: {e}", place()));
        } else {
            let below = if indented { above.as_str() } else { "" };
            make(root, below, line).unwrap_or_else(|e| panic!("{}: {e}", place()));
            if !indented && line.ends_with('/') {
                line.clone_into(&mut above);
            }
        }
    }
}

fn make(root: &Path, below: &str, line: &str) -> std::io::Result<()> {
    let at = |path: &str| {
        let path = root.join(below).join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all).map(|()| path)
    };
    if let Some((path, target)) = line.split_once(" -> ") {
        symlink(target, at(path)?)
    } else if let Some((path, bytes)) = line.split_once(" <- ") {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(bytes), at(path)?).map(|_| ())
    } else if let Some((path, text)) = line.split_once(" =") {
        let text = text.trim_start().replace("\\n", "\n");
        fs::write(at(path)?, if text.is_empty() { text } else { text + "\n" })
    } else if line.ends_with('/') {
        fs::create_dir_all(at(line)?)
    } else {
        Err(std::io::Error::other("neither a file, nor a link, nor a directory"))
    }
}
