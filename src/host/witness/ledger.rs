//! What was seen, and of whom: each line of the trace with the process that it names.

use std::collections::VecDeque;
use std::time::Duration;

use super::line::{Line, Task};
use super::suspect::{self, Suspect};
use crate::host::port::Witnessed;
use crate::host::root::Root;
use crate::model::cause::{Culprit, Parent, Record};
use crate::model::pci::Module;
use crate::model::time::Time;
use crate::names;

/// How many processes and unloads are remembered, the latest: a `modprobe -r` makes a few.
pub(super) const KEPT: usize = 32;
/// How long a process that is gone is taken for the one that had its number before: no machine
/// gives all numbers away in that time.
const SAME: Duration = Duration::from_secs(10);

/// A command line that was asked for; none where it was not to be had.
#[derive(Debug)]
pub(super) struct Answer {
    pub pid: u32,
    pub starttime: u64,
    pub cmdline: Option<String>,
}

/// What was seen, and of whom.
#[derive(Debug)]
pub(super) struct Ledger {
    root: Root,
    /// Whoever was asked, the latest last, and when.
    pub(super) suspects: VecDeque<(Time, Suspect)>,
    /// Unloads, the latest last, with the process as it is known by now.
    pub(super) unloads: VecDeque<(Module, Time, Suspect)>,
    /// Processes whose command line is wanted, and those that it was asked for.
    pub(super) to_ask: Vec<(u32, u64)>,
    pub(super) asked: VecDeque<(u32, u64)>,
    /// Modules whose load has begun, the latest last, and by which thread.
    loads: VecDeque<(Module, Time, u32)>,
    said_missed: bool,
    pub(super) witnessed: Witnessed,
}

impl Ledger {
    pub(super) fn new(root: Root) -> Ledger {
        Ledger {
            root,
            suspects: VecDeque::new(),
            unloads: VecDeque::new(),
            to_ask: Vec::new(),
            asked: VecDeque::new(),
            loads: VecDeque::new(),
            said_missed: false,
            witnessed: Witnessed::default(),
        }
    }

    pub(super) fn enter(&mut self, line: Line) {
        match line {
            Line::Started(task) => {
                if let Some(suspect) = suspect::ask(&self.root, task.tid, task.at) {
                    // A child takes a while to begin; asked by then, the process is there in the lab, too.
                    if may_unload(&suspect.culprit) {
                        self.want_cmdline(&suspect);
                    }
                    push(&mut self.suspects, (task.at, suspect));
                }
            }
            Line::Freed(task, module) => self.freed(&task, module),
            Line::Loaded(task, module) => {
                push(&mut self.loads, (module.clone(), task.at, task.tid));
                self.witnessed.records.push(Record::Loaded { module, at: task.at });
            }
            Line::Missed => {
                self.witnessed.records.push(Record::Missed);
                if !std::mem::replace(&mut self.said_missed, true) {
                    let lost = "records of the kernel's trace were lost".to_owned();
                    self.witnessed.notes.push(lost);
                }
            }
        }
    }

    fn freed(&mut self, task: &Task, module: Module) {
        // A load whose init function fails is freed by whoever loads: that has unloaded nothing.
        let of_load = |(loaded, at, tid): &(Module, Time, u32)| {
            (loaded, *tid) == (&module, task.tid) && task.at.since(*at) < SAME
        };
        if let Some(place) = self.loads.iter().rposition(of_load) {
            self.loads.remove(place);
            return;
        }
        let known = |pid: u32| self.suspects.iter().rev().find(|(_, suspect)| suspect.culprit.pid == pid);
        let suspect = match suspect::ask(&self.root, task.tid, task.at) {
            Some(mut suspect) => {
                let known = known(suspect.culprit.pid).map(|(_, known)| known);
                if let Some(known) = known.filter(|known| known.starttime == suspect.starttime) {
                    suspect.complete(known);
                }
                suspect
            }
            // It is gone; it may have been asked before.
            None => {
                let of_it = |(at, known): &&(Time, Suspect)| {
                    let named = task.comm.is_empty() || task.comm == known.culprit.comm;
                    named && task.at.since(*at) < SAME
                };
                known(task.tid).filter(of_it).map_or_else(
                    || {
                        let culprit = Culprit { pid: task.tid, comm: task.comm.clone(), ..Culprit::default() };
                        Suspect { starttime: 0, culprit }
                    },
                    |(_, known)| known.clone(),
                )
            }
        };
        if suspect.culprit.cmdline.is_none() && suspect.starttime > 0 {
            self.want_cmdline(&suspect);
        }
        let mut by = suspect.culprit.clone();
        if by.comm.is_empty() {
            by.comm.clone_from(&task.comm);
        }
        self.witnessed.records.push(Record::Unloaded { module: module.clone(), at: task.at, by });
        push(&mut self.suspects, (task.at, suspect.clone()));
        push(&mut self.unloads, (module, task.at, suspect));
    }

    /// Asks for the command line, once for each process.
    fn want_cmdline(&mut self, of: &Suspect) {
        let ask = (of.culprit.pid, of.starttime);
        if !self.asked.contains(&ask) {
            self.to_ask.push(ask);
            push(&mut self.asked, ask);
        }
    }

    /// A command line is known: so are those of all unloads by that process.
    pub(super) fn answered(&mut self, Answer { pid, starttime, cmdline }: &Answer) {
        if cmdline.is_none() {
            return;
        }
        let same = |suspect: &Suspect| suspect.is(*pid, *starttime) && suspect.culprit.cmdline.is_none();
        for (_, suspect) in self.suspects.iter_mut().filter(|(_, suspect)| same(suspect)) {
            suspect.culprit.cmdline.clone_from(cmdline);
        }
        for (module, at, suspect) in &mut self.unloads {
            if same(suspect) {
                suspect.culprit.cmdline.clone_from(cmdline);
                let (module, at, by) = (module.clone(), *at, suspect.culprit.clone());
                self.witnessed.records.push(Record::Unloaded { module, at, by });
            }
        }
    }
}

fn push<T>(list: &mut VecDeque<T>, one: T) {
    if list.len() >= KEPT {
        list.pop_front();
    }
    list.push_back(one);
}

/// Whether it is worth a child to ask: not for a user's own, not for the kernel's and vfiod's loads.
fn may_unload(culprit: &Culprit) -> bool {
    let loads = |parent: &Parent| parent.pid == 2 || parent.comm.starts_with("kworker/") || parent.comm == names::ACTOR;
    culprit.uid == Some(0) && !culprit.parent.as_ref().is_some_and(loads)
}
