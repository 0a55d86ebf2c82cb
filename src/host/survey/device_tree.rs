//! The device tree, where the firmware describes the machine by one.

use crate::host::root::Root;

/// Where it is: the link of old, and where it leads.
const PLACES: [&str; 2] = ["/sys/firmware/devicetree/base", "/proc/device-tree"];
/// More nodes than any tree has.
const MANY: usize = 8192;
/// Deeper than any interrupt controller is.
const DEEPEST: usize = 6;

/// Where the tree is, if there is one.
#[must_use]
pub fn place(root: &Root) -> Option<&'static str> {
    PLACES.into_iter().find(|place| root.exists(place).unwrap_or(false))
}

/// Whether the machine is described by a device tree and not by ACPI. A kernel that was started by ACPI
/// has a tree, too, with nothing but the boot loader's words in it.
#[must_use]
pub fn describes(root: &Root) -> bool {
    !root.exists("/sys/firmware/acpi/tables").unwrap_or(false) && place(root).is_some()
}

/// The words of a property: several are kept apart by a zero byte.
#[must_use]
pub fn words(root: &Root, path: &str) -> Vec<String> {
    let bytes = root.read(path).unwrap_or_default();
    let words = bytes.split(|byte| matches!(byte, 0 | b'\n'));
    words.filter(|word| !word.is_empty()).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// What a search has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// A node that is one of them, and in use.
    Found,
    /// The whole tree was looked at, and there is none.
    None,
    /// The tree could not be looked at as a whole.
    Unknown,
}

/// Looks for a node that is compatible with one of these.
#[must_use]
pub fn seek(root: &Root, compatible: &[&str]) -> Sought {
    let Some(place) = place(root) else { return Sought::Unknown };
    let mut todo = vec![(place.to_owned(), 0)];
    let (mut seen, mut whole) = (0_usize, true);
    while let Some((node, depth)) = todo.pop() {
        seen += 1;
        let Ok(entries) = root.entries(&node) else {
            whole = false;
            continue;
        };
        let is = |name: &str| entries.iter().any(|(entry, _)| entry == name);
        let used = !is("status")
            || words(root, &format!("{node}/status")).first().is_some_and(|word| word == "okay" || word == "ok");
        if !used {
            continue;
        }
        let fits = |word: &String| compatible.contains(&word.as_str());
        if is("compatible") && words(root, &format!("{node}/compatible")).iter().any(fits) {
            return Sought::Found;
        }
        if seen > MANY {
            return Sought::Unknown;
        }
        let below = entries.iter().filter(|(_, directory)| *directory).map(|(name, _)| format!("{node}/{name}"));
        if depth < DEEPEST {
            todo.extend(below.map(|node| (node, depth + 1)));
        }
    }
    // A saved tree has what somebody has put there.
    if whole && root.is_live() { Sought::None } else { Sought::Unknown }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_node_is_found_by_what_it_is_compatible_with_unless_it_is_switched_off() {
        let tree = tempfile::tempdir().unwrap();
        let at = tree.path().join("sys/firmware/devicetree/base/interrupt-controller@8000000/msi-controller@8080000");
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("compatible"), b"vendor,its\0arm,gic-v3-its\0").unwrap();
        let root = Root::hostile(tree.path()).unwrap();
        assert_eq!(seek(&root, &["arm,gic-v3-its"]), Sought::Found);
        assert_eq!(seek(&root, &["arm,gic-v2m-frame"]), Sought::Unknown);
        assert!(describes(&root));
        fs::write(at.join("status"), b"disabled\0").unwrap();
        assert_eq!(seek(&root, &["arm,gic-v3-its"]), Sought::Unknown);
        fs::create_dir_all(tree.path().join("sys/firmware/acpi/tables")).unwrap();
        assert!(!describes(&root));
    }
}
