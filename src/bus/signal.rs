//! Signals as messages.

use std::collections::BTreeMap;

use zbus::{Message, Variant};

use super::difference::Change;
use super::object::Object;
use crate::model::event::{Event, Kind};
use crate::model::plan::About;
use crate::names::bus::{MANAGER, ROOT};

/// A change of the picture.
///
/// # Errors
/// It is too large for a message.
pub fn of_change(change: &Change<'_>) -> zbus::Result<Message> {
    const OBJECTS: &str = "org.freedesktop.DBus.ObjectManager";
    match change {
        Change::Added(object, values) => {
            let interfaces = BTreeMap::from([(object.interface(), values)]);
            Message::signal(ROOT, OBJECTS, "InterfacesAdded").build(&(object.path(), interfaces))
        }
        Change::Changed(object, values) => {
            let none: [&str; 0] = [];
            let body = (object.interface(), values, &none[..]);
            Message::signal(object.path(), "org.freedesktop.DBus.Properties", "PropertiesChanged").build(&body)
        }
        Change::Removed(object) => {
            let interfaces = vec![object.interface()];
            Message::signal(ROOT, OBJECTS, "InterfacesRemoved").build(&(object.path(), interfaces))
        }
    }
}

/// A transition, where it is one that is signalled. Who did it is shown without a command line.
///
/// # Errors
/// It is too large for a message.
#[must_use]
pub fn of_event(event: &Event) -> Option<zbus::Result<Message>> {
    let name = match event.kind {
        Kind::Drifted | Kind::ModuleLost => "Drifted",
        Kind::Repaired | Kind::ModuleRestored => "Repaired",
        Kind::RepairFailed => "RepairFailed",
        Kind::GivenBack => "GivenBack",
        _ => return None,
    };
    let mut details: BTreeMap<&str, Variant<'_>> = BTreeMap::new();
    if let Some(entry) = &event.entry {
        details.insert("Entry", entry.as_str().into());
    }
    if let Some(group) = event.group {
        details.insert("Group", group.into());
    }
    if let Some(latency) = event.latency {
        details.insert("LatencyUSec", u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).into());
    }
    if let Some(by) = &event.by {
        details.insert("By", by.to_string().into());
    }
    let what = match &event.about {
        About::Module(name) => name.to_string(),
        About::Device(address) => address.to_string(),
        About::Entry(name) => name.clone(),
        About::Host => "host".to_owned(),
    };
    let object = Object::of(&event.about).path();
    let body = (object, what, event.old.as_str(), event.new.as_str(), event.cause.as_str(), details);
    Some(Message::signal(MANAGER, "org.vfiod1.Manager", name).build(&body))
}
