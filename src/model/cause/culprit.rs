//! The process that did it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::printable::{clean, printable};

/// A process, as far as it was still there to be asked. What is not known stays empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Culprit {
    /// Its process id; of the whole process, where a thread of it did it.
    pub pid: u32,
    /// Its name, `/proc/<pid>/comm`, at most 15 bytes: whatever the process calls itself.
    pub comm: String,
    /// Its unit or container by `/proc/<pid>/cgroup`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Its real user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Its command line, the arguments with spaces between. It may hold secrets: not for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
}

/// A process that started another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
}

impl Culprit {
    /// Makes its words printable.
    pub fn clean(&mut self) {
        let Culprit { comm, unit, parent, cmdline, pid: _, uid: _ } = self;
        let parent = parent.as_mut().map(|parent| &mut parent.comm);
        [comm, unit].into_iter().chain(parent).chain(cmdline).for_each(clean);
    }

    /// What stays the same when it comes again: the unit, or else the command and what started it. A
    /// session, a transient unit and a container have another name each time.
    #[must_use]
    pub fn who(&self) -> String {
        match (self.unit.is_empty() || is_transient(&self.unit), &self.parent) {
            (false, _) => self.unit.clone(),
            (true, Some(parent)) if !self.unit.is_empty() => format!("{}/{}", parent.comm, self.comm),
            (true, _) => self.comm.clone(),
        }
    }
}

/// Whether a unit or container is known by a number or an id that the next one will not have.
fn is_transient(unit: &str) -> bool {
    let counted = |prefix: &str| {
        unit.strip_prefix(prefix).is_some_and(|rest| rest.ends_with(".scope") || rest.ends_with(".service"))
    };
    let id = unit.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= 12);
    counted("session-") || counted("run-") || id
}

/// Without the command line: this goes where everybody can read it.
impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.comm.is_empty() {
            true => write!(f, "process {}", self.pid)?,
            false => write!(f, "{}[{}]", Shown(&self.comm), self.pid)?,
        }
        if !self.unit.is_empty() {
            write!(f, " of {}", Shown(&self.unit))?;
        }
        match (&self.parent, self.uid) {
            (Some(Parent { pid, comm }), Some(uid)) => write!(f, " (started by {}[{pid}], uid {uid})", Shown(comm)),
            (Some(Parent { pid, comm }), None) => write!(f, " (started by {}[{pid}])", Shown(comm)),
            (None, Some(uid)) => write!(f, " (uid {uid})"),
            (None, None) => Ok(()),
        }
    }
}

/// A name that its owner chose, on one line.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_as_far_as_it_is_known() {
        let mut culprit = Culprit { pid: 123, ..Culprit::default() };
        assert_eq!(culprit.to_string(), "process 123");
        culprit.comm = "modprobe".to_owned();
        assert_eq!((culprit.to_string().as_str(), culprit.who().as_str()), ("modprobe[123]", "modprobe"));
        culprit.unit = "evil.service".to_owned();
        culprit.parent = Some(Parent { pid: 12, comm: "cron".to_owned() });
        culprit.cmdline = Some("modprobe -r vfio_pci".to_owned());
        assert_eq!(culprit.to_string(), "modprobe[123] of evil.service (started by cron[12])");
        culprit.uid = Some(0);
        assert_eq!(culprit.to_string(), "modprobe[123] of evil.service (started by cron[12], uid 0)");
        assert_eq!(culprit.who(), "evil.service");
        for unit in ["session-41.scope", "run-u12.service", "run-r0c1d2e3f.scope", "docker-0123456789abcdef0123.scope"]
        {
            culprit.unit = unit.to_owned();
            assert_eq!(culprit.who(), "cron/modprobe", "{unit}");
        }
        culprit.unit = "evil.service".to_owned();
        culprit.parent = None;
        assert_eq!(culprit.to_string(), "modprobe[123] of evil.service (uid 0)");
    }

    #[test]
    fn a_name_with_a_line_break_stays_on_one_line() {
        let culprit = Culprit { pid: 1, comm: "a\nb: c".to_owned(), ..Culprit::default() };
        assert_eq!(culprit.to_string(), "a\\nb: c[1]");
    }
}
