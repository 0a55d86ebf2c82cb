//! What a person means by DEVICE: an address, an entry, one VF of an entry.

use std::collections::BTreeMap;

use super::failure::Failure;
use crate::bus::object::Object;
use crate::host::root::Root;
use crate::model::pci::Address;
use crate::model::picture::{DeviceView, EntryView, Picture};

/// What is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// A function.
    Device(Address),
    /// An entry.
    Entry(String),
}

impl Meant {
    /// It, as an object on the bus.
    #[must_use]
    pub fn object(&self) -> Object {
        match self {
            Meant::Device(address) => Object::Device(*address),
            Meant::Entry(name) => Object::Entry(name.clone()),
        }
    }

    /// It, as an argument of a call.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Meant::Device(address) => address.to_string(),
            Meant::Entry(name) => name.clone(),
        }
    }
}

/// Finds what is meant. `root` is where VFs are looked up by index; none where the machine that the
/// picture is of cannot be looked at.
///
/// # Errors
/// `NoSuch`, with what is near; `Usage` for a VF by index of another machine.
pub fn find(text: &str, picture: &Picture, root: Option<&Root>) -> Result<Meant, Failure> {
    if let Ok(address) = text.parse::<Address>() {
        return match picture.devices.contains_key(&address) {
            true => Ok(Meant::Device(address)),
            false => Err(unknown(&format!("device {address}"), &address.to_string(), picture)),
        };
    }
    if picture.entries.contains_key(text) {
        return Ok(Meant::Entry(text.to_owned()));
    }
    let Some((name, index)) = text.rsplit_once('/') else {
        return Err(unknown(&format!("device or entry {text}"), text, picture));
    };
    let (Some(entry), Ok(index)) = (picture.entries.get(name), index.parse::<u32>()) else {
        return Err(unknown(&format!("device or entry {text}"), text, picture));
    };
    let Some(root) = root else {
        return Err(Failure::Usage(format!("{text}: a VF of another machine is told by its address")));
    };
    match entry.devices.iter().find(|address| vf_index(root, **address, index)) {
        Some(address) => Ok(Meant::Device(*address)),
        None => Err(Failure::NoSuch {
            what: format!("VF {index} of entry {name} on this machine now"),
            near: near(text, picture),
        }),
    }
}

/// Whether a function is the VF of that index of its PF.
fn vf_index(root: &Root, address: Address, index: u32) -> bool {
    let devices = "/sys/bus/pci/devices";
    let pf = root.link_name(&format!("{devices}/{address}/physfn"));
    let vf = pf.and_then(|pf| root.link_name(&format!("{devices}/{pf}/virtfn{index}")));
    vf.is_ok_and(|vf| vf.parse() == Ok(address))
}

/// The devices that are meant, each once; all that are declared if nothing is named.
///
/// # Errors
/// As [`find`].
pub fn find_all(texts: &[String], picture: &Picture, root: Option<&Root>) -> Result<Vec<Meant>, Failure> {
    texts.iter().map(|text| find(text, picture, root)).collect()
}

/// The functions that something means.
#[must_use]
pub fn functions<'p>(meant: &Meant, picture: &'p Picture) -> BTreeMap<Address, &'p DeviceView> {
    match meant {
        Meant::Device(address) => picture.devices.get(address).map(|view| (*address, view)).into_iter().collect(),
        Meant::Entry(name) => {
            let devices = picture.entries.get(name).map(|entry: &EntryView| entry.devices.as_slice());
            let devices = devices.unwrap_or_default().iter();
            devices.filter_map(|address| Some((*address, picture.devices.get(address)?))).collect()
        }
    }
}

fn unknown(what: &str, text: &str, picture: &Picture) -> Failure {
    Failure::NoSuch { what: what.to_owned(), near: near(text, picture) }
}

/// At most three names that are written almost so.
#[must_use]
pub fn near(text: &str, picture: &Picture) -> Vec<String> {
    let names = picture.entries.keys().cloned().chain(picture.devices.keys().map(ToString::to_string));
    nearest(text, names)
}

/// At most three of the names that are written almost as the text.
pub fn nearest(text: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    // A long argument is near to nothing, and comparing it would take long.
    if text.len() > 128 {
        return Vec::new();
    }
    let close = |name: String| {
        let distance = strsim::damerau_levenshtein(text, &name);
        (distance <= (name.len() / 4).max(2)).then_some((distance, name))
    };
    let mut close: Vec<(usize, String)> = names.filter_map(close).collect();
    close.sort();
    close.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_near_are_told_and_others_are_not() {
        let names = || ["gpu0", "gpu1", "storage", "0000:01:00.0", "0000:02:00.0"].map(str::to_owned).into_iter();
        assert_eq!(nearest("gpu", names()), ["gpu0", "gpu1"]);
        assert_eq!(nearest("stroage", names()), ["storage"]);
        assert_eq!(nearest("0000:01:00.1", names()), ["0000:01:00.0", "0000:02:00.0"]);
        assert!(nearest("printer", names()).is_empty());
        assert!(nearest(&"x".repeat(1 << 20), names()).is_empty());
    }
}
