//! What /proc says of a process, in files whose reading waits for nothing of the process's own.

use procfs::process::Stat;
use procfs::{FromRead, ProcessCGroups};

use crate::host::look::process::{uid, unit};
use crate::host::root::Root;
use crate::model::cause::{Culprit, Parent};
use crate::model::time::Time;

/// A process as it was when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// When it began, in clock ticks since boot: with its id that is this process and no other.
    pub starttime: u64,
    /// What it said.
    pub culprit: Culprit,
}

impl Suspect {
    /// Adds what another one knows of the same process.
    pub fn complete(&mut self, other: &Suspect) {
        let (own, other) = (&mut self.culprit, &other.culprit);
        for (own, other) in [(&mut own.comm, &other.comm), (&mut own.unit, &other.unit)] {
            if own.is_empty() {
                own.clone_from(other);
            }
        }
        own.uid = own.uid.or(other.uid);
        // Whoever is orphaned meanwhile shows init as its parent: the earlier answer is the true one.
        own.parent = other.parent.clone().or_else(|| own.parent.take());
        own.cmdline = own.cmdline.take().or_else(|| other.cmdline.clone());
    }

    /// Whether it is this process.
    #[must_use]
    pub fn is(&self, pid: u32, starttime: u64) -> bool {
        self.culprit.pid == pid && self.starttime == starttime
    }
}

/// Asks for the process of a thread that did something at that time. None when it is gone: one that
/// began later only has its number.
#[must_use]
pub fn ask(root: &Root, tid: u32, at: Time) -> Option<Suspect> {
    let status = root.read_text(&format!("/proc/{tid}/status")).ok()?;
    let number = |key: &str| -> Option<u32> {
        status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
    };
    let pid = number("Tgid:")?;
    // The thread, too: a process that took the number of a thread that is gone began earlier, perhaps.
    if [tid, pid].into_iter().any(|one| starttime(root, one).is_none_or(|ticks| began(ticks) > at)) {
        return None;
    }
    let starttime = starttime(root, pid)?;
    let comm = |pid: u32| {
        let comm = root.read_text(&format!("/proc/{pid}/comm")).ok()?;
        Some(comm.strip_suffix('\n').unwrap_or(&comm).to_owned())
    };
    let groups = root.reader(&format!("/proc/{pid}/cgroup")).ok();
    let groups = groups.and_then(|reader| ProcessCGroups::from_read(reader).ok());
    let parent = number("PPid:").filter(|parent| *parent != 0);
    let parent = parent.and_then(|pid| Some(Parent { pid, comm: comm(pid)? }));
    let culprit = Culprit {
        pid,
        comm: comm(pid).unwrap_or_default(),
        unit: groups.map(|groups| unit(&groups)).unwrap_or_default(),
        uid: uid(&status),
        parent,
        cmdline: None,
    };
    Some(Suspect { starttime, culprit })
}

/// When a thread began, in clock ticks since boot.
#[must_use]
pub fn starttime(root: &Root, tid: u32) -> Option<u64> {
    let stat = root.reader(&format!("/proc/{tid}/stat")).ok()?;
    Stat::from_read(stat).ok().map(|stat| stat.starttime)
}

/// Ticks are a hundredth of a second, rounded down: it did not begin before that.
fn began(ticks: u64) -> Time {
    let second = procfs::ticks_per_second().max(1);
    Time(ticks.saturating_mul(1_000_000) / second)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Stdio};

    use super::*;

    fn process(root: &Root, tid: u32, tgid: u32, comm: &str, ticks: u64) {
        let place = root.join(&format!("/proc/{tid}"));
        fs::create_dir_all(&place).unwrap();
        let zeros = |count| vec!["0"; count].join(" ");
        fs::write(place.join("stat"), format!("{tid} ({comm}) S 12 {} {ticks} {}\n", zeros(17), zeros(30))).unwrap();
        fs::write(place.join("comm"), format!("{comm}\n")).unwrap();
        let status = format!("Name:\t{comm}\nTgid:\t{tgid}\nPid:\t{tid}\nPPid:\t12\nUid:\t0\t0\t0\t0\n");
        fs::write(place.join("status"), status).unwrap();
        fs::write(place.join("cgroup"), "0::/system.slice/evil.service\n").unwrap();
    }

    fn tree() -> (tempfile::TempDir, Root) {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::trusted(tree.path());
        process(&root, 12, 12, "cron", 10);
        (tree, root)
    }

    #[test]
    fn a_process_that_is_there_is_named_with_its_parent_its_unit_and_its_user() {
        let (_tree, root) = tree();
        process(&root, 123, 123, "modprobe", 500);
        let suspect = ask(&root, 123, Time(6_000_000)).unwrap();
        assert_eq!((suspect.starttime, suspect.culprit.uid), (500, Some(0)));
        assert_eq!(suspect.culprit.to_string(), "modprobe[123] of evil.service (started by cron[12], uid 0)");
    }

    #[test]
    fn whoever_started_an_orphan_stays_known() {
        let suspect = |pid, comm: &str| {
            let parent = Some(Parent { pid, comm: comm.to_owned() });
            Suspect { starttime: 500, culprit: Culprit { pid: 123, parent, ..Culprit::default() } }
        };
        let (at_exec, mut late) = (suspect(812, "hook.sh"), suspect(1, "systemd"));
        late.complete(&at_exec);
        assert_eq!(late.culprit.parent, at_exec.culprit.parent);
    }

    #[test]
    fn a_thread_stands_for_its_process() {
        let (_tree, root) = tree();
        process(&root, 100, 100, "controller", 400);
        process(&root, 123, 100, "worker", 500);
        let suspect = ask(&root, 123, Time(6_000_000)).unwrap();
        assert_eq!((suspect.culprit.pid, suspect.culprit.comm.as_str(), suspect.starttime), (100, "controller", 400));
    }

    #[test]
    fn one_that_began_later_only_has_the_number() {
        let (_tree, root) = tree();
        process(&root, 123, 123, "innocent", 700);
        assert_eq!(ask(&root, 123, Time(6_000_000)), None);
        assert_eq!(ask(&root, 124, Time(6_000_000)), None, "gone");
    }

    #[test]
    fn what_is_missing_stays_empty_and_is_taken_from_what_was_known() {
        let (_tree, root) = tree();
        process(&root, 123, 123, "modprobe", 500);
        let known = ask(&root, 123, Time(6_000_000)).unwrap();
        for name in ["comm", "cgroup"] {
            fs::remove_file(root.join(&format!("/proc/123/{name}"))).unwrap();
        }
        fs::remove_dir_all(root.join("/proc/12")).unwrap();
        let mut late = ask(&root, 123, Time(6_000_000)).unwrap();
        assert_eq!(late.culprit, Culprit { pid: 123, uid: Some(0), ..Culprit::default() });
        late.complete(&known);
        assert_eq!(late, known);
    }

    #[test]
    fn this_machine_answers_for_a_child() {
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let suspect = ask(&Root::live(), child.id(), crate::host::kernel::now()).unwrap();
        assert_eq!(suspect.culprit.pid, child.id());
        assert_eq!(suspect.culprit.parent.as_ref().map(|parent| parent.pid), Some(std::process::id()));
        assert!(ask(&Root::live(), child.id(), Time(0)).is_none(), "it was not there at boot");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
