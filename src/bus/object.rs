//! The objects below `/org/vfiod1`, and their paths.

use std::fmt::Write as _;

use zbus::ObjectPath;

use crate::model::pci::{Address, Module};
use crate::model::picture::Picture;
use crate::model::plan::About;
use crate::names::bus::{MANAGER, ROOT};

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// The whole.
    Manager,
    /// An entry of the configuration.
    Entry(String),
    /// A function.
    Device(Address),
    /// An IOMMU group.
    Group(u32),
    /// A required module.
    Module(Module),
}

/// The folders below [`ROOT`], in the order of the interfaces' names.
pub const FOLDERS: [&str; 4] = ["device", "entry", "group", "module"];

impl Object {
    /// Its path. Names are made of what a path may have, see [`escaped`].
    #[must_use]
    pub fn path(&self) -> ObjectPath<'static> {
        let path = match self {
            Object::Manager => return ObjectPath::from_static_str_unchecked(MANAGER),
            Object::Entry(name) => format!("{ROOT}/entry/{}", escaped(name)),
            Object::Device(address) => format!("{ROOT}/device/{}", address.libvirt_name()),
            Object::Group(number) => format!("{ROOT}/group/{number}"),
            Object::Module(name) => format!("{ROOT}/module/{name}"),
        };
        ObjectPath::from_string_unchecked(path)
    }

    /// Its interface.
    #[must_use]
    pub fn interface(&self) -> &'static str {
        match self {
            Object::Manager => "org.vfiod1.Manager",
            Object::Entry(_) => "org.vfiod1.Entry",
            Object::Device(_) => "org.vfiod1.Device",
            Object::Group(_) => "org.vfiod1.Group",
            Object::Module(_) => "org.vfiod1.Module",
        }
    }

    /// The object of that path, if the picture has it. Each object has one path: `01` is no group.
    #[must_use]
    pub fn at(path: &str, picture: &Picture) -> Option<Object> {
        if path == MANAGER {
            return Some(Object::Manager);
        }
        let (folder, name) = path.strip_prefix(ROOT)?.strip_prefix('/')?.split_once('/')?;
        let object = match folder {
            "entry" => Object::Entry(unescaped(name)?),
            "device" => Object::Device(name.parse().ok()?),
            "group" => Object::Group(name.parse().ok()?),
            "module" => Object::Module(name.parse().ok()?),
            _ => return None,
        };
        (object.is_in(picture) && object.path().as_str() == path).then_some(object)
    }

    /// What an event is about.
    #[must_use]
    pub fn of(about: &About) -> Object {
        match about {
            About::Module(name) => Object::Module(name.clone()),
            About::Device(address) => Object::Device(*address),
            About::Entry(name) => Object::Entry(name.clone()),
            About::Host => Object::Manager,
        }
    }

    fn is_in(&self, picture: &Picture) -> bool {
        match self {
            Object::Manager => true,
            Object::Entry(name) => picture.entries.contains_key(name),
            Object::Device(address) => picture.devices.contains_key(address),
            Object::Group(number) => picture.groups.contains_key(number),
            Object::Module(name) => picture.modules.contains_key(name),
        }
    }
}

/// All objects of a picture, the manager first.
pub fn all(picture: &Picture) -> impl Iterator<Item = Object> + '_ {
    std::iter::once(Object::Manager)
        .chain(picture.entries.keys().cloned().map(Object::Entry))
        .chain(picture.devices.keys().copied().map(Object::Device))
        .chain(picture.groups.keys().copied().map(Object::Group))
        .chain(picture.modules.keys().cloned().map(Object::Module))
}

/// A name as the last step of a path: letters and digits as they are, all other bytes as `_xx`.
#[must_use]
pub fn escaped(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut step, byte| {
        if byte.is_ascii_alphanumeric() {
            step.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(step, "_{byte:02x}");
        }
        step
    })
}

/// The name of such a step; none where it is not as [`escaped`] writes it.
#[must_use]
pub fn unescaped(step: &str) -> Option<String> {
    let mut pieces = step.split('_');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    let name = String::from_utf8(bytes).ok()?;
    (escaped(&name) == step && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_has_a_path_of_its_own(name in "\\PC{1,40}") {
            let step = escaped(&name);
            let path = format!("/{step}");
            prop_assert!(ObjectPath::try_from(path).is_ok());
            prop_assert_eq!(unescaped(&step), Some(name));
        }

        #[test]
        fn a_step_that_reads_as_a_name_is_that_names_step(step in "[a-z0-9_]{0,12}") {
            if let Some(name) = unescaped(&step) {
                prop_assert_eq!(escaped(&name), step);
            }
        }
    }

    #[test]
    fn a_name_is_written_as_the_contract_says() {
        assert_eq!(escaped("gpu0"), "gpu0");
        assert_eq!(escaped("nic-vfs"), "nic_2dvfs");
        assert_eq!(escaped("a_b"), "a_5fb");
    }
}
