//! What is the machine's own, or under somebody's hands: it can be passed through, and mostly nobody should.

use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::needed::people;
use super::survey::Survey;

/// All findings about such functions.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for (address, function) in &survey.functions {
        let about = About::Device(*address);
        let path = |name: &str| format!("/sys/bus/pci/devices/{address}/{name}");
        if let Some(people) = people(survey, *address, function) {
            let why = "People use this machine by what is on it: with a guest they could not any more.";
            found.push(
                Finding::new(Severity::Warning, about, Code::HostPart, why)
                    .because(path("usb*"), people)
                    .step("Plug it into another controller first, or be sure that you reach this machine by network or serial line."),
            );
        }
        if function.card.is_amd_psp() && !survey.on_vfio(function) {
            let why = "It is the processor's security processor (PSP), with the firmware's TPM and the encryption of memory in it: leave it with the host unless its group must be given away as a whole.";
            found.push(
                Finding::new(Severity::Note, about, Code::HostPart, why)
                    .because(path("class"), format!("0x{:06x}", function.card.class)),
            );
        }
    }
    found
}
