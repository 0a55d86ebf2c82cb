//! When to try again, and when to stop fighting.
//!
//! An incident is a loss with all that hangs on it. Failures wait longer each time; incidents that
//! come too often open the breaker, which then allows one probe at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pci::Address;
use super::policy::{Backoff, Breaker};
use super::time::Time;

/// How the repairs of one module or entry go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// The loss that is not made good yet.
    pub lost: Option<Time>,
    /// An attempt has ended, and no snapshot has shown yet what it was worth.
    pub tried: Option<String>,
    /// Attempts in a row that were void because something changed under them.
    pub stale: u32,
    /// Failures in a row.
    pub failures: u32,
    /// What the last failure was.
    pub failure: String,
    /// How its devices were when that was seen, in words; none where nobody noted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<BTreeMap<Address, String>>,
    /// Not before this, after a failure.
    pub not_before: Option<Time>,
    /// When the latest incidents began, oldest first.
    pub incidents: VecDeque<Time>,
    /// The breaker, when it is open.
    pub open: Option<Open>,
}

/// An open breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Since when.
    pub since: Time,
    /// How long it waits before a probe.
    pub retry: Duration,
    /// When the probe is due.
    pub probe: Time,
    /// Since when all has been well, while it is.
    pub well: Option<Time>,
    /// Whether the one probe has been made since it opened or opened again.
    pub probed: bool,
}

/// The longest wait before a probe.
const A_DAY: Duration = Duration::from_secs(86_400);

/// Why an attempt must wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// After a failure.
    Backoff(Time),
    /// The breaker is open.
    Breaker(Time),
}

impl Wait {
    /// Until when.
    #[must_use]
    pub fn until(&self) -> Time {
        match self {
            Wait::Backoff(until) | Wait::Breaker(until) => *until,
        }
    }
}

impl Pace {
    /// Forgets failures and fights, but not that something is lost.
    pub fn forgive(&mut self) {
        *self = Pace { lost: self.lost, ..Pace::default() };
    }

    /// Notes a loss. What is lost already is not lost again.
    pub fn lose(&mut self, now: Time, breaker: &Breaker) {
        if self.lost.is_some() {
            return;
        }
        self.lost = Some(now);
        self.incidents.push_back(now);
        let from = now - breaker.within;
        while self.incidents.front().is_some_and(|first| *first < from) || self.incidents.len() > 1000 {
            self.incidents.pop_front();
        }
        let wait = |retry: Duration| Open { since: now, retry, probe: now + retry, well: None, probed: false };
        match &mut self.open {
            Some(open) => {
                open.well = None;
                if open.probed {
                    let retry = (open.retry * 2).min(A_DAY);
                    *open = Open { since: open.since, ..wait(retry) };
                }
            }
            None if self.incidents.len() >= breaker.incidents as usize => self.open = Some(wait(breaker.retry)),
            None => {}
        }
    }

    /// Notes that an attempt has begun.
    pub fn begin(&mut self) {
        if let Some(open) = &mut self.open {
            open.probed = true;
        }
    }

    /// Notes how things stood after an attempt that failed, where the last one did.
    pub fn note_seen(&mut self, seen: impl FnOnce() -> BTreeMap<Address, String>) {
        if self.seen.is_none() && self.failures > 0 {
            self.seen = Some(seen());
        }
    }

    /// Whether what failed last was tried on what is seen now. Of what nobody noted it is taken to be.
    #[must_use]
    pub fn is_about(&self, address: Address, seen: &str) -> bool {
        self.seen.as_ref().and_then(|all| all.get(&address)).is_none_or(|then| then == seen)
    }

    /// Notes what the snapshot after an attempt says.
    pub fn judge(&mut self, good: bool, now: Time, backoff: &Backoff, breaker: &Breaker) {
        if good {
            self.lost = None;
            self.tried = None;
            self.stale = 0;
            self.failures = 0;
            self.failure.clear();
            self.seen = None;
            self.not_before = None;
            if let Some(open) = &mut self.open {
                let well = *open.well.get_or_insert(now);
                if now.since(well) >= breaker.within {
                    self.open = None;
                    self.incidents.clear();
                }
            }
        } else if let Some(why) = self.tried.take() {
            self.failures = self.failures.saturating_add(1);
            self.failure = why;
            self.seen = None;
            self.not_before = Some(now + delay(self.failures, backoff));
            if let Some(open) = &mut self.open
                && open.probed
            {
                let retry = (open.retry * 2).min(A_DAY);
                *open = Open { since: open.since, retry, probe: now + retry, well: None, probed: false };
            }
        }
    }

    /// Whether an attempt must wait, and until when.
    #[must_use]
    pub fn wait(&self, now: Time) -> Option<Wait> {
        if let Some(open) = &self.open
            && now < open.probe
        {
            return Some(Wait::Breaker(open.probe));
        }
        self.not_before.filter(|not_before| now < *not_before).map(Wait::Backoff)
    }

    /// When to look again on its account; some of it may be past.
    pub fn wakes(&self, breaker: &Breaker) -> impl Iterator<Item = Time> {
        let well = self.open.and_then(|open| open.well).map(|well| well + breaker.within);
        let due = match (&self.lost, self.open) {
            (Some(_), Some(open)) if !open.probed => Some(open.probe),
            // Also where nothing is lost: what never served fails, too, and is tried again.
            _ => self.not_before,
        };
        [well, due].into_iter().flatten()
    }
}

/// The wait after so many failures in a row: the first, doubled with each, at most the longest.
fn delay(failures: u32, backoff: &Backoff) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    backoff.first.saturating_mul(1 << doublings).min(backoff.max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Policy;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    fn incident(pace: &mut Pace, seconds: u64, policy: &Policy) {
        pace.lose(at(seconds), &policy.breaker);
        if pace.wait(at(seconds)).is_none() {
            pace.begin();
            pace.judge(true, at(seconds), &policy.backoff, &policy.breaker);
        }
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_the_maximum() {
        let backoff = Policy::default().backoff;
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 1000].iter().map(|n| delay(*n, &backoff).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn the_configured_number_of_incidents_opens_the_breaker() {
        let policy = Policy::default();
        let mut pace = Pace::default();
        for second in 0..4 {
            incident(&mut pace, second, &policy);
            assert!(pace.open.is_none());
        }
        incident(&mut pace, 4, &policy);
        assert_eq!(pace.wait(at(5)), Some(Wait::Breaker(at(4 + 3600))));
        assert_eq!(pace.wait(at(3604)), None);
    }

    #[test]
    fn incidents_far_apart_do_not_open_it() {
        let policy = Policy::default();
        let mut pace = Pace::default();
        for hour in 0..50 {
            incident(&mut pace, hour * 200, &policy);
            assert!(pace.open.is_none());
        }
    }

    #[test]
    fn a_probe_that_is_undone_doubles_the_wait_up_to_a_day() {
        let policy = Policy::default();
        let mut pace = Pace::default();
        (0..5).for_each(|second| incident(&mut pace, second, &policy));
        for _ in 0..8 {
            let open = pace.open.unwrap();
            assert_eq!(pace.wait(open.probe), None);
            pace.begin();
            pace.judge(true, open.probe, &policy.backoff, &policy.breaker);
            pace.lose(open.probe + Duration::from_secs(1), &policy.breaker);
            assert_eq!(pace.open.unwrap().retry, (open.retry * 2).min(A_DAY));
        }
        assert_eq!(pace.open.unwrap().retry, A_DAY);
    }

    #[test]
    fn it_closes_when_all_was_well_for_as_long_as_it_counts() {
        let policy = Policy::default();
        let mut pace = Pace::default();
        (0..5).for_each(|second| incident(&mut pace, second, &policy));
        let probe = pace.open.unwrap().probe;
        pace.begin();
        pace.judge(true, probe, &policy.backoff, &policy.breaker);
        let wake = probe + policy.breaker.within;
        assert!(pace.wakes(&policy.breaker).eq([wake]));
        pace.judge(true, wake, &policy.backoff, &policy.breaker);
        assert!(pace.open.is_none() && pace.incidents.is_empty());
    }
}
