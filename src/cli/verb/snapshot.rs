//! `vfiodctl snapshot`: what a bug report needs, in one file.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;
use crate::config;
use crate::host::root::Root;
use crate::host::saved::{archive, save};
use crate::model::desired::{Keep, Wanted};
use crate::model::pci::Module;

/// Saves this machine, or what is known of it from a saved tree.
///
/// # Errors
/// With `--host`; when standard output is a terminal, the file is there already, or cannot be written.
pub async fn run(
    setting: &Setting,
    file: &Path,
    force: bool,
    out: &mut (impl Write + ?Sized),
) -> Result<Answer, Failure> {
    let Some(root) = setting.sight.root() else {
        return Err(Failure::Usage("snapshot: only this machine can be saved; run it on the other one".to_owned()));
    };
    let to_output = file == Path::new("-");
    if to_output && setting.terminal {
        return Err(Failure::Usage("snapshot: a terminal cannot show a tar file; give it a file or a pipe".to_owned()));
    }
    let saved = save(&root, &declared(&root)).await;
    let taken = setting.screen.now_usec / 1_000_000;
    let written = match to_output {
        true => archive::write(&saved, taken, io::BufWriter::new(out)),
        false => archive::create(&saved, taken, file, force),
    };
    let shown = file.display();
    match written {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(Failure::Closed),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::Refused(format!("write {shown}: it is there already; --force replaces it")));
        }
        Err(e) => return Err(Failure::Refused(format!("write {shown}: {e}"))),
    }
    let top = archive::TOP;
    let notes: Vec<String> = saved.unread.iter().map(|why| format!("not in it: {why}")).collect();
    let answer = match (to_output, setting.json) {
        (true, _) => Answer::default(),
        (false, true) => Answer::fields(json!({ "file": file, "items": saved.items.len(), "unread": saved.unread })),
        (false, false) => Answer::text(format!(
            "saved to {shown}; what is in it: man vfiodctl\nto look at it: tar -xf {shown} && vfiodctl --root {top} check\n"
        )),
    };
    Ok(answer.with_notes(notes))
}

/// The modules that the configuration names. One that is wrong names none; it is saved all the same.
fn declared(root: &Root) -> BTreeSet<Module> {
    let Ok(settings) = config::load(&root.join("/"), None) else { return BTreeSet::new() };
    let desired = settings.desired;
    let named = desired.entries.iter().filter_map(|entry| match &entry.driver {
        Wanted::Named(driver) if driver.is_plain() => Some(driver.module()),
        Wanted::Named(_) | Wanted::Any | Wanted::Auto => None,
    });
    let listed = match &desired.modules {
        Keep::List(modules) => modules.clone(),
        Keep::Auto => Vec::new(),
    };
    named.chain(listed).collect()
}
