//! `vfiodctl reset-failed`: forgets failures, and closes breakers.

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;
use crate::cli::target;

/// Has it done.
///
/// # Errors
/// When the daemon cannot be asked, there is no such target, or the caller may not.
pub async fn run(setting: &Setting, text: Option<&str>) -> Result<Answer, Failure> {
    let daemon = setting.sight.daemon().await?;
    // Everything is an empty target here.
    let target = match text {
        None | Some("all") => String::new(),
        Some(text) => target::find(text, &daemon.status().await?, setting.sight.root().as_ref())?,
    };
    daemon.reset_failed(&target).await?;
    let (what, text) = match target.as_str() {
        "" => ("all", "all failures are forgotten\n".to_owned()),
        target => (target, format!("failures of {target} are forgotten\n")),
    };
    Ok(if setting.json { Answer::fields(json!({ "reset": what })) } else { Answer::text(text) })
}
