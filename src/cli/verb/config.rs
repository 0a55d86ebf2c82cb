//! `vfiodctl config check` and `config show`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;
use crate::cli::settings_text;
use crate::config;
use crate::model::words;

/// Where files are looked up: the saved tree, or this machine.
fn root(setting: &Setting) -> Result<PathBuf, Failure> {
    match (&setting.sight.tree, &setting.sight.host) {
        (_, Some(_)) => Err(Failure::Usage("config: only this machine's files can be read".to_owned())),
        (Some(tree), None) => Ok(tree.join("/")),
        (None, None) => Ok(PathBuf::from("/")),
    }
}

/// Every mistake, with file and line.
///
/// # Errors
/// With `--host`.
pub fn check(setting: &Setting, file: Option<&Path>) -> Result<Answer, Failure> {
    let root = root(setting)?;
    let (text, value, right) = match config::load(&root, file) {
        Ok(settings) => {
            let files = words::count(settings.sources.len(), "file");
            let entries = words::count(settings.desired.entries.len(), "entry");
            let text = format!("the configuration is right: {files}, {entries}\n");
            (text, json!({ "right": true, "files": settings.files().collect::<Vec<_>>(), "problems": [] }), true)
        }
        Err(errors) => {
            let text = errors.to_string();
            let problems: Vec<&str> = text.trim_end().lines().collect();
            let value = json!({ "right": false, "problems": problems });
            let shown: String = problems.iter().map(|line| setting.screen.plain(line) + "\n").collect();
            (shown, value, false)
        }
    };
    let answer = if setting.json { Answer::fields(value) } else { Answer::text(text) };
    Ok(answer.if_ready(right))
}

/// The whole configuration, merged, and where each value is from.
///
/// # Errors
/// With `--host`; with every mistake where the configuration is wrong.
pub fn show(setting: &Setting, file: Option<&Path>) -> Result<Answer, Failure> {
    let loaded = config::load_with_origins(&root(setting)?, file);
    let (settings, places) = loaded.map_err(|errors| Failure::Refused(errors.to_string()))?;
    let places: BTreeMap<String, String> =
        places.into_iter().map(|(key, place)| (key, format!("{}:{}", place.file, place.line))).collect();
    if setting.json {
        return Ok(Answer::fields(json!({ "settings": settings, "places": places })));
    }
    Ok(Answer::text(settings_text::text(&settings, &places)))
}
