//! `vfiodctl load`: loads required modules now.

use crate::cli::answer::{Answer, Setting};
use crate::cli::device::nearest;
use crate::cli::failure::Failure;
use crate::cli::results::{self, serves};
use crate::model::pci::Module;

/// Has it done, and shows what became of it.
///
/// # Errors
/// When the daemon cannot be asked, no such module is required, or the caller may not.
pub async fn run(setting: &Setting, modules: &[String]) -> Result<Answer, Failure> {
    let daemon = setting.sight.daemon().await?;
    let mut names = Vec::new();
    if !modules.is_empty() {
        let known = daemon.status().await?.modules;
        for text in modules {
            match text.parse::<Module>() {
                Ok(module) if known.contains_key(&module) => names.push(module.to_string()),
                _ => {
                    let near = nearest(text, known.keys().map(ToString::to_string));
                    return Err(Failure::NoSuch { what: format!("required module {text}"), near });
                }
            }
        }
    }
    Ok(results::answer(&daemon.load(&names).await?, serves, setting))
}
