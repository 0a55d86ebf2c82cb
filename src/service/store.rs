//! State on disk: what ends with the boot under /run, what lasts in the StateDirectory.
//!
//! Read-only, full or damaged is said once and never fatal: vfiod then runs on with what it knows, and
//! what could not be written is tried again with each save. Where the StateDirectory cannot be written
//! to, what lasts is kept under /run instead, as a copy that ends with the boot. While there is a copy it
//! is written before the StateDirectory, so that it is never the older one, and it goes as soon as the
//! StateDirectory has the same: a restart believes the copy, where there is one.

#![allow(clippy::disallowed_methods, reason = "the state is vfiod's own and below its own directories")]

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::files::{read, remove, write};
use super::ledger::Ledger;
use crate::model::event::Event;
use crate::model::history::Line;
use crate::model::memory::{Lasting, Memory, Unsure};

/// Where memory is kept between runs.
pub trait Store {
    /// What is remembered of this boot, and what could not be read.
    fn load(&mut self) -> (Memory, Vec<String>);

    /// Keeps memory if it has changed, and these transitions. What an earlier save could not write is
    /// tried again. When this returns, all of it is on disk but for what the answer says.
    fn save(&mut self, memory: &Memory, events: &[Event]) -> Saved;

    /// The latest lines of the history, oldest first, at most so many and [`crate::model::history::MOST`].
    ///
    /// # Errors
    /// A sentence, when it cannot be read. Lines that make no sense are left out.
    fn history(&mut self, most: usize) -> Result<Vec<Line>, String>;
}

/// What is not on disk after a save.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// Fresh trouble, a sentence each, once until it is over.
    pub trouble: Vec<String>,
    /// Why memory, or a part of it, is not stored at all: a restart would forget it. Names file and cause.
    pub lost: Option<String>,
    /// Why what lasts is stored for this boot only: a reboot would forget it. Names file and cause.
    pub this_boot: Option<String>,
}

/// Memory as it lies on disk.
#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    /// Another boot's memory is void.
    boot: String,
    memory: Memory,
}

/// What lasts, as it lies under /run while it cannot lie where it belongs.
#[derive(Debug, Serialize, Deserialize)]
struct Copy {
    /// Another boot's is void.
    boot: String,
    lasting: Lasting,
}

/// Files below two directories.
#[derive(Debug)]
pub struct Disk {
    run: PathBuf,
    state: PathBuf,
    boot: String,
    /// Memory as it is on disk; none where that is not known.
    saved: Option<Memory>,
    /// What lasts, as it is in the StateDirectory; none where that is not known.
    lasting: Option<Lasting>,
    /// Whether there is a copy of that under /run.
    copy: bool,
    /// What lasts, as that copy has it; none where that is not known.
    copied: Option<Lasting>,
    /// Whether what lasts is on disk and could not be read.
    unread: bool,
    history: Ledger,
    /// What was said already and has not been cured since.
    said: [bool; 3],
    /// Whether a copy was there when that was said of what lasts.
    said_copied: bool,
}

const MEMORY: usize = 0;
const LASTING: usize = 1;
const HISTORY: usize = 2;

impl Disk {
    /// State of this boot in `run`, lasting state in `state`.
    #[must_use]
    pub fn new(run: PathBuf, state: PathBuf, boot: String) -> Disk {
        let history = Ledger::new(state.clone());
        Disk {
            run,
            state,
            boot,
            saved: None,
            lasting: None,
            copy: false,
            copied: None,
            unread: false,
            history,
            said: [false; 3],
            said_copied: true,
        }
    }

    fn memory_path(&self) -> PathBuf {
        self.run.join("memory.json")
    }

    fn lasting_path(&self) -> PathBuf {
        self.state.join("lasting.json")
    }

    fn copy_path(&self) -> PathBuf {
        self.run.join("lasting.json")
    }

    /// Sets lasting state aside that could not be read. The first is kept: a later one has only what
    /// was written since.
    fn set_aside(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.unread) {
            return None;
        }
        let (path, aside) = (self.lasting_path(), self.state.join("lasting.json.damaged"));
        let there = fs::symlink_metadata(&aside).is_ok();
        let moved = if there { Ok(()) } else { fs::rename(&path, &aside) };
        Some(match moved {
            Ok(()) if there => format!("{} is there from before, and stays", aside.display()),
            Ok(()) => format!("{} is kept as {}", path.display(), aside.display()),
            Err(error) => format!("rename {} to {}: {error}", path.display(), aside.display()),
        })
    }

    /// Whether something went wrong that was not said yet; once it goes right it may be said again.
    fn is_news<T>(&mut self, what: usize, result: &io::Result<T>) -> bool {
        let said = std::mem::replace(&mut self.said[what], result.is_err());
        result.is_err() && !said
    }

    fn save_history(&mut self, events: &[Event], trouble: &mut Vec<String>) {
        self.history.add(events);
        trouble.extend(self.history.note());
        // Nothing to write proves nothing: it would make the next failure news again.
        if self.history.is_behind() {
            let written = self.history.write();
            let news = self.is_news(HISTORY, &written);
            if let Some(error) = written.err().filter(|_| news) {
                trouble.push(format!("write {}: {error}; it is tried again", self.history.path().display()));
            }
        }
    }

    fn save_memory(&mut self, memory: &Memory, saved: &mut Saved) {
        if self.saved.as_ref() == Some(memory) {
            return;
        }
        let on_disk = OnDisk { boot: self.boot.clone(), memory: memory.clone() };
        let written = write(&self.memory_path(), &on_disk);
        self.saved = written.is_ok().then_some(on_disk.memory);
        let news = self.is_news(MEMORY, &written);
        if let Err(error) = written {
            let why = format!("write {}: {error}", self.memory_path().display());
            if news {
                saved.trouble.push(format!("{why}; a restart will forget losses, waits and holds by owner"));
            }
            saved.lost = Some(why);
        }
    }

    fn save_lasting(&mut self, lasting: &Lasting, saved: &mut Saved) {
        if self.lasting.as_ref() == Some(lasting) && !self.copy {
            return;
        }
        // Before the other one, so that it is never older.
        let mut copied = if self.copy { self.save_copy(lasting) } else { Ok(()) };
        // Before it is written over.
        saved.trouble.extend(self.set_aside());
        let written = write(&self.lasting_path(), lasting);
        let news = self.is_news(LASTING, &written);
        self.lasting = written.is_ok().then(|| lasting.clone());
        let Err(error) = written else {
            // Where that fails it is tried again with each save.
            self.copy = self.copy && remove(&self.copy_path()).is_err();
            self.copied = None;
            return;
        };
        let why = format!("write {}: {error}", self.lasting_path().display());
        if !self.copy {
            self.copy = true;
            copied = self.save_copy(lasting);
        }
        let copy = self.copy_path();
        let more = match copied {
            Ok(()) => {
                saved.this_boot = Some(why.clone());
                format!("releases, holds and original drivers are kept in {} until the next boot", copy.display())
            }
            Err(error) => {
                let why = format!("{why}; write {}: {error}", copy.display());
                let before = saved.lost.take().map(|lost| lost + "; ").unwrap_or_default();
                saved.lost = Some(before + &why);
                format!("write {}: {error}; a restart will forget releases, holds and original drivers", copy.display())
            }
        };
        let kept = saved.this_boot.is_some();
        if news || std::mem::replace(&mut self.said_copied, kept) != kept {
            self.said_copied = kept;
            saved.trouble.push(format!("{why}; {more}"));
        }
    }

    fn save_copy(&mut self, lasting: &Lasting) -> io::Result<()> {
        if self.copied.as_ref() == Some(lasting) {
            return Ok(());
        }
        let copy = Copy { boot: self.boot.clone(), lasting: lasting.clone() };
        let written = write(&self.copy_path(), &copy);
        self.copied = written.is_ok().then_some(copy.lasting);
        written
    }

    /// The copy of this boot, if there is one. One that cannot be read is the latest all the same.
    fn load_copy(&mut self) -> Result<Option<Lasting>, String> {
        let path = self.copy_path();
        match read::<Copy>(&path) {
            Ok(Some(copy)) if copy.boot == self.boot => {
                self.copy = true;
                self.copied = Some(copy.lasting.clone());
                Ok(Some(copy.lasting))
            }
            Ok(there) => {
                self.copy = there.is_some() && remove(&path).is_err();
                Ok(None)
            }
            Err(error) => {
                self.copy = true;
                Err(format!("read {}: {error}", path.display()))
            }
        }
    }

    /// What lasts, and what could not be read of it.
    fn load_lasting(&mut self, memory: &mut Memory, trouble: &mut Vec<String>) {
        let copy = self.load_copy();
        let path = self.lasting_path();
        let lasting = read::<Lasting>(&path).map_err(|error| {
            self.unread = true;
            // What cannot be read now may be read one day; only what makes no sense never is.
            let damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
            (format!("read {}: {error}", path.display()), damaged)
        });
        let damaged = matches!(lasting, Err((_, true)));
        let whys: Vec<String> =
            copy.as_ref().err().into_iter().chain(lasting.as_ref().err().map(|(why, _)| why)).cloned().collect();
        match (copy, lasting) {
            (Ok(Some(copy)), _) => {
                // As the StateDirectory has it, it is not the latest.
                memory.lasting = copy;
                trouble.extend(whys);
            }
            (Ok(None), Ok(lasting)) => {
                memory.lasting = lasting.unwrap_or_default();
                self.lasting = Some(memory.lasting.clone());
            }
            (copy, lasting) => {
                // An older one, where the copy cannot be read.
                memory.lasting = lasting.ok().flatten().unwrap_or_default();
                self.lasting = copy.is_ok().then(|| memory.lasting.clone());
                let why = whys.join("; ");
                // The next start would find an empty one: that nothing is known is kept until a boot.
                memory.unsure = Some(Unsure { why: why.clone(), ..Unsure::default() });
                trouble.push(format!(
                    "{why}; releases, holds and the drivers that devices had before are not known: no device is \
                     taken from a host driver until it is repaired or adopted by hand, or the settings are reloaded"
                ));
            }
        }
        if damaged {
            trouble.extend(self.set_aside());
        }
    }
}

impl Store for Disk {
    fn load(&mut self) -> (Memory, Vec<String>) {
        let mut trouble = Vec::new();
        let path = self.memory_path();
        let mut memory = match read::<OnDisk>(&path) {
            Ok(Some(on_disk)) if on_disk.boot == self.boot => on_disk.memory,
            Ok(_) => Memory::default(),
            Err(error) => {
                trouble.push(format!("read {}: {error}; starting with an empty memory", path.display()));
                Memory::default()
            }
        };
        let unsure = memory.unsure.clone();
        self.load_lasting(&mut memory, &mut trouble);
        // That what lasts is not known has to be written.
        self.saved = Some(Memory { unsure, ..memory.clone() });
        (memory, trouble)
    }

    fn save(&mut self, memory: &Memory, events: &[Event]) -> Saved {
        let mut saved = Saved::default();
        self.save_history(events, &mut saved.trouble);
        self.save_memory(memory, &mut saved);
        self.save_lasting(&memory.lasting, &mut saved);
        saved
    }

    fn history(&mut self, most: usize) -> Result<Vec<Line>, String> {
        self.history.latest(most)
    }
}
