//! `vfiodctl release`: give a device back to its former driver.

use crate::cli::answer::{Answer, Setting};
use crate::cli::device;
use crate::cli::failure::Failure;
use crate::cli::results::{self, is_given_back};

/// Has it done, and shows what became of it.
///
/// # Errors
/// When the daemon cannot be asked, there is no such device, the caller may not, or it is refused.
pub async fn run(setting: &Setting, name: &str) -> Result<Answer, Failure> {
    let daemon = setting.sight.daemon().await?;
    let meant = device::find(name, &daemon.status().await?, setting.sight.root().as_ref())?;
    let answer = results::answer(&daemon.change("Release", &meant.object()).await?, is_given_back, setting);
    Ok(answer.with_notes(daemon.until_when().await))
}
