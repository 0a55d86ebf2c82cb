//! Finding configuration files: what a tree in git cannot hold.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use vfiod::config::load;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/vfiod/conf.d")).unwrap();
    for (path, text) in files {
        fs::write(root.path().join(path), text).unwrap();
    }
    root
}

fn complaint(root: &Path, file: Option<&Path>) -> String {
    load(root, file).unwrap_err().to_string()
}

#[test]
fn a_file_that_is_named_is_read_alone() {
    let root = tree(&[
        ("etc/vfiod/vfiod.toml", "[watch]\nsettle = \"20ms\"\n"),
        ("etc/vfiod/conf.d/bad.toml", "no toml"),
        ("mine.toml", "[watch]\ninterval = \"7s\"\n"),
    ]);
    let settings = load(root.path(), Some(&root.path().join("mine.toml"))).unwrap();
    assert_eq!(settings.watch.interval, Duration::from_secs(7));
    assert_eq!(settings.watch.settle, Duration::from_millis(100));
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let message = complaint(Path::new("/"), Some(Path::new("/nowhere/mine.toml")));
    assert_eq!(message, "read /nowhere/mine.toml: No such file or directory");
}

#[test]
fn a_root_that_is_not_there_is_an_error() {
    assert_eq!(complaint(Path::new("/nowhere"), None), "read /nowhere: No such file or directory");
}

#[test]
fn no_link_leads_out_of_the_root() {
    let outside = tree(&[("secret", "secret words")]);
    let root = tree(&[]);
    let drop_ins = root.path().join("etc/vfiod/conf.d");
    symlink(outside.path().join("secret"), drop_ins.join("a.toml")).unwrap();
    symlink("../".repeat(30) + outside.path().join("secret").to_str().unwrap(), drop_ins.join("b.toml")).unwrap();
    let message = complaint(root.path(), None);
    assert_eq!(message.lines().count(), 2, "{message}");
    assert!(message.lines().all(|line| line.ends_with("which is not there")), "{message}");
}

#[test]
fn a_fifo_does_not_block_the_reader() {
    let root = tree(&[]);
    let fifo = root.path().join("etc/vfiod/conf.d/a.toml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(complaint(root.path(), None), "read /etc/vfiod/conf.d/a.toml: not a plain file");
    assert!(complaint(root.path(), Some(&fifo)).ends_with("not a plain file"));
}

#[test]
fn a_file_that_is_far_too_large_is_refused() {
    let root = tree(&[]);
    let file = fs::File::create(root.path().join("etc/vfiod/vfiod.toml")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(complaint(root.path(), None), "read /etc/vfiod/vfiod.toml: larger than 262144 bytes");
}

#[test]
fn a_loop_of_links_is_an_error_and_the_other_files_are_read_all_the_same() {
    let root = tree(&[("etc/vfiod/conf.d/b.toml", "[watch]\ninterval = 3\n")]);
    symlink("a.toml", root.path().join("etc/vfiod/conf.d/a.toml")).unwrap();
    let message = complaint(root.path(), None);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].starts_with("read /etc/vfiod/conf.d/a.toml: "), "{message}");
    assert!(lines[1].starts_with("/etc/vfiod/conf.d/b.toml:2:12: key `watch.interval`"), "{message}");
}

#[test]
fn a_file_name_of_strange_bytes_is_read_and_shown_on_one_line() {
    let root = tree(&[]);
    let name = OsStr::from_bytes(b"a\n\xff.toml");
    fs::write(root.path().join("etc/vfiod/conf.d").join(name), "x = 1").unwrap();
    let message = complaint(root.path(), None);
    assert!(message.starts_with("/etc/vfiod/conf.d/a\\n\u{fffd}.toml:1:1: key `x`"), "{message}");
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn thousands_of_entries_are_read() {
    // As many as fit into a file; each pair of them is compared.
    let mut text = String::new();
    for n in 0..7_000_u32 {
        text += &format!("device.e{n}.address='{:04x}:00:00.0'\n", n);
    }
    let root = tree(&[("etc/vfiod/vfiod.toml", &text)]);
    assert_eq!(load(root.path(), None).unwrap().desired.entries.len(), 7_000);
}
