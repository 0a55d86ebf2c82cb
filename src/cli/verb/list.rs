//! `vfiodctl list`: the devices, one a line, as who knows `lspci -nnk` expects them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;
use crate::cli::observed::{self, Extent, class_of};
use crate::cli::screen::{Column, Screen, Tone};
use crate::host::pci_ids;
use crate::host::root::Root;
use crate::model::pci::{Address, Driver};
use crate::model::picture::DeviceView;

/// A line: the device, and whether anything is known of it but what it is.
type Lines = BTreeMap<Address, (DeviceView, bool)>;

/// Looks and shows.
///
/// # Errors
/// When another machine's daemon cannot be asked.
pub async fn run(setting: &Setting, all: bool) -> Result<Answer, Failure> {
    let (picture, mut notes) = setting.sight.picture().await?;
    let mut lines: Lines = picture.devices.into_iter().map(|(address, view)| (address, (view, true))).collect();
    if all {
        let Some(root) = setting.sight.root() else {
            return Err(Failure::Usage("list --all: only this machine's functions can be looked at".to_owned()));
        };
        let observed = observed::observe(&root, setting.sight.names(), Extent::Everything).await;
        // The daemon knows better what it has said something about.
        let besides = observed.others.into_iter().map(|(address, view)| (address, (view, false)));
        let found = observed.picture.devices.into_iter().map(|(address, view)| (address, (view, true)));
        for (address, line) in besides.chain(found) {
            lines.entry(address).or_insert(line);
        }
        notes.extend(observed.notes);
        notes.dedup();
    }
    let classes = classes(&lines, setting.sight.names());
    if setting.json {
        return Ok(Answer::fields(json!({ "devices": values(&lines, &classes) })).with_notes(notes));
    }
    if lines.is_empty() {
        let nothing = "no device is declared or on a VFIO driver; all functions: vfiodctl list --all\n";
        return Ok(Answer::text(nothing).with_notes(notes));
    }
    Ok(Answer::text(text(&lines, &classes, &setting.screen)).with_notes(notes))
}

/// The names of the classes, by class code as the picture has it.
fn classes(lines: &Lines, root: &Root) -> BTreeMap<String, String> {
    let code = |class: &str| u32::from_str_radix(class, 16).map(class_of).unwrap_or_default();
    let wanted: Vec<u16> = lines.values().map(|(view, _)| code(&view.class)).collect();
    let names = pci_ids::names(root, &[], &wanted).classes;
    let name =
        |class: &String| names.get(&code(class)).cloned().unwrap_or_else(|| format!("Class {:04x}", code(class)));
    lines.values().map(|(view, _)| (view.class.clone(), name(&view.class))).collect()
}

fn values(lines: &Lines, classes: &BTreeMap<String, String>) -> Vec<Value> {
    let value = |(address, (view, known)): (&Address, &(DeviceView, bool))| {
        let mut value = serde_json::to_value(view).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.insert("address".to_owned(), json!(address));
            fields.insert("class_name".to_owned(), json!(classes.get(&view.class)));
            if !known {
                fields.insert("state".to_owned(), Value::Null);
            }
        }
        value
    };
    lines.iter().map(value).collect()
}

fn text(lines: &Lines, classes: &BTreeMap<String, String>, screen: &Screen) -> String {
    let row = |(address, (view, known)): (&Address, &(DeviceView, bool))| {
        let class = classes.get(&view.class).cloned().unwrap_or_default();
        let (state, tone) = match known {
            true => (screen.marked(view.state.as_str(), Tone::of(view.state)), Tone::of(view.state)),
            false => (String::new(), Tone::Plain),
        };
        let plain = |text: String| (text, Tone::Plain);
        vec![
            plain(address.to_string()),
            plain(class),
            plain(view.description.clone()),
            plain(format!("[{}]", view.ids)),
            plain(driver(view)),
            (state, tone),
            plain(view.entry.clone().unwrap_or_default()),
        ]
    };
    let columns = [
        Column::fixed("ADDRESS"),
        Column::prose("CLASS", 1),
        Column::prose("DEVICE", 3),
        Column::spare("IDS", 2),
        Column::fixed("DRIVER"),
        Column::fixed("STATE"),
        Column::spare("ENTRY", 4),
    ];
    screen.table(&columns, lines.iter().map(row).collect())
}

/// The driver in use, and where it is to lead: `nvme -> vfio-pci`.
#[must_use]
pub fn driver(view: &DeviceView) -> String {
    let now = view.driver.as_ref().map_or("none".to_owned(), |driver| bound(view, driver));
    match &view.wanted {
        Some(wanted) if view.driver.as_ref() != Some(wanted) => format!("{now} -> {wanted}"),
        _ if view.driver.is_none() => "-".to_owned(),
        _ => now,
    }
}

/// A driver that a function is on; of one that is itself VFIO, and not called so, that is said.
#[must_use]
pub fn bound(view: &DeviceView, driver: &Driver) -> String {
    let told = !view.on_vfio || driver.as_str().contains("vfio");
    if told { driver.to_string() } else { format!("{driver} (VFIO)") }
}
