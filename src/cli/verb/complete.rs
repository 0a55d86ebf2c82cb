//! `vfiodctl complete`: the words that shell completions ask for, one a line. It is quick, says
//! nothing when something is wrong, and starts nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cli::answer::{Answer, Setting};
use crate::cli::arguments::Words;
use crate::cli::failure::Failure;
use crate::host::root::Root;
use crate::model::picture::Picture;
use crate::model::printable::printable;

/// Nobody waits longer for a completion.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lists what there is.
///
/// # Errors
/// None: no words are an answer, too.
pub async fn run(setting: &Setting, kind: Words) -> Result<Answer, Failure> {
    let asked = async { setting.sight.daemon().await?.status().await };
    let picture = tokio::time::timeout(PATIENCE, asked).await.ok().and_then(Result::ok);
    let root = setting.sight.root();
    let words = words(kind, picture.as_ref(), root.as_ref());
    Ok(Answer::text(words.iter().map(|word| printable(word) + "\n").collect::<String>()))
}

fn words(kind: Words, picture: Option<&Picture>, root: Option<&Root>) -> Vec<String> {
    let modules = || picture.iter().flat_map(|picture| picture.modules.keys()).map(ToString::to_string);
    match kind {
        Words::Modules => modules().collect(),
        Words::Holds => {
            let holds = || picture.iter().flat_map(|picture| &picture.holds);
            let targets: BTreeSet<String> = holds().map(|hold| hold.target.clone()).collect();
            holds().map(|hold| hold.id.to_string()).chain(targets).collect()
        }
        Words::Devices => devices(picture, root),
        Words::Targets => {
            let mut words = devices(picture, root);
            words.push("all".to_owned());
            words.extend(modules().map(|module| format!("module:{module}")));
            words
        }
    }
}

/// Those of the daemon, or all functions of the machine where it is not there.
fn devices(picture: Option<&Picture>, root: Option<&Root>) -> Vec<String> {
    match (picture, root) {
        (Some(picture), _) => {
            picture.entries.keys().cloned().chain(picture.devices.keys().map(ToString::to_string)).collect()
        }
        (None, Some(root)) => root.list("/sys/bus/pci/devices").unwrap_or_default(),
        (None, None) => Vec::new(),
    }
}
