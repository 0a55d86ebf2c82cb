//! Writes that block, and what becomes of them.
//!
//! Each call of a process is an [`Op`], run until it is done or must sleep. One that sleeps is run
//! again, from its beginning, whenever something let go: so each op goes on from what it finds.

use nix::errno::Errno;

use crate::model::pci::{Address, Driver, Ids, Module};

use super::answer::{Answer, Job};
use super::kernel::{Kernel, Writer};

/// A call that may sleep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Pin {
        address: Address,
        pin: Option<Driver>,
    },
    ReadPin {
        address: Address,
    },
    ReadUevent {
        address: Address,
    },
    Probe {
        address: Address,
    },
    Bind {
        address: Address,
        driver: Driver,
    },
    Unbind {
        address: Address,
        driver: Driver,
    },
    NewId {
        driver: Driver,
        ids: Ids,
    },
    Load {
        module: Module,
        flags: super::modprobe::Flags,
    },
    /// modprobe -r, and what it has yet to look at once it removed the first.
    Unload {
        module: Module,
        left: Option<Vec<Module>>,
    },
    Remove {
        address: Address,
    },
    Rescan,
    Vfs {
        address: Address,
        number: u32,
    },
}

/// How far a call got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It returned.
    Done(Answer),
    /// It sleeps until something is let go of.
    Sleeps,
    /// It sleeps, and this is what is left of it.
    Left(Op),
}

impl Progress {
    pub(super) fn ok() -> Progress {
        Progress::Done(Answer::Ok)
    }

    pub(super) fn no(errno: Errno) -> Progress {
        Progress::Done(Answer::No(errno))
    }
}

/// A call that slept.
#[derive(Debug, Clone)]
pub(super) struct Sleeper {
    pub op: Op,
    pub writer: Writer,
    /// What it returned, once it has.
    pub answer: Option<Answer>,
    /// Goes on only when told ([`Kernel::advance`]).
    pub told: bool,
}

impl Kernel {
    /// Whether somebody has written to its `remove`, and waits.
    pub(super) fn is_leaving(&self, of: Address) -> bool {
        let mut open = self.jobs.values().filter(|sleeper| sleeper.answer.is_none());
        open.any(|sleeper| matches!(sleeper.op, Op::Remove { address } if address == of))
    }

    /// Begins a call and, when it sleeps, remembers it.
    pub(super) fn submit(&mut self, op: Op) -> Answer {
        self.next_job += 1;
        let job = Job(self.next_job);
        let mut told = false;
        let op = match self.run(&op, job) {
            Progress::Done(answer) => {
                self.settle();
                return answer;
            }
            Progress::Sleeps => op,
            Progress::Left(rest) => {
                told = true;
                rest
            }
        };
        self.jobs.insert(job, Sleeper { op, writer: self.writer, answer: None, told });
        Answer::Blocks(job)
    }

    /// Runs every sleeping call again, oldest first, until none gets further: locks are handed
    /// over in the order in which they were asked for.
    pub(super) fn settle(&mut self) {
        let waiting = |kernel: &Kernel| -> Vec<Job> {
            let open = kernel.jobs.iter().filter(|(_, sleeper)| sleeper.answer.is_none() && !sleeper.told);
            open.map(|(job, _)| *job).collect()
        };
        let mut again = true;
        while again {
            again = false;
            for job in waiting(self) {
                again |= self.resume(job);
            }
        }
    }

    /// Runs one sleeping call again; whether it returned.
    fn resume(&mut self, job: Job) -> bool {
        let Some((op, writer)) = self.jobs.get(&job).map(|sleeper| (sleeper.op.clone(), sleeper.writer)) else {
            return false;
        };
        let caller = std::mem::replace(&mut self.writer, writer);
        let progress = self.run(&op, job);
        self.writer = caller;
        let Some(sleeper) = self.jobs.get_mut(&job) else { return false };
        match progress {
            Progress::Done(answer) => sleeper.answer = Some(answer),
            Progress::Sleeps => {}
            Progress::Left(rest) => sleeper.op = rest,
        }
        sleeper.answer.is_some()
    }

    /// Lets a call that pauses between its parts do the next one.
    pub fn advance(&mut self, job: Job) -> Answer {
        if self.jobs.get(&job).is_some_and(|sleeper| sleeper.told && sleeper.answer.is_none()) {
            self.resume(job);
            self.settle();
        }
        self.job(job)
    }

    /// Calls that sleep now.
    #[must_use]
    pub fn sleeping(&self) -> Vec<Job> {
        self.jobs.iter().filter(|(_, sleeper)| sleeper.answer.is_none()).map(|(job, _)| *job).collect()
    }

    fn run(&mut self, op: &Op, job: Job) -> Progress {
        match op {
            Op::Pin { address, pin } => self.run_pin(*address, pin.as_ref(), job),
            Op::ReadPin { address } => self.run_read_pin(*address, job),
            Op::ReadUevent { address } => self.run_read_uevent(*address, job),
            Op::Probe { address } => self.run_probe(*address, job),
            Op::Bind { address, driver } => self.run_bind(*address, driver, job),
            Op::Unbind { address, driver } => self.run_unbind(*address, driver, job),
            Op::NewId { driver, ids } => self.run_new_id(driver, *ids),
            Op::Load { module, flags } => self.run_load(module, *flags),
            Op::Unload { module, left } => self.run_unload(module, left.as_deref()),
            Op::Remove { address } => self.run_remove(*address, job),
            Op::Rescan => self.run_rescan(job),
            Op::Vfs { address, number } => self.run_vfs(*address, *number, job),
        }
    }

    /// Whether another call has the device lock, or a fault has it.
    pub(super) fn locked(&self, address: Address, job: Job) -> bool {
        let held = self.devices.get(&address).and_then(|device| device.lock).is_some_and(|owner| owner != job);
        held || self.is_stuck(address)
    }
}
