//! The whole life of the child that looks: read the question, answer, let go of the output.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};

use super::ask::Ask;
use super::look::look;
use crate::host::root::Root;

/// A question longer than this is none.
const LONGEST: u64 = 4 << 20;

/// Reads one [`Ask`] to the end of the input and writes one line, the `Looked`.
///
/// Threads that block in the kernel stay behind. The process can then not exit, so the caller must
/// call [`let_go`] next, and its parent must not wait for more than the line.
///
/// # Errors
/// When the question is not one, or the answer cannot be written.
pub fn serve(root: &Root, input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut text = String::new();
    input.take(LONGEST).read_to_string(&mut text)?;
    let ask: Ask = serde_json::from_str(&text)?;
    let mut line = serde_json::to_vec(&look(root, &ask))?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

/// Closes standard output for good, by putting /dev/null in its place: a thread in state D would
/// keep the parent's pipe open after the end.
///
/// # Errors
/// As `open(2)` and `dup2(2)`.
pub fn let_go() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    Ok(nix::unistd::dup2_stdout(null)?)
}

#[cfg(test)]
mod tests {
    use super::super::ask::Looked;
    use super::*;
    use crate::model::snapshot::Fact;

    #[test]
    fn a_question_gets_one_line_for_an_answer() {
        let tree = tempfile::tempdir().unwrap();
        let device = tree.path().join("sys/bus/pci/devices/0000:01:00.0");
        std::fs::create_dir_all(&device).unwrap();
        std::fs::write(device.join("driver_override"), "(null)\n").unwrap();
        let root = Root::trusted(tree.path());
        let question = r#"{"functions":[],"pins":["0000:01:00.0"],"pinned":true,"patience":{"secs":1,"nanos":0}}"#;
        let mut line = Vec::new();
        serve(&root, question.as_bytes(), &mut line).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let looked: Looked = serde_json::from_slice(&line).unwrap();
        assert_eq!(looked.pins.len(), 1);
        assert_eq!(looked.pinned, Fact::Is([].into()));
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let mut line = Vec::new();
        assert!(serve(&Root::live(), &b"{}"[..], &mut line).is_err());
        assert!(line.is_empty());
    }
}
