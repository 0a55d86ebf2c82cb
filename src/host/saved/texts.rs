//! Files that may block, read in a child: a thread that the kernel holds would keep the program from
//! ending.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use crate::host::live::PATIENCE;
use crate::host::look::patience::{Reading, read_all};
use crate::host::process::Program;
use crate::host::readers::Readers;
use crate::host::root::Root;

/// A question longer than this is none.
const LONGEST: u64 = 64 << 20;

/// What came of each file.
pub type Texts = BTreeMap<String, Reading>;

/// Reads them, each of them for as long as [`PATIENCE`] lasts for all. In a saved tree nothing blocks.
pub async fn read(root: &Root, paths: BTreeSet<String>) -> Texts {
    if !root.is_live() {
        return read_all(root, paths, PATIENCE);
    }
    let asked = match serde_json::to_string(&paths) {
        Ok(question) => Readers::new(Program::own(["texts"])).ask(&question, PATIENCE * 2).await,
        Err(e) => Err(e.to_string()),
    };
    asked.unwrap_or_else(|why: String| {
        paths.into_iter().map(|path| (path.clone(), Reading::Failed(format!("read {path}: {why}")))).collect()
    })
}

/// The child's whole life: reads the paths, a JSON list, to the end of the input and writes one line.
/// The caller must call [`let_go`](crate::host::look::serve::let_go) next.
///
/// # Errors
/// When the question is not one, or the answer cannot be written.
pub fn serve(root: &Root, input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut text = String::new();
    input.take(LONGEST).read_to_string(&mut text)?;
    let paths: BTreeSet<String> = serde_json::from_str(&text)?;
    let mut line = serde_json::to_vec(&read_all(root, paths, PATIENCE))?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_the_question_is_in_the_answer() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("a"), "one\ntwo\n").unwrap();
        let mut line = Vec::new();
        serve(&Root::trusted(tree.path()), &br#"["/a","/b"]"#[..], &mut line).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let texts: Texts = serde_json::from_slice(&line).unwrap();
        assert_eq!(texts["/a"], Reading::Text("one\ntwo\n".to_owned()));
        assert_eq!(texts["/b"], Reading::Gone);
        assert!(serve(&Root::live(), &b"{}"[..], Vec::new()).is_err());
    }
}
