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

#[test]
fn a_look_up_that_meets_a_rename_elsewhere_is_made_again_and_not_for_ever() {
    use nix::errno::Errno::{EAGAIN, ENOENT};
    for answer in [Ok(7), Err(ENOENT)] {
        let mut left = 3;
        let met = settled(|| {
            left -= 1;
            if left == 0 { answer } else { Err(EAGAIN) }
        });
        assert_eq!(met, answer);
    }
    let mut asked = 0;
    let never: nix::Result<()> = settled(|| {
        asked += 1;
        Err(EAGAIN)
    });
    assert_eq!((never, asked), (Err(EAGAIN), RACES));
}

#[test]
fn links_that_go_up_are_followed_while_others_rename() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (tree, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(tree.path().join("bus/pci")).unwrap();
    fs::create_dir_all(tree.path().join("devices")).unwrap();
    fs::write(tree.path().join("devices/class"), "0x030000\n").unwrap();
    symlink("../../bus/../devices", tree.path().join("bus/pci/link")).unwrap();
    let names = [elsewhere.path().join("a"), elsewhere.path().join("b")];
    fs::write(&names[0], "").unwrap();
    let over = AtomicBool::new(false);
    let root = Root::hostile(tree.path()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = fs::rename(&names[0], &names[1]).and_then(|()| fs::rename(&names[1], &names[0]));
            }
        });
        let failed = (0..20_000).find_map(|_| root.read_text("/bus/pci/link/class").err());
        over.store(true, Ordering::Relaxed);
        assert_eq!(failed.map(|error| error.to_string()), None);
    });
}
