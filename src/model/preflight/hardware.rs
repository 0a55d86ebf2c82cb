//! The device itself: whether vfio-pci takes it, whether it answers and can be reset.

use super::boot::module_options;
use super::check::unread;
use super::code::Code;
use super::finding::{About, Evidence, Finding, Severity};
use super::grouping::{in_the_way, name};
use super::mediated::carries;
use super::needed::{Need, needed};
use super::report::Role;
use super::slots::not_offered;
use super::survey::{Function, Meaning, Said, Survey};
use crate::model::pci::{Address, Ids};
use crate::model::snapshot::Fact;

/// Intel's devices that vfio-pci refuses, the first kernel that does, and whether stable kernels
/// before that one may: QuickAssist since 5.9; the data and analytics accelerators since 6.10, and in
/// stable kernels since May 2024 (95feb3160eef, in 6.9.1 for one).
const DENIED: [(u16, (u32, u32), bool); 8] = [
    (0x19e2, (5, 9), false),
    (0x19e3, (5, 9), false),
    (0x37c8, (5, 9), false),
    (0x37c9, (5, 9), false),
    (0x0435, (5, 9), false),
    (0x0443, (5, 9), false),
    (0x0b25, (6, 10), true),
    (0x0cfe, (6, 10), true),
];

/// Whether vfio-pci refuses a function for known defects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It takes it, or is told to.
    No,
    /// It refuses it.
    Yes,
    /// Its release does not tell.
    Perhaps,
}

fn on_denylist(ids: Ids) -> Option<((u32, u32), bool)> {
    let (_, since, stable) = DENIED.iter().find(|(device, _, _)| ids.vendor == 0x8086 && *device == ids.device)?;
    Some((*since, *stable))
}

/// The first kernel of which it is certain that its vfio-pci refuses such a device.
#[must_use]
pub fn denied_since(ids: Ids) -> Option<(u32, u32)> {
    on_denylist(ids).map(|(since, _)| since)
}

/// Whether this kernel's vfio-pci refuses a function. What its log says counts most.
#[must_use]
pub fn denied(survey: &Survey, address: Address, function: &Function) -> Denied {
    let Some((since, stable)) = on_denylist(function.card.ids) else { return Denied::No };
    if survey.is_on("vfio_pci", "disable_denylist") {
        return Denied::No;
    }
    let said = survey.said(Meaning::Denylisted).any(|said| said.device == Some(address));
    if said || survey.machine.version() >= since {
        Denied::Yes
    } else if stable || survey.machine.is_backported() {
        Denied::Perhaps
    } else {
        Denied::No
    }
}

/// All findings about devices themselves.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let endpoints = survey.functions.iter();
    endpoints.flat_map(|(address, function)| of_one(survey, *address, function)).collect()
}

fn of_one(survey: &Survey, address: Address, function: &Function) -> Vec<Finding> {
    let about = About::Device(address);
    let mut found = Vec::new();
    if function.card.bridge {
        let why =
            "It is a bridge: vfio-pci takes no bridges, and what is behind one is passed through device by device.";
        found.push(
            Finding::new(Severity::Note, about, Code::Bridge, why)
                .because(format!("/sys/bus/pci/devices/{address}/class"), format!("0x{:06x}", function.card.class)),
        );
        return found;
    }
    if Role::of(&function.card) != Role::Endpoint {
        return found;
    }
    found.extend(denylisted(survey, address, function));
    if let Fact::Unreadable(why) = &function.card.subsystem {
        found.push(unread(about, "what it is", why));
    }
    if let Fact::Unreadable(why) = &function.driver {
        found.push(unread(about, "which driver it is on", why));
    }
    found.extend(asleep_or_dead(survey, address, function));
    if function.reset.is_absent() && function.answers != Fact::Is(false) {
        found.push(no_reset(survey, address, function));
    }
    found.extend(errors(address, function));
    found.extend(variant_driver(survey, address, function));
    found
}

/// The classes of what people pass through: storage, network, display, multimedia, USB controllers,
/// accelerators. The chipset's own functions mostly have no reset, and nobody wants them.
fn is_passed(class: u32) -> bool {
    matches!(class >> 16, 0x01 | 0x02 | 0x03 | 0x04 | 0x12) || matches!(class >> 8, 0x0c03 | 0x0b40)
}

/// The other functions on the bus below the same bridge. Those on a root bus have none to reset it.
fn beside<'s>(survey: &'s Survey, address: Address, function: &Function) -> Vec<(Address, &'s Function)> {
    if function.card.path.hops.is_empty() {
        return Vec::new();
    }
    let bus = (address.domain, address.bus);
    let others = survey.functions.iter().filter(|(other, _)| **other != address && (other.domain, other.bus) == bus);
    others.map(|(other, function)| (*other, function)).collect()
}

/// That the kernel has no way to reset a function. On a bus of several it does not count the reset of
/// the bus, which VFIO makes all the same once it has every function there (`VFIO_DEVICE_PCI_HOT_RESET`,
/// and when the last one is closed); a bridge among them it never has.
fn no_reset(survey: &Survey, address: Address, function: &Function) -> Finding {
    let others = beside(survey, address, function);
    let (whole, staying) = if others.iter().any(|(_, other)| other.card.bridge) {
        (false, Vec::new())
    } else {
        let staying: Vec<_> = others.iter().copied().filter(|(_, other)| in_the_way(survey, other)).collect();
        (!others.is_empty() && staying.is_empty(), staying)
    };
    let names: Vec<String> = staying.iter().map(|(other, f)| format!("{other} ({})", name(f))).collect();
    let names = names.join(", ");
    let why = match (whole, staying.is_empty()) {
        (true, _) => "The kernel does not reset it by itself: VFIO resets its whole bus, when all functions of that bus are on VFIO and none is in use.".to_owned(),
        (false, true) => "The kernel knows no way to reset it: a guest finds it as the last user left it, with that user's secrets in its memory.".to_owned(),
        (false, false) => format!("The kernel does not reset it by itself, and VFIO resets its bus only when it has all functions there, which {names} keeps it from: a guest finds it as the last user left it, with that user's secrets in its memory."),
    };
    let unasked = !survey.on_vfio(function) && !is_passed(function.card.class);
    let severity = if whole || unasked { Severity::Note } else { Severity::Warning };
    let mut finding = Finding::new(severity, About::Device(address), Code::NoReset, why)
        .because(format!("/sys/bus/pci/devices/{address}/reset_method"), "empty or not there");
    let shown = if whole { &others } else { &staying };
    for (other, function) in shown.iter().filter(|(_, other)| !other.driver.is_absent()) {
        finding = finding.because(format!("/sys/bus/pci/devices/{other}/driver"), name(function));
    }
    if whole {
        let idle = others.iter().filter(|(_, other)| !survey.on_vfio(other)).map(|(other, _)| other.to_string());
        let idle: Vec<String> = idle.collect();
        return match idle.is_empty() {
            true => finding,
            false => finding.step(format!("Declare what is on no VFIO driver there, too: {}.", idle.join(", "))),
        };
    }
    if unasked {
        return finding;
    }
    let free = |(other, f): &(Address, &Function)| {
        let together = f.group.is().is_some() && f.group.is() == function.group.is();
        let offered = together || not_offered(survey, *other, f).is_none();
        offered && matches!(needed(survey, *other, f), None | Some(Need::Console)) && !carries(survey, *other)
    };
    if !staying.is_empty() && staying.iter().all(free) {
        finding = finding.step(format!("Declare these too, if the host needs none of them: {names}. Once all functions of the bus are on VFIO it is reset with them."));
    }
    finding
        .step("Give it to one guest only, and switch the machine off and on when it is given to another.")
        .step("Look for a vendor's reset module (vendor-reset for AMD GPUs) or a quirk in a newer kernel.")
}

/// Whether it answers, and whether it will.
fn asleep_or_dead(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    let about = About::Device(address);
    let path = |name: &str| format!("/sys/bus/pci/devices/{address}/{name}");
    let power = function.power.is().map_or("", String::as_str);
    let said = dead(survey, address, function);
    let dead = said.map(|said| Evidence::new("the kernel's log", said.text.clone()));
    if function.answers == Fact::Is(false) {
        let why = "It does not answer: its configuration space reads as all ones, as that of a card that has hung or been unplugged.";
        return Some(
            Finding::new(Severity::Blocker, about, Code::Unreachable, why)
                .because(path("config"), "ff ff ff ff")
                .by(dead)
                .steps(to_revive(function)),
        );
    }
    if power != "D3cold" {
        let why = match said?.device == Some(address) {
            true => {
                "The kernel's log has it that it did not answer, and nothing later that it came back: opening it fails, or fails in the guest, whatever `power_state` says."
            }
            false => {
                "The kernel's log has it that the card that it is a part of did not answer, and nothing later that it came back: opening it fails, or fails in the guest, whatever `power_state` says."
            }
        };
        let finding = Finding::new(Severity::Warning, about, Code::Unreachable, why).by(dead);
        let shown = (!power.is_empty()).then(|| Evidence::new(path("power_state"), power));
        return Some(finding.by(shown).steps(to_revive(function)));
    }
    let (severity, why) = match dead {
        Some(_) => (
            Severity::Warning,
            "It is switched off (D3cold), and it did not come back from there once: then it fails in the guest.",
        ),
        None if survey.on_vfio(function) => {
            (Severity::Note, "It is switched off (D3cold) until somebody opens it: vfio-pci does that to idle devices.")
        }
        None => (Severity::Note, "It is switched off (D3cold) until a driver wakes it, as idle devices are."),
    };
    Some(
        Finding::new(severity, about, Code::D3cold, why)
            .because(path("power_state"), "D3cold")
            .by(dead)
            .step(format!(
                "If it does not come back: `echo 0 >{}`, in a udev rule for every boot.",
                path("d3cold_allowed")
            ))
            .step(format!(
                "For all idle VFIO devices: {}.",
                module_options(&survey.machine, "vfio-pci", "disable_idle_d3=1")
            )),
    )
}

/// What brings a dead card back.
fn to_revive(function: &Function) -> [String; 2] {
    let reset = match function.card.ids.vendor {
        0x1002 => {
            "If it was lost when a guest ended, look for a vendor's reset (vendor-reset) and for newer firmware of the card."
        }
        _ => {
            "If it was lost when a guest ended, look for newer firmware of the card, and end guests by shutting them down."
        }
    };
    let off = "Switch the machine off and on again: a warm reboot does not always bring such a card back.";
    [off.to_owned(), reset.to_owned()]
}

/// What the log has said of a whole card.
const WHOLE: [&str; 6] = ["bus reset", "D3cold", "inaccessible", "not accessible", "off the bus", "currently in D3"];

/// That the log calls a device dead, where nothing says that it is alive: the device itself, the card it
/// is on, or the one that it is a VF of.
#[must_use]
pub fn dead<'s>(survey: &'s Survey, address: Address, function: &Function) -> Option<&'s Said> {
    if function.answers == Fact::Is(true) {
        return None;
    }
    let card = function.card.physfn.map_or(address, |pf| pf);
    let names = |said: &&Said| {
        let Some(of) = said.device else { return false };
        // What the chipset has put into one slot of the root bus hangs together by nothing else.
        let one_card = !function.card.path.hops.is_empty() && of.slot() == card.slot();
        let whole = || WHOLE.iter().any(|mark| said.text.contains(mark)) && !survey.alive(of);
        of == address || one_card && whole()
    };
    survey.said(Meaning::Dead).find(names)
}

fn denylisted(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    on_denylist(function.card.ids)?;
    let about = About::Device(address);
    if let Some((source, value)) = survey.turned_on("vfio_pci", "disable_denylist") {
        let why = "vfio-pci refuses such devices for known defects, and `disable_denylist` is on: a guest can hang the whole machine with it.";
        return Some(Finding::new(Severity::Warning, about, Code::Denylisted, why).because(source, value));
    }
    let severity = match denied(survey, address, function) {
        Denied::Yes => Severity::Blocker,
        Denied::No | Denied::Perhaps => Severity::Warning,
    };
    let why = match severity {
        Severity::Blocker => "vfio-pci refuses it for known defects (EINVAL): a guest could hang the machine with it.",
        _ => {
            "Newer kernels, and fixed ones of this age, refuse it for known defects: a guest can hang the machine with it."
        }
    };
    let said = survey.said(Meaning::Denylisted).filter(|said| said.device == Some(address));
    Some(
        Finding::new(severity, about, Code::Denylisted, why)
            .because(
                format!("/sys/bus/pci/devices/{address}"),
                format!("{} is on vfio-pci's denylist", function.card.ids),
            )
            .by(said.take(1).map(|said| Evidence::new("the kernel's log", said.text.clone())))
            .step("Use a newer generation of the device: what is on the list has virtual functions that are on it, too, or none.")
            .step(format!(
                "Only for a trusted guest: {}. vfiod never sets it.",
                module_options(&survey.machine, "vfio-pci", "disable_denylist=1")
            )),
    )
}

/// So many unsupported requests are no probing any more.
const MANY_REQUESTS: u64 = 10;

fn errors(address: Address, function: &Function) -> Option<Finding> {
    let errors = function.errors.is()?;
    let about = About::Device(address);
    let file = |kind: &str| format!("/sys/bus/pci/devices/{address}/aer_dev_{kind}");
    // Each card is asked for what it may not have when it is probed, and answers so.
    if errors.fatal == 0 && (1..MANY_REQUESTS).contains(&errors.nonfatal) && errors.nonfatal == errors.unsupported {
        let why = "It has called requests unsupported, as many cards do that are asked for what they do not have when they are probed: nothing is lost.";
        return Some(
            Finding::new(Severity::Note, about, Code::AerErrors, why)
                .because(file("nonfatal"), format!("UnsupReq {}", errors.unsupported)),
        );
    }
    if errors.fatal > 0 || errors.nonfatal > 0 {
        let why = "It has reported errors that lose data: in a guest they end in a dead device or a stopped machine.";
        return Some(
            Finding::new(Severity::Warning, about, Code::AerErrors, why)
                .because(file("fatal"), errors.fatal.to_string())
                .because(file("nonfatal"), errors.nonfatal.to_string())
                .step(
                    "Seat the card again, try another slot or a shorter riser, and look at `journalctl -k | grep AER`.",
                ),
        );
    }
    (errors.correctable > 0).then(|| {
        let why = "It has reported errors that the link has mended by itself; many of them mean a bad contact.";
        Finding::new(Severity::Note, about, Code::AerErrors, why)
            .because(file("correctable"), errors.correctable.to_string())
    })
}

fn variant_driver(survey: &Survey, address: Address, function: &Function) -> Option<Finding> {
    if let Some(driver) = survey.vendors_vfio(function) {
        let why = format!(
            "It is on VFIO already: {driver}, its vendor's own driver, gives it to virtual machines itself. vfio-pci would take away what that driver does for it, such as sharing a GPU; vfiod binds it to that one only where its entry says `driver = \"vfio-pci\"`."
        );
        return Some(
            Finding::new(Severity::Note, About::Device(address), Code::VendorDriver, why)
                .because(format!("/sys/bus/pci/devices/{address}/vfio-dev"), "there"),
        );
    }
    let best = survey.known().best(&function.card.modalias, function.driver.is());
    let on = function.driver.is().map(|driver| survey.drivers.module_of(driver));
    if best.module.as_str() == "vfio_pci" || on.as_ref() == Some(&best.module) {
        return None;
    }
    let why = format!(
        "This kernel has {}, a VFIO driver made for it: with that one it can do more, such as being migrated.",
        best.driver
    );
    Some(
        Finding::new(Severity::Note, About::Device(address), Code::VariantDriver, why)
            .because("modules.alias", format!("a vfio_pci: pattern of {} matches it", best.module))
            .step("Declare it with `driver = \"auto\"`."),
    )
}
