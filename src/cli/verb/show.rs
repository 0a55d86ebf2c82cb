//! `vfiodctl show`: everything about one device, or an entry and its devices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{check, libvirt, list};
use crate::cli::answer::{Answer, Setting};
use crate::cli::device::{self, Meant, nearest};
use crate::cli::failure::Failure;
use crate::cli::observed::{self, Extent, class_of};
use crate::cli::screen::{Screen, Tone};
use crate::host::pci_ids;
use crate::model::concern::Concern;
use crate::model::group_blockers::GroupBlockers;
use crate::model::group_state::GroupState;
use crate::model::pci::Address;
use crate::model::picture::{DeviceView, GroupView, Picture, UserView};
use crate::model::preflight::Severity;
use crate::model::state::State;
use crate::model::words;

/// Looks and shows.
///
/// # Errors
/// When there is no such device, or another machine's daemon cannot be asked.
pub async fn run(setting: &Setting, name: &str, as_libvirt: bool) -> Result<Answer, Failure> {
    let (mut picture, mut notes) = setting.sight.picture().await?;
    let root = setting.sight.root();
    let known: BTreeSet<Address> = picture.devices.keys().copied().collect();
    let found = match (device::find(name, &picture, root.as_ref()), &root) {
        (Ok(found), Some(root)) if as_libvirt => {
            // Which members of the group are bridges only a look at all of them tells.
            let observed = observed::observe(root, setting.sight.names(), Extent::Everything).await;
            picture.devices.extend(observed.others);
            Ok(found)
        }
        (Err(Failure::NoSuch { what, .. }), Some(root)) => {
            // It may be a function that the daemon has no business with.
            let observed = observed::observe(root, setting.sight.names(), Extent::Everything).await;
            let near = device::near(name, &picture);
            picture.devices.extend(observed.others);
            picture.groups.extend(observed.groups);
            picture
                .devices
                .extend(observed.picture.devices.into_iter().filter(|(address, _)| !known.contains(address)));
            notes.extend(observed.notes);
            notes.dedup();
            let all = || picture.devices.keys().map(ToString::to_string);
            let near = if near.is_empty() { nearest(name, all()) } else { near };
            device::find(name, &picture, Some(root)).map_err(|_| Failure::NoSuch { what, near })
        }
        (found, _) => found,
    }?;
    // In a saved tree no read blocks: what nobody declared can be checked as well.
    if setting.sight.tree.is_some() {
        let blockers = GroupBlockers::of(&check::report(setting).await?.report);
        picture.groups.values_mut().for_each(|group| blockers.block(group));
    }
    if as_libvirt {
        return libvirt::answer(&found, &picture, setting).map(|answer| answer.with_notes(notes));
    }
    let text = if setting.json {
        Answer::fields(value(&found, &picture, &known)).text
    } else {
        text(&found, &picture, &known, setting)
    };
    Ok(Answer::text(text).with_notes(notes))
}

/// `known` are the devices that something is known of but what they are.
fn value(meant: &Meant, picture: &Picture, known: &BTreeSet<Address>) -> Value {
    let mut value = json!({});
    if let Meant::Entry(name) = meant {
        value["name"] = json!(name);
        value["entry"] = json!(picture.entries.get(name));
    }
    let devices = device::functions(meant, picture);
    let groups = devices.values().filter_map(|view| Some((view.group?, picture.groups.get(&view.group?)?)));
    value["groups"] = json!(groups.collect::<BTreeMap<_, _>>());
    value["devices"] = json!(devices);
    for address in devices.keys().filter(|address| !known.contains(address)) {
        value["devices"][address.to_string()]["state"] = Value::Null;
    }
    value
}

fn text(meant: &Meant, picture: &Picture, known: &BTreeSet<Address>, setting: &Setting) -> String {
    let screen = &setting.screen;
    let mut out = String::new();
    if let Meant::Entry(name) = meant
        && let Some(entry) = picture.entries.get(name)
    {
        let tone = Tone::of(entry.state);
        let word = screen.paint(&screen.marked(entry.state.as_str(), tone), tone);
        out += &format!("entry {}: {word}\n", screen.plain(name));
        let lines =
            [("Why", entry.reason.clone()), ("Do", entry.remedy.clone()), ("Since", since(entry.since_usec, screen))];
        out += &fields(&lines, screen);
    }
    for (address, view) in device::functions(meant, picture) {
        if !out.is_empty() {
            out.push('\n');
        }
        let state = known.contains(&address).then_some(view.state);
        out += &one((address, view, state), picture, setting);
    }
    out
}

/// One device, in the words and the order of `lspci -nnk`, then what vfiod knows.
fn one((address, view, state): (Address, &DeviceView, Option<State>), picture: &Picture, setting: &Setting) -> String {
    let (root, screen) = (setting.sight.names(), &setting.screen);
    let code = u32::from_str_radix(&view.class, 16).map(class_of).unwrap_or_default();
    let class = pci_ids::names(root, &[], &[code]).classes.remove(&code).unwrap_or_else(|| "Class".to_owned());
    let name = if view.description.is_empty() { String::new() } else { format!("{} ", view.description) };
    let head = format!("{address} {class} [{code:04x}]: {name}[{}]", view.ids);
    let state = state.map(|state| screen.marked(state.as_str(), Tone::of(state))).unwrap_or_default();
    let group = view.group.and_then(|number| Some((number, picture.groups.get(&number)?)));
    // A date that nobody knows is left out.
    let on = |lead: &str| match view.last_drift_usec {
        0 => String::new(),
        usec => format!("{lead} {}", screen.moment(usec)),
    };
    let lost = match view.drifts {
        0 => String::new(),
        1 => format!("once{}; {}brought back", on(", on"), if view.repairs == 0 { "not " } else { "" }),
        n => format!("{}{}; brought back {}", words::times(n), on(", last on"), words::times(view.repairs)),
    };
    let mut lines = vec![
        ("Subsystem", view.subsystem.map(|ids| format!("[{ids}]")).unwrap_or_default()),
        ("Kernel driver in use", list::driver(view)),
        ("Entry", view.entry.clone().unwrap_or_default()),
        ("State", state),
        ("Why", view.reason.clone()),
        ("Do", view.remedy.clone()),
        ("Since", since(view.since_usec, screen)),
        ("Again", since(view.not_before_usec, screen)),
        ("IOMMU group", group.map(|(number, group)| in_group(number, group, address)).unwrap_or_default()),
        ("Passthrough id", view.passthrough_id.clone()),
        ("libvirt", address.libvirt_name()),
        ("Nodes", view.nodes.join(", ")),
        ("Open by", view.users.iter().map(|one| user(one, setting)).collect::<Vec<_>>().join(", ")),
        ("Lost", lost),
        ("Last cause", view.last_cause.clone()),
    ];
    // A blocker that is the state is told there.
    let told = |concern: &&Concern| concern.severity != Severity::Blocker || view.reason != concern.to_string();
    lines.extend(view.findings.iter().filter(told).map(|concern| match concern.severity {
        Severity::Blocker | Severity::Unknown => ("Blocker", concern.to_string()),
        Severity::Warning | Severity::Note => ("Warning", concern.to_string()),
    }));
    format!("{}\n{}", screen.hung(&head, 0, 4), fields(&lines, screen))
}

fn since(usec: u64, screen: &Screen) -> String {
    if usec == 0 { String::new() } else { screen.moment(usec) }
}

fn in_group(number: u32, group: &GroupView, address: Address) -> String {
    let others: Vec<&str> =
        group.members.iter().map(String::as_str).filter(|member| *member != address.to_string()).collect();
    let with = if others.is_empty() { "alone".to_owned() } else { format!("with {}", others.join(", ")) };
    // A device is never in its own way.
    let own = address.to_string();
    let others: Vec<&str> =
        group.blockers.iter().map(String::as_str).filter(|blocker| blocker.split(' ').next() != Some(&own)).collect();
    let state = match group.state {
        GroupState::Unknown => String::new(),
        state => format!("; {state}"),
    };
    match others.as_slice() {
        [] => format!("{number}, {with}{state}"),
        others => format!("{number}, {with}{state}; in the way: {}", others.join(", ")),
    }
}

fn user(user: &UserView, setting: &Setting) -> String {
    let owner = setting.user(user.uid);
    match (user.pid, user.unit.as_str()) {
        (0, _) => "a process that cannot be seen".to_owned(),
        (pid, "") => format!("{} ({pid}, {owner})", user.comm),
        (pid, unit) => format!("{} ({pid}, {unit}, {owner})", user.comm),
    }
}

/// Lines `Name: text`; those without text are left out.
fn fields(lines: &[(&str, String)], screen: &Screen) -> String {
    let shown = lines.iter().filter(|(_, text)| !text.trim().is_empty());
    shown.map(|(name, text)| format!("    {name}: {}\n", screen.hung(text, name.len() + 6, 8))).collect()
}
