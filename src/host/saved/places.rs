//! Where files really are: each link on the way is kept as one, and leads nowhere out of the tree.

use std::collections::BTreeMap;
use std::io;

use nix::libc::EINVAL;

use crate::host::root::Root;

/// More links in a row than any path has.
const MANY: u32 = 40;

/// What is saved at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A directory.
    Directory,
    /// A link, and where it leads.
    Link(String),
    /// A file.
    File(Vec<u8>),
}

/// The items of a tree, by their whole paths, none of which leads through a link.
#[derive(Debug)]
pub struct Places<'r> {
    root: &'r Root,
    /// What was found.
    pub items: BTreeMap<String, Item>,
    real: BTreeMap<String, String>,
}

impl<'r> Places<'r> {
    /// Nothing yet.
    #[must_use]
    pub fn new(root: &'r Root) -> Places<'r> {
        Places { root, items: BTreeMap::new(), real: BTreeMap::new() }
    }

    /// Keeps a directory, and the links and directories on the way to it; says where it really is.
    ///
    /// # Errors
    /// As `readlink(2)`, and when the links form a circle.
    pub fn directory(&mut self, path: &str) -> io::Result<String> {
        self.follow(path, MANY)
    }

    fn follow(&mut self, path: &str, left: u32) -> io::Result<String> {
        let Some((parent, name)) = path.trim_end_matches('/').rsplit_once('/') else { return Ok(String::new()) };
        if let Some(real) = self.real.get(path) {
            return Ok(real.clone());
        }
        let parent = self.follow(parent, left)?;
        let here = format!("{parent}/{name}");
        let real = match self.root.read_link(&here) {
            Ok(target) => {
                if left == 0 {
                    return Err(io::Error::from_raw_os_error(nix::libc::ELOOP));
                }
                let (kept, whole) = within(&parent, &target.to_string_lossy());
                self.items.insert(here, Item::Link(kept));
                self.follow(&whole, left - 1)?
            }
            Err(e) if e.raw_os_error() == Some(EINVAL) => {
                self.items.entry(here.clone()).or_insert(Item::Directory);
                here
            }
            Err(e) => return Err(e),
        };
        self.real.insert(path.to_owned(), real.clone());
        Ok(real)
    }

    /// Keeps a link, but not what it leads to. A directory or a file in its place is kept as that,
    /// the file without its content.
    ///
    /// # Errors
    /// As `readlink(2)`.
    pub fn link(&mut self, path: &str) -> io::Result<()> {
        let here = self.place(path)?;
        match self.root.read_link(&here) {
            Ok(target) => {
                let parent = here.rsplit_once('/').map_or("", |(parent, _)| parent);
                let (kept, _) = within(parent, &target.to_string_lossy());
                self.items.insert(here, Item::Link(kept));
            }
            Err(e) if e.raw_os_error() == Some(EINVAL) => {
                let item = if self.root.list(&here).is_ok() { Item::Directory } else { Item::File(Vec::new()) };
                self.items.entry(here).or_insert(item);
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Keeps a file.
    ///
    /// # Errors
    /// When its directory cannot be found.
    pub fn file(&mut self, path: &str, bytes: Vec<u8>) -> io::Result<()> {
        let here = self.place(path)?;
        self.items.insert(here, Item::File(bytes));
        Ok(())
    }

    /// A path with its directory's real one.
    fn place(&mut self, path: &str) -> io::Result<String> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(format!("{}/{name}", self.directory(parent)?))
    }
}

/// A link's text as it is kept, and the whole path it leads to. One that is absolute, or that would
/// climb out of the tree, is written anew.
fn within(parent: &str, target: &str) -> (String, String) {
    let absolute = target.starts_with('/');
    let above = || parent.split('/').filter(|step| !step.is_empty());
    let mut steps: Vec<&str> = if absolute { Vec::new() } else { above().collect() };
    let mut anew = absolute;
    for step in target.split('/').filter(|step| !matches!(*step, "" | ".")) {
        if step == ".." {
            anew |= steps.pop().is_none();
        } else {
            steps.push(step);
        }
    }
    let whole = steps.join("/");
    let kept = if anew { format!("{}{whole}", "../".repeat(above().count())) } else { target.to_owned() };
    (if kept.is_empty() { ".".to_owned() } else { kept }, format!("/{whole}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::create_dir_all;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_of_the_tree() {
        for (parent, target, kept, whole) in [
            (
                "/sys/bus/pci/devices",
                "../../../devices/pci0000:00/x",
                "../../../devices/pci0000:00/x",
                "/sys/devices/pci0000:00/x",
            ),
            ("", "usr/lib", "usr/lib", "/usr/lib"),
            ("/etc/modprobe.d", "/etc/static/x.conf", "../../etc/static/x.conf", "/etc/static/x.conf"),
            ("/etc", "../../../../root/.ssh", "../root/.ssh", "/root/.ssh"),
            ("/etc", "/", "../", "/"),
        ] {
            assert_eq!(within(parent, target), (kept.to_owned(), whole.to_owned()), "{parent} {target}");
        }
    }

    #[test]
    fn a_file_is_kept_where_the_links_really_lead() {
        let tree = tempfile::tempdir().unwrap();
        create_dir_all(tree.path().join("sys/devices/x/y")).unwrap();
        create_dir_all(tree.path().join("sys/class")).unwrap();
        symlink("../devices/x", tree.path().join("sys/class/c")).unwrap();
        symlink("b", tree.path().join("sys/a")).unwrap();
        symlink("a", tree.path().join("sys/b")).unwrap();
        let root = Root::hostile(tree.path()).unwrap();
        let mut places = Places::new(&root);
        places.file("/sys/class/c/y/value", vec![1]).unwrap();
        assert_eq!(places.items["/sys/devices/x/y/value"], Item::File(vec![1]));
        assert_eq!(places.items["/sys/class/c"], Item::Link("../devices/x".to_owned()));
        assert!(places.directory("/sys/a").is_err());
        assert!(places.directory("/sys/none").is_err());
    }
}
