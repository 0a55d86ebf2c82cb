//! When to pass next.
//!
//! Somebody's `modprobe -r` removes several modules one after another (32–40 ms apart in the lab);
//! a reload in between makes that command fail. So events are left to end first: a pass comes after
//! a quiet time, or, where it never gets quiet, after the longest wait. A poll that finds something
//! fresh waits the same quiet time before it acts. What must be looked at more closely for that, by a
//! child, is looked at halfway through the quiet time, so that it is there when the time is over.

use std::time::Duration;

use crate::config::Watch;
use crate::model::time::Time;

/// Why a pass is made. Each looks, and all but that halfway tell; whether it may act is [`Pulse::may_act`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The interval is over.
    Poll,
    /// Somebody wants the plan; nothing has happened.
    Plan,
    /// Events came and have ended; or what a poll found fresh has had its quiet time.
    Settled,
    /// Half of that time is over.
    Halfway,
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
    planned: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Unsettled {
    first: Time,
    last: Time,
    /// Whether the pass halfway has been made.
    halfway: bool,
}

impl Pulse {
    /// A pace with these settings; the interval begins now.
    #[must_use]
    pub fn new(watch: &Watch, now: Time) -> Pulse {
        Pulse {
            interval: longest(watch),
            settle: watch.settle,
            settle_max: watch.settle_max,
            last: now,
            unsettled: None,
            due: None,
            planned: None,
        }
    }

    /// Takes over changed settings.
    pub fn change(&mut self, watch: &Watch) {
        self.interval = longest(watch);
        self.settle = watch.settle;
        self.settle_max = watch.settle_max;
    }

    /// Notes an event, or that a poll found something fresh.
    pub fn disturb(&mut self, now: Time) {
        let first = self.disturbed().unwrap_or(now);
        self.unsettled = Some(Unsettled { first, last: now, halfway: false });
    }

    /// Asks for a pass at that time, or earlier.
    pub fn ask(&mut self, at: Time) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Asks for a pass that makes a plan, at that time, or earlier.
    pub fn ask_for_plan(&mut self, at: Time) {
        self.planned = Some(self.planned.map_or(at, |planned| planned.min(at)));
    }

    /// When the first sign of the present unrest came in.
    #[must_use]
    pub fn disturbed(&self) -> Option<Time> {
        self.unsettled.map(|unsettled| unsettled.first)
    }

    /// When it will have been quiet for long enough, or waited for long enough.
    fn settled(&self) -> Option<Time> {
        self.unsettled.map(|Unsettled { first, last, .. }| (last + self.settle).min(first + self.settle_max))
    }

    fn halfway(&self) -> Option<Time> {
        self.unsettled.filter(|unsettled| !unsettled.halfway).map(|unsettled| unsettled.last + self.settle / 2)
    }

    /// When the next pass is to be made.
    #[must_use]
    pub fn next(&self) -> Time {
        let poll = self.last + self.interval;
        let asked = [self.settled(), self.halfway(), self.due, self.planned];
        asked.into_iter().flatten().fold(poll, Time::min)
    }

    /// Why a pass is to be made now, if it is.
    #[must_use]
    pub fn cause(&self, now: Time) -> Option<Cause> {
        if now < self.next() {
            return None;
        }
        let over = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let asked = [
            (self.settled(), Cause::Settled),
            (self.due, Cause::Due),
            (self.halfway(), Cause::Halfway),
            (self.planned, Cause::Plan),
        ];
        Some(asked.into_iter().find(|(at, _)| over(*at)).map_or(Cause::Poll, |(_, cause)| cause))
    }

    /// Whether a pass may act on a loss that was noticed then: nothing is going on, and a quiet time
    /// has passed since. For what was never as it should be, there is no such time.
    #[must_use]
    pub fn may_act(&self, cause: Cause, lost: Option<Time>, now: Time) -> bool {
        let settled = lost.is_none_or(|lost| lost + self.settle <= now);
        settled && (cause == Cause::Settled || self.unsettled.is_none())
    }

    /// Notes that a pass has been made. Unrest ends only with the pass that waited for its end.
    pub fn passed(&mut self, cause: Cause, now: Time) {
        self.last = now;
        (self.due, self.planned) = (None, None);
        match cause {
            Cause::Settled => self.unsettled = None,
            Cause::Halfway => self.unsettled.iter_mut().for_each(|unsettled| unsettled.halfway = true),
            Cause::Due | Cause::Plan | Cause::Poll => {}
        }
    }
}

/// The longest time between two passes. A pass is what reads overrides, so it comes for them as well.
pub(super) fn longest(watch: &Watch) -> Duration {
    watch.interval.min(watch.override_interval)
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
        pulse.passed(Cause::Poll, ms(5000));
        assert_eq!(pulse.next(), ms(10_000));
    }

    #[test]
    fn a_burst_is_left_to_end() {
        let mut pulse = pulse();
        for at in [0, 30, 60] {
            pulse.disturb(ms(at));
        }
        assert_eq!((pulse.cause(ms(109)), pulse.cause(ms(110))), (None, Some(Cause::Halfway)));
        assert!(!pulse.may_act(Cause::Halfway, Some(ms(0)), ms(110)));
        pulse.passed(Cause::Halfway, ms(110));
        assert_eq!((pulse.cause(ms(159)), pulse.cause(ms(160))), (None, Some(Cause::Settled)));
        assert_eq!(pulse.disturbed(), Some(ms(0)));
        // Whatever comes meanwhile, the time begins anew.
        pulse.disturb(ms(150));
        assert_eq!((pulse.cause(ms(199)), pulse.cause(ms(200))), (None, Some(Cause::Halfway)));
    }

    #[test]
    fn a_burst_without_end_is_not_waited_for() {
        let mut pulse = pulse();
        (0..10_000).for_each(|at| pulse.disturb(ms(at)));
        assert_eq!((pulse.next(), pulse.cause(ms(10_000))), (ms(1000), Some(Cause::Settled)));
    }

    #[test]
    fn what_is_due_looks_at_once_and_acts_when_the_burst_has_ended() {
        let mut pulse = pulse();
        pulse.ask(ms(10));
        pulse.disturb(ms(5));
        assert_eq!(pulse.cause(ms(10)), Some(Cause::Due));
        assert!(!pulse.may_act(Cause::Due, Some(Time::BOOT), ms(1000)));
        pulse.passed(Cause::Due, ms(10));
        pulse.passed(Cause::Halfway, ms(55));
        assert_eq!((pulse.cause(ms(104)), pulse.cause(ms(105))), (None, Some(Cause::Settled)));
        assert!(pulse.may_act(Cause::Settled, Some(ms(5)), ms(105)));
    }

    #[test]
    fn what_a_poll_finds_lost_just_now_has_its_quiet_time_first() {
        let pulse = pulse();
        assert!(!pulse.may_act(Cause::Poll, Some(ms(5000)), ms(5000)));
        assert!(pulse.may_act(Cause::Poll, Some(ms(0)), ms(5000)) && pulse.may_act(Cause::Poll, None, ms(5000)));
    }
}
