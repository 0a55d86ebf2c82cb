//! The nodes in /dev/vfio: whether they are there, and for whom.

use super::check::unread;
use super::code::Code;
use super::finding::{About, Finding, Severity};
use super::survey::{Foreign, Group, Node, Survey};
use crate::model::snapshot::Fact;

/// All findings about nodes.
#[must_use]
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, group) in &survey.groups {
        let bound = group.members.iter().filter_map(|member| Some((member, survey.functions.get(member)?)));
        let mut bound = bound.filter(|(_, function)| survey.on_vfio(function));
        let Some((address, _)) = bound.next() else { continue };
        let path = group.path.as_str();
        match &group.node {
            Fact::Absent if survey.device_nodes.is_absent() => {
                let why = format!("It is on a VFIO driver and {path} is not there, so nobody can open it.");
                found.push(
                    Finding::new(Severity::Blocker, About::Group(*number), Code::NodeMissing, why)
                        .because(path, "not there")
                        .because(format!("/sys/bus/pci/devices/{address}/driver"), "a VFIO driver")
                        .step("Look whether this is a container or chroot with a /dev of its own.")
                        .step("Bind the device again; if the node stays away, the kernel's log says why."),
                );
            }
            Fact::Absent => {}
            Fact::Unreadable(why) => found.push(unread(About::Group(*number), "whether its node is there", why)),
            Fact::Is(Node { foreign: Some(foreign), .. }) if survey.device_nodes.is_absent() => {
                found.push(not_the_kernels(About::Group(*number), group, foreign));
            }
            Fact::Is(node) => found.extend(odd(About::Group(*number), path, node, 0o006, 0)),
        }
    }
    if let Fact::Is(node) = &survey.container {
        found.extend(odd(About::Host, "/dev/vfio/vfio", node, 0, 0o600));
    }
    found
}

/// What lies where the group's node should be.
fn not_the_kernels(about: About, group: &Group, foreign: &Foreign) -> Finding {
    let path = group.path.as_str();
    let number = |(major, minor): (u64, u64)| format!("character device {major}:{minor}");
    let why = format!(
        "It is on a VFIO driver and {path} is not the node that the kernel made for it, so nobody can open it."
    );
    Finding::new(Severity::Blocker, about, Code::NodeMissing, why)
        .because(path, foreign.is.map_or_else(|| "no character device".to_owned(), number))
        .because(group.number_file(), number(foreign.own))
        .step(format!("Remove it (`rm {path}`) and bind the device again: the kernel makes no node where there is something already."))
}

/// A node that is none, that others may open, or that not even its owner may.
fn odd(about: About, path: &str, node: &Node, others: u32, owner: u32) -> Option<Finding> {
    let finding = |severity, why: String, value: String| {
        Finding::new(severity, about, Code::NodePermissions, why)
            .because(path, value)
            .step("Look for a udev rule about vfio: `grep -r vfio /etc/udev/rules.d /usr/lib/udev/rules.d`.")
    };
    let mode = node.mode?;
    if !node.character {
        let why = format!("{path} is no device node: somebody has put a file there, and a guest cannot use it.");
        return Some(finding(Severity::Warning, why, "no character device".to_owned()));
    }
    if mode & others != 0 {
        let why = format!(
            "Everybody may open {path}: whoever does can move the device's DMA, and keep the guest that should have it from starting."
        );
        return Some(finding(Severity::Warning, why, format!("mode {mode:04o}")));
    }
    if mode & owner != owner {
        let why = format!("Not even its owner may open {path}.");
        return Some(finding(Severity::Warning, why, format!("mode {mode:04o}")));
    }
    None
}
