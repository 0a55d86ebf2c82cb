//! Consoles and framebuffers on a device.

use super::boot::added;
use super::cmdline;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::survey::{Framebuffer, Function, Meaning, Survey};
use crate::model::snapshot::Fact;

/// All findings about displays.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for (address, function) in &survey.functions {
        let about = About::Device(*address);
        if function.card.boot_vga {
            let why =
                "The console is on it: whoever sits in front of this machine sees nothing more once a guest has it.";
            found.push(
                Finding::new(Severity::Warning, about, Code::BootDisplay, why)
                    .because(format!("/sys/bus/pci/devices/{address}/boot_vga"), "1")
                    .step("Make another card the first display in the firmware setup, or be sure that you reach this machine by network or serial line.")
                    .step("vfiod leaves it alone unless the entry says `allow = [\"boot-display\"]`."),
            );
        }
        let bars = function.bars.is().map(Vec::as_slice).unwrap_or_default();
        let within = |buffer: &&Framebuffer| {
            let overlaps = |(first, last): &(u64, u64)| *first <= buffer.end && buffer.start <= *last;
            buffer.within == Some(*address) || buffer.end > 0 && bars.iter().any(overlaps)
        };
        let buffers: Vec<&Framebuffer> = survey.framebuffers.is().into_iter().flatten().filter(within).collect();
        let said = survey.said(Meaning::BarTaken).find(|said| said.device == Some(*address));
        let log = said.map(|said| Evidence::new("the kernel's log", said.text.clone()));
        match (buffers.as_slice(), log) {
            ([], None) => {}
            ([], Some(log)) => found.push(taken(survey, function, about, log)),
            (buffers, log) => {
                let places = buffers.iter().map(|buffer| Evidence::new("/proc/iomem", place(buffer)));
                found.push(held(survey, function, about, buffers).by(places).by(log));
            }
        }
    }
    found
}

/// Where a framebuffer lies, in the file's words as far as it shows them.
fn place(buffer: &Framebuffer) -> String {
    match (buffer.end, buffer.within) {
        (0, Some(address)) => format!("{} below {address}", buffer.name),
        _ => format!("{:x}-{:x} : {}", buffer.start, buffer.end, buffer.name),
    }
}

/// The first kernel whose vfio-pci takes the console's drivers off a VGA device when it binds it
/// (`aperture_remove_conflicting_pci_devices` in `vfio_pci_vga_init`): "vfio/pci: Remove console
/// drivers", d17378062079. A device that is bound already was passed by, and other classes are.
const EVICTS: (u32, u32) = (6, 0);

/// Whether vfio-pci drives a framebuffer out when it takes a function.
fn drives_out(survey: &Survey, function: &Function) -> bool {
    let vga = function.card.class >> 8 == 0x0300;
    vga && !survey.on_vfio(function) && survey.machine.version() >= EVICTS
}

/// A framebuffer that holds a part of a function's memory: one, though the place that was set aside and
/// the driver that has it are two lines.
fn held(survey: &Survey, function: &Function, about: About, buffers: &[&Framebuffer]) -> Finding {
    let mut names: Vec<&str> = buffers.iter().map(|buffer| buffer.name.as_str()).collect();
    names.dedup();
    let name = match names.as_slice() {
        [first, rest @ ..] if !rest.is_empty() => format!("{first} (with {})", rest.join(", ")),
        _ => names.concat(),
    };
    let finding = |severity, why: String| Finding::new(severity, about, Code::Framebuffer, why);
    if drives_out(survey, function) {
        let why = format!(
            "{name}, a framebuffer of the boot, holds a part of its memory: vfio-pci drives it out when it takes the device, and the console with it."
        );
        return finding(Severity::Note, why);
    }
    let why = format!(
        "{name}, a framebuffer of the boot, holds a part of its memory: opening it succeeds, and the guest cannot map that part (`BAR can't reserve`)."
    );
    without(finding(Severity::Blocker, why), survey)
}

/// A BAR that vfio-pci could not have, by the log alone: the addresses in `/proc/iomem` are hidden from
/// users, and saved trees may be without it.
fn taken(survey: &Survey, function: &Function, about: About, log: Evidence) -> Finding {
    let finding = |severity, why: &str| Finding::new(severity, about, Code::Framebuffer, why).by([log]);
    let display = function.card.class >> 16 == 0x03;
    match &survey.framebuffers {
        Fact::Is(_) if display => finding(
            Severity::Warning,
            "A part of its memory was somebody else's when it was opened last, so the guest could not map it; no framebuffer of the boot is in /proc/iomem now.",
        )
        .because("/proc/iomem", "no framebuffer in its memory")
        .step("Look who has it: as root, the lines below its address in /proc/iomem."),
        _ if drives_out(survey, function) => finding(
            Severity::Note,
            "A part of its memory was somebody else's when it was opened last, most likely a framebuffer's of the boot: vfio-pci drives that out when it takes the device.",
        ),
        _ if display => without(
            finding(
                Severity::Blocker,
                "A part of its memory is somebody else's, most likely a framebuffer's of the boot: opening it succeeds, and the guest cannot map that part.",
            )
            .step("Look who has it: as root, the lines below its address in /proc/iomem."),
            survey,
        ),
        // Nothing else tells whether it still is.
        _ => finding(
            Severity::Warning,
            "A part of its memory was somebody else's when it was opened last: opening it succeeds, and the guest could not map that part.",
        )
        .step("Look who has it: as root, the lines below its address in /proc/iomem; a driver that was not unloaded cleanly keeps it until the next boot."),
    }
}

/// How the host does without framebuffers of the boot; what was tried already is not advised.
fn without(finding: Finding, survey: &Survey) -> Finding {
    const SYSFB: &str = "sysfb_init";
    let line = &survey.machine.cmdline;
    let given = |name: &str| cmdline::given(line, "initcall_blacklist").find(|word| word.contains(name));
    let old = survey.machine.version() != (0, 0) && survey.machine.version() < (5, 15);
    let option = if old { "video=efifb:off" } else { "initcall_blacklist=sysfb_init" };
    let finding = match (given(SYSFB), given("simpledrm_platform_driver_init")) {
        (Some(word), _) => finding
            .because("/proc/cmdline", word)
            .step("`initcall_blacklist=sysfb_init` is given, and it has no effect: kernels built with LTO know that by another name, which `grep sysfb_init /proc/kallsyms` shows (`__initstub__…`); give that one instead."),
        (None, driver) => {
            let finding = match driver {
                Some(word) => finding
                    .because("/proc/cmdline", format!("{word} keeps a driver away, and the place stays set aside")),
                None => finding,
            };
            let off = cmdline::given(line, "video").find(|word| *word == "video=efifb:off");
            match off {
                Some(_) if old => finding,
                Some(_) => finding.step(format!("Add `{option}` {} and boot again: `video=efifb:off`, which is given, does nothing from 5.15 on.", added(&survey.machine, option))),
                None => finding.step(format!("Add `{option}` {} and boot again.", added(&survey.machine, option))),
            }
        }
    };
    finding.step("Or make another card the first display in the firmware setup.")
}
