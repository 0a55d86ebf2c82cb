//! A process's name, user and unit: what a holder is called in the journal.
//!
//! Not its command line: reading `/proc/<pid>/cmdline` can block on the process's memory lock.

use procfs::{FromRead, ProcessCGroups};

use crate::host::root::Root;
use crate::model::snapshot::Holder;

/// Describes a process that has a node open. What cannot be told stays empty, but for the user,
/// which is then root's.
#[must_use]
pub fn holder(root: &Root, pid: u32, node: &str) -> Holder {
    let comm = root.read_text(&format!("/proc/{pid}/comm")).unwrap_or_default();
    let status = root.read_text(&format!("/proc/{pid}/status")).unwrap_or_default();
    let unit = root
        .reader(&format!("/proc/{pid}/cgroup"))
        .ok()
        .and_then(|reader| ProcessCGroups::from_read(reader).ok())
        .map(|groups| unit(&groups))
        .unwrap_or_default();
    Holder {
        pid,
        comm: comm.trim_end_matches('\n').to_owned(),
        unit,
        uid: uid(&status).unwrap_or(0),
        node: node.to_owned(),
    }
}

/// The real user id: the first number after `Uid:`.
pub(in crate::host) fn uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// The unit or container, from the hierarchy of systemd where there are several.
pub(in crate::host) fn unit(groups: &ProcessCGroups) -> String {
    let unified = |path: &&str| *path != "/";
    let paths = || groups.0.iter();
    let second = paths().filter(|group| group.hierarchy == 0).map(|group| group.pathname.as_str()).find(unified);
    let systemd = || {
        let named = |group: &&procfs::ProcessCGroup| group.controllers.iter().any(|name| name == "name=systemd");
        paths().filter(named).map(|group| group.pathname.as_str()).find(unified)
    };
    let any = || paths().map(|group| group.pathname.as_str()).find(unified);
    second.or_else(systemd).or_else(any).map(unit_of).unwrap_or_default()
}

/// The outermost service or scope of a cgroup's path, because what is below it may be a
/// container's own systemd; below a user's manager the next one. Else the container's name.
fn unit_of(path: &str) -> String {
    // The group of a process that is just ending may be gone before it: seen with a unit whose only
    // process was on its way out.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let Some(container) = parts.iter().find(|part| part.starts_with("lxc.payload.")) {
        return (*container).to_owned();
    }
    // Proxmox: what is below is the container's own systemd, with names as the host's.
    if let ["lxc", container, ..] = parts.as_slice() {
        return format!("lxc/{container}");
    }
    let units = || parts.iter().filter(|part| part.ends_with(".service") || part.ends_with(".scope"));
    let found = units().find(|part| !part.starts_with("user@")).or_else(|| units().next());
    match (found, parts.as_slice()) {
        (Some(unit), _) => (*unit).to_owned(),
        // Docker and the kubelet with the cgroupfs driver: …/docker/<id>, …/pod<uid>/<id>.
        (None, [.., owner, id]) => format!("{owner}/{}", id.get(..12).unwrap_or(id)),
        (None, [only]) => (*only).to_owned(),
        (None, []) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        unit(&ProcessCGroups::from_read(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_holder_is_named_by_its_unit_or_container() {
        for (text, wanted) in [
            ("0::/system.slice/qemu.service\n", "qemu.service"),
            (
                "0::/machine.slice/machine-qemu\\x2d1\\x2dwin.scope/libvirt/emulator\n",
                "machine-qemu\\x2d1\\x2dwin.scope",
            ),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope\n", "app-x.scope"),
            ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "init.scope"),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope"),
            (
                "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-abc.scope/system.slice/x.service\n",
                "cri-containerd-abc.scope",
            ),
            ("0::/docker/0123456789abcdef0123\n", "docker/0123456789ab"),
            ("0::/lxc.payload.web/system.slice/nginx.service\n", "lxc.payload.web"),
            ("0::/lxc/101/ns/system.slice/jellyfin.service\n", "lxc/101"),
            ("0::/lxc/101/ns/init.scope\n", "lxc/101"),
            ("0::/lxc/101\n", "lxc/101"),
            ("0::/lxc\n", "lxc"),
            ("9:name=systemd:/system.slice/a.service\n4:memory:/b\n0::/\n", "a.service"),
            ("4:memory:/agent/5f2f970ff775a3c09d30\n0::/\n", "agent/5f2f970ff775"),
            ("0::/system.slice/evil.service (deleted)\n", "evil.service"),
            ("0::/\n", ""),
        ] {
            assert_eq!(of(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_real_user_is_the_first_of_four() {
        assert_eq!(uid("Name:\tqemu\nUid:\t64055\t0\t0\t0\n"), Some(64055));
        assert_eq!(uid("Uid:\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_path_makes_the_parser_panic(path in "[/a-zé.@:]{0,60}") {
            let _ = unit_of(&path);
            let _ = uid(&path);
        }
    }
}
