//! `vfiodctl groups`: the IOMMU groups, what is in them, what keeps them from a virtual machine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::list;
use crate::cli::answer::{Answer, Setting};
use crate::cli::device;
use crate::cli::failure::Failure;
use crate::cli::observed::{self, Extent};
use crate::cli::screen::{Column, Screen, Tone};
use crate::cli::verb::check;
use crate::host::root::Root;
use crate::host::unsaved;
use crate::model::group_blockers::GroupBlockers;
use crate::model::group_state::GroupState;
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
    // Drivers and groups do not tell all that keeps a device from being opened; the check does.
    let found = match check::report(setting).await {
        Ok(seen) => GroupBlockers::of(&seen.report),
        Err(failure) => {
            notes.push(format!("only drivers and groups were looked at: {failure}"));
            GroupBlockers::default()
        }
    };
    let by_members = blocked(&picture);
    picture.groups.values_mut().for_each(|group| found.block(group));
    let (groups, without) = chosen(&picture, devices, root.as_ref())?;
    let answer = if setting.json {
        let value = |(number, group): (&u32, &&GroupView)| (*number, value(group, &found));
        Answer::fields(json!({ "groups": groups.iter().map(value).collect::<BTreeMap<_, _>>() }))
    } else if let Some(why) = root.as_ref().filter(|_| picture.groups.is_empty()).and_then(unsaved::iommu) {
        Answer::text(format!("no IOMMU group is known: {why}\n"))
    } else if picture.groups.is_empty() {
        Answer::text("no IOMMU group: vfiodctl check tells why\n")
    } else if groups.is_empty() {
        Answer::default()
    } else {
        Answer::text(text(&groups, &picture, (&found, &by_members), &setting.screen))
    };
    let all_found = without.is_empty();
    notes.extend(without);
    Ok(answer.with_notes(notes).if_ready(all_found))
}

/// The groups that a member keeps from virtual machines.
fn blocked(picture: &Picture) -> BTreeSet<u32> {
    let blocked = picture.groups.iter().filter(|(_, group)| group.state == GroupState::Blocked);
    blocked.map(|(number, _)| *number).collect()
}

fn value(group: &GroupView, found: &GroupBlockers) -> Value {
    let mut value = serde_json::to_value(group).unwrap_or_default();
    value["codes"] = json!(found.codes(group));
    value
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

fn text(
    groups: &BTreeMap<u32, &GroupView>,
    picture: &Picture,
    (found, by_members): (&GroupBlockers, &BTreeSet<u32>),
    screen: &Screen,
) -> String {
    let plain = |text: &str| (text.to_owned(), Tone::Plain);
    let mut rows = Vec::new();
    for (number, group) in groups {
        let tone = tone(group.state);
        for (n, member) in group.members.iter().enumerate() {
            let device = member.parse::<Address>().ok().and_then(|address| picture.devices.get(&address));
            let (first, word) = match n {
                0 => (number.to_string(), (screen.marked(group.state.as_str(), tone), tone)),
                _ => (String::new(), plain("")),
            };
            let mut notes: Vec<&str> = found.about(member).iter().map(|code| code.as_str()).collect();
            if by_members.contains(number) && group.blockers.iter().any(|it| it.split(' ').next() == Some(member)) {
                notes.insert(0, "in the way");
            }
            let note = (notes.join(", "), if notes.is_empty() { Tone::Plain } else { Tone::Fair });
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
    let table = screen.table(&columns, rows);
    let host: Vec<&str> = found.host.iter().map(|code| code.as_str()).collect();
    match host.as_slice() {
        [] => table,
        codes => format!("{table}blocked for every device: {} (vfiodctl check)\n", codes.join(", ")),
    }
}

fn tone(state: GroupState) -> Tone {
    match state {
        GroupState::Ready => Tone::Good,
        GroupState::Host | GroupState::Shared | GroupState::Unbound => Tone::Plain,
        GroupState::Blocked | GroupState::Unknown => Tone::Fair,
    }
}

fn named(view: &DeviceView) -> (String, String) {
    let driver = view.driver.as_ref().map_or("-".to_owned(), |driver| list::bound(view, driver));
    (format!("{} [{}]", view.description, view.ids).trim().to_owned(), driver)
}
