//! The time since boot, sleep included.

use nix::time::{ClockId, clock_gettime};

use crate::model::time::Time;

/// Now, by `CLOCK_BOOTTIME`.
#[must_use]
pub fn now() -> Time {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(now) => {
            let part = |n: i64| u64::try_from(n).unwrap_or(0);
            Time(part(now.tv_sec()) * 1_000_000 + part(now.tv_nsec()) / 1_000)
        }
        // Cannot fail on Linux. Should it, every deadline counts as past: nothing is begun.
        Err(_) => Time(u64::MAX),
    }
}
