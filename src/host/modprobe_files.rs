//! The files of modprobe.d that kmod reads, in its order, and what it passes over.
//!
//! kmod says so of a file that it cannot use, and goes on with the next (kmod 30 and 34). So one
//! strange file is a note here, too, and no reason to know nothing.

use std::collections::BTreeMap;
use std::io;

use nix::unistd::geteuid;

use super::root::{Root, is_absent};

/// The directories, the first one wins where two have a file of the same name (kmod's order).
pub const DIRECTORIES: [&str; 5] =
    ["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"];

/// The files that count, and those that do not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// Their paths, in the order of their names.
    pub paths: Vec<String>,
    /// What modprobe passes over, and so do we; a sentence each.
    pub notes: Vec<String>,
    /// What modprobe may read and we may not: it might say anything. Only for others than root.
    pub trouble: Option<String>,
}

impl Files {
    /// Looks which files there are.
    #[must_use]
    pub fn find(root: &Root) -> Files {
        let mut files = Files::default();
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for directory in DIRECTORIES {
            match root.list(directory) {
                Ok(names) => {
                    for name in names.into_iter().filter(|name| counts(name)) {
                        let path = format!("{directory}/{name}");
                        // Before kmod looks for another one of the name it leaves out what is none.
                        if !found.contains_key(&name) && files.is_one(root, &path) {
                            found.insert(name, path);
                        }
                    }
                }
                // In place of a directory there may be one file (kmod takes it by its own name).
                Err(e) if e.kind() == io::ErrorKind::NotADirectory && root.is_plain(directory).unwrap_or(false) => {
                    found.entry("modprobe.d".to_owned()).or_insert_with(|| directory.to_owned());
                }
                Err(e) if is_absent(&e) => {}
                Err(e) => files.failed(root, "list", directory, &e),
            }
        }
        files.paths = found.into_values().collect();
        files
    }

    /// Reads all of them: each with its path.
    pub fn read(&mut self, root: &Root) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for path in std::mem::take(&mut self.paths) {
            match root.read_text(&path) {
                Ok(text) => texts.push((path, text)),
                // What masks a file, in a saved tree; or one that went just now.
                Err(e) if is_absent(&e) => {}
                Err(e) => self.failed(root, "read", &path, &e),
            }
        }
        self.paths = texts.iter().map(|(path, _)| path.clone()).collect();
        texts
    }

    /// Whether a name stands for a file that kmod would open.
    fn is_one(&mut self, root: &Root, path: &str) -> bool {
        // It masks a file of the same name in a later directory, also in a tree that has no /dev/null.
        if root.read_link(path).is_ok_and(|target| target.as_os_str() == "/dev/null") {
            return true;
        }
        let why = match root.is_plain(path) {
            Ok(true) => return true,
            Ok(false) if root.list(path).is_ok() => "it is a directory",
            // kmod would wait for a writer of a FIFO for ever.
            Ok(false) => "it is no plain file",
            Err(e) if is_absent(&e) => "the link leads nowhere",
            Err(e) => {
                self.failed(root, "stat", path, &e);
                return false;
            }
        };
        self.notes.push(format!("{path} is not read: {why}; modprobe passes it over, too"));
        false
    }

    /// modprobe runs with vfiod's rights: what root cannot read it cannot read either.
    fn failed(&mut self, root: &Root, verb: &str, path: &str, error: &io::Error) {
        if error.kind() == io::ErrorKind::PermissionDenied && root.is_live() && !geteuid().is_root() {
            self.trouble = Some(format!("{verb} {path}: {error}"));
        } else {
            self.notes.push(format!("{verb} {path}: {error}; modprobe passes over what it cannot read"));
        }
    }
}

fn counts(name: &str) -> bool {
    name.ends_with(".conf") && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    #[test]
    fn of_two_files_of_one_name_the_earlier_directory_counts() {
        let tree = tree(&[
            ("etc/modprobe.d/vfio.conf", ""),
            ("usr/lib/modprobe.d/vfio.conf", ""),
            ("run/modprobe.d/10.conf", ""),
            ("run/modprobe.d/README", ""),
            ("run/modprobe.d/.hidden.conf", ""),
        ]);
        let found = Files::find(&Root::trusted(tree.path()));
        assert_eq!(found.paths, ["/run/modprobe.d/10.conf", "/etc/modprobe.d/vfio.conf"]);
        assert_eq!((found.notes.len(), found.trouble), (0, None));
    }

    #[test]
    fn what_is_no_file_is_noted_and_hides_no_other_of_its_name() {
        let tree = tree(&[
            ("etc/modprobe.d/good.conf", "blacklist x\n"),
            ("usr/lib/modprobe.d/old.conf", "blacklist y\n"),
            ("usr/lib/modprobe.d/masked.conf", "blacklist z\n"),
        ]);
        let etc = tree.path().join("etc/modprobe.d");
        fs::create_dir(etc.join("old.conf")).unwrap();
        symlink("/nowhere", etc.join("lost.conf")).unwrap();
        symlink("/dev/null", etc.join("masked.conf")).unwrap();
        nix::unistd::mkfifo(&etc.join("pipe.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for root in [Root::trusted(tree.path()), Root::hostile(tree.path()).unwrap()] {
            let mut found = Files::find(&root);
            let texts: String = found.read(&root).into_iter().map(|(_, text)| text).collect();
            assert_eq!(texts, "blacklist x\nblacklist y\n");
            assert_eq!(found.notes.len(), 3, "{:?}", found.notes);
            let told = |name: &str, why: &str| {
                found
                    .notes
                    .iter()
                    .any(|n| n == &format!("/etc/modprobe.d/{name} is not read: {why}; modprobe passes it over, too"))
            };
            assert!(
                told("old.conf", "it is a directory") && told("lost.conf", "the link leads nowhere"),
                "{:?}",
                found.notes
            );
            assert!(told("pipe.conf", "it is no plain file"), "{:?}", found.notes);
            assert_eq!(found.trouble, None);
        }
    }

    #[test]
    fn a_file_in_place_of_a_directory_is_read() {
        let tree = tree(&[("etc/modprobe.d", "blacklist x\n"), ("run/modprobe.d/n.conf", "")]);
        let found = Files::find(&Root::trusted(tree.path()));
        assert_eq!(found.paths, ["/etc/modprobe.d", "/run/modprobe.d/n.conf"]);
    }
}
