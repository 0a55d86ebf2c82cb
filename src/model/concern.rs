//! What the daemon keeps of a check: what stands against the machine and its declared devices.
//!
//! A pass sees most blockers by itself, and they are its states. What only a check finds is taken
//! over from the last one: blockers become the device's state, and a warning is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::{Event, Kind, Level};
use super::pci::Address;
use super::plan::About;
use super::preflight::code::Code;
use super::preflight::{About as Subject, Finding, Report, Severity};
use super::state::State;
use super::status::Status;

/// A finding, without evidence and remedy: those are for whoever asks for the check itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// One sentence.
    pub why: String,
}

/// `no-reset: The kernel knows no way to reset it.`
impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.why)
    }
}

/// What was found about one function and its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfDevice {
    /// The device object: of another one at the same address nothing is known.
    pub object: u64,
    /// What was found, the worst first.
    pub concerns: Vec<Concern>,
}

/// What the last check found, but for notes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Concerns {
    /// About the whole machine.
    pub host: Vec<Concern>,
    /// About declared functions.
    pub devices: BTreeMap<Address, OfDevice>,
}

impl Concerns {
    /// What of a report is about the machine and these functions (each with its device object).
    #[must_use]
    pub fn of(report: &Report, declared: &BTreeMap<Address, u64>) -> Concerns {
        let host = report.findings.iter().filter(|finding| finding.about == Subject::Host);
        let device = |(address, object): (&Address, &u64)| {
            let own = report.findings_of(*address).filter(|finding| finding.about != Subject::Host);
            Some((*address, OfDevice { object: *object, concerns: kept(own) }))
                .filter(|(_, of)| !of.concerns.is_empty())
        };
        Concerns { host: kept(host), devices: declared.iter().filter_map(device).collect() }
    }

    /// What was found about a device object.
    #[must_use]
    pub fn about(&self, address: Address, object: u64) -> &[Concern] {
        self.devices.get(&address).filter(|device| device.object == object).map_or(&[], |device| &device.concerns)
    }

    /// What keeps a device object from a virtual machine and no pass can see; with `bound`, also what
    /// a new binding may lift.
    #[must_use]
    pub fn blocker(&self, address: Address, object: u64, bound: bool) -> Option<&Concern> {
        self.about(address, object).iter().find(|concern| {
            concern.severity == Severity::Blocker
                && match concern.code {
                    Code::Unreachable | Code::Framebuffer | Code::BarUnassigned | Code::IgdHostBridge => true,
                    Code::NodeMissing => bound,
                    _ => false,
                }
        })
    }

    /// That nobody can open anything because a module is not loaded.
    #[must_use]
    pub fn unloaded(&self) -> Option<&Concern> {
        let blocks = |concern: &&Concern| concern.severity == Severity::Blocker && concern.code == Code::ModuleUnloaded;
        self.host.iter().find(blocks)
    }

    /// Whether any of them is a state that only another check ends.
    #[must_use]
    pub fn block(&self) -> bool {
        // Room for a BAR and the bridges beside graphics come with another device object, or the next boot.
        let lasts = |concern: &&Concern| matches!(concern.code, Code::BarUnassigned | Code::IgdHostBridge);
        let of_device = |(address, device): (&Address, &OfDevice)| {
            self.blocker(*address, device.object, true).filter(|blocker| !lasts(blocker)).is_some()
        };
        self.unloaded().is_some() || self.devices.iter().any(of_device)
    }

    /// What to tell of warnings that have come or gone since the check before. Blockers are told as
    /// the states that they make.
    #[must_use]
    pub fn news(&self, before: &Concerns, status: &Status) -> Vec<Event> {
        let mut events: Vec<Event> =
            change(&before.host, &self.host).map(|change| change.event(About::Host)).into_iter().collect();
        let addresses: BTreeSet<&Address> = before.devices.keys().chain(self.devices.keys()).collect();
        for address in addresses {
            // What nobody declares any more, or is given back, is nobody's worry.
            let kept = status.devices.get(address).filter(|device| device.standing.state != State::Released);
            let known = self.devices.get(address).or_else(|| before.devices.get(address));
            let (Some(kept), Some(OfDevice { object, .. })) = (kept, known) else { continue };
            let change = change(before.about(*address, *object), self.about(*address, *object));
            events.extend(change.map(|change| Event {
                entry: Some(kept.entry.clone()),
                group: kept.group,
                ..change.event(About::Device(*address))
            }));
        }
        events
    }
}

/// All but notes, and but for what changes with every start of a guest: the state has that.
fn kept<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<Concern> {
    let worth = |finding: &&Finding| finding.severity != Severity::Note && finding.code != Code::GroupAssigned;
    let concern =
        |finding: &Finding| Concern { severity: finding.severity, code: finding.code, why: finding.why.clone() };
    findings.filter(worth).map(concern).collect()
}

/// What a check says of one thing beside what the check before has said.
struct Change {
    old: String,
    new: String,
    cause: String,
    worse: bool,
}

impl Change {
    fn event(self, about: About) -> Event {
        Event {
            kind: Kind::Verdict,
            about,
            entry: None,
            group: None,
            old: self.old,
            new: self.new,
            cause: self.cause,
            latency: None,
            level: if self.worse { Level::Warning } else { Level::Notice },
            by: None,
        }
    }
}

fn change(before: &[Concern], now: &[Concern]) -> Option<Change> {
    // One that was a blocker, or has become one, has been told or is told by the state.
    let known = |all: &[Concern], one: &Concern| all.iter().any(|other| other.code == one.code);
    let warns = |concern: &&Concern| concern.severity == Severity::Warning;
    let come: Vec<&Concern> = now.iter().filter(warns).filter(|concern| !known(before, concern)).collect();
    let gone: BTreeSet<Code> =
        before.iter().filter(warns).filter(|concern| !known(now, concern)).map(|concern| concern.code).collect();
    if come.is_empty() && gone.is_empty() {
        return None;
    }
    let codes = |concerns: &[Concern]| {
        let codes: BTreeSet<Code> = concerns.iter().filter(warns).map(|concern| concern.code).collect();
        words(&codes)
    };
    let mut cause: Vec<&str> = come.iter().map(|concern| concern.why.as_str()).collect();
    let over = format!("No longer: {}.", words(&gone));
    if !gone.is_empty() {
        cause.push(&over);
    }
    let new = codes(now);
    Some(Change {
        old: codes(before),
        new: if new.is_empty() { "clear".to_owned() } else { new },
        cause: cause.join(" "),
        worse: !come.is_empty(),
    })
}

fn words(codes: &BTreeSet<Code>) -> String {
    codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pci::Driver;
    use crate::model::preflight::report::{Predicted, Role, Verdict};
    use crate::model::state::Health;
    use crate::model::status::{DeviceStatus, Standing};

    const OBJECT: u64 = 7;

    fn at() -> Address {
        "0000:01:00.0".parse().unwrap()
    }

    fn report(findings: &[(Severity, Subject, Code)]) -> Report {
        let verdict = Verdict {
            ids: "8086:10d3".parse().unwrap(),
            class: 0x02_00_00,
            role: Role::Endpoint,
            driver: None,
            group: Some(15),
            iommu: None,
            passthrough_id: None,
            assignable: true,
            predicted: Predicted::opens(),
            codes: Vec::new(),
        };
        let finding = |(severity, about, code): &(Severity, Subject, Code)| {
            Finding::new(*severity, *about, *code, format!("It has {code}."))
        };
        Report {
            schema: 1,
            kernel: String::new(),
            iommu: BTreeSet::new(),
            iommu_units: BTreeSet::new(),
            devices: BTreeMap::from([(at(), verdict)]),
            groups: BTreeMap::new(),
            findings: findings.iter().map(finding).collect(),
        }
    }

    fn concerns(findings: &[(Severity, Subject, Code)]) -> Concerns {
        Concerns::of(&report(findings), &BTreeMap::from([(at(), OBJECT)]))
    }

    fn told(before: &[(Severity, Subject, Code)], now: &[(Severity, Subject, Code)]) -> Vec<String> {
        told_of(State::Ready, before, now)
    }

    fn told_of(state: State, before: &[(Severity, Subject, Code)], now: &[(Severity, Subject, Code)]) -> Vec<String> {
        let device = DeviceStatus {
            module: None,
            entry: "nic".to_owned(),
            standing: Standing::plain(state),
            driver: None,
            wanted: Driver::vfio_pci(),
            group: Some(15),
            last_cause: None,
        };
        let devices = BTreeMap::from([(at(), device)]);
        let status = Status { health: Health::Ready, entries: BTreeMap::new(), devices, modules: BTreeMap::new() };
        let events = concerns(now).news(&concerns(before), &status);
        events.iter().map(|event| format!("{:?} {event}", event.level)).collect()
    }

    #[test]
    fn a_warning_is_told_when_it_comes_and_when_it_goes_and_never_between() {
        use Severity::Warning;
        let (device, group) = (Subject::Device(at()), Subject::Group(15));
        let reset = (Warning, device, Code::NoReset);
        let rights = (Warning, group, Code::NodePermissions);
        assert_eq!(told(&[], &[reset]), ["Warning 0000:01:00.0 (nic): no-reset: It has no-reset."]);
        assert_eq!(told(&[reset], &[reset]), Vec::<String>::new());
        assert_eq!(
            told(&[reset], &[reset, rights]),
            ["Warning 0000:01:00.0 (nic): no-reset -> no-reset, node-permissions: It has node-permissions."]
        );
        assert_eq!(told(&[reset], &[]), ["Notice 0000:01:00.0 (nic): no-reset -> clear: No longer: no-reset."]);
        assert_eq!(told_of(State::Released, &[reset], &[]), Vec::<String>::new());
        assert_eq!(
            told(&[(Warning, Subject::Host, Code::AutoprobeOff)], &[(Warning, Subject::Host, Code::Noiommu)]),
            ["Warning host: autoprobe-off -> noiommu: It has noiommu. No longer: autoprobe-off."]
        );
    }

    #[test]
    fn what_is_another_groups_or_only_a_note_or_a_guests_is_not_kept() {
        use Severity::{Note, Warning};
        let found = concerns(&[
            (Warning, Subject::Group(16), Code::NodePermissions),
            (Warning, Subject::Device("0000:02:00.0".parse().unwrap()), Code::NoReset),
            (Note, Subject::Device(at()), Code::InUse),
            (Note, Subject::Host, Code::IommuEmulated),
            (Warning, Subject::Device(at()), Code::GroupAssigned),
        ]);
        assert_eq!(found, Concerns::default());
    }

    #[test]
    fn a_blocker_is_told_by_the_state_and_holds_for_its_object_alone() {
        use Severity::{Blocker, Warning};
        let device = Subject::Device(at());
        let gone = (Blocker, device, Code::Unreachable);
        assert_eq!(told(&[], &[gone]), Vec::<String>::new());
        // A prohibited module that is loaded is a warning; unloaded it is the module's state.
        let prohibited = |severity| [(severity, Subject::Host, Code::ModuleProhibited)];
        assert_eq!(told(&prohibited(Warning), &prohibited(Blocker)), Vec::<String>::new());
        assert_eq!(told(&prohibited(Blocker), &prohibited(Warning)), Vec::<String>::new());
        let blocks = |code, object, bound| {
            concerns(&[(Blocker, device, code)]).blocker(at(), object, bound).map(|concern| concern.code)
        };
        assert_eq!(blocks(Code::Unreachable, OBJECT, false), Some(Code::Unreachable));
        assert_eq!(blocks(Code::Unreachable, OBJECT + 1, true), None);
        assert_eq!(blocks(Code::Framebuffer, OBJECT, false), Some(Code::Framebuffer));
        assert_eq!(blocks(Code::NodeMissing, OBJECT, true), Some(Code::NodeMissing));
        // A new binding makes a new node.
        assert_eq!(blocks(Code::NodeMissing, OBJECT, false), None);
        // What a repair or a guard is there for is their business.
        assert_eq!(blocks(Code::GroupShared, OBJECT, true), None);
        assert_eq!(concerns(&[(Warning, device, Code::Unreachable)]).blocker(at(), OBJECT, true), None);
        assert!(concerns(&[gone]).block() && !concerns(&[(Warning, device, Code::NoReset)]).block());
    }
}
