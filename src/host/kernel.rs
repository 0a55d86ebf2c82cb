//! The running kernel: its boot, and the clock that the core counts by.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use super::root::Root;
use crate::model::picture::Clock;
use crate::model::time::Time;

/// Now, by `CLOCK_BOOTTIME`: microseconds since boot, sleep included.
#[must_use]
pub fn now() -> Time {
    // The clock is there since Linux 2.6.39, and nothing else makes the call fail.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Time::BOOT, |now| {
        let (seconds, nanos) = (now.tv_sec().unsigned_abs(), now.tv_nsec().unsigned_abs());
        Time(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
    })
}

/// The moment of boot by the wall clock, which may be set anew at any time.
#[must_use]
pub fn clock() -> Clock {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
    Clock { boot_usec: wall.saturating_sub(now().0) }
}

/// The id of this boot: what was stored under another one is void.
///
/// # Errors
/// As `open(2)` and `read(2)`; `InvalidData` when it is empty.
pub fn boot_id(root: &Root) -> io::Result<String> {
    let id = root.read_text("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    if id.is_empty() { Err(io::Error::new(io::ErrorKind::InvalidData, "no boot id")) } else { Ok(id) }
}

pub use super::module_tree::release;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forward() {
        let before = now();
        assert!(before > Time::BOOT);
        assert!(now() >= before);
    }

    #[test]
    fn this_boot_has_an_id() {
        assert_eq!(boot_id(&Root::live()).unwrap().len(), 36);
    }
}
