//! `vfiodctl history`: what was lost and brought back, oldest first.

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::event::Event;
use crate::cli::failure::Failure;

/// Asks and shows.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn run(setting: &Setting, lines: u32) -> Result<Answer, Failure> {
    let found = setting.sight.daemon().await?.history(lines).await?;
    let events: Vec<Event> = found.iter().map(Event::of).collect();
    if setting.json {
        return Ok(Answer::fields(json!({ "events": events })));
    }
    if events.is_empty() {
        return Ok(Answer::text("nothing was lost yet\n"));
    }
    Ok(Answer::text(events.iter().map(|event| event.line(&setting.screen)).collect::<String>()))
}
