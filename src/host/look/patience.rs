//! Waiting for the kernel only so long.
//!
//! Each thing that may block runs in a thread of its own. When it does not return in time the
//! thread is left behind: one in state D cannot be ended, nor can its process while it sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::host::root::{Root, is_absent};

/// After this long without an answer another thread goes on with the remaining reads.
const SLOW: Duration = Duration::from_millis(50);

/// Work under way in its own thread.
#[derive(Debug)]
pub struct Pending<T> {
    answer: Receiver<T>,
    what: String,
    patience: Duration,
    deadline: Instant,
}

/// Begins work in its own thread. `what` names it in the message about a delay: "asking rtnetlink".
///
/// # Errors
/// A sentence, when no thread can be had.
pub fn start<T: Send + 'static>(
    what: impl Into<String>,
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Pending<T>, String> {
    let what = what.into();
    let (sender, answer) = channel();
    // The answer may come when nobody waits for it any more; then it is dropped.
    let work = move || drop(sender.send(work()));
    match Builder::new().spawn(work) {
        Ok(_) => Ok(Pending { answer, what, patience, deadline: Instant::now() + patience }),
        Err(e) => Err(format!("{what}: start a thread: {e}")),
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// Whether the thread is at it still, and keeps its process from ending.
    pub late: bool,
    /// A sentence.
    pub why: String,
}

impl From<String> for Unanswered {
    fn from(why: String) -> Unanswered {
        Unanswered { late: false, why }
    }
}

impl From<Unanswered> for String {
    fn from(unanswered: Unanswered) -> String {
        unanswered.why
    }
}

impl<T> Pending<T> {
    /// Waits until the patience, counted from the start, is over.
    ///
    /// # Errors
    /// When there is no answer by then.
    pub fn wait(self) -> Result<T, Unanswered> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.answer.recv_timeout(left).map_err(|e| match e {
            RecvTimeoutError::Timeout => {
                let why = format!("{} did not return within {:?}", self.what, self.patience);
                Unanswered { late: true, why }
            }
            RecvTimeoutError::Disconnected => format!("{} ended without an answer", self.what).into(),
        })
    }
}

/// What came of reading one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading {
    /// Its text.
    Text(String),
    /// There is no such file.
    Gone,
    /// It could not be read.
    Failed(String),
    /// It was not read in time: the kernel holds the reader.
    Late(String),
}

/// Reads many small files, any of which may block, all within one span of time.
///
/// One thread reads them one after another; when it gets stuck another goes on with the rest, so
/// there are only as many threads as files that block.
#[must_use]
pub fn read_all(root: &Root, paths: BTreeSet<String>, patience: Duration) -> BTreeMap<String, Reading> {
    let paths: Arc<Vec<String>> = Arc::new(paths.into_iter().collect());
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, answers) = channel::<(usize, Reading)>();
    let reader = || {
        let (root, paths, next, sender) = (root.clone(), Arc::clone(&paths), Arc::clone(&next), sender.clone());
        Builder::new().spawn(move || {
            while let Some((at, path)) = take(&next, &paths) {
                if sender.send((at, read(&root, path))).is_err() {
                    return;
                }
            }
        })
    };
    let deadline = Instant::now() + patience;
    let mut read = BTreeMap::new();
    let mut refused = if paths.is_empty() { None } else { reader().err() };
    while read.len() < paths.len() && refused.is_none() {
        let left = deadline.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left.min(SLOW)) {
            Ok((at, reading)) => drop(read.insert(at, reading)),
            Err(_) if left.is_zero() => break,
            Err(_) if next.load(Ordering::Relaxed) < paths.len() => refused = reader().err(),
            Err(_) => {}
        }
    }
    let late = |path: &str| match &refused {
        Some(e) => Reading::Failed(format!("read {path}: start a thread: {e}")),
        None => Reading::Late(format!("reading {path} did not return within {patience:?}: an unbind is under way")),
    };
    let answer = |(at, path): (usize, &String)| (path.clone(), read.remove(&at).unwrap_or_else(|| late(path)));
    paths.iter().enumerate().map(answer).collect()
}

fn take<'a>(next: &AtomicUsize, paths: &'a [String]) -> Option<(usize, &'a str)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    paths.get(at).map(|path| (at, path.as_str()))
}

fn read(root: &Root, path: &str) -> Reading {
    match root.read_text(path) {
        Ok(text) => Reading::Text(text),
        Err(e) if is_absent(&e) => Reading::Gone,
        Err(e) => Reading::Failed(failed("read", path, &e)),
    }
}

/// "verb path: cause".
#[must_use]
pub fn failed(verb: &str, path: &str, cause: &io::Error) -> String {
    format!("{verb} {path}: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_block_hold_up_none_of_the_others() {
        let tree = tempfile::tempdir().unwrap();
        // Opening a fifo without a writer blocks as the kernel does.
        for name in ["b", "d"] {
            nix::unistd::mkfifo(&tree.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        for name in ["a", "c", "e"] {
            std::fs::write(tree.path().join(name), name).unwrap();
        }
        let paths = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).into();
        let began = Instant::now();
        let read = read_all(&Root::trusted(tree.path()), paths, Duration::from_millis(400));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        for name in ["a", "c", "e"] {
            assert_eq!(read[name], Reading::Text(name.to_owned()));
        }
        assert_eq!(read["f"], Reading::Gone);
        for name in ["b", "d"] {
            let Reading::Late(why) = &read[name] else { panic!("{:?}", read[name]) };
            assert_eq!(why, &format!("reading {name} did not return within 400ms: an unbind is under way"));
        }
    }

    #[test]
    fn nothing_to_read_takes_no_time() {
        assert!(read_all(&Root::trusted("/"), BTreeSet::new(), Duration::from_secs(60)).is_empty());
    }

    #[test]
    fn work_that_blocks_is_given_up_and_work_that_is_done_is_not() {
        let (_never, blocked) = channel::<()>();
        let slow = start("waiting", Duration::from_millis(10), move || blocked.recv()).unwrap();
        assert_eq!(slow.wait().unwrap_err().why, "waiting did not return within 10ms");
        let done = start("adding", Duration::from_secs(60), || 1 + 1).unwrap();
        assert_eq!(done.wait(), Ok(2));
    }
}
