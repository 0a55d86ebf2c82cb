//! vfio-pci's parameter `ids=`: the devices that it takes by itself once it is loaded
//! (drivers/vfio/pci/vfio_pci.c, `vfio_pci_fill_ids`).

use serde::{Deserialize, Serialize};

use super::parameter::Given;
use super::pci::Ids;
use super::snapshot::Card;

/// So many characters the parameter holds; a longer one is refused, and a module with it.
pub const LONGEST: usize = 1023;

/// An entry of vfio-pci's `ids=`, each number of 32 bits as the kernel takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pattern {
    /// Vendor, device, subsystem's vendor and device; [`Pattern::ANY`] stands for any.
    pub ids: [u32; 4],
    /// The class, of which the bits in `mask` count.
    pub class: u32,
    /// No bits: the class does not count.
    pub mask: u32,
}

/// What a function is matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Vendor and device.
    pub ids: Ids,
    /// Those of the subsystem, 0 for none; none where nobody could read them.
    pub subsystem: Option<Ids>,
    /// The class, 24 bits.
    pub class: u32,
}

impl Pattern {
    /// `PCI_ANY_ID`.
    pub const ANY: u32 = u32::MAX;

    /// Reads `vendor:device[:subvendor[:subdevice[:class[:mask]]]]` as `sscanf` does with `%x`: with
    /// or without `0x`, white space before a number, the lower 32 bits of what is larger. What is
    /// left out, or stands behind the first thing that is no number, keeps its default. None with
    /// less than a vendor and a device: the kernel passes such an entry over and says so in its log.
    #[must_use]
    pub fn read(entry: &str) -> Option<Pattern> {
        let mut numbers = [0, 0, Pattern::ANY, Pattern::ANY, 0, 0];
        let (mut rest, mut read) = (entry, 0);
        for number in &mut numbers {
            rest = match (read, rest.strip_prefix(':')) {
                (0, _) => rest,
                (_, Some(rest)) => rest,
                (_, None) => break,
            };
            let Some((value, behind)) = hex(rest) else { break };
            (*number, rest, read) = (value, behind, read + 1);
        }
        let [vendor, device, subvendor, subdevice, class, mask] = numbers;
        (read >= 2).then_some(Pattern { ids: [vendor, device, subvendor, subdevice], class, mask })
    }

    /// Whether the kernel takes such a function (`pci_match_one_device`). A subsystem that nobody
    /// could read is taken to fit.
    #[must_use]
    pub fn fits(&self, seen: Seen) -> bool {
        let (ids, subsystem) = (seen.ids, seen.subsystem);
        let is = [Some(ids.vendor), Some(ids.device), subsystem.map(|s| s.vendor), subsystem.map(|s| s.device)];
        let fits =
            |(wanted, is): (&u32, Option<u16>)| *wanted == Pattern::ANY || is.is_none_or(|is| *wanted == u32::from(is));
        self.ids.iter().zip(is).all(fits) && (self.class ^ seen.class) & self.mask == 0
    }

    /// As [`Pattern::fits`], of a card. sysfs has a subsystem for each function, of 0 where there is none
    /// (drivers/pci/pci-sysfs.c): only a saved tree may lack it.
    #[must_use]
    pub fn takes(&self, card: &Card) -> bool {
        let subsystem = card.subsystem.is().copied();
        self.fits(Seen { ids: card.ids, subsystem, class: card.class })
    }
}

/// A number of `%x`, and what is behind it.
fn hex(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    if !text.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let number = digits.chars().filter_map(|c| c.to_digit(16)).fold(0u32, |n, digit| (n << 4) | digit);
    Some((number, rest))
}

/// A list, entry by entry: as it is written, and what it means. Empty entries are none.
pub fn entries(list: &str) -> impl Iterator<Item = (&str, Option<Pattern>)> {
    list.split(',').filter(|entry| !entry.is_empty()).map(|entry| (entry, Pattern::read(entry)))
}

/// Whether a parameter is ids that a blank has parted from their list (`ids=1:2, 3:4`): the kernel knows
/// none of that name, and passes over it.
#[must_use]
pub fn is_strayed(given: &Given) -> bool {
    given.heard && given.parameter.value.is_none() && Pattern::read(&given.parameter.name).is_some()
}

/// All lists that somebody has written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists<'g> {
    /// The one that counts: the last one that vfio-pci hears.
    pub in_force: Option<&'g Given>,
    /// Those that have no effect.
    pub idle: Vec<(&'g Given, Idle)>,
}

/// Why a list has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idle {
    /// vfio-pci is part of the kernel and hears the command line only.
    Unheard,
    /// A later one took its place.
    Overruled,
    /// It is longer than the kernel takes, or has no value at all. A module is not loaded with it.
    Refused,
}

impl<'g> Lists<'g> {
    /// Sorts what vfio-pci is given.
    #[must_use]
    pub fn of(given: &'g [Given]) -> Lists<'g> {
        let mut lists = Lists::default();
        for given in given.iter().filter(|given| given.is("ids")) {
            let fits = given.parameter.value.as_ref().is_some_and(|list| list.len() <= LONGEST);
            match (given.heard, fits) {
                (false, _) => lists.idle.push((given, Idle::Unheard)),
                (true, false) => lists.idle.push((given, Idle::Refused)),
                (true, true) => {
                    lists.idle.extend(lists.in_force.replace(given).map(|earlier| (earlier, Idle::Overruled)));
                }
            }
        }
        lists
    }

    /// The entries of the list in force: as each is written, and what it means.
    pub fn entries(&self) -> impl Iterator<Item = (&'g str, Option<Pattern>)> + use<'g> {
        self.in_force.and_then(|given| given.parameter.value.as_deref()).into_iter().flat_map(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: u32 = Pattern::ANY;

    #[test]
    fn an_entry_is_read_as_the_kernel_reads_it() {
        let pattern = |ids, class, mask| Some(Pattern { ids, class, mask });
        for (entry, expected) in [
            ("10de:1b81", pattern([0x10de, 0x1b81, ANY, ANY], 0, 0)),
            ("0x10de:0X1b81", pattern([0x10de, 0x1b81, ANY, ANY], 0, 0)),
            ("8086:1", pattern([0x8086, 1, ANY, ANY], 0, 0)),
            (" 10de: 1b81", pattern([0x10de, 0x1b81, ANY, ANY], 0, 0)),
            ("10de:ffffffff:1043:0x8", pattern([0x10de, ANY, 0x1043, 8], 0, 0)),
            (
                "10de:ffffffff:ffffffff:ffffffff:00030000:ffff00ff",
                pattern([0x10de, ANY, ANY, ANY], 0x30000, 0xffff_00ff),
            ),
            // What follows is not looked at.
            ("10de:1b81:gpu:1", pattern([0x10de, 0x1b81, ANY, ANY], 0, 0)),
            ("10de:1b81-GTX", pattern([0x10de, 0x1b81, ANY, ANY], 0, 0)),
            ("10de:1b81:", pattern([0x10de, 0x1b81, ANY, ANY], 0, 0)),
            ("1:2:3:4:5:6:7", pattern([1, 2, 3, 4], 5, 6)),
            // The lower 32 bits.
            ("100000002:1", pattern([2, 1, ANY, ANY], 0, 0)),
            ("0x:1", pattern([0, 1, ANY, ANY], 0, 0)),
            ("10de", None),
            ("10de:", None),
            ("10de :1b81", None),
            ("10de.1b81", None),
            (":1b81", None),
            ("gpu", None),
            ("-1:2", None),
        ] {
            assert_eq!(Pattern::read(entry), expected, "{entry}");
        }
    }

    #[test]
    fn a_list_has_an_entry_between_commas_and_none_where_nothing_is() {
        let read: Vec<(&str, bool)> = entries(",10de:1,,x,2:3,").map(|(text, found)| (text, found.is_some())).collect();
        assert_eq!(read, [("10de:1", true), ("x", false), ("2:3", true)]);
    }

    #[test]
    fn an_entry_takes_what_the_kernel_would() {
        let takes = |entry: &str, ids: &str, class: u32| {
            let subsystem = Some("1043:0001".parse().unwrap());
            Pattern::read(entry).unwrap().fits(Seen { ids: ids.parse().unwrap(), subsystem, class })
        };
        let graphics = "1002:ffffffff:ffffffff:ffffffff:00030000:ffff00ff";
        assert!(takes(graphics, "1002:7480", 0x03_00_00));
        assert!(!takes(graphics, "1002:ab30", 0x04_03_00));
        assert!(!takes(graphics, "10de:2684", 0x03_00_00));
        assert!(takes("1002:7480", "1002:7480", 0x03_00_00));
        assert!(takes("1002:7480:1043", "1002:7480", 0) && !takes("1002:7480:1044", "1002:7480", 0));
        // More than 16 bits are no "any".
        assert!(!takes("1002:10000", "1002:7480", 0) && !takes("1002:ffff", "1002:7480", 0));
    }

    #[test]
    fn the_last_list_that_is_heard_is_in_force() {
        let given = |source: &str, list: Option<&str>, heard| Given {
            source: source.to_owned(),
            parameter: crate::model::parameter::Parameter { name: "ids".to_owned(), value: list.map(str::to_owned) },
            heard,
        };
        let all = [given("a:1", Some("1:2"), true), given("b:1", Some("3:4,x,5:6"), true), given("b:2", None, true)];
        let lists = Lists::of(&all);
        assert_eq!(lists.in_force, Some(&all[1]));
        assert_eq!(lists.idle, [(&all[0], Idle::Overruled), (&all[2], Idle::Refused)]);
        assert_eq!(lists.entries().map(|(text, _)| text).collect::<Vec<_>>(), ["3:4", "x", "5:6"]);
        let long = "1:2,".repeat(256);
        let all =
            [given("a:1", Some("1:2"), false), given("c", Some(&long), true), given("c", Some(&long[..1023]), true)];
        let lists = Lists::of(&all);
        assert_eq!(lists.in_force, Some(&all[2]));
        assert_eq!(lists.idle, [(&all[0], Idle::Unheard), (&all[1], Idle::Refused)]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([0-9a-fx:, ]{0,12}){0,6}", any in ".*") {
            for text in [text, any] {
                let _ = entries(&text).count();
            }
        }
    }
}
