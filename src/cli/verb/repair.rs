//! `vfiodctl repair`: now, without waiting for a back-off or an open breaker.

use crate::cli::answer::{Answer, Setting};
use crate::cli::device;
use crate::cli::failure::Failure;
use crate::cli::results::{self, is_ready, serves};

/// Has it done, and shows what became of it.
///
/// # Errors
/// When the daemon cannot be asked, there is no such device, or the caller may not.
pub async fn run(setting: &Setting, devices: &[String]) -> Result<Answer, Failure> {
    let daemon = setting.sight.daemon().await?;
    let meant = match devices {
        [] => Vec::new(),
        some => device::find_all(some, &daemon.status().await?, setting.sight.root().as_ref())?,
    };
    let targets: Vec<String> = meant.iter().map(device::Meant::name).collect();
    // Everything is modules as well.
    let good = |result: &str| is_ready(result) || serves(result);
    Ok(results::answer(&daemon.repair(&targets).await?, good, setting))
}
