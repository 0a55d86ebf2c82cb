//! Framebuffers of the firmware or the boot loader, by `/proc/iomem`.

use super::read;
use crate::host::root::Root;
use crate::model::pci::Address;
use crate::model::preflight::survey::Framebuffer;
use crate::model::snapshot::Fact;

/// What the kernel calls them: `BOOTFB` is set aside for whichever driver takes it, the others are
/// drivers' own.
const NAMES: [&str; 9] =
    ["BOOTFB", "simplefb", "simpledrm", "simple-framebuffer", "efifb", "efidrm", "vesafb", "vesadrm", "sysfb"];
const IOMEM: &str = "/proc/iomem";

/// Reads them.
#[must_use]
pub fn read(root: &Root) -> Fact<Vec<Framebuffer>> {
    match read::text(root, IOMEM) {
        Fact::Is(text) => parse(&text),
        Fact::Absent => Fact::Absent,
        Fact::Unreadable(why) => Fact::Unreadable(why),
    }
}

/// Finds the framebuffers. Without CAP_SYS_ADMIN every address is zero; what lies in what is shown
/// all the same, by indentation.
#[must_use]
pub fn parse(text: &str) -> Fact<Vec<Framebuffer>> {
    let mut found = Vec::new();
    let mut hidden = true;
    // What the line lies in: each with its indentation, and whose memory it is.
    let mut around: Vec<(usize, Option<Address>)> = Vec::new();
    for line in text.lines() {
        let Some((range, name)) = line.trim().split_once(" : ") else { continue };
        let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let Some((Some(start), Some(end))) = range.split_once('-').map(|(start, end)| (hex(start), hex(end))) else {
            continue;
        };
        hidden &= end == 0;
        let indent = line.len() - line.trim_start().len();
        around.retain(|(outer, _)| *outer < indent);
        let within = around.iter().rev().find_map(|(_, owner)| *owner);
        around.push((indent, name.parse().ok()));
        if start <= end && NAMES.iter().any(|known| name.starts_with(known)) {
            found.push(Framebuffer { name: read::shortened(name), start, end, within });
        }
    }
    if hidden && found.iter().any(|buffer| buffer.within.is_none()) {
        return Fact::Unreadable(format!("read {IOMEM}: its addresses are hidden (CAP_SYS_ADMIN shows them)"));
    }
    Fact::Is(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framebuffer_is_found_below_the_bar_it_holds() {
        let text = "00001000-0009fbff : System RAM\n\
                    c0000000-febfffff : PCI Bus 0000:00\n\
                    \x20 e0000000-efffffff : 0000:01:00.0\n\
                    \x20   e0000000-e02fffff : BOOTFB\n\
                    \x20     e0000000-e02fffff : simplefb\n";
        let found = parse(text);
        let names: Vec<&str> = found.is().unwrap().iter().map(|buffer| buffer.name.as_str()).collect();
        assert_eq!(names, ["BOOTFB", "simplefb"]);
        assert_eq!(found.is().unwrap()[0].end, 0xe02f_ffff);
        let gpu = Some("0000:01:00.0".parse().unwrap());
        assert!(found.is().unwrap().iter().all(|buffer| buffer.within == gpu));
        // The same for whoever may not see addresses.
        let line = |line: &str| {
            let (range, name) = line.split_once(" : ").unwrap();
            let indent = &range[..range.len() - range.trim_start().len()];
            format!("{indent}00000000-00000000 : {name}\n")
        };
        let hidden = parse(&text.lines().map(line).collect::<String>());
        assert_eq!(hidden.is().unwrap().iter().map(|buffer| buffer.within).collect::<Vec<_>>(), [gpu, gpu]);
    }

    #[test]
    fn hidden_addresses_are_not_taken_for_none() {
        assert!(parse("00000000-00000000 : System RAM\n00000000-00000000 : BOOTFB\n").unreadable().is_some());
        // After a card's memory, and not in it.
        let beside =
            "00000000-00000000 : PCI Bus 0000:00\n  00000000-00000000 : 0000:01:00.0\n  00000000-00000000 : efifb\n";
        assert!(parse(beside).unreadable().is_some());
        assert_eq!(parse("00000000-00000000 : System RAM\n"), Fact::Is(vec![]));
        assert_eq!(parse("00001000-0009fbff : System RAM\n"), Fact::Is(vec![]));
    }
}
