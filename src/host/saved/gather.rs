//! Goes through the list, and puts each file in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use super::list::{Collected, How, LIST, SYSTEM};
use super::part::Part;
use super::places::{Item, Places};
use super::scrub::scrubbed;
use super::subject::Subject;
use super::{below, odds, texts};
use crate::host::look::patience::Reading;
use crate::host::root::{Root, is_absent};
use crate::model::glob;
use crate::model::pci::{Address, Module};

/// What is larger is not saved; of a part, what is saved of it.
const LARGEST: usize = 1 << 20;
/// So much of a file is read to make a part of it.
const READ: u64 = 16 << 20;
/// More names than any directory has.
const MANY: usize = 1 << 16;
/// What all files together may have: a machine's come to less than a megabyte.
const LARGEST_TOGETHER: usize = 64 << 20;

/// A machine, saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// What is in it, by whole paths.
    pub items: BTreeMap<String, Item>,
    /// What is not, because it could not be read.
    pub unread: Vec<String>,
    /// Whether what is neither in it nor unread was not there: not so of a tree that leaves things out.
    pub whole: bool,
}

/// A file that is read when all others have been.
type Slow = (String, Part, &'static str);

/// Collects what the list names.
#[derive(Debug)]
pub struct Gathering<'r> {
    /// Of which tree.
    pub root: &'r Root,
    /// Where it goes.
    pub places: Places<'r>,
    /// About which modules.
    pub subject: Subject,
    /// What could not be read.
    pub unread: Vec<String>,
    /// How many bytes it has so far.
    bytes: usize,
    slow: Vec<Slow>,
}

/// Saves what a report about this tree needs; `declared` are the modules that its configuration names.
///
/// Needs a tokio runtime around it, for the child that reads what may block.
pub async fn save(root: &Root, declared: &BTreeSet<Module>) -> Saved {
    let mut gathering = Gathering {
        root,
        places: Places::new(root),
        subject: Subject::of(root, declared),
        unread: Vec::new(),
        bytes: 0,
        slow: Vec::new(),
    };
    for collected in LIST {
        gathering.collect(collected);
    }
    gathering.system();
    below::keep(&mut gathering);
    odds::keep(&mut gathering).await;
    let slow = std::mem::take(&mut gathering.slow);
    let paths = slow.iter().map(|(path, ..)| path.clone()).collect();
    let mut readings = texts::read(root, paths).await;
    for (path, part, unread) in slow {
        let text = match readings.remove(&path) {
            Some(Reading::Text(text)) => part(&text, &gathering.subject),
            Some(Reading::Gone) => None,
            Some(Reading::Failed(why) | Reading::Late(why)) => {
                gathering.unread.push(why);
                Some(unread.to_owned())
            }
            None => Some(unread.to_owned()),
        };
        if let Some(text) = text {
            gathering.put(&path, text.into_bytes());
        }
    }
    gathering.finish()
}

impl Gathering<'_> {
    /// All directories that a path with the list's words means.
    fn directories(&mut self, at: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for step in at.split('/').filter(|step| !step.is_empty()) {
            let mut next = Vec::new();
            for above in found {
                next.extend(self.names(&above, &[step]).into_iter().map(|name| format!("{above}/{name}")));
            }
            found = next;
        }
        found
    }

    /// The names in a directory that the list's words mean. A plain name is not looked for.
    fn names(&mut self, directory: &str, words: &[&str]) -> Vec<String> {
        let (patterns, plain): (Vec<&str>, Vec<&str>) = words.iter().copied().partition(|word| is_pattern(word));
        let mut found: Vec<String> = plain.into_iter().map(str::to_owned).collect();
        if !patterns.is_empty() {
            let subject = &self.subject;
            let fits = |name: &String| patterns.iter().any(|pattern| means(pattern, name, subject));
            match self.root.list(directory) {
                Ok(names) => found.extend(names.into_iter().take(MANY).filter(fits)),
                Err(e) => self.failed("list", directory, &e),
            }
        }
        found
    }

    fn collect(&mut self, collected: &Collected) {
        for directory in self.directories(collected.at) {
            match self.root.list(&directory).and_then(|_| self.places.directory(&directory)) {
                Ok(_) => {}
                Err(e) => {
                    self.failed("list", &directory, &e);
                    continue;
                }
            }
            for name in self.names(&directory, collected.names) {
                self.take(&format!("{directory}/{name}"), collected.how);
            }
        }
    }

    fn take(&mut self, path: &str, how: How) {
        match how {
            How::Whole => self.whole(path),
            How::Part(part) => self.part(path, part),
            How::Slow(part, unread) => match self.root.exists(path) {
                Ok(true) => self.slow.push((path.to_owned(), part, unread)),
                Ok(false) => {}
                Err(e) => self.failed("stat", path, &e),
            },
            How::Name => match self.root.exists(path) {
                Ok(true) if self.root.list(path).is_ok() => drop(self.places.directory(path)),
                Ok(true) => self.put(path, Vec::new()),
                Ok(false) => {}
                Err(e) => self.failed("stat", path, &e),
            },
            How::Link => self.link(path),
        }
    }

    /// Keeps a link.
    pub fn link(&mut self, path: &str) {
        if let Err(e) = self.places.link(path) {
            self.failed("read link", path, &e);
        }
    }

    /// Keeps a file as it is.
    pub fn whole(&mut self, path: &str) {
        if let Some(bytes) = self.bytes(path, LARGEST as u64) {
            self.put(path, bytes);
        }
    }

    fn part(&mut self, path: &str, part: Part) {
        let Some(bytes) = self.bytes(path, READ) else { return };
        let text = String::from_utf8_lossy(&bytes);
        match part(&text, &self.subject) {
            Some(kept) if kept.len() > LARGEST => self.unread.push(format!("{path}: left out, too large")),
            Some(kept) => self.put(path, kept.into_bytes()),
            None => {}
        }
    }

    /// The first file that says which system this is.
    fn system(&mut self) {
        if let Some(path) = SYSTEM.into_iter().find(|path| self.root.exists(path).unwrap_or(false)) {
            self.whole(path);
        }
    }

    /// Reads a plain file; none when there is none, or it cannot be read. What masks a file is one
    /// that is empty.
    pub fn bytes(&mut self, path: &str, most: u64) -> Option<Vec<u8>> {
        if self.root.read_link(path).is_ok_and(|target| target.as_os_str() == "/dev/null") {
            return Some(Vec::new());
        }
        let read = || match self.root.is_plain(path)? {
            true => {
                let mut bytes = Vec::new();
                self.root.reader(path)?.take(most + 1).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "not a plain file")),
        };
        match read() {
            Ok(bytes) if bytes.len() as u64 > most => {
                self.unread.push(format!("{path}: left out, too large"));
                None
            }
            Ok(bytes) => Some(bytes),
            Err(e) => {
                self.failed("read", path, &e);
                None
            }
        }
    }

    /// Keeps a file with this content.
    pub fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        if self.bytes > LARGEST_TOGETHER {
            self.unread.push(format!("{path}: left out, all files together would be too large"));
            return;
        }
        if let Err(e) = self.places.file(path, bytes) {
            self.failed("find the directory of", path, &e);
        }
    }

    /// Notes what could not be read. That it is not there is nothing to note.
    pub fn failed(&mut self, verb: &str, path: &str, error: &io::Error) {
        if !is_absent(error) {
            self.unread.push(format!("{verb} {path}: {error}"));
        }
    }

    /// The numbers that tell one machine from all others are taken out of names and texts alike, so
    /// that links still lead where they did.
    fn finish(self) -> Saved {
        let whole = self.root.is_whole();
        let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(text) => scrubbed(&text).into_bytes(),
            Err(e) => e.into_bytes(),
        };
        let item = |item| match item {
            Item::Directory => Item::Directory,
            Item::Link(target) => Item::Link(scrubbed(&target)),
            Item::File(bytes) => Item::File(text(bytes)),
        };
        let items = self.places.items.into_iter().map(|(path, found)| (scrubbed(&path), item(found))).collect();
        let mut unread: Vec<String> = self.unread.iter().map(|why| scrubbed(why)).collect();
        unread.sort_unstable();
        unread.dedup();
        Saved { items, unread, whole }
    }
}

fn is_pattern(word: &str) -> bool {
    word.contains('*') || matches!(word, "FUNCTION" | "GROUP" | "RELEASE" | "MODULE" | "NEEDED")
}

/// Whether a name is what a word of the list means. Hidden files are what editors leave behind.
fn means(word: &str, name: &str, subject: &Subject) -> bool {
    match word {
        "FUNCTION" => name.len() >= "0000:00:00.0".len() && name.parse::<Address>().is_ok(),
        "GROUP" => name.parse::<u32>().is_ok(),
        "RELEASE" => name == subject.release,
        "MODULE" => subject.modules.iter().any(|module| module.as_str() == name),
        "NEEDED" => subject.needed.iter().any(|module| module.as_str() == name),
        pattern => !name.starts_with('.') && glob::matches(pattern, name),
    }
}
