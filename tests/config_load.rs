//! Finding configuration files: what a tree in git cannot hold.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use vfiod::config::{load, load_as_of};

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
fn links_that_go_up_are_followed_while_others_rename() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let root = tree(&[("etc/mine.toml", "[watch]\ninterval = \"7s\"\n")]);
    symlink("../../vfiod/conf.d/../../mine.toml", root.path().join("etc/vfiod/conf.d/a.toml")).unwrap();
    let elsewhere = tree(&[("a", "")]);
    let names = [elsewhere.path().join("a"), elsewhere.path().join("b")];
    let over = AtomicBool::new(false);
    let failed = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = fs::rename(&names[0], &names[1]).and_then(|()| fs::rename(&names[1], &names[0]));
            }
        });
        let failed = (0..5_000).find_map(|_| load(root.path(), None).err());
        over.store(true, Ordering::Relaxed);
        failed
    });
    assert_eq!(failed.map(|problems| problems.to_string()), None);
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

fn me() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn change_mode(root: &Path, path: &str, mode: u32) {
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything with the modes that a package gives it.
fn installed(files: &[(&str, &str)]) -> TempDir {
    let root = tree(files);
    for directory in ["", "etc", "etc/vfiod", "etc/vfiod/conf.d"] {
        change_mode(root.path(), directory, 0o755);
    }
    for (file, _) in files {
        change_mode(root.path(), file, 0o644);
    }
    root
}

fn doubts(root: &Path) -> Vec<String> {
    match load_as_of(root, me()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn a_configuration_that_others_than_root_can_change_is_refused_with_the_file_and_its_mode() {
    let files = [("etc/vfiod/vfiod.toml", "[watch]\n"), ("etc/vfiod/conf.d/a.toml", "[watch]\nsettle = \"20ms\"\n")];
    for (path, mode) in [
        ("etc/vfiod/vfiod.toml", 0o664),
        ("etc/vfiod/vfiod.toml", 0o646),
        ("etc/vfiod/conf.d/a.toml", 0o666),
        ("etc/vfiod/conf.d", 0o775),
        // Nobody can replace a.toml there, but anybody can add a file beside it.
        ("etc/vfiod/conf.d", 0o1777),
        ("etc/vfiod", 0o757),
        ("etc", 0o777),
        ("", 0o777),
    ] {
        let root = installed(&files);
        assert_eq!(doubts(root.path()), [""; 0], "{path}");
        change_mode(root.path(), path, mode);
        let found = doubts(root.path());
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        let what = if path.ends_with(".toml") { "file" } else { "directory" };
        assert!(found[0].starts_with(&format!("/{path}: {what} with mode {mode:04o}, owner ")), "{found:?}");
        assert!(found[0].ends_with(&format!("expected owner root and mode {:04o}", mode & !0o022)), "{found:?}");
        // Somebody's tree or draft is looked at all the same.
        assert!(load(root.path(), None).is_ok());
    }
}

#[test]
fn a_configuration_of_another_owner_is_refused() {
    let root = installed(&[("etc/vfiod/vfiod.toml", "[watch]\n")]);
    let message = load_as_of(root.path(), me() + 1).unwrap_err().to_string();
    let files: Vec<&str> = message.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(files, ["/", "/etc", "/etc/vfiod", "/etc/vfiod/conf.d", "/etc/vfiod/vfiod.toml"], "{message}");
}

#[test]
fn a_link_is_judged_by_what_it_leads_to_and_by_the_directories_there() {
    let root = installed(&[("etc/vfiod/vfiod.toml", "")]);
    fs::create_dir_all(root.path().join("home/alice")).unwrap();
    for directory in ["home", "home/alice"] {
        change_mode(root.path(), directory, 0o755);
    }
    let draft = root.path().join("home/alice/a.toml");
    fs::write(&draft, "[watch]\n").unwrap();
    change_mode(root.path(), "home/alice/a.toml", 0o644);
    for target in ["/home/alice/a.toml", "../../../home/alice/a.toml"] {
        let link = root.path().join("etc/vfiod/conf.d/a.toml");
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        assert_eq!(doubts(root.path()), [""; 0]);
        change_mode(root.path(), "home/alice", 0o777);
        assert!(doubts(root.path())[0].starts_with("/home/alice: directory with mode 0777"), "{target}");
        // As /tmp: the file there is root's, and only root can replace it.
        change_mode(root.path(), "home/alice", 0o1777);
        assert_eq!(doubts(root.path()), [""; 0], "{target}");
        change_mode(root.path(), "home/alice/a.toml", 0o666);
        assert!(doubts(root.path())[0].starts_with("/home/alice/a.toml: file with mode 0666"), "{target}");
        change_mode(root.path(), "home/alice/a.toml", 0o644);
        change_mode(root.path(), "home/alice", 0o755);
    }
}

#[test]
fn a_masked_drop_in_and_a_link_in_a_circle_raise_no_doubt() {
    let root = installed(&[("etc/vfiod/vfiod.toml", "")]);
    symlink("/dev/null", root.path().join("etc/vfiod/conf.d/a.toml")).unwrap();
    assert_eq!(doubts(root.path()), [""; 0]);
    symlink("b.toml", root.path().join("etc/vfiod/conf.d/b.toml")).unwrap();
    let found = doubts(root.path());
    assert!(found.len() == 1 && found[0].starts_with("read /etc/vfiod/conf.d/b.toml: "), "{found:?}");
}

#[test]
fn where_a_file_is_missing_nobody_else_can_put_one() {
    let root = installed(&[]);
    assert_eq!(doubts(root.path()), [""; 0]);
    change_mode(root.path(), "etc/vfiod", 0o1777);
    assert!(doubts(root.path())[0].starts_with("/etc/vfiod: directory with mode 1777"));
}

#[test]
fn a_tree_of_more_drop_ins_than_any_machine_has_is_an_error() {
    let root = tree(&[]);
    for n in 0..4_100 {
        fs::write(root.path().join(format!("etc/vfiod/conf.d/{n}.toml")), "").unwrap();
    }
    assert_eq!(complaint(root.path(), None), "read /etc/vfiod/conf.d: more than 4096 drop-ins");
}
