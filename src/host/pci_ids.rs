//! Names of PCI devices and classes, from the system's `pci.ids`.
//!
//! The file has some 40,000 lines and 1.4 MB. It is read line by line, for those that are asked
//! for, and only these are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};

use super::root::Root;
use crate::model::pci::Ids;

/// Where distributions put the file; the first that is there counts. It has no say in anything but
/// what is shown.
const PATHS: [&str; 3] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/usr/share/pci.ids"];

/// No line of the file is longer; of one that is, the rest is no name.
const LONGEST: u64 = 1024;

/// Names in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Vendor and device: `Intel Corporation 82574L Gigabit Network Connection`.
    pub devices: BTreeMap<Ids, String>,
    /// By base class and subclass, the upper 16 bits of a class code: `Ethernet controller`.
    pub classes: BTreeMap<u16, String>,
}

/// Names of vendors and devices as lspci shows them; what the file does not know is left out.
#[must_use]
pub fn describe(root: &Root, ids: &[Ids]) -> BTreeMap<Ids, String> {
    names(root, ids, &[]).devices
}

/// Names of devices and of classes (base class and subclass), read in one go.
///
/// Of a device that is not known, but whose vendor is, the name is `VENDOR Device 1234`. Without a
/// file, or where it cannot be read, there are no names.
#[must_use]
pub fn names(root: &Root, ids: &[Ids], classes: &[u16]) -> Names {
    if ids.is_empty() && classes.is_empty() {
        return Names::default();
    }
    match PATHS.iter().find_map(|path| root.reader(path).ok()) {
        Some(file) => read(BufReader::new(file), ids, classes),
        None => Names::default(),
    }
}

/// Whether there is such a file.
#[must_use]
pub fn is_there(root: &Root) -> bool {
    PATHS.iter().any(|path| root.exists(path).unwrap_or(false))
}

/// What the lines so far are about.
enum Section {
    Vendor(u16, String),
    Class(u8),
    Other,
}

fn read(mut file: impl BufRead, ids: &[Ids], classes: &[u16]) -> Names {
    let mut wanted: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
    for ids in ids {
        wanted.entry(ids.vendor).or_default().insert(ids.device);
    }
    let wanted_classes: BTreeSet<u16> = classes.iter().copied().collect();
    let mut names = Names::default();
    let (mut section, mut line) = (Section::Other, Vec::new());
    while next(&mut file, &mut line) {
        let text = String::from_utf8_lossy(&line);
        match text.strip_prefix('\t') {
            // Remarks stand within sections, too.
            None if text.starts_with('#') || text.is_empty() => {}
            None => {
                section = begin(&text, &wanted, &wanted_classes, &mut names);
            }
            // Two tabs: subsystems and programming interfaces.
            Some(below) if below.starts_with('\t') => {}
            Some(below) => match &section {
                Section::Vendor(vendor, name) => {
                    if let Some((device, words)) = entry(below, 4)
                        && wanted.get(vendor).is_some_and(|devices| devices.contains(&device))
                    {
                        names.devices.insert(Ids { vendor: *vendor, device }, format!("{name} {words}"));
                    }
                }
                Section::Class(base) => {
                    if let Some((sub, words)) = entry(below, 2) {
                        let class = u16::from(*base) << 8 | sub;
                        if wanted_classes.contains(&class) {
                            names.classes.insert(class, words.to_owned());
                        }
                    }
                }
                Section::Other => {}
            },
        }
    }
    names
}

/// A line that begins a section; what is wanted of it gets the section's name until a better one
/// is met.
fn begin(text: &str, wanted: &BTreeMap<u16, BTreeSet<u16>>, classes: &BTreeSet<u16>, names: &mut Names) -> Section {
    if let Some((base, words)) = text.strip_prefix("C ").and_then(|rest| entry(rest, 2)) {
        let Ok(base) = u8::try_from(base) else { return Section::Other };
        for class in classes.iter().filter(|class| **class >> 8 == u16::from(base)) {
            names.classes.insert(*class, words.to_owned());
        }
        return Section::Class(base);
    }
    match entry(text, 4).and_then(|(vendor, words)| Some((vendor, words, wanted.get(&vendor)?))) {
        Some((vendor, words, devices)) => {
            for device in devices {
                names.devices.insert(Ids { vendor, device: *device }, format!("{words} Device {device:04x}"));
            }
            Section::Vendor(vendor, words.to_owned())
        }
        None => Section::Other,
    }
}

/// `8086  Intel Corporation`: a number of so many digits, and words.
fn entry(text: &str, digits: usize) -> Option<(u16, &str)> {
    let (number, words) = text.split_once("  ")?;
    let hex = number.len() == digits && number.bytes().all(|b| b.is_ascii_hexdigit());
    let number = if hex { u16::from_str_radix(number, 16).ok()? } else { return None };
    let words = words.trim();
    (!words.is_empty()).then_some((number, words))
}

/// The next line without its end; false after the last, or where reading fails.
fn next(file: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    if !file.by_ref().take(LONGEST).read_until(b'\n', line).is_ok_and(|read| read > 0) {
        return false;
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return true;
    }
    // Too long: nothing in it is a name, and neither is its rest. What follows belongs to nothing.
    if line.len() as u64 == LONGEST {
        line.clear();
        line.push(b'?');
        return skip_line(file);
    }
    true
}

fn skip_line(file: &mut impl BufRead) -> bool {
    loop {
        let Ok(buffer) = file.fill_buf() else { return false };
        if buffer.is_empty() {
            return true;
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        file.consume(used);
        if end.is_some() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# a comment
10de  NVIDIA Corporation
\t2684  AD102 [GeForce RTX 4090]
\t\t1458 40bf  Gaming OC
8086  Intel Corporation
# a remark on the next one

\t10d3  82574L Gigabit Network Connection
\t10d3
C 02  Network controller
\t00  Ethernet controller
\t80  Network controller
C 03  Display controller
\t00  VGA compatible controller
\t\t00  VGA controller
";

    fn ids(text: &str) -> Ids {
        text.parse().unwrap()
    }

    fn of(file: &str, asked: &[&str], classes: &[u16]) -> Names {
        let asked: Vec<Ids> = asked.iter().map(|text| ids(text)).collect();
        read(file.as_bytes(), &asked, classes)
    }

    #[test]
    fn a_device_has_the_name_that_lspci_shows() {
        let names = of(FILE, &["8086:10d3", "10de:2684"], &[]);
        assert_eq!(names.devices[&ids("8086:10d3")], "Intel Corporation 82574L Gigabit Network Connection");
        assert_eq!(names.devices[&ids("10de:2684")], "NVIDIA Corporation AD102 [GeForce RTX 4090]");
        assert!(names.classes.is_empty());
    }

    #[test]
    fn of_an_unknown_device_the_vendor_is_told_and_of_an_unknown_vendor_nothing() {
        let names = of(FILE, &["8086:ffff", "1234:1111"], &[]);
        assert_eq!(names.devices, BTreeMap::from([(ids("8086:ffff"), "Intel Corporation Device ffff".to_owned())]));
    }

    #[test]
    fn a_class_has_the_name_of_its_subclass_or_else_of_its_base() {
        let names = of(FILE, &[], &[0x0200, 0x0300, 0x0377, 0xff00]);
        let shown: Vec<(u16, &str)> = names.classes.iter().map(|(class, name)| (*class, name.as_str())).collect();
        let expected =
            [(0x0200, "Ethernet controller"), (0x0300, "VGA compatible controller"), (0x0377, "Display controller")];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_line_without_an_end_is_passed_over_and_what_follows_is_read() {
        let long = format!("8086  {}\n\t10d3  wrong\n{FILE}", "x".repeat(3_000_000));
        let names = of(&long, &["8086:10d3"], &[]);
        assert_eq!(names.devices[&ids("8086:10d3")], "Intel Corporation 82574L Gigabit Network Connection");
        assert!(of(&"x".repeat(5000), &["8086:10d3"], &[]).devices.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4000), text in "([0-9a-fC \t#\n]{0,8}\n){0,40}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                read(bytes, &[ids("8086:10d3")], &[0x0200]);
            }
        }
    }

    #[test]
    fn a_machine_without_the_file_has_no_names() {
        let directory = tempfile::tempdir().unwrap();
        assert!(describe(&Root::trusted(directory.path()), &[ids("8086:10d3")]).is_empty());
    }

    #[test]
    fn the_file_of_either_place_is_read() {
        for place in ["usr/share/misc", "usr/share/hwdata"] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(directory.path().join(place)).unwrap();
            std::fs::write(directory.path().join(place).join("pci.ids"), FILE).unwrap();
            let root = Root::hostile(directory.path()).unwrap();
            assert_eq!(describe(&root, &[ids("8086:10d3")]).len(), 1, "{place}");
        }
    }
}
