//! What a person means by TARGET: a DEVICE, `module:NAME`, or `all`.

use super::device::{self, nearest};
use super::failure::Failure;
use crate::host::root::Root;
use crate::model::pci::{Address, Module};
use crate::model::picture::Picture;

/// The target as the daemon takes it. Any address is one, also of what is not there.
///
/// # Errors
/// As [`device::find`]; `NoSuch` for a module that is not required.
pub fn find(text: &str, picture: &Picture, root: Option<&Root>) -> Result<String, Failure> {
    if text == "all" {
        return Ok(text.to_owned());
    }
    // A card that is not there yet can be held as well: the daemon knows what it takes.
    if let Ok(address) = text.parse::<Address>() {
        return Ok(address.to_string());
    }
    let Some(name) = text.strip_prefix("module:") else {
        return device::find(text, picture, root).map(|meant| meant.name());
    };
    match name.parse::<Module>() {
        Ok(module) if picture.modules.contains_key(&module) => Ok(format!("module:{module}")),
        _ => Err(Failure::NoSuch {
            what: format!("required module {name}"),
            near: nearest(text, picture.modules.keys().map(|module| format!("module:{module}"))),
        }),
    }
}
