//! When to pass next.
//!
//! Somebody's `modprobe -r` removes several modules one after another (32–40 ms apart in the lab);
//! a reload in between makes that command fail. So events are left to end first: a pass comes after
//! a quiet time, or, where it never gets quiet, after the longest wait. A poll that finds something
//! fresh waits the same quiet time before it acts.

use std::time::Duration;

use crate::config::Watch;
use crate::model::time::Time;

/// Why a pass is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The interval is over.
    Poll,
    /// Events came and have ended; or what a poll found fresh has had its quiet time.
    Settled,
    /// A retry, a probe, a deadline; an actor's return; a person's request.
    Due,
}

/// The pace of the passes.
#[derive(Debug, Clone)]
pub struct Pulse {
    interval: Duration,
    settle: Duration,
    settle_max: Duration,
    last: Time,
    unsettled: Option<Unsettled>,
    due: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Unsettled {
    first: Time,
    last: Time,
}

impl Pulse {
    /// A pace with these settings; the interval begins now.
    #[must_use]
    pub fn new(watch: &Watch, now: Time) -> Pulse {
        Pulse {
            interval: watch.interval,
            settle: watch.settle,
            settle_max: watch.settle_max,
            last: now,
            unsettled: None,
            due: None,
        }
    }

    /// Takes over changed settings.
    pub fn change(&mut self, watch: &Watch) {
        self.interval = watch.interval;
        self.settle = watch.settle;
        self.settle_max = watch.settle_max;
    }

    /// Notes an event, or that a poll found something fresh.
    pub fn disturb(&mut self, now: Time) {
        let unsettled = self.unsettled.get_or_insert(Unsettled { first: now, last: now });
        unsettled.last = now;
    }

    /// Asks for a pass at that time, or earlier.
    pub fn ask(&mut self, at: Time) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When the first sign of the present unrest came in.
    #[must_use]
    pub fn disturbed(&self) -> Option<Time> {
        self.unsettled.map(|unsettled| unsettled.first)
    }

    /// When the next pass is to be made.
    #[must_use]
    pub fn next(&self) -> Time {
        match self.unsettled {
            Some(Unsettled { first, last }) => (last + self.settle).min(first + self.settle_max),
            None => self.due.map_or(self.last + self.interval, |due| due.min(self.last + self.interval)),
        }
    }

    /// Why a pass is to be made now, if it is.
    #[must_use]
    pub fn cause(&self, now: Time) -> Option<Cause> {
        if now < self.next() {
            return None;
        }
        Some(match (self.unsettled, self.due) {
            (Some(_), _) => Cause::Settled,
            (None, Some(due)) if due <= now => Cause::Due,
            (None, _) => Cause::Poll,
        })
    }

    /// Notes that a pass has been made.
    pub fn passed(&mut self, now: Time) {
        self.last = now;
        self.unsettled = None;
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse() -> Pulse {
        let watch = Watch {
            interval: Duration::from_secs(5),
            settle: Duration::from_millis(100),
            settle_max: Duration::from_secs(1),
            ..Watch::default()
        };
        Pulse::new(&watch, Time(0))
    }

    fn ms(ms: u64) -> Time {
        Time(ms * 1000)
    }

    #[test]
    fn a_quiet_machine_is_polled_once_an_interval() {
        let mut pulse = pulse();
        assert_eq!((pulse.cause(ms(4999)), pulse.cause(ms(5000))), (None, Some(Cause::Poll)));
        pulse.passed(ms(5000));
        assert_eq!(pulse.next(), ms(10_000));
    }

    #[test]
    fn a_burst_is_left_to_end() {
        let mut pulse = pulse();
        for at in [0, 30, 60] {
            pulse.disturb(ms(at));
        }
        assert_eq!((pulse.cause(ms(159)), pulse.cause(ms(160))), (None, Some(Cause::Settled)));
        assert_eq!(pulse.disturbed(), Some(ms(0)));
    }

    #[test]
    fn a_burst_without_end_is_not_waited_for() {
        let mut pulse = pulse();
        (0..10_000).for_each(|at| pulse.disturb(ms(at)));
        assert_eq!(pulse.next(), ms(1000));
    }

    #[test]
    fn what_is_due_waits_for_a_burst_to_end() {
        let mut pulse = pulse();
        pulse.ask(ms(10));
        assert_eq!(pulse.cause(ms(10)), Some(Cause::Due));
        pulse.disturb(ms(5));
        assert_eq!((pulse.cause(ms(10)), pulse.cause(ms(105))), (None, Some(Cause::Settled)));
    }
}
