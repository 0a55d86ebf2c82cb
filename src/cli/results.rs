//! What became of each thing that something was done to.

use serde_json::json;

use super::answer::{Answer, Setting};
use super::daemon::Results;
use super::screen::{Screen, Tone};
use crate::model::keeper::GIVEN_BACK;
use crate::model::module::ModuleState;
use crate::model::state::State;

/// The results as an answer; it is well if each is so.
#[must_use]
pub fn answer(results: &Results, good: fn(&str) -> bool, setting: &Setting) -> Answer {
    let ready = results.iter().all(|(_, result)| good(result));
    let answer = if setting.json {
        let list: Vec<_> = results.iter().map(|(name, result)| json!({ "name": name, "result": result })).collect();
        Answer::fields(json!({ "results": list }))
    } else {
        Answer::text(text(results, good, &setting.screen))
    };
    answer.if_ready(ready)
}

/// The state in front of the reason.
fn word(result: &str) -> &str {
    result.split(':').next().unwrap_or(result).trim()
}

fn text(results: &Results, good: fn(&str) -> bool, screen: &Screen) -> String {
    if results.is_empty() {
        return "nothing to do\n".to_owned();
    }
    let longest = results.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut out = String::new();
    for (name, result) in results {
        let tone = if good(result) { Tone::Good } else { Tone::Fair };
        let rest = result.strip_prefix(word(result)).unwrap_or_default();
        let word = screen.paint(&screen.marked(word(result), tone), tone);
        let name = screen.plain(name);
        out += &format!("{name:<longest$}  {word}{}\n", screen.wrapped(rest, longest + 4));
    }
    out
}

/// As declared.
#[must_use]
pub fn is_ready(result: &str) -> bool {
    [State::Ready, State::Assigned].iter().any(|state| state.as_str() == word(result))
}

/// Given back: released it is from the moment it was asked for, also while it is still on VFIO.
#[must_use]
pub fn is_given_back(result: &str) -> bool {
    let reason = result.strip_prefix(State::Released.as_str()).and_then(|rest| rest.strip_prefix(": "));
    reason.is_some_and(|reason| reason.starts_with(GIVEN_BACK))
}

/// A module that serves.
#[must_use]
pub fn serves(result: &str) -> bool {
    [ModuleState::Live, ModuleState::Builtin, ModuleState::NotApplicable]
        .iter()
        .any(|state| state.as_str() == word(result))
}
