//! A process's command line, which only a child may read: it lies in the memory of the process,
//! whose lock, or whose slow file system, can hold the reader up for ever.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::suspect::starttime;
use crate::host::readers::Readers;
use crate::host::root::Root;

/// What is longer is cut.
const LONGEST: u64 = 4 << 10;
/// How long the child may take; nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cmdline {
    /// When the process began that was asked, in clock ticks since boot.
    pub starttime: u64,
    /// The arguments, with spaces between; a process can write into it whatever it likes.
    pub line: String,
}

/// Asks a child for the command line of a process, if it is that process still.
pub async fn ask(readers: &Readers, pid: u32, since: u64) -> Option<String> {
    let answer: Cmdline = readers.ask(&pid.to_string(), PATIENCE).await.ok()?;
    Some(answer.line).filter(|line| answer.starttime == since && !line.is_empty())
}

/// The whole life of that child: a pid to the end of the input, one line for an answer.
///
/// # Errors
/// When that is no pid, the process is gone, or the answer cannot be written.
pub fn serve(root: &Root, input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut text = String::new();
    input.take(LONGEST).read_to_string(&mut text)?;
    let pid: u32 = serde_json::from_str(&text)?;
    let mut bytes = Vec::new();
    root.reader(&format!("/proc/{pid}/cmdline"))?.take(LONGEST).read_to_end(&mut bytes)?;
    // Asked last: then it was this process all the time.
    let starttime = starttime(root, pid).ok_or(io::ErrorKind::NotFound)?;
    let mut line = serde_json::to_vec(&Cmdline { starttime, line: spaced(&bytes) })?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

/// On one line, and without anything that a terminal obeys.
fn spaced(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn served(question: &str) -> Option<Cmdline> {
        let mut line = Vec::new();
        serve(&Root::live(), question.as_bytes(), &mut line).ok()?;
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(&line).ok()
    }

    #[test]
    fn a_process_that_is_there_has_its_arguments_on_one_line() {
        let mut child = Command::new("/bin/cat").args(["-", "a\nb"]).stdin(Stdio::piped()).spawn().unwrap();
        // Whoever starts a program goes on before its arguments are in place.
        let answers = std::iter::repeat_with(|| served(&child.id().to_string()).unwrap());
        let answer = answers.into_iter().find(|answer| !answer.line.is_empty()).unwrap();
        assert_eq!(answer.line, "/bin/cat - a b");
        assert_eq!(Some(answer.starttime), starttime(&Root::live(), child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(served(&child.id().to_string()), None, "gone");
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        for question in ["", "-1", "\"1\"", "99999999999", "[1]"] {
            assert_eq!(served(question), None, "{question}");
        }
    }
}
