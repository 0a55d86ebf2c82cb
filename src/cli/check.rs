//! A preflight report as text: what the host has, then each device with what was found about it.
//! The JSON form is the report itself (`schema` counts its versions).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::model::group_blockers::GroupBlockers;
use crate::model::group_state::GroupState;
use crate::model::pci::Address;
use crate::model::preflight::code::Code;
use crate::model::preflight::finding::{About, Finding, Severity};
use crate::model::preflight::make::Make;
use crate::model::preflight::report::{GroupReport, Report, Role, Verdict};
use crate::model::preflight::survey::NOT_SAVED;
use crate::model::printable::printable;
use crate::model::words;

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// These functions only; with none every endpoint, and what was found about the machine.
    pub devices: BTreeSet<Address>,
    /// Columns of the terminal; 0 breaks no lines.
    pub width: usize,
}

/// The report as text.
#[must_use]
pub fn text(report: &Report, shown: &Shown) -> String {
    let mut out = String::new();
    let blockers = GroupBlockers::of(report);
    let host: Vec<&Finding> = report.findings.iter().filter(|finding| finding.about == About::Host).collect();
    let wanted = |address: &Address, verdict: &Verdict| match shown.devices.is_empty() {
        true => verdict.role == Role::Endpoint,
        false => shown.devices.contains(address),
    };
    let devices: Vec<(&Address, &Verdict)> =
        report.devices.iter().filter(|(address, verdict)| wanted(address, verdict)).collect();
    if devices.is_empty() && shown.devices.is_empty() {
        out.push_str("no PCI device that could be passed through\n");
    }
    let unsaved = format!("{NOT_SAVED}/sys/class/iommu");
    let untold = host.iter().flat_map(|finding| &finding.evidence).any(|evidence| evidence.value == unsaved);
    // Groups are made for an IOMMU, whether or not something names it.
    let none = |code: Code| matches!(code, Code::IommuOff | Code::Noiommu);
    let served = !report.groups.is_empty() && !report.findings.iter().any(|finding| none(finding.code));
    let iommu = match report.iommu.is_empty() && (untold || served) {
        true => "IOMMU unknown".to_owned(),
        false => iommus(report),
    };
    let kernel = if report.kernel.is_empty() { "unknown" } else { &report.kernel };
    let _ = writeln!(out, "host: kernel {}, {}", printable(kernel), printable(&iommu));
    // With single devices asked for, only what decides how these stand.
    let unsure = devices.iter().any(|(_, verdict)| verdict.predicted.opens.is_none());
    for finding in host {
        if shown.devices.is_empty() || decides(finding, unsure) {
            tell(&mut out, finding, shown.width);
        }
    }
    for (address, verdict) in devices {
        out.push('\n');
        heading(&mut out, *address, verdict);
        let own = report.findings_of(*address).filter(|finding| finding.about != About::Host);
        own.for_each(|finding| tell(&mut out, finding, shown.width));
        if !shown.devices.is_empty()
            && let Some((number, group)) = verdict.group.and_then(|n| Some((n, report.groups.get(&n)?)))
        {
            tell_group(&mut out, number, group, &blockers);
        }
    }
    for address in shown.devices.iter().filter(|address| !report.devices.contains_key(address)) {
        let _ = writeln!(out, "\n{address}: there is no such device");
    }
    out.push_str(&summary(report, shown));
    out
}

/// Whether something about the machine decides what comes of its devices: what keeps all of them from a
/// guest, what lets them go on at a price, and, where nobody knows what comes of one (`unsure`), what
/// could not be told.
fn decides(finding: &Finding, unsure: bool) -> bool {
    let at_a_price = matches!(finding.code, Code::UnsafeInterrupts | Code::Noiommu | Code::RmrrRelaxedPatch);
    finding.blocks()
        || at_a_price && finding.severity == Severity::Warning
        || unsure && finding.code == Code::Unreadable
}

/// What the IOMMUs are called.
fn iommus(report: &Report) -> String {
    // A daemon of an older version does not name the units.
    let makes = || report.iommu.iter().map(|make| make.name().unwrap_or("an IOMMU that it does not name")).collect();
    let names = if report.iommu_units.is_empty() { makes() } else { Make::names(&report.iommu_units) };
    if names.is_empty() { "no IOMMU at work".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

/// One line about the device and its verdict.
fn heading(out: &mut String, address: Address, verdict: &Verdict) {
    let driver = verdict.driver.as_ref().map_or("no driver", |driver| driver.as_str());
    let group = verdict.group.map_or_else(|| "no group".to_owned(), |group| format!("group {group}"));
    let word = match (verdict.assignable, verdict.predicted.opens) {
        _ if verdict.role != Role::Endpoint => format!("not passed through ({})", verdict.role.as_str()),
        (true, _) => "fine".to_owned(),
        (false, None) => "nobody knows what comes of opening it".to_owned(),
        (false, Some(true)) => "blocked (it opens, and more is needed)".to_owned(),
        (false, _) if verdict.predicted.is_busy() => "in use".to_owned(),
        // Its group is one that VFIO has made up: it is opened, and by no virtual machine.
        (false, _) if verdict.codes.contains(&Code::Noiommu) => {
            "on VFIO without an IOMMU, for trusted programs only".to_owned()
        }
        (false, _) => format!("blocked ({})", printable(&verdict.predicted.to_string())),
    };
    let _ = write!(out, "{address} [{}] {driver}, {group}", verdict.ids);
    if let Some(id) = &verdict.passthrough_id {
        let _ = write!(out, ", {}", printable(id));
    }
    let _ = writeln!(out, ": {word}");
}

fn tell(out: &mut String, finding: &Finding, width: usize) {
    let head = format!("{} {}: ", finding.severity, finding.code);
    paragraph(out, "  ", &format!("{head}{}", finding.why), width);
    for evidence in &finding.evidence {
        paragraph(out, "      ", &format!("{}: {}", evidence.source, evidence.value), width);
    }
    for (number, step) in finding.remedy.iter().enumerate() {
        let mut lines = step.lines();
        paragraph(out, "    ", &format!("{}. {}", number + 1, lines.next().unwrap_or_default()), width);
        // Lines to copy are not broken.
        lines.for_each(|line| _ = writeln!(out, "         {}", printable(line)));
    }
}

/// A group with its members, in the words of `groups`: a device is never in its own way.
fn tell_group(out: &mut String, number: u32, group: &GroupReport, found: &GroupBlockers) {
    let kind = printable(group.kind.as_deref().unwrap_or("unknown kind"));
    let state = if found.blocks(group.members.keys()) { GroupState::Blocked } else { group.state };
    let state = match state {
        GroupState::Unknown => "it could not be told whose".to_owned(),
        state => state.to_string(),
    };
    let _ = writeln!(out, "  group {number} ({kind}, {state}):");
    for (address, member) in &group.members {
        let driver = member.driver.as_ref().map_or("no driver", |driver| driver.as_str());
        let blocks = if member.blocks && group.state == GroupState::Blocked { ", in the way" } else { "" };
        let _ = writeln!(out, "      {address} {}, {driver}{blocks}", member.role.as_str());
    }
    // Names in `devices/`, the kind of a region and a process's name are anybody's, a saved tree's or
    // another machine's even more so.
    let mut line = |text: String| _ = writeln!(out, "      {}", printable(&text));
    group.others.iter().for_each(|other| line(format!("{other} (no PCI device), in the way")));
    group.reserved.iter().for_each(|region| line(format!("reserved {region} {}", region.kind)));
    group.holders.iter().for_each(|holder| line(holder.clone()));
}

/// How many of what, and where more is said.
fn summary(report: &Report, shown: &Shown) -> String {
    if !shown.devices.is_empty() {
        return "\nMore about each code: vfiod-preflight(7).\n".to_owned();
    }
    let endpoints = report.devices.values().filter(|verdict| verdict.role == Role::Endpoint);
    let (mut fine, mut all) = (0, 0_usize);
    for verdict in endpoints {
        all += 1;
        fine += usize::from(verdict.assignable);
    }
    let count = |severity: Severity| {
        let found = report.findings.iter().filter(|finding| finding.severity == severity);
        words::count(found.count(), severity.as_str())
    };
    format!(
        "\n{fine} of {} could be passed through as things are; {}, {}, {}. More about each code: vfiod-preflight(7).\n",
        words::count(all, "device"),
        count(Severity::Blocker),
        count(Severity::Warning),
        count(Severity::Note)
    )
}

/// A paragraph with an indent; further lines are indented by four more.
fn paragraph(out: &mut String, indent: &str, text: &str, width: usize) {
    // Whatever comes from a file may hold anything: a terminal gets no control characters.
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = printable(&clean);
    let mut line = indent.to_owned();
    let mut empty = true;
    for word in clean.split(' ').filter(|word| !word.is_empty()) {
        let length = line.chars().count() + word.chars().count() + usize::from(!empty);
        if width > 0 && length > width && !empty {
            let _ = writeln!(out, "{line}");
            line = format!("{indent}    ");
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(out, "{line}");
}

/// The report as JSON, one value.
///
/// # Errors
/// As serde_json: never for a report.
pub fn json(report: &Report) -> serde_json::Result<String> {
    serde_json::to_string_pretty(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_words_and_words_are_not() {
        let mut out = String::new();
        paragraph(&mut out, "  ", "one two three\x1b[31m four-is-a-very-long-word five", 16);
        assert_eq!(out, "  one two three\n      [31m\n      four-is-a-very-long-word\n      five\n");
    }

    #[test]
    fn nothing_in_a_report_drives_the_terminal() {
        let evil = "x\u{1b}[2J\n\u{9b}1m\u{202e}";
        let text = super::text(&evil_report(evil), &Shown { devices: ["00:03.0".parse().unwrap()].into(), width: 80 });
        assert!(text.contains("has /dev/vfio/7 open") && text.contains("in the way"), "{text}");
        assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        assert!(text.lines().all(|line| !line.starts_with('x')), "{text:?}");
    }

    /// A report with a text of anybody's wherever there is one.
    fn evil_report(evil: &str) -> Report {
        let region = serde_json::json!({ "start": 0, "end": 1, "kind": evil });
        let group = serde_json::json!({
            "kind": evil, "members": {}, "others": [evil], "viable": false, "blockers": [evil], "reserved": [region],
            "holders": [format!("{evil}[8] has /dev/vfio/7 open")], "declare": [evil], "detach": [evil],
        });
        let verdict = serde_json::json!({
            "ids": "8086:10d3", "class": 0x02_0000, "role": "endpoint", "driver": "e1000e", "group": 7, "iommu": "intel",
            "passthrough_id": evil, "assignable": false, "codes": ["in-use"],
            "predicted": { "opens": false, "stage": "group", "errno": evil },
        });
        let finding = serde_json::json!({
            "severity": "note", "about": { "group": 7 }, "code": "in-use", "why": evil, "page": evil,
            "evidence": [{ "source": evil, "value": evil }], "remedy": [format!("first\n{evil}")],
        });
        let report = serde_json::json!({
            "schema": 1, "kernel": evil, "iommu": ["intel"], "devices": { "0000:00:03.0": verdict },
            "groups": { "7": group }, "findings": [finding],
        });
        serde_json::from_value(report).unwrap()
    }
}
