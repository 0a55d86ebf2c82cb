use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

#[test]
fn of_a_saved_tree_nothing_but_a_plain_file_is_opened() {
    let tree = tempfile::tempdir().unwrap();
    let fifo = tree.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    symlink("fifo", tree.path().join("link")).unwrap();
    let _socket = UnixListener::bind(tree.path().join("socket")).unwrap();
    fs::create_dir(tree.path().join("directory")).unwrap();
    fs::write(tree.path().join("file"), "text").unwrap();
    let opened = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    for name in ["fifo", "file"] {
        opened.add_watch(&tree.path().join(name), AddWatchFlags::IN_OPEN).unwrap();
    }
    let root = Root::hostile(tree.path()).unwrap();
    for path in ["/fifo", "/link", "/socket", "/directory"] {
        assert_eq!(root.read(path).unwrap_err().to_string(), "not a plain file", "{path}");
    }
    assert!(opened.read_events().is_err(), "the fifo was opened");
    assert_eq!(root.read_text("/file").unwrap(), "text");
    assert_eq!(opened.read_events().unwrap().len(), 1);
}

#[test]
fn a_tree_of_too_many_files_or_bytes_is_read_no_further() {
    let tree = tempfile::tempdir().unwrap();
    for n in 0..50 {
        fs::write(tree.path().join(format!("file{n}")), [b'x'; 100]).unwrap();
    }
    let names = Root::hostile_within(tree.path(), Budget::of(40, 1 << 20)).unwrap();
    let (kind, why) = (io::ErrorKind::QuotaExceeded, "more than 40 files would have to be read of this tree");
    for error in [names.list("/").unwrap_err(), names.entries("/").unwrap_err(), names.read("/file1").unwrap_err()] {
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, why));
        assert!(!is_absent(&error));
    }
    assert_eq!(names.overrun().as_deref(), Some(why));
    let bytes = Root::hostile_within(tree.path(), Budget::of(1000, 2_000)).unwrap();
    assert_eq!((0..50).filter(|n| bytes.read(&format!("/file{n}")).is_ok()).count(), 20);
    // It counts for all who have the same tree.
    assert_eq!(bytes.clone().exists("/file1").unwrap_err().kind(), kind);
    // Nobody doubts this machine's files.
    assert_eq!(Root::live().overrun(), None);
}

#[test]
fn a_file_of_a_saved_tree_that_is_too_large_is_not_read_in_part() {
    let tree = tempfile::tempdir().unwrap();
    fs::File::create(tree.path().join("file")).unwrap().set_len(17 << 20).unwrap();
    let error = Root::hostile(tree.path()).unwrap().read("/file").unwrap_err();
    assert_eq!(error.to_string(), "larger than 16777216 bytes");
}
