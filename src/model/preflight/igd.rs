//! Intel's integrated graphics: vfio-pci opens them together with the host bridge and the ISA bridge.
//!
//! `vfio_pci_igd_init` gives a guest copies of what it reads at 0000:00:00.0 and 0000:00:1f.0. Where
//! another kind of function is there, opening fails with EINVAL (reported: intel/gvt-linux#203, with
//! Intel VMD on). Where nothing is there, it goes on without, from 5.10 on; before, it fails with ENODEV.
//! It does none of this for graphics without an OpRegion, as discrete cards and VFs are.

use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::report::Role;
use super::survey::{Function, Meaning, Survey};
use crate::model::pci::Address;

const INTEL: u16 = 0x8086;
/// From here on all display controllers are looked at, before only VGA ones ("match IGD devices in
/// display controller class"; some stable kernels before have that, too).
const ALL_DISPLAYS: (u32, u32) = (6, 15);
/// From here on a bridge that is not there is no error.
const GOES_WITHOUT: (u32, u32) = (5, 10);

const HOST_BRIDGE: Address = Address { domain: 0, bus: 0, device: 0, function: 0 };
const ISA_BRIDGE: Address = Address { domain: 0, bus: 0, device: 0x1f, function: 0 };

/// Why opening is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// With which error; none where only the log says so.
    pub errno: Option<&'static str>,
    evidence: Evidence,
    why: &'static str,
}

/// Whether vfio-pci refuses to open a function for what it does not find beside it.
#[must_use]
pub fn refused(survey: &Survey, address: Address, function: &Function) -> Option<Refused> {
    let card = &function.card;
    if card.ids.vendor != INTEL || card.class >> 16 != 0x03 || Role::of(card) != Role::Endpoint {
        return None;
    }
    let integrated = card.path.hops.is_empty() && card.physfn.is_none();
    let looked_at = card.class >> 8 == 0x0300 || survey.machine.version() >= ALL_DISPLAYS;
    let wrong = || {
        let host = beside(
            survey,
            HOST_BRIDGE,
            0x06_0000,
            "vfio-pci opens Intel's graphics together with the host bridge, which it looks for at 0000:00:00.0; what is there is no Intel host bridge, so opening it fails.",
        );
        host.or_else(|| beside(survey, ISA_BRIDGE, 0x06_0100, "vfio-pci opens Intel's graphics together with the ISA bridge, which it looks for at 0000:00:1f.0; what is there is no Intel ISA bridge, so opening it fails."))
    };
    let wrong = if integrated && looked_at { wrong() } else { None };
    wrong.or_else(|| {
        let said = survey.said(Meaning::NoIgd).find(|said| said.device == Some(address))?;
        let why = "vfio-pci did not open it when it was asked for last: something that belongs to Intel's graphics (the OpRegion, the host bridge, the ISA bridge) was not as it should be.";
        Some(Refused { errno: None, evidence: Evidence::new("the kernel's log", said.text.clone()), why })
    })
}

/// What is wrong with the bridge that must be at an address.
fn beside(survey: &Survey, at: Address, class: u32, why: &'static str) -> Option<Refused> {
    let source = format!("/sys/bus/pci/devices/{at}");
    let Some(bridge) = survey.functions.get(&at) else {
        let refused = survey.machine.version() < GOES_WITHOUT && !survey.machine.is_backported();
        // What has no number is no old kernel.
        let refused = refused && survey.machine.version() != (0, 0) && !survey.functions.is_empty();
        let why = "vfio-pci opens Intel's graphics together with the host bridge at 0000:00:00.0 and the ISA bridge at 0000:00:1f.0; one is not there, and kernels before 5.10 do not go on without it.";
        return refused.then(|| Refused { errno: Some("ENODEV"), evidence: Evidence::new(source, "not there"), why });
    };
    // One that could not be read has no class.
    let unknown = bridge.card.class == 0;
    let fits = bridge.card.ids.vendor == INTEL && bridge.card.class == class;
    (!unknown && !fits).then(|| {
        let shown = format!("{}, class 0x{:06x}", bridge.card.ids, bridge.card.class);
        Refused { errno: Some("EINVAL"), evidence: Evidence::new(source, shown), why }
    })
}

/// All findings about them.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    survey.functions.iter().filter_map(|(address, function)| finding(survey, *address, function)).collect()
}

fn finding(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    let Refused { errno, evidence, why } = refused(survey, address, function)?;
    let by_log = evidence.source == "the kernel's log";
    let said = survey.said(Meaning::NoIgd).find(|said| said.device == Some(address)).filter(|_| !by_log);
    // What the log alone says may be over.
    let severity = if by_log { Severity::Warning } else { Severity::Blocker };
    Some(
        Finding::new(severity, About::Device(address), Code::IgdHostBridge, why)
            .by([evidence])
            .by(said.map(|said| Evidence::new("the kernel's log", said.text.clone())))
            .steps((errno == Some("ENODEV")).then(|| "Boot a kernel from 5.10 on.".to_owned()))
            .step("Look whether Intel VMD (\"VMD controller\", \"RST\" or \"RAID\" instead of AHCI or NVMe) is on in the firmware setup, and switch it off: it puts other functions into the bridges' places. Disks behind it appear as plain ones then.")
            .step("Or use a kernel built without CONFIG_VFIO_PCI_IGD: it opens the graphics without these extras, which a guest needs only to drive a screen."),
    )
}
