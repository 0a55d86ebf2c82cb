//! The lines of `trace_pipe`, read as they come and never waited for.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::line::{Line, parse};

/// How much is read at once. A line may be cut between two reads.
const CHUNK: usize = 4 << 10;
/// No line of the trace is that long; what has no end by then is none.
const LONGEST: usize = 4 << 10;
/// How many reads in one go, so that a flood leaves time for others.
const READS: usize = 64;

/// An open `trace_pipe`.
#[derive(Debug)]
pub struct Pipe {
    fd: AsyncFd<OwnedFd>,
    lines: Lines,
}

#[expect(
    deprecated,
    reason = "its successor is an unsafe function, for types that may close or change their descriptor; OwnedFd cannot"
)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

impl Pipe {
    /// Takes an open one over. Within a tokio runtime.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn new(fd: OwnedFd) -> io::Result<Pipe> {
        Ok(Pipe { fd: register(fd)?, lines: Lines::default() })
    }

    /// Waits for lines. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// As `read(2)`.
    pub async fn next(&mut self) -> io::Result<Vec<Line>> {
        let Pipe { fd, lines } = self;
        let mut guard = fd.readable().await?;
        let (found, more) = read(guard.get_inner(), lines)?;
        if !more {
            guard.clear_ready();
        }
        Ok(found)
    }

    /// The lines that are there by now, whether or not the runtime has heard of them.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn drain(&mut self) -> io::Result<Vec<Line>> {
        read(self.fd.get_ref(), &mut self.lines).map(|(found, _)| found)
    }
}

/// Reads what is there. Whether there may be more.
fn read(fd: &OwnedFd, lines: &mut Lines) -> io::Result<(Vec<Line>, bool)> {
    let (mut chunk, mut found) = ([0; CHUNK], Vec::new());
    for _ in 0..READS {
        match nix::unistd::read(fd, &mut chunk) {
            Ok(0) | Err(Errno::EAGAIN) => return Ok((found, false)),
            Ok(length) => lines.add(&chunk[..length], &mut |line| found.extend(parse(line))),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok((found, true))
}

/// Puts lines together from what was read.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn add(&mut self, bytes: &[u8], line: &mut impl FnMut(&[u8])) {
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            self.rest.extend_from_slice(part);
            if parts.peek().is_some() {
                line(&self.rest);
                self.rest.clear();
            }
        }
        if self.rest.len() > LONGEST {
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_are_cut() {
        let text = b"one\n\ntwo lines\nrest";
        for size in 1..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            text.chunks(size).for_each(|chunk| lines.add(chunk, &mut |line: &[u8]| found.push(line.to_vec())));
            assert_eq!(found, [b"one".to_vec(), b"".to_vec(), b"two lines".to_vec()], "{size}");
            assert_eq!(lines.rest, b"rest");
        }
    }

    #[tokio::test]
    async fn what_is_there_is_read_and_what_comes_later_is_waited_for() {
        let (from, to) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let mut pipe = Pipe::new(from).unwrap();
        let say = |text: &str| assert_eq!(nix::unistd::write(&to, text.as_bytes()), Ok(text.len()));
        assert_eq!(pipe.drain().unwrap(), []);
        say("CPU:0 [LOST 1 EVENTS]\nx\nCPU:0 [LO");
        assert_eq!(pipe.drain().unwrap(), [Line::Missed], "no turn of the runtime between");
        let silence = tokio::time::timeout(std::time::Duration::from_millis(1), pipe.next()).await;
        // The runtime may have heard of what was read meanwhile: then there is nothing to find.
        assert!(silence.is_err() || silence.is_ok_and(|lines| lines.unwrap().is_empty()));
        say("ST EVENTS]\n");
        let mut found = Vec::new();
        while found.is_empty() {
            found = pipe.next().await.unwrap();
        }
        assert_eq!(found, [Line::Missed]);
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut lines = Lines::default();
        (0..100).for_each(|_| lines.add(&[b'x'; 1000], &mut |_: &[u8]| panic!("no line")));
        assert!(lines.rest.len() <= LONGEST + 1000);
    }
}
