//! How often somebody did it, and whether at regular intervals.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::time::Time;

/// How many times are kept: enough to see a period, few enough to write down often.
const KEPT: usize = 16;
/// How many intervals make a period.
const ENOUGH: usize = 3;

/// When somebody did it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rhythm {
    /// How often, in this boot.
    pub count: u32,
    /// When, the latest last.
    pub times: VecDeque<Time>,
}

/// How often something has come by now, and how regularly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// How often, this time included.
    pub count: u32,
    /// At which interval; none when it is not regular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Duration>,
}

impl Rhythm {
    /// Notes one time.
    pub fn beat(&mut self, at: Time) {
        self.count = self.count.saturating_add(1);
        self.times.push_back(at);
        if self.times.len() > KEPT {
            self.times.pop_front();
        }
    }

    /// How often and how regularly, unless it was only once.
    #[must_use]
    pub fn again(&self) -> Option<Again> {
        (self.count > 1).then(|| Again { count: self.count, period: self.period() })
    }

    /// The median of the intervals, where three in four are within a fifth of it: one that was
    /// left out, or came late, does not hide a timer.
    #[must_use]
    pub fn period(&self) -> Option<Duration> {
        let mut intervals: Vec<Duration> =
            self.times.iter().zip(self.times.iter().skip(1)).map(|(one, next)| next.since(*one)).collect();
        if intervals.len() < ENOUGH {
            return None;
        }
        intervals.sort_unstable();
        let median = intervals.get(intervals.len() / 2).copied().filter(|median| !median.is_zero())?;
        let near = intervals.iter().filter(|interval| interval.abs_diff(median) <= median / 5).count();
        (near * 4 >= intervals.len() * 3).then_some(median)
    }
}

/// `5 times by now, every 1m`.
impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} times by now", self.count)?;
        match self.period {
            Some(period) => write!(f, ", every {}", humantime::format_duration(rounded(period))),
            None => Ok(()),
        }
    }
}

/// To the second, or to the tenth of one below ten: a timer is not more exact.
fn rounded(period: Duration) -> Duration {
    match period.as_millis() {
        millis @ ..10_000 => Duration::from_millis(u64::try_from((millis + 50) / 100 * 100).unwrap_or(u64::MAX)),
        _ => Duration::from_secs(period.as_secs() + u64::from(period.subsec_millis() >= 500)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: &[f64]) -> Rhythm {
        let mut rhythm = Rhythm::default();
        seconds.iter().for_each(|second| rhythm.beat(Time::BOOT + Duration::from_secs_f64(*second)));
        rhythm
    }

    fn shown(seconds: &[f64]) -> String {
        at(seconds).again().map(|again| again.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_period_is_told_only_when_there_is_one() {
        for (times, expected) in [
            (&[][..], ""),
            (&[5.0], ""),
            (&[5.0, 65.0], "2 times by now"),
            (&[5.0, 65.0, 125.0], "3 times by now"),
            (&[5.0, 65.2, 124.9, 185.0], "4 times by now, every 1m"),
            (&[5.0, 65.0, 185.0, 245.0, 305.0], "5 times by now, every 1m"),
            (&[5.0, 65.0, 185.0, 245.0], "4 times by now"),
            (&[5.0, 6.0, 60.0, 61.0, 300.0], "5 times by now"),
            (&[0.0, 1.5, 3.0, 4.52], "4 times by now, every 1s 500ms"),
            (&[0.0, 0.0, 0.0, 0.0], "4 times by now"),
        ] {
            assert_eq!(shown(times), expected, "{times:?}");
        }
    }

    #[test]
    fn it_is_counted_on_when_the_first_times_are_forgotten() {
        let mut rhythm = Rhythm::default();
        (0..1000).for_each(|n| rhythm.beat(Time(n * 30_000_000)));
        assert_eq!((rhythm.times.len(), rhythm.count), (KEPT, 1000));
        assert_eq!(rhythm.again().unwrap().to_string(), "1000 times by now, every 30s");
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_times_a_period_lies_between_the_shortest_and_the_longest(
            times in proptest::collection::vec(0_u64..10_000_000_000, 0..40)
        ) {
            let mut rhythm = Rhythm::default();
            times.iter().for_each(|time| rhythm.beat(Time(*time)));
            let _ = rhythm.again().map(|again| again.to_string());
            if let Some(period) = rhythm.period() {
                let gaps = || rhythm.times.iter().zip(rhythm.times.iter().skip(1)).map(|(a, b)| b.since(*a));
                proptest::prop_assert!(gaps().min() <= Some(period) && Some(period) <= gaps().max());
            }
        }
    }
}
