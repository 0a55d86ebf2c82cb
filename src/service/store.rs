//! State on disk: what ends with the boot under /run, what lasts in the StateDirectory.
//!
//! Read-only, full or damaged is said once and never fatal: vfiod then runs on with what it knows.

#![allow(
    clippy::disallowed_methods,
    reason = "the state is vfiod's own and below its own directories; lines of the history have the time of day"
)]

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::event::Event;
use crate::model::history::{self, Line};
use crate::model::memory::{Lasting, Memory, Unsure};

/// Where memory is kept between runs.
pub trait Store {
    /// What is remembered of this boot, and what could not be read.
    fn load(&mut self) -> (Memory, Vec<String>);

    /// Keeps memory if it has changed, and these transitions; answers with fresh trouble.
    fn save(&mut self, memory: &Memory, events: &[Event]) -> Vec<String>;

    /// The latest lines of the history, oldest first, at most so many and [`history::MOST`].
    ///
    /// # Errors
    /// A sentence, when it cannot be read. Lines that make no sense are left out.
    fn history(&mut self, most: usize) -> Result<Vec<Line>, String>;
}

/// Memory as it lies on disk.
#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    /// Another boot's memory is void.
    boot: String,
    memory: Memory,
}

/// The history is set aside at this size; one older file is kept.
const HISTORY_SIZE: u64 = 1 << 20;

/// Files below two directories.
#[derive(Debug)]
pub struct Disk {
    run: PathBuf,
    state: PathBuf,
    boot: String,
    saved: Option<Memory>,
    /// What lasts, as it is on disk.
    lasting: Option<Lasting>,
    /// The latest lines of the history as they are on disk, once somebody has asked for them: whoever
    /// may ask is not limited, and most machines are never asked.
    recent: Option<VecDeque<Box<str>>>,
    /// Whether what lasts is on disk and could not be read.
    unread: bool,
    /// What was said already and has not been cured since.
    said: [bool; 3],
}

const MEMORY: usize = 0;
const LASTING: usize = 1;
const HISTORY: usize = 2;

impl Disk {
    /// State of this boot in `run`, lasting state in `state`.
    #[must_use]
    pub fn new(run: PathBuf, state: PathBuf, boot: String) -> Disk {
        Disk { run, state, boot, saved: None, lasting: None, recent: None, unread: false, said: [false; 3] }
    }

    fn memory_path(&self) -> PathBuf {
        self.run.join("memory.json")
    }

    fn lasting_path(&self) -> PathBuf {
        self.state.join("lasting.json")
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

    fn history_path(&self) -> PathBuf {
        self.state.join("history.jsonl")
    }

    fn older_history_path(&self) -> PathBuf {
        self.state.join("history.jsonl.1")
    }

    /// Says what went wrong once, until it goes right again.
    fn once(&mut self, what: usize, result: io::Result<()>, words: impl FnOnce(io::Error) -> String) -> Option<String> {
        match result {
            Ok(()) => {
                self.said[what] = false;
                None
            }
            Err(_) if self.said[what] => None,
            Err(error) => {
                self.said[what] = true;
                Some(words(error))
            }
        }
    }

    fn append(&mut self, events: &[Event]) -> io::Result<()> {
        let path = self.history_path();
        if fs::metadata(&path).is_ok_and(|file| file.len() >= HISTORY_SIZE) {
            fs::rename(&path, self.older_history_path())?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp_usec = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut text = String::new();
        for event in events {
            text.push_str(&serde_json::to_string(&Line::of(event, timestamp_usec))?);
            text.push('\n');
        }
        private().append(true).open(path)?.write_all(text.as_bytes())?;
        if let Some(recent) = &mut self.recent {
            text.lines().for_each(|line| add(recent, line));
        }
        Ok(())
    }

    fn recent(&mut self) -> Result<&VecDeque<Box<str>>, String> {
        let recent = match self.recent.take() {
            Some(recent) => recent,
            None => {
                let mut recent = VecDeque::new();
                for path in [self.older_history_path(), self.history_path()] {
                    latest(&path, &mut recent).map_err(|error| format!("read {}: {error}", path.display()))?;
                }
                recent
            }
        };
        Ok(self.recent.insert(recent))
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
        let path = self.lasting_path();
        self.saved = Some(memory.clone());
        match read::<Lasting>(&path) {
            Ok(lasting) => {
                memory.lasting = lasting.unwrap_or_default();
                self.saved = Some(memory.clone());
            }
            Err(error) => {
                let why = format!("read {}: {error}", path.display());
                // The next start would find an empty one: that nothing is known is kept until a boot.
                memory.unsure = Some(Unsure { why: why.clone(), ..Unsure::default() });
                trouble.push(format!(
                    "{why}; releases, holds and the drivers that devices had before are not known: no device is \
                     taken from a host driver until it is repaired or adopted by hand, or the settings are reloaded"
                ));
                self.unread = true;
                // What cannot be read now may be read one day; only what makes no sense never is.
                if error.kind() == io::ErrorKind::InvalidData || error.kind() == io::ErrorKind::UnexpectedEof {
                    trouble.extend(self.set_aside());
                }
            }
        }
        self.lasting = Some(memory.lasting.clone());
        (memory, trouble)
    }

    fn save(&mut self, memory: &Memory, events: &[Event]) -> Vec<String> {
        let mut trouble = Vec::new();
        let state = self.state.clone();
        // Nothing to write proves nothing: it would make the next failure news again.
        if !events.is_empty() {
            let history = self.append(events);
            trouble.extend(self.once(HISTORY, history, |e| format!("write history in {}: {e}", state.display())));
        }
        if self.saved.as_ref() == Some(memory) {
            return trouble;
        }
        let on_disk = OnDisk { boot: self.boot.clone(), memory: memory.clone() };
        let written = write(&self.memory_path(), &on_disk);
        // What could not be written is tried again with the next change, not with each pass.
        let run = self.run.clone();
        trouble.extend(self.once(MEMORY, written, |e| {
            format!("write memory in {}: {e}; a restart will forget losses and waits", run.display())
        }));
        if self.lasting.as_ref() != Some(&memory.lasting) {
            // Before it is written over.
            trouble.extend(self.set_aside());
            let written = write(&self.lasting_path(), &memory.lasting);
            self.lasting = written.is_ok().then(|| memory.lasting.clone());
            trouble.extend(self.once(LASTING, written, |e| {
                format!("write releases, holds and original drivers in {}: {e}", state.display())
            }));
        }
        self.saved = Some(memory.clone());
        trouble
    }

    fn history(&mut self, most: usize) -> Result<Vec<Line>, String> {
        let recent = self.recent()?;
        let surplus = recent.len().saturating_sub(most);
        Ok(recent.iter().skip(surplus).filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

/// Takes the lines of a file that make sense, line by line: the file is larger than what is kept.
fn latest(path: &Path, recent: &mut VecDeque<Box<str>>) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        if let Ok(line) = str::from_utf8(&line)
            && serde_json::from_str::<Line>(line).is_ok()
        {
            add(recent, line);
        }
    }
    Ok(())
}

fn add(recent: &mut VecDeque<Box<str>>, line: &str) {
    if recent.len() >= history::MOST as usize {
        recent.pop_front();
    }
    recent.push_back(line.into());
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Files that are for nobody else: they have command lines of others.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// Writes a whole file or none: a crash in between leaves the old one.
fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = private().write(true).truncate(true).open(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_data()?;
    fs::rename(new, path)
}
