//! The command, run within the test: with a clock, a screen and a bus that the test chooses.

use std::path::Path;

use clap::Parser;
use jiff::tz::TimeZone;
use similar::TextDiff;
use vfiod::cli::arguments::Arguments;
use vfiod::cli::run::{Surroundings, run};
use vfiod::host::root::Root;

/// 2026-11-20 17:00:00 UTC: now, in all tests.
pub const NOW: u64 = 1_795_194_000_000_000;

/// A terminal of 100 columns and 50 rows in a UTF-8 locale, and no bus.
pub fn terminal() -> Surroundings {
    Surroundings {
        terminal: true,
        width: Some(100),
        rows: Some(50),
        no_color: true,
        utf8: true,
        zone: TimeZone::UTC,
        now_usec: NOW,
        who: "alice".to_owned(),
        // Of no user of whatever machine this runs on.
        user: |_| None,
        root: false,
        names: Root::trusted(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/names")),
        bus: Some("unix:path=/nonexistent/bus".to_owned()),
    }
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub status: u8,
    pub out: String,
    pub err: String,
}

/// Runs a command line.
pub async fn vfiodctl(words: &[&str], around: &Surroundings) -> Done {
    let arguments =
        Arguments::try_parse_from(std::iter::once(&"vfiodctl").chain(words)).unwrap_or_else(|e| panic!("{e}"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = run(arguments, around, &mut out, &mut err).await;
    Done { status, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

impl Done {
    /// It as a fixture has it. The saved tree's place is another one each time.
    pub fn shown(&self, words: &[&str], tree: Option<&Path>) -> String {
        let mut text = format!("$ vfiodctl {}\n{}", words.join(" "), self.out);
        for line in self.err.lines() {
            text += &format!("! {line}\n");
        }
        text += &format!("= {}\n", self.status);
        tree.map_or(text.clone(), |tree| text.replace(tree.to_str().unwrap(), "TREE"))
    }
}

/// What differs between a fixture and what came of it now; `UPDATE_EXPECT=1` writes it instead.
pub fn difference(name: &str, now: &str) -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/expected").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, now).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    (expected != now)
        .then(|| TextDiff::from_lines(expected.as_str(), now).unified_diff().header(name, "now").to_string())
}
