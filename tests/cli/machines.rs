//! Machines that people have reported, and what each command says of them.
//!
//! `tests/machines/NN-name.tree` is a machine (`tests/common/written.rs` says how it is written), `NN-name.expected` beside it what
//! the commands print. Its README says what is true of each. A line `# also: show 01:00.0 --libvirt` in a tree adds a command.
//! `UPDATE_EXPECT=1 cargo test --test cli machines` writes what comes of each now, for you to judge.

use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::support::command::{terminal, vfiodctl};
use super::written;

/// What is asked of every machine.
const COMMANDS: [&[&str]; 5] = [&["check"], &["plan"], &["list", "--all"], &["groups"], &["config", "generate"]];

/// Each machine's tree.
pub fn machines() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines");
    let all = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut trees: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|end| end == "tree")).collect();
    trees.sort();
    trees
}

async fn outcome(machine: &Path) -> String {
    let written = fs::read_to_string(machine).unwrap();
    let also: Vec<Vec<&str>> =
        written.lines().filter_map(|line| line.strip_prefix("# also: ")).map(|l| l.split(' ').collect()).collect();
    let tree = written::unpack(machine);
    let root = tree.path().to_str().unwrap();
    let mut text = String::new();
    for words in COMMANDS.iter().copied().chain(also.iter().map(Vec::as_slice)) {
        let whole: Vec<&str> = ["--root", root].iter().chain(words).copied().collect();
        text += &vfiodctl(&whole, &terminal()).await.shown(words, Some(tree.path()));
        text += "\n";
    }
    text
}

#[tokio::test]
async fn each_reported_machine_is_described_as_it_is() {
    let machines = machines();
    assert!(machines.len() >= 54, "only {} machines found", machines.len());
    let mut differ = String::new();
    for machine in &machines {
        let (file, now) = (machine.with_extension("expected"), outcome(machine).await);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&file, &now).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected != now {
            let name = file.display().to_string();
            differ += &TextDiff::from_lines(&expected, &now).unified_diff().header(&name, "now").to_string();
        }
    }
    assert!(differ.is_empty(), "{differ}");
}
