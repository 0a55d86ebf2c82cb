//! Consoles and framebuffers on a device.

use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::survey::{Framebuffer, Function, Meaning, Survey};

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
        for buffer in survey.framebuffers.is().into_iter().flatten().filter(within) {
            let said = survey.said(Meaning::BarTaken).filter(|said| said.device == Some(*address));
            found.push(
                held(survey, function, about, buffer)
                    .because("/proc/iomem", place(buffer))
                    .by(said.take(1).map(|said| Evidence::new("the kernel's log", said.text.clone()))),
            );
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

/// A framebuffer that holds a part of a function's memory.
fn held(survey: &Survey, function: &Function, about: About, buffer: &Framebuffer) -> Finding {
    let name = &buffer.name;
    let finding = |severity, why: String| Finding::new(severity, about, Code::Framebuffer, why);
    let vga = function.card.class >> 8 == 0x0300;
    if vga && !survey.on_vfio(function) && survey.machine.version() >= EVICTS {
        let why = format!(
            "{name}, a framebuffer of the boot, holds a part of its memory: vfio-pci drives it out when it takes the device, and the console with it."
        );
        return finding(Severity::Note, why);
    }
    let why = format!(
        "{name}, a framebuffer of the boot, holds a part of its memory: opening it succeeds, and the guest cannot map that part (`BAR can't reserve`)."
    );
    finding(Severity::Blocker, why)
        .step("Add `initcall_blacklist=sysfb_init` to the kernel command line (before 5.15: `video=efifb:off`) and boot again.")
        .step("Or make another card the first display in the firmware setup.")
}
