//! What changes on the bus from one picture to the next: one comparison for all objects.

use std::collections::BTreeMap;

use zbus::Variant;

use super::object::Object;
use super::property::{self, Emits};
use crate::model::picture::{Counters, Picture};

/// A change that is signalled.
#[derive(Debug, PartialEq)]
pub enum Change<'a> {
    /// An object has come, with all its properties.
    Added(Object, BTreeMap<&'static str, Variant<'a>>),
    /// Properties of an object have other values: those that emit, and only those that differ.
    Changed(Object, BTreeMap<&'static str, Variant<'a>>),
    /// An object has gone.
    Removed(Object),
}

/// What has changed, in the order in which a reader can follow it: what has come, then what is
/// otherwise (and may name what has come), then what has gone. Pictures that differ only in what
/// does not emit have no changes.
#[must_use]
pub fn between<'a>(old: &Picture, new: &'a Picture) -> Vec<Change<'a>> {
    // A group lists the devices that are objects, and a device names its group if that is one.
    let other_devices = !old.devices.keys().eq(new.devices.keys());
    let other_groups = !old.groups.keys().eq(new.groups.keys());
    let mut changes = Changes { old, new, came: Vec::new(), changed: Vec::new(), gone: Vec::new() };
    changes.of_one(Object::Manager);
    changes.of_all(&old.entries, &new.entries, false, |name| Object::Entry(name.clone()));
    changes.of_all(&old.devices, &new.devices, other_groups, |address| Object::Device(*address));
    changes.of_all(&old.groups, &new.groups, other_devices, |number| Object::Group(*number));
    changes.of_all(&old.modules, &new.modules, false, |name| Object::Module(name.clone()));
    let Changes { mut came, changed, gone, .. } = changes;
    came.extend(changed);
    came.extend(gone);
    came
}

struct Changes<'o, 'a> {
    old: &'o Picture,
    new: &'a Picture,
    came: Vec<Change<'a>>,
    changed: Vec<Change<'a>>,
    gone: Vec<Change<'a>>,
}

impl Changes<'_, '_> {
    /// `whole`: what the views do not hold may have changed, too.
    fn of_all<K: Ord, V: PartialEq>(
        &mut self,
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
        whole: bool,
        object: impl Fn(&K) -> Object,
    ) {
        for (key, view) in new {
            match old.get(key) {
                None => {
                    let object = object(key);
                    let values = values(&object, self.new, self.new.counters);
                    self.came.push(Change::Added(object, values));
                }
                Some(before) if whole || before != view => self.of_one(object(key)),
                Some(_) => {}
            }
        }
        self.gone.extend(old.keys().filter(|key| !new.contains_key(key)).map(|key| Change::Removed(object(key))));
    }

    fn of_one(&mut self, object: Object) {
        let before = property::of(&object, self.old);
        let now = property::of(&object, self.new).into_iter().zip(before);
        let changed: BTreeMap<_, _> = now
            .filter(|(now, before)| now.emits == Emits::Value && now.value != before.value)
            .map(|(now, _)| (now.name, now.value))
            .collect();
        if !changed.is_empty() {
            self.changed.push(Change::Changed(object, changed));
        }
    }
}

/// All properties of an object by name, with these counters in place of the picture's.
#[must_use]
pub fn values<'a>(object: &Object, picture: &'a Picture, counters: Counters) -> BTreeMap<&'static str, Variant<'a>> {
    property::counted(object, picture, counters).into_iter().map(|property| (property.name, property.value)).collect()
}
