//! `vfiodctl reload`: has the configuration read again.

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;

/// Has it done.
///
/// # Errors
/// When the daemon cannot be asked, the caller may not, or the configuration is wrong: then with
/// every fault, and the settings in force stay.
pub async fn run(setting: &Setting) -> Result<Answer, Failure> {
    setting.sight.daemon().await?.reload().await?;
    let text = "the configuration has been read again\n";
    Ok(if setting.json { Answer::fields(json!({ "reloaded": true })) } else { Answer::text(text) })
}
