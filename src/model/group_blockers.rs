//! What the check has found to keep endpoints from being opened, but for other members of their group: those are seen without it.

use std::collections::BTreeMap;

use super::concern::Concern;
use super::group_state::GroupState;
use super::pci::Address;
use super::picture::{GroupView, Picture};
use super::preflight::report::Role;
use super::preflight::{About, Code, Report, Severity};

/// What a check says where the other members of a group are in the way.
const SHARING: [Code; 2] = [Code::GroupShared, Code::FunctionsSplit];

/// Codes of blockers.
#[derive(Debug, Clone, Default)]
pub struct GroupBlockers {
    /// Of every endpoint of the machine.
    pub host: Vec<Code>,
    /// Of these endpoints.
    devices: BTreeMap<Address, Vec<Code>>,
}

impl GroupBlockers {
    /// By a check.
    #[must_use]
    pub fn of(report: &Report) -> GroupBlockers {
        let blocking = |concerns: &dyn Fn(About) -> bool| {
            let blockers = report.findings.iter().filter(|finding| finding.blocks() && concerns(finding.about));
            once(blockers.map(|finding| finding.code))
        };
        let endpoints = report.devices.iter().filter(|(_, verdict)| verdict.role == Role::Endpoint);
        let devices = endpoints.map(|(address, verdict)| {
            let own = |about| match about {
                About::Host => false,
                About::Group(number) => verdict.group == Some(number),
                About::Device(device) => device == *address,
            };
            (*address, blocking(&own))
        });
        GroupBlockers { host: blocking(&|about| about == About::Host), devices: devices.collect() }
    }

    /// By what a picture has of the daemon's last check: that is of the host and what is declared.
    #[must_use]
    pub fn of_picture(picture: &Picture) -> GroupBlockers {
        let blockers = |concerns: &[Concern]| {
            once(concerns.iter().filter(|it| it.severity == Severity::Blocker).map(|it| it.code))
        };
        let declared = picture.devices.iter().filter(|(_, view)| view.entry.is_some());
        GroupBlockers {
            host: blockers(&picture.findings),
            devices: declared.map(|(address, view)| (*address, blockers(&view.findings))).collect(),
        }
    }

    /// What is found of a member alone.
    #[must_use]
    pub fn about(&self, member: &str) -> &[Code] {
        member.parse().ok().and_then(|address: Address| self.devices.get(&address)).map_or(&[], Vec::as_slice)
    }

    /// What is found of a group, each once.
    #[must_use]
    pub fn codes(&self, group: &GroupView) -> Vec<Code> {
        let endpoints = group.members.iter().filter_map(|member| self.devices.get(&member.parse::<Address>().ok()?));
        let mut host = self.host.as_slice();
        let mut codes: Vec<Code> = Vec::new();
        for own in endpoints {
            codes.extend(std::mem::take(&mut host).iter().chain(own));
        }
        once(codes.into_iter())
    }

    /// Whether anything is found of a group with these members.
    #[must_use]
    pub fn blocks<'a>(&self, members: impl IntoIterator<Item = &'a Address>) -> bool {
        let mut endpoints = members.into_iter().filter_map(|member| self.devices.get(member));
        endpoints.any(|own| !own.is_empty() || !self.host.is_empty())
    }

    /// Calls a group blocked where anything is found of it.
    pub fn block(&self, group: &mut GroupView) {
        if !self.codes(group).is_empty() {
            group.state = GroupState::Blocked;
        }
    }
}

fn once(codes: impl Iterator<Item = Code>) -> Vec<Code> {
    let mut codes: Vec<Code> = codes.filter(|code| !SHARING.contains(code)).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}
