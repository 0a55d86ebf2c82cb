//! BARs that the kernel has found no room for: those of a device, and those of its virtual functions.

use super::boot::added;
use super::cmdline;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::report::Role;
use super::survey::{Function, Machine, Meaning, Resource, Said, Survey};
use crate::model::pci::Address;

/// `IORESOURCE_IO`, `IORESOURCE_MEM`, `IORESOURCE_UNSET` of `include/linux/ioport.h`.
const PORTS: u64 = 0x100;
const MEMORY: u64 = 0x200;
const UNSET: u64 = 0x2000_0000;
/// The kernel's numbers of a device's own BARs, and of those of its VFs.
const OWN: std::ops::RangeInclusive<u8> = 0..=5;
const OF_VFS: std::ops::RangeInclusive<u8> = 7..=12;

/// A BAR without an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaced {
    /// The kernel's number.
    pub number: u8,
    /// Its size in bytes, if anything tells.
    pub size: Option<u64>,
    /// Whether it is one of I/O ports.
    pub ports: bool,
    /// Whether the kernel has given it up: it is zeros in `resource`, opening passes it by, and whoever
    /// opens the device finds nothing there.
    pub gone: bool,
    /// How it is known.
    evidence: Evidence,
}

impl Unplaced {
    /// How it is known.
    #[must_use]
    pub fn into_evidence(self) -> Evidence {
        self.evidence
    }

    /// `BAR 1 (24 GiB)`, `BAR 0 of its virtual functions (2 MiB)`.
    fn name(&self) -> String {
        let name = match self.number.checked_sub(*OF_VFS.start()) {
            Some(of_vfs) => format!("BAR {of_vfs} of its virtual functions"),
            None => format!("BAR {}", self.number),
        };
        let kind = if self.ports { " of I/O ports" } else { "" };
        self.size.map_or_else(|| name.clone(), |size| format!("{name} ({}{kind})", in_units(size)))
    }
}

/// A size as people write it: sizes of BARs are powers of two or small multiples of them.
fn in_units(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{} {name}", bytes / unit))
}

/// Its own BARs without an address.
#[must_use]
pub fn own(survey: &Survey, address: Address, function: &Function) -> Vec<Unplaced> {
    unplaced(survey, address, function, &OWN)
}

/// Those of its VFs.
#[must_use]
pub fn of_vfs(survey: &Survey, address: Address, function: &Function) -> Vec<Unplaced> {
    unplaced(survey, address, function, &OF_VFS)
}

/// Whether opening fails for want of an address (EINVAL): `pci_enable_resources` refuses what is unset,
/// ports as well as memory, and passes by what was given up.
#[must_use]
pub fn keep_it_shut(survey: &Survey, address: Address, function: &Function) -> bool {
    own(survey, address, function).iter().any(|bar| !bar.gone)
}

fn unplaced(
    survey: &Survey,
    address: Address,
    function: &Function,
    numbers: &std::ops::RangeInclusive<u8>,
) -> Vec<Unplaced> {
    // Behind a bridge's two BARs come its windows.
    if function.card.bridge {
        return Vec::new();
    }
    let lines = function.resources.is().map(Vec::as_slice);
    let shown = lines.into_iter().flatten().filter(|line| numbers.contains(&line.number) && is_unplaced(line));
    let mut found: Vec<Unplaced> = shown.map(|line| of_file(address, line)).collect();
    // What the file shows counts, and the log where it shows nothing: the kernel zeroes what it gives up.
    let told = |said: &&Said| {
        said.device == Some(address)
            && said.bar.is_some_and(|bar| {
                numbers.contains(&bar) && !lines.is_some_and(|lines| lines.iter().any(|line| line.number == bar))
            })
    };
    for said in survey.said(Meaning::BarUnassigned).filter(told) {
        let Some(number) = said.bar else { continue };
        let ports = said.text.contains("[io ");
        // A guest does without I/O ports; its driver was told that they are not there.
        if lines.is_some() && ports {
            continue;
        }
        let evidence = Evidence::new("the kernel's log", said.text.clone());
        found.push(Unplaced { number, size: size_in(&said.text), ports, gone: lines.is_some(), evidence });
    }
    found.sort_by_key(|bar| bar.number);
    found
}

/// Memory never begins at 0, where the machine's own is; kernels before 3.15 have no other sign.
fn is_unplaced(line: &Resource) -> bool {
    let unset = line.flags & UNSET != 0 && line.flags & (MEMORY | PORTS) != 0;
    unset || line.flags & MEMORY != 0 && line.start == 0 && line.end > 0
}

fn of_file(address: Address, line: &Resource) -> Unplaced {
    let Resource { number, start, end, flags } = *line;
    Unplaced {
        number,
        size: (end > start).then(|| (end - start).saturating_add(1)),
        ports: flags & MEMORY == 0,
        gone: false,
        evidence: Evidence::new(
            format!("/sys/bus/pci/devices/{address}/resource, line {}", number + 1),
            format!("0x{start:016x} 0x{end:016x} 0x{flags:016x}"),
        ),
    }
}

/// The size in `[mem size 0x600000000 64bit pref]`.
fn size_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(" size 0x")?;
    let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(&digits, 16).ok()
}

/// All findings about BARs of devices themselves; those of VFs are `sriov`'s.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let endpoints = survey.functions.iter().filter(|(_, function)| Role::of(&function.card) == Role::Endpoint);
    endpoints.filter_map(|(address, function)| finding(survey, *address, function)).collect()
}

fn finding(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    let bars = own(survey, address, function);
    let names: Vec<String> = bars.iter().map(Unplaced::name).collect();
    if names.is_empty() {
        return None;
    }
    let consequence = match bars.iter().all(|bar| bar.gone) {
        true => "and has given up: opening succeeds, and a guest finds nothing there",
        false => "so opening it fails with EINVAL",
    };
    let why = format!("The kernel has found no room for {}, {consequence}.", names.join(" and "));
    Some(
        Finding::new(Severity::Blocker, About::Device(address), Code::BarUnassigned, why)
            .steps(room(&survey.machine, &bars))
            .by(bars.into_iter().map(Unplaced::into_evidence)),
    )
}

/// How more room is made, on this machine.
pub(super) fn room(machine: &Machine, bars: &[Unplaced]) -> Vec<String> {
    let mut steps = Vec::new();
    let options = cmdline::values(&machine.cmdline, "pci");
    if options.contains(&"realloc=off") {
        steps.push("Take `realloc=off` out of `pci=` on the kernel command line and boot again.".to_owned());
    }
    let memory = bars.is_empty() || bars.iter().any(|bar| !bar.ports);
    if memory {
        steps.push(match (&machine.hypervisor, machine.processor.is_empty()) {
            (Some(_), _) => "This is a virtual machine: its hypervisor decides how much room there is for devices' memory (QEMU with OVMF: `-fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=65536`, larger than all BARs together).".to_owned(),
            (None, false) => "In the firmware setup switch on \"Above 4G Decoding\" (\"Memory mapped I/O above 4 GB\", \"64-bit MMIO\") and, where it is on, make the room larger (\"MMIO High Size\"); switch CSM off. A card with a resizable BAR needs less with \"Resizable BAR\" off. Install newer firmware where there is no such switch.".to_owned(),
            (None, true) => "Give the host bridge a larger window for memory: newer firmware, \"Above 4G Decoding\" in its setup, or `ranges` in the device tree.".to_owned(),
        });
    } else {
        steps.push(match &machine.hypervisor {
            Some(_) => "There are 64 KiB of I/O ports for the whole machine, and each bridge takes 4: give the virtual machine fewer bridges (`io-reserve=0` at those of QEMU that need none).".to_owned(),
            None => "There are 64 KiB of I/O ports for the whole machine, and each bridge takes 4: switch off slots and onboard devices that are not used, in the firmware setup.".to_owned(),
        });
    }
    if !options.iter().any(|option| *option == "realloc" || option.starts_with("realloc=")) {
        steps.push(format!(
            "Or let the kernel share the room anew: add `pci=realloc` {} and boot again.",
            added(machine, "pci=realloc")
        ));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_in_the_largest_unit_that_fits() {
        for (bytes, text) in
            [(0x6_0000_0000, "24 GiB"), (0x200_0000, "32 MiB"), (0x80, "128 bytes"), (0x20_0000_0000, "128 GiB")]
        {
            assert_eq!(in_units(bytes), text);
        }
    }

    #[test]
    fn no_advice_is_given_that_was_taken_already_or_that_is_for_another_machine() {
        let machine = |cmdline: &str, processor: &str, hypervisor: Option<&str>| Machine {
            cmdline: cmdline.to_owned(),
            processor: processor.to_owned(),
            hypervisor: hypervisor.map(str::to_owned),
            ..Machine::default()
        };
        let told = |machine: &Machine| room(machine, &[]).join(" ");
        let given = told(&machine("pci=noaer,realloc", "GenuineIntel", None));
        assert!(given.contains("Above 4G") && !given.contains("pci=realloc"), "{given}");
        let off = told(&machine("pci=realloc=off", "AuthenticAMD", None));
        assert!(off.contains("Take `realloc=off`") && !off.contains("add `pci=realloc`"), "{off}");
        let guest = told(&machine("", "GenuineIntel", Some("DMI says QEMU")));
        assert!(guest.contains("hypervisor") && !guest.contains("CSM"), "{guest}");
        assert!(!told(&machine("", "", None)).contains("CSM"));
    }
}
