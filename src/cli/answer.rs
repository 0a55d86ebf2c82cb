//! What a command answers: text or JSON for standard output, notes for standard error, a status.

use serde::Serialize;
use serde_json::{Value, json};

use super::json::pretty;
use super::screen::Screen;
use super::sight::Sight;
use crate::model::picture::SCHEMA;
use crate::model::words;
use crate::names::ctl;

/// What every command is given.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where to look.
    pub sight: Sight,
    /// What the output can show.
    pub screen: Screen,
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// Whether the answer is JSON.
    pub json: bool,
    /// Who runs the command, for those who see its holds.
    pub who: String,
    /// What a user of this machine is called.
    pub user: fn(u32) -> Option<String>,
    /// Whether the caller may read what the daemon's sandbox keeps from it.
    pub root: bool,
}

impl Setting {
    /// A user in words: numbers of another machine, or of a saved one, mean others here.
    #[must_use]
    pub fn user(&self, uid: u32) -> String {
        let here = self.sight.tree.is_none() && self.sight.host.is_none();
        let name = (self.user)(uid).filter(|_| here && uid != 0);
        name.unwrap_or_else(|| words::user(uid))
    }
}

/// What a command answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// For standard error: how the answer came about.
    pub notes: Vec<String>,
    /// The exit status.
    pub status: u8,
}

impl Answer {
    /// An answer in text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Answer {
        Answer { text: text.into(), ..Answer::default() }
    }

    /// An answer in JSON.
    #[must_use]
    pub fn json(value: &impl Serialize) -> Answer {
        // A picture has string keys and numbers only: nothing in it can fail to be written.
        let text = serde_json::to_string_pretty(value)
            .unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string());
        Answer::text(text + "\n")
    }

    /// An answer in the daemon's own JSON.
    #[must_use]
    pub fn of_daemon(text: &str) -> Answer {
        Answer::text(pretty(text))
    }

    /// An answer in JSON with the schema beside these fields.
    #[must_use]
    pub fn fields(value: Value) -> Answer {
        let mut whole = serde_json::Map::from_iter([("schema".to_owned(), json!(SCHEMA))]);
        if let Value::Object(fields) = value {
            whole.extend(fields);
        }
        Answer::json(&Value::Object(whole))
    }

    /// The same with notes.
    #[must_use]
    pub fn with_notes(self, notes: Vec<String>) -> Answer {
        Answer { notes, ..self }
    }

    /// The same with the status that says whether all is well.
    #[must_use]
    pub fn if_ready(self, ready: bool) -> Answer {
        Answer { status: if ready { ctl::OK } else { ctl::NOT_READY }, ..self }
    }
}
