//! Looking for claims: bounded reads of files that others write, what was found, and what could not be read.

use std::io::Read;
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::Duration;

use crate::host::root::{Root, is_absent};
use crate::model::pci::{Address, Slot};
use crate::model::preflight::claim::Claim;

/// More files than any such directory has.
const FILES: usize = 10_000;
/// Bytes of one file; the largest definition of a domain that was seen has 60 kB.
const LARGEST: u64 = 4 << 20;
/// Bytes of all files together.
const BYTES: usize = 64 << 20;
/// More claims than any machine has.
const CLAIMS: usize = 10_000;

/// A search for claims.
#[derive(Debug)]
pub struct Search<'a> {
    /// Where files are looked up.
    pub root: &'a Root,
    found: Vec<Claim>,
    unread: &'a mut Vec<String>,
    bytes: usize,
    cut: bool,
}

impl<'a> Search<'a> {
    /// A search that has found nothing yet. What cannot be read is added to `unread`, a sentence each.
    pub fn new(root: &'a Root, unread: &'a mut Vec<String>) -> Search<'a> {
        Search { root, found: Vec::new(), unread, bytes: 0, cut: false }
    }

    /// What was found.
    #[must_use]
    pub fn found(self) -> Vec<Claim> {
        self.found
    }

    /// Adds a claim.
    pub fn claim(&mut self, claim: Claim) {
        if self.found.len() < CLAIMS {
            self.found.push(claim);
        } else if !self.cut {
            self.cut = true;
            self.unread.push(format!("claims of other managers: there are more than {CLAIMS}"));
        }
    }

    /// Adds what could not be read.
    pub fn trouble(&mut self, sentence: String) {
        self.unread.push(sentence);
    }

    /// The paths of the files of a directory whose names end so; none when there is no such directory.
    pub fn files(&mut self, directory: &str, end: &str) -> Vec<String> {
        self.names(directory)
            .into_iter()
            .filter(|name| name.ends_with(end) && !name.starts_with('.'))
            .map(|name| format!("{directory}/{name}"))
            .collect()
    }

    /// The names in a directory; none when there is no such directory.
    pub fn names(&mut self, directory: &str) -> Vec<String> {
        match self.root.list(directory) {
            Ok(mut names) => {
                if names.len() > FILES {
                    self.unread.push(format!("list {directory}: only the first {FILES} files were read"));
                    names.truncate(FILES);
                }
                names
            }
            Err(e) => {
                if !is_absent(&e) {
                    self.unread.push(format!("list {directory}: {e}"));
                }
                Vec::new()
            }
        }
    }

    /// A text file; none when it is not there or cannot be read, which is noted.
    pub fn text(&mut self, path: &str) -> Option<String> {
        let why = match self.root.is_plain(path) {
            Ok(true) => match self.bounded(path) {
                Ok(text) => return Some(text),
                Err(why) => why,
            },
            Ok(false) => "it is no plain file".to_owned(),
            Err(e) if is_absent(&e) => return None,
            Err(e) => e.to_string(),
        };
        self.unread.push(format!("read {path}: {why}"));
        None
    }

    fn bounded(&mut self, path: &str) -> Result<String, String> {
        let mut bytes = Vec::new();
        let reader = self.root.reader(path).map_err(|e| e.to_string())?;
        reader.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST) {
            return Err(format!("it has more than {LARGEST} bytes"));
        }
        self.bytes += bytes.len();
        if self.bytes > BYTES {
            return Err(format!("the files of other managers have more than {BYTES} bytes"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Lets a part of the search run in a thread of its own, and does not wait for it any longer than so:
    /// reading may block. What it has found by then is lost, which is noted.
    pub fn apart(&mut self, patience: Duration, read: fn(&mut Search<'_>)) {
        let (sender, answer) = channel();
        let root = self.root.clone();
        let work = move || {
            let mut unread = Vec::new();
            let mut search = Search::new(&root, &mut unread);
            read(&mut search);
            let found = search.found();
            // Nobody may be waiting any more.
            let _ = sender.send((found, unread));
        };
        match Builder::new().spawn(work).map_err(|e| format!("start a thread: {e}")) {
            Ok(_) => match answer.recv_timeout(patience) {
                Ok((found, unread)) => {
                    found.into_iter().for_each(|claim| self.claim(claim));
                    self.unread.extend(unread);
                }
                Err(_) => {
                    self.unread.push(format!("claims of other managers: reading did not return within {patience:?}"))
                }
            },
            Err(why) => self.unread.push(format!("claims of other managers: {why}")),
        }
    }

    /// The virtual functions of a function, in the order of their names.
    #[must_use]
    pub fn vfs(&self, pf: Address) -> Vec<Address> {
        let directory = format!("/sys/bus/pci/devices/{pf}");
        let names = self.root.list(&directory).unwrap_or_default();
        let links = names.iter().filter(|name| name.starts_with("virtfn"));
        let mut vfs: Vec<Address> =
            links.filter_map(|name| self.root.link_name(&format!("{directory}/{name}")).ok()?.parse().ok()).collect();
        vfs.sort_unstable();
        vfs
    }
}

/// The first and last function of a slot.
#[must_use]
pub fn slot(slot: Slot) -> (Address, Address) {
    (slot.function(0), slot.function(7))
}

/// `[domain:]bus:device.function` with as many hexadecimal digits as somebody has written.
#[must_use]
pub fn loosely(text: &str) -> Option<Address> {
    let (rest, function) = text.trim().rsplit_once('.')?;
    let mut parts = rest.rsplit(':').map(|part| u32::from_str_radix(part.trim_start_matches("0x"), 16).ok());
    let (device, bus) = (parts.next()??, parts.next()??);
    let domain = parts.next().unwrap_or(Some(0))?;
    let function = u8::from_str_radix(function, 16).ok().filter(|function| *function < 8)?;
    let device = u8::try_from(device).ok().filter(|device| *device < 32)?;
    let slot = Slot { domain, bus: u8::try_from(bus).ok()?, device };
    parts.next().is_none().then(|| slot.function(function))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preflight::claim::{Role, Target};

    #[test]
    fn an_address_is_read_as_people_write_it() {
        for text in ["0000:01:00.0", "01:00.0", "1:0.0", "0:1:0.0", "0x0000:0x01:0x00.0"] {
            assert_eq!(loosely(text).map(|a| a.to_string()).as_deref(), Some("0000:01:00.0"), "{text}");
        }
        for text in ["", "01:00", "01:00.8", "01:20.0", "100:00.0", "0:0:1:0.0", "x:1.0", ".", ":.0"] {
            assert_eq!(loosely(text), None, "{text}");
        }
    }

    #[test]
    fn a_part_that_does_not_come_back_is_noted_and_the_rest_is_found() {
        let tree = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&tree.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let root = Root::trusted(tree.path());
        let mut unread = Vec::new();
        let mut search = Search::new(&root, &mut unread);
        // Opening a fifo without a writer blocks as a file system whose server is stuck does.
        search.apart(Duration::from_millis(100), |search| drop(search.root.reader("/fifo")));
        search.apart(Duration::from_secs(60), |search| {
            let target = Target::Device("01:00.0".parse().unwrap());
            search.claim(Claim::new("x", "/x", target, Role::Takes, "found"));
            search.trouble("trouble".to_owned());
        });
        assert_eq!(search.found().len(), 1);
        assert_eq!(unread.len(), 2, "{unread:?}");
        assert!(unread[0].contains("did not return within 100ms"), "{unread:?}");
    }

    #[test]
    fn more_claims_than_any_machine_has_are_cut_and_noted_once() {
        let root = Root::trusted("/nowhere");
        let mut unread = Vec::new();
        let mut search = Search::new(&root, &mut unread);
        let target = Target::Device("01:00.0".parse().unwrap());
        for _ in 0..CLAIMS + 2 {
            search.claim(Claim::new("x", "/x", target, Role::Takes, "found"));
        }
        assert_eq!(search.found().len(), CLAIMS);
        assert_eq!(unread.len(), 1, "{unread:?}");
    }

    #[test]
    fn what_is_no_plain_file_is_noted_and_nothing_else_is_lost() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("etc/x/dir.conf")).unwrap();
        std::fs::write(tree.path().join("etc/x/a.conf"), "text").unwrap();
        std::fs::write(tree.path().join("etc/x/big.conf"), vec![b'a'; 4 << 20 | 1]).unwrap();
        nix::unistd::mkfifo(&tree.path().join("etc/x/fifo.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for root in [Root::trusted(tree.path()), Root::hostile(tree.path()).unwrap()] {
            let mut unread = Vec::new();
            let mut search = Search::new(&root, &mut unread);
            let files = search.files("/etc/x", ".conf");
            let texts: Vec<String> = files.iter().filter_map(|file| search.text(file)).collect();
            assert_eq!(texts, ["text"]);
            assert_eq!(search.names("/etc/nothing"), [""; 0]);
            assert_eq!(unread.len(), 3, "{unread:?}");
        }
    }
}
