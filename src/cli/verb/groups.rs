//! `vfiodctl groups`: the IOMMU groups, what is in them, what keeps them from a virtual machine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::list;
use crate::cli::answer::{Answer, Setting};
use crate::cli::device;
use crate::cli::failure::Failure;
use crate::cli::observed::{self, Extent};
use crate::cli::screen::{Column, Screen, Tone};
use crate::host::root::Root;
use crate::host::unsaved;
use crate::model::pci::Address;
use crate::model::picture::{DeviceView, GroupView, Picture};

/// Looks and shows. Of this machine all groups are seen, with or without the daemon; of another one
/// those that its daemon knows.
///
/// # Errors
/// When another machine's daemon cannot be asked, or there is no such device.
pub async fn run(setting: &Setting, devices: &[String]) -> Result<Answer, Failure> {
    let root = setting.sight.root();
    let (mut picture, others, mut notes) = match &root {
        Some(root) => {
            let observed = observed::observe(root, setting.sight.names(), Extent::Everything).await;
            (Picture { groups: observed.groups, ..observed.picture }, observed.others, observed.notes)
        }
        None => (setting.sight.daemon().await?.status().await?, BTreeMap::new(), Vec::new()),
    };
    picture.devices.extend(others);
    let (groups, without) = chosen(&picture, devices, root.as_ref())?;
    let answer = if setting.json {
        Answer::fields(json!({ "groups": groups }))
    } else if let Some(why) = root.as_ref().filter(|_| picture.groups.is_empty()).and_then(unsaved::iommu) {
        Answer::text(format!("no IOMMU group is known: {why}\n"))
    } else if picture.groups.is_empty() {
        Answer::text("no IOMMU group: is the IOMMU on, in firmware and on the kernel's command line?\n")
    } else if groups.is_empty() {
        Answer::default()
    } else {
        Answer::text(text(&groups, &picture, &setting.screen))
    };
    let found = without.is_empty();
    notes.extend(without);
    Ok(answer.with_notes(notes).if_ready(found))
}

/// The groups of these devices, and what to say of those that have none.
fn chosen<'p>(
    picture: &'p Picture,
    devices: &[String],
    root: Option<&Root>,
) -> Result<(BTreeMap<u32, &'p GroupView>, Vec<String>), Failure> {
    let all = picture.groups.iter().map(|(number, group)| (*number, group));
    if devices.is_empty() {
        return Ok((all.collect(), Vec::new()));
    }
    let (mut numbers, mut without) = (BTreeSet::new(), Vec::new());
    for meant in device::find_all(devices, picture, root)? {
        let functions = device::functions(&meant, picture);
        let of: BTreeSet<u32> = functions.values().filter_map(|view| view.group).collect();
        if functions.is_empty() {
            without.push(format!("{} is not there", meant.name()));
        } else if of.is_empty() {
            without.push(format!("{} is in no group", meant.name()));
        }
        numbers.extend(of);
    }
    Ok((all.filter(|(number, _)| numbers.contains(number)).collect(), without))
}

fn text(groups: &BTreeMap<u32, &GroupView>, picture: &Picture, screen: &Screen) -> String {
    let plain = |text: &str| (text.to_owned(), Tone::Plain);
    let mut rows = Vec::new();
    for (number, group) in groups {
        let (word, tone) = if group.viable { ("viable", Tone::Good) } else { ("not viable", Tone::Fair) };
        for (n, member) in group.members.iter().enumerate() {
            let device = member.parse::<Address>().ok().and_then(|address| picture.devices.get(&address));
            let blocks = group.blockers.iter().any(|blocker| blocker.split(' ').next() == Some(member.as_str()));
            let (first, word) = match n {
                0 => (number.to_string(), (screen.marked(word, tone), tone)),
                _ => (String::new(), plain("")),
            };
            let note = if blocks { ("in the way".to_owned(), Tone::Fair) } else { plain("") };
            let (name, driver) = device.map(named).unwrap_or_default();
            rows.push(vec![plain(&first), word, plain(member), plain(&name), plain(&driver), note]);
        }
    }
    let columns = [
        Column::fixed("GROUP"),
        Column::fixed("STATE"),
        Column::fixed("MEMBER"),
        Column::prose("DEVICE", 1),
        Column::fixed("DRIVER"),
        Column::fixed("NOTE"),
    ];
    screen.table(&columns, rows)
}

fn named(view: &DeviceView) -> (String, String) {
    let driver = view.driver.as_ref().map_or("-".to_owned(), |driver| list::bound(view, driver));
    (format!("{} [{}]", view.description, view.ids).trim().to_owned(), driver)
}
