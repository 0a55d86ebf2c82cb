//! `vfiodctl check`: what stands between devices and virtual machines.

use std::collections::BTreeSet;

use crate::cli::answer::{Answer, Setting};
use crate::cli::check::{Shown, text};
use crate::cli::device;
use crate::cli::failure::Failure;
use crate::cli::sight::without;
use crate::host::root::Root;
use crate::host::surveyor;
use crate::model::pci::Address;
use crate::model::picture::Picture;
use crate::model::preflight::{self, Report};
use crate::model::words;

/// Asks the daemon, which sees what needs rights; as root, without a daemon, or on a saved tree, looks
/// itself.
///
/// # Errors
/// When another machine's daemon cannot be asked, or there is no such device.
pub async fn run(setting: &Setting, devices: &[String]) -> Result<Answer, Failure> {
    let (picture, mut notes) = setting.sight.picture().await?;
    let Meaning { functions: meant, nowhere } = meant(devices, &picture, setting.sight.root().as_ref())?;
    let Seen { report, text: own, how } = report(setting).await?;
    let wanted = picture.devices.iter().filter_map(|(address, view)| Some((*address, view.wanted.clone()?)));
    let report = report.beside(&wanted.collect());
    notes.extend(how);
    if let Some(absent) = meant.iter().find(|address| !report.devices.contains_key(address)) {
        let near = device::nearest(&absent.to_string(), report.devices.keys().map(ToString::to_string));
        return Err(Failure::NoSuch { what: format!("PCI function {absent}"), near });
    }
    // What is declared counts, of what is asked for; the rest may well have blockers.
    let declared = picture.devices.iter().filter(|(_, view)| view.entry.is_some()).map(|(address, _)| *address);
    let counts: Vec<Address> = declared.filter(|address| devices.is_empty() || meant.contains(address)).collect();
    let blocked = |address: &&Address| {
        report.devices.contains_key(address) && report.findings_of(**address).any(preflight::Finding::blocks)
    };
    let blocked = counts.iter().filter(blocked).count();
    let ready = blocked == 0;
    let answer = if setting.json {
        match own {
            Some(own) if devices.is_empty() => Answer::of_daemon(&own),
            _ => Answer::json(&if devices.is_empty() { report } else { report.about(&meant) }),
        }
    } else if meant.is_empty() && !devices.is_empty() {
        // For the text no device means all of them.
        Answer::default()
    } else {
        let mut text = text(&report, &Shown { devices: meant, width: setting.screen.width.unwrap_or(0).into() });
        // The exit status follows from it.
        if !counts.is_empty() {
            let blocked = if blocked == 0 { "none".to_owned() } else { blocked.to_string() };
            text += &format!("Declared: {}, {blocked} blocked.\n", words::count(counts.len(), "device"));
        }
        Answer::text(text.lines().map(|line| setting.screen.plain(line) + "\n").collect::<String>())
    };
    let ready = ready && nowhere.is_empty();
    notes.extend(nowhere.iter().map(|name| format!("no device of {name} is there")));
    Ok(answer.with_notes(notes).if_ready(ready))
}

/// What a person means.
#[derive(Debug, Default)]
struct Meaning {
    functions: BTreeSet<Address>,
    /// Entries of which nothing is there.
    nowhere: Vec<String>,
}

/// The functions that a person names: addresses, also of what nobody declared, and entries.
fn meant(devices: &[String], picture: &Picture, root: Option<&Root>) -> Result<Meaning, Failure> {
    let mut meaning = Meaning::default();
    for text in devices {
        if let Ok(address) = text.parse::<Address>() {
            meaning.functions.insert(address);
            continue;
        }
        let functions = device::functions(&device::find(text, picture, root)?, picture);
        if functions.is_empty() {
            meaning.nowhere.push(text.clone());
        }
        meaning.functions.extend(functions.into_keys());
    }
    Ok(meaning)
}

/// A report, the daemon's own text of it where it is the daemon's, and a note on how it was seen.
pub struct Seen {
    /// The report.
    pub report: Report,
    text: Option<String>,
    how: Option<String>,
}

/// Asks the daemon for its check, or looks itself: as root, without a daemon, or on a saved tree.
///
/// # Errors
/// When another machine's daemon cannot be asked, or this machine cannot be looked at.
pub async fn report(setting: &Setting) -> Result<Seen, Failure> {
    if let Some(tree) = &setting.sight.tree {
        return Ok(Seen { report: local(tree).await?, text: None, how: None });
    }
    let asked = match setting.sight.daemon().await {
        Ok(daemon) => daemon.check("").await.map(|text| (daemon, text)),
        Err(failure) => Err(failure),
    };
    match asked {
        // The daemon knows by its own check now. Its sandbox hides the kernel's log, where root finds what has
        // failed to open so far.
        Ok(_) if setting.root && setting.sight.host.is_none() => {
            Ok(Seen { report: local(&Root::live()).await?, text: None, how: None })
        }
        Ok((daemon, text)) => Ok(Seen { report: daemon.read("report", &text).await?, text: Some(text), how: None }),
        Err(Failure::Unreachable { why, .. }) if setting.sight.host.is_none() => {
            Ok(Seen { report: local(&Root::live()).await?, text: None, how: Some(without(&why)) })
        }
        Err(failure) => Err(failure),
    }
}

async fn local(root: &Root) -> Result<Report, Failure> {
    let survey = surveyor::take_closely(root).await;
    survey.map(|survey| preflight::check(&survey)).map_err(|why| Failure::Refused(format!("check this machine: {why}")))
}
