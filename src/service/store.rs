//! State on disk: what ends with the boot under /run, what lasts in the StateDirectory.
//!
//! Read-only, full or damaged is said once and never fatal: vfiod then runs on with what it knows.

#![allow(
    clippy::disallowed_methods,
    reason = "the state is vfiod's own and below its own directories; lines of the history have the time of day"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::event::Event;
use crate::model::memory::Memory;

/// Where memory is kept between runs.
pub trait Store {
    /// What is remembered of this boot, and what could not be read.
    fn load(&mut self) -> (Memory, Vec<String>);

    /// Keeps memory if it has changed, and these transitions; answers with fresh trouble.
    fn save(&mut self, memory: &Memory, events: &[Event]) -> Vec<String>;
}

/// Memory as it lies on disk.
#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    /// Another boot's memory is void.
    boot: String,
    memory: Memory,
}

/// One line of the history.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// Microseconds since 1970.
    realtime_usec: u64,
    #[serde(flatten)]
    event: &'a Event,
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
    /// What was said already and has not been cured since.
    said: [bool; 3],
}

const MEMORY: usize = 0;
const ORIGINALS: usize = 1;
const HISTORY: usize = 2;

impl Disk {
    /// State of this boot in `run`, lasting state in `state`.
    #[must_use]
    pub fn new(run: PathBuf, state: PathBuf, boot: String) -> Disk {
        Disk { run, state, boot, saved: None, said: [false; 3] }
    }

    fn memory_path(&self) -> PathBuf {
        self.run.join("memory.json")
    }

    fn originals_path(&self) -> PathBuf {
        self.state.join("originals.json")
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

    fn append(&self, events: &[Event]) -> io::Result<()> {
        let path = self.state.join("history.jsonl");
        if fs::metadata(&path).is_ok_and(|file| file.len() >= HISTORY_SIZE) {
            fs::rename(&path, self.state.join("history.jsonl.1"))?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let realtime_usec = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut text = Vec::new();
        for event in events {
            serde_json::to_writer(&mut text, &Line { realtime_usec, event })?;
            text.push(b'\n');
        }
        OpenOptions::new().create(true).append(true).open(path)?.write_all(&text)
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
        let path = self.originals_path();
        match read(&path) {
            Ok(originals) => {
                let older: std::collections::BTreeMap<_, _> = originals.unwrap_or_default();
                for (address, driver) in older {
                    memory.originals.entry(address).or_insert(driver);
                }
            }
            Err(error) => trouble
                .push(format!("read {}: {error}; the drivers that devices had before are not known", path.display())),
        }
        self.saved = Some(memory.clone());
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
        if self.saved.as_ref().is_none_or(|saved| saved.originals != memory.originals) {
            let written = write(&self.originals_path(), &memory.originals);
            trouble.extend(
                self.once(ORIGINALS, written, |e| format!("write original drivers in {}: {e}", state.display())),
            );
        }
        self.saved = Some(memory.clone());
        trouble
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a whole file or none: a crash in between leaves the old one.
fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_data()?;
    fs::rename(new, path)
}
