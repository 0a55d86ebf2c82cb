//! Children that read what may block: `vfiod look`.
//!
//! On 6.1 reading `driver_override` of a device that is being unbound blocks until its holder lets
//! go. A reader that does not answer in time is left to itself: killing it would only turn its
//! sleep into one that nothing ends. So that they do not pile up, only so many may linger.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;

use super::process::Program;

/// How many may linger before no more are begun.
const MOST: usize = 8;
/// What a reader gets beyond its own patience, to be started and to answer.
const MARGIN: Duration = Duration::from_secs(1);
/// The longest answer, in bytes.
const LONGEST: u64 = 64 << 20;

/// The readers, and those of them that are still about.
#[derive(Debug)]
pub struct Readers {
    program: Program,
    /// Shared between questions asked at the same time, and held for no longer than a push.
    lingering: RefCell<Vec<Child>>,
}

impl Readers {
    /// Readers that run `program`.
    #[must_use]
    pub fn new(program: Program) -> Readers {
        Readers { program, lingering: RefCell::default() }
    }

    /// Asks one reader: `ask` (JSON) goes to its stdin, one line of JSON comes back. `patience` is
    /// how long the reader itself waits for the kernel. Does not wait for its end.
    ///
    /// Needs a tokio runtime around it. When this is dropped before it is done, the reader lingers.
    ///
    /// # Errors
    /// When too many linger, it cannot be started, does not answer in time, or makes no sense.
    pub async fn ask<T: DeserializeOwned>(&self, ask: &str, patience: Duration) -> Result<T, String> {
        self.ask_one(ask, patience).await.map(|(_, answer)| answer)
    }

    /// The same, with the reader's process id: whether it is about still, [`Readers::about`] tells.
    ///
    /// # Errors
    /// As [`Readers::ask`].
    pub async fn ask_one<T: DeserializeOwned>(&self, ask: &str, patience: Duration) -> Result<(u32, T), String> {
        let lingering = self.lingering();
        if lingering >= MOST {
            return Err(format!("begin reader: {lingering} have not returned yet"));
        }
        let mut child = self
            .program
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // One that lingers would hold the daemon's open.
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("run {}: {e}", self.program.exe.display()))?;
        let (pid, stdin, stdout) = (child.id(), child.stdin.take(), child.stdout.take());
        // Whatever happens from here on, it is reaped one day.
        self.lingering.borrow_mut().push(child);
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err("ask reader: no pipe".to_owned());
        };
        let limit = patience + MARGIN;
        match tokio::time::timeout(limit, converse(stdin.into(), stdout.into(), ask)).await {
            Ok(Ok(line)) => {
                let answer = serde_json::from_slice(&line).map_err(|e| format!("read reader's answer: {e}"))?;
                Ok((pid, answer))
            }
            Ok(Err(e)) => Err(format!("ask reader: {e}")),
            Err(_) => Err(format!("ask reader: no answer within {} ms", limit.as_millis())),
        }
    }

    /// Reaps those that have ended. Costs nothing where there is none.
    pub fn reap(&self) {
        self.lingering.borrow_mut().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Reaps those that have ended and counts the others.
    pub fn lingering(&self) -> usize {
        self.about().len()
    }

    /// Reaps those that have ended; answers with the process ids of the others.
    pub fn about(&self) -> BTreeSet<u32> {
        self.reap();
        self.lingering.borrow().iter().map(Child::id).collect()
    }
}

async fn converse(stdin: OwnedFd, stdout: OwnedFd, ask: &str) -> std::io::Result<Vec<u8>> {
    let mut stdin = pipe::Sender::from_owned_fd(stdin)?;
    // One that answers without reading all of it, or dies, is told by what comes back.
    if let Err(e) = stdin.write_all(ask.as_bytes()).await
        && e.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(e);
    }
    drop(stdin);
    let mut line = Vec::new();
    BufReader::new(pipe::Receiver::from_owned_fd(stdout)?.take(LONGEST)).read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') {
        Ok(line)
    } else {
        Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it ended without a whole line"))
    }
}
