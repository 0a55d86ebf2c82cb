//! `vfiodctl unhold`: ends a hold.

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;

/// Has it done.
///
/// # Errors
/// When the daemon cannot be asked, there is no such hold, or the caller may not.
pub async fn run(setting: &Setting, id: u64) -> Result<Answer, Failure> {
    let daemon = setting.sight.daemon().await?;
    daemon.unhold(id).await.map_err(|failure| match failure {
        Failure::NoSuch { .. } => Failure::NoSuch { what: format!("hold {id} (vfiodctl status)"), near: Vec::new() },
        other => other,
    })?;
    let answer = if setting.json {
        Answer::fields(json!({ "ended": id }))
    } else {
        Answer::text(format!("hold {id} has ended\n"))
    };
    Ok(answer.with_notes(daemon.until_when().await))
}
