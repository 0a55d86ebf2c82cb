//! What a caller's words mean: targets, and what may have been meant where nothing has that name.

use super::call::{Refusal, Target};
use super::refused::Refused;
use crate::model::picture::Picture;
use crate::model::printable::turns_a_terminal;

/// How long a name may be that a caller gives: who, why, a target (bytes).
pub const LONGEST: usize = 256;

/// How many targets one call may have.
pub const MOST: usize = 1_024;

/// A caller's text, if it can be shown to everybody: it ends up in the journal and on terminals.
///
/// # Errors
/// It is too long, or has characters that do something to a terminal.
pub fn shown(what: &str, text: String) -> Result<String, Refused> {
    if text.len() > LONGEST {
        return Err(Refused::arguments(format!("{what} may have at most {LONGEST} bytes, this has {}", text.len())));
    }
    if text.chars().any(turns_a_terminal) {
        return Err(Refused::arguments(format!("{what} may have no control characters")));
    }
    Ok(text)
}

/// What a text names: `all`, `module:NAME`, an address in any of its forms, an entry or `ENTRY/INDEX`.
/// Whether an address is there is for the loop to say.
///
/// # Errors
/// The text is not one that can be shown, or no entry or module has that name.
pub fn target(text: String, picture: &Picture) -> Result<Target, Refused> {
    let text = shown("a target", text)?;
    if text.is_empty() {
        return Err(Refused::arguments("a target is `all`, `module:NAME`, an address or an entry; this is empty"));
    }
    if text == "all" {
        return Ok(Target::All);
    }
    if let Some(name) = text.strip_prefix("module:") {
        let known = name.parse().ok().filter(|module| picture.modules.contains_key(module));
        return known.map(Target::Module).ok_or_else(|| nothing_like(&text, picture).into());
    }
    if let Ok(address) = text.parse() {
        return Ok(Target::Device(address));
    }
    let entry =
        text.rsplit_once('/').filter(|(_, index)| index.parse::<u16>().is_ok()).map_or(&*text, |(name, _)| name);
    if picture.entries.contains_key(entry) {
        return Ok(Target::Entry(text));
    }
    Err(nothing_like(&text, picture).into())
}

/// Nothing has that name; with those that are near, for the loop's own refusals too.
#[must_use]
pub fn nothing_like(text: &str, picture: &Picture) -> Refusal {
    // A third of the letters may be wrong, at least two.
    let most = (text.chars().count() / 3).max(2);
    let names = picture
        .entries
        .keys()
        .cloned()
        .chain(picture.devices.keys().map(ToString::to_string))
        .chain(picture.modules.keys().map(|module| format!("module:{module}")));
    let mut near: Vec<(usize, String)> = names
        .filter(|name| name.len().abs_diff(text.len()) <= most)
        .map(|name| (strsim::damerau_levenshtein(text, &name), name))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    near.sort();
    Refusal::NoSuchObject { what: text.to_owned(), near: near.into_iter().take(3).map(|(_, name)| name).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let entry = r#"{"state":"ready","reason":"","remedy":"","since_usec":0,"not_before_usec":0,"devices":[]}"#;
        let module = r#"{"state":"live","reason":"","since_usec":0,"not_before_usec":0,"refcount":null,"used_by":[],
            "required":true,"blocked":false,"fighting":false,"last_unload_usec":0,"last_unload_by":""}"#;
        let text = format!(
            r#"{{"schema":1,"version":"","health":"ready","mode":"enforce","interval_usec":0,"counters":{{}},
            "iommu":{{}},"holds":[],"entries":{{"gpu0":{entry},"nic-vfs":{entry}}},"devices":{{}},"groups":{{}},
            "modules":{{"vfio_pci":{module}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn read(text: &str) -> Target {
        target(text.to_owned(), &picture()).unwrap()
    }

    #[test]
    fn a_target_is_read_in_every_form() {
        let device = Target::Device("0000:01:00.0".parse().unwrap());
        assert_eq!(read("all"), Target::All);
        assert_eq!(["0000:01:00.0", "01:00.0", "pci_0000_01_00_0"].map(read), [(); 3].map(|()| device.clone()));
        assert_eq!(read("module:vfio-pci"), Target::Module("vfio_pci".parse().unwrap()));
        assert_eq!(read("gpu0"), Target::Entry("gpu0".into()));
        assert_eq!(read("nic-vfs/2"), Target::Entry("nic-vfs/2".into()));
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is_near() {
        let refused = |text: &str| target(text.to_owned(), &picture()).unwrap_err().text;
        assert_eq!(refused("gpu1"), "there is no gpu1; near it are: gpu0");
        assert_eq!(refused("nic-vf/2"), "there is no nic-vf/2; near it are: nic-vfs");
        assert_eq!(refused("module:vfo_pci"), "there is no module:vfo_pci; near it are: module:vfio_pci");
        assert_eq!(refused("gpu0/x"), "there is no gpu0/x; near it are: gpu0");
        assert_eq!(refused("entirely-else"), "there is no entirely-else");
    }
}
