//! Settings as a file that says the same, each value with the place it is from.

use std::collections::BTreeMap;

use crate::config::Settings;
use crate::config::value::show;
use crate::model::desired::{Entry, Keep, Wanted};
use crate::model::printable::printable;

/// Where values are from, by key.
pub type Places = BTreeMap<String, String>;

/// The file.
#[must_use]
pub fn text(settings: &Settings, places: &Places) -> String {
    let mut file = File { out: String::new(), places, table: String::new() };
    let Settings { watch, desired, policy, sources: _ } = settings;
    for name in settings.files() {
        file.out += &format!("# {}\n", printable(&name));
    }
    file.table("watch");
    file.line("interval", &quoted(&show(watch.interval)));
    file.line("uevents", &watch.uevents.to_string());
    file.line("settle", &quoted(&show(watch.settle)));
    file.line("settle_max", &quoted(&show(watch.settle_max)));
    file.line("override_interval", &quoted(&show(watch.override_interval)));
    file.table("modules");
    file.line(
        "keep",
        &match &desired.modules {
            Keep::Auto => quoted("auto"),
            Keep::List(modules) => list(modules.iter().map(ToString::to_string)),
        },
    );
    file.line("ignore_blacklist", &policy.ignore_blacklist.to_string());
    file.line("allow_install", &policy.allow_install.to_string());
    file.table("repair");
    file.line("mode", &quoted(policy.mode.as_str()));
    file.line("deadline", &quoted(&show(policy.deadline)));
    file.line("backoff.first", &quoted(&show(policy.backoff.first)));
    file.line("backoff.max", &quoted(&show(policy.backoff.max)));
    file.line("breaker.incidents", &policy.breaker.incidents.to_string());
    file.line("breaker.within", &quoted(&show(policy.breaker.within)));
    file.line("breaker.retry", &quoted(&show(policy.breaker.retry)));
    for entry in &desired.entries {
        file.table(&format!("device.{}", entry.name));
        device(&mut file, entry);
    }
    file.out
}

fn device(file: &mut File<'_>, entry: &Entry) {
    let Entry { name: _, select, identity, driver, whole_group, allow } = entry;
    let mut given = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            file.line(key, &quoted(&value));
        }
    };
    let place = select.address.map(|address| address.to_string());
    given("address", place.or_else(|| select.slot.map(|slot| slot.to_string())));
    given("path", select.path.as_ref().map(ToString::to_string));
    given("pf", select.vf.map(|range| range.pf.to_string()));
    given("vf", select.vf.map(|range| vfs(range.first, range.last)));
    given("id", identity.id.map(|ids| ids.to_string()));
    given("subsystem", identity.subsystem.map(|ids| ids.to_string()));
    given("serial", identity.serial.clone());
    file.line(
        "driver",
        &quoted(match driver {
            Wanted::Any => "any",
            Wanted::Auto => "auto",
            Wanted::Named(driver) => driver.as_str(),
        }),
    );
    file.line("group", &quoted(if *whole_group { "whole" } else { "endpoint" }));
    file.line("allow", &list(allow.iter().map(ToString::to_string)));
}

/// A range of VFs, as a file has it.
#[must_use]
pub fn vfs(first: u32, last: u32) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// A text as TOML writes it.
#[must_use]
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", "))
}

struct File<'p> {
    out: String,
    places: &'p Places,
    table: String,
}

impl File<'_> {
    fn table(&mut self, name: &str) {
        name.clone_into(&mut self.table);
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out += &format!("[{name}]\n");
    }

    fn line(&mut self, key: &str, value: &str) {
        let place = self.places.get(&format!("{}.{key}", self.table)).map_or("default", String::as_str);
        let line = format!("{key} = {value}");
        self.out += &format!("{line:<39} # {}\n", printable(place));
    }
}
