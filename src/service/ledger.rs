//! The history on disk: a line for each transition that was told.

#![allow(clippy::disallowed_methods, reason = "the history is vfiod's own file; its lines have the time of day")]

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::files::private;
use crate::model::event::Event;
use crate::model::history::{Line, MOST};

/// The file is set aside at this size; one older file is kept.
const SIZE: u64 = 1 << 20;

/// The history below a directory.
#[derive(Debug)]
pub(super) struct Ledger {
    dir: PathBuf,
    /// Lines that are not written yet, oldest first, at most [`MOST`].
    unwritten: VecDeque<Box<str>>,
    /// The latest lines as they are on disk, once somebody has asked for them: whoever may ask is not
    /// limited, and most machines are never asked.
    recent: Option<VecDeque<Box<str>>>,
    /// What there is to say of lines that make no sense.
    note: Option<String>,
}

impl Ledger {
    pub(super) fn new(dir: PathBuf) -> Ledger {
        Ledger { dir, unwritten: VecDeque::new(), recent: None, note: None }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("history.jsonl")
    }

    fn older(&self) -> PathBuf {
        self.dir.join("history.jsonl.1")
    }

    /// Takes transitions in; [`Ledger::write`] writes them.
    pub(super) fn add(&mut self, events: &[Event]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp_usec = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        for event in events {
            // All keys are text, so that each line can be written.
            if let Ok(line) = serde_json::to_string(&Line::of(event, timestamp_usec)) {
                add(&mut self.unwritten, &line);
            }
        }
    }

    /// Whether there is something to write.
    pub(super) fn is_behind(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// What is to be told of the files, once.
    pub(super) fn note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Writes what is not written yet. What fails stays, for the next time.
    ///
    /// # Errors
    /// As `open(2)`, `rename(2)` and `write(2)`.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let path = self.path();
        if fs::metadata(&path).is_ok_and(|file| file.len() >= SIZE) {
            fs::rename(&path, self.older())?;
        }
        let mut file = private(OpenOptions::new().read(true).append(true), &path)?;
        let length = file.metadata()?.len();
        // Half a line, cut off by a crash or a full file system, would take the next one with it.
        let mut text = if is_cut_off(&file, length) { "\n".to_owned() } else { String::new() };
        for line in &self.unwritten {
            text.push_str(line);
            text.push('\n');
        }
        if let Err(error) = file.write_all(text.as_bytes()) {
            // What was written of it would be there twice.
            let _ = file.set_len(length);
            return Err(error);
        }
        let written = std::mem::take(&mut self.unwritten);
        if let Some(recent) = &mut self.recent {
            written.iter().for_each(|line| add(recent, line));
        }
        Ok(())
    }

    /// The latest lines that make sense, oldest first; also those that could not be written yet.
    ///
    /// # Errors
    /// A sentence, when the files cannot be read.
    pub(super) fn latest(&mut self, most: usize) -> Result<Vec<Line>, String> {
        let recent = match self.recent.take() {
            Some(recent) => recent,
            None => self.read()?,
        };
        let recent = self.recent.insert(recent);
        let surplus = (recent.len() + self.unwritten.len()).saturating_sub(most.min(MOST as usize));
        let lines = recent.iter().chain(&self.unwritten).skip(surplus);
        Ok(lines.filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn read(&mut self) -> Result<VecDeque<Box<str>>, String> {
        let (mut recent, mut broken) = (VecDeque::new(), 0);
        for path in [self.older(), self.path()] {
            broken += latest(&path, &mut recent).map_err(|error| format!("read {}: {error}", path.display()))?;
        }
        if broken > 0 {
            let lines = if broken == 1 { "1 line makes".to_owned() } else { format!("{broken} lines make") };
            self.note = Some(format!("read {}: {lines} no sense; left out", self.path().display()));
        }
        Ok(recent)
    }
}

/// Whether the last line has no end. Where that cannot be read it may be so: an empty line does no harm.
fn is_cut_off(file: &File, length: u64) -> bool {
    let mut last = [0];
    length > 0 && (file.read_exact_at(&mut last, length - 1).is_err() || last != *b"\n")
}

/// Takes the lines of a file that make sense, line by line: the file is larger than what is kept.
/// Answers with how many make none.
fn latest(path: &Path, recent: &mut VecDeque<Box<str>>) -> io::Result<usize> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut broken = 0;
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        match str::from_utf8(&line) {
            Ok(line) if serde_json::from_str::<Line>(line).is_ok() => add(recent, line),
            Ok("") => {}
            _ => broken += 1,
        }
    }
    Ok(broken)
}

fn add(lines: &mut VecDeque<Box<str>>, line: &str) {
    if lines.len() >= MOST as usize {
        lines.pop_front();
    }
    lines.push_back(line.into());
}
