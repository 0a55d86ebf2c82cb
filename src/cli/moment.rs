//! Points in time and lengths of it, as a person reads them.

use std::time::Duration;

use jiff::Timestamp;

use super::screen::Screen;

/// A length in its largest two units: `3h 5min`, `1.144 s`, `12 ms`.
#[must_use]
pub fn length(usec: u64) -> String {
    let duration = Duration::from_micros(usec);
    if usec < 1_000_000 {
        return format!("{} ms", duration.as_millis());
    }
    if usec < 60_000_000 {
        return format!("{:.3} s", duration.as_secs_f64());
    }
    let whole = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| whole >= *size).unwrap_or(units.len() - 1);
    let mut rest = whole;
    let mut parts = Vec::new();
    for (size, name) in units.iter().skip(first).take(2) {
        if rest >= *size {
            parts.push(format!("{}{name}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

impl Screen {
    /// A point in time: `2026-11-20 17:02:11`; `never` for 0.
    #[must_use]
    pub fn time(&self, usec: u64) -> String {
        let stamp = i64::try_from(usec).ok().and_then(|usec| Timestamp::from_microsecond(usec).ok());
        match stamp {
            _ if usec == 0 => "never".to_owned(),
            Some(stamp) => stamp.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            None => format!("{usec} us"),
        }
    }

    /// A point in time and how far it is: `2026-11-20 17:02:11 (2min 5s ago)`.
    #[must_use]
    pub fn moment(&self, usec: u64) -> String {
        let time = self.time(usec);
        // What is told in seconds does not change with every look.
        let apart = |usec: u64| length(usec.div_euclid(1_000_000).max(1) * 1_000_000).replace(".000", "");
        match usec {
            0 => time,
            usec if usec <= self.now_usec => format!("{time} ({} ago)", apart(self.now_usec - usec)),
            usec => format!("{time} (in {})", apart(usec - self.now_usec)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_its_two_largest_units() {
        let shown = [12_000, 1_144_287, 60_000_000, 3_725_000_000, 90_061_000_000].map(length);
        assert_eq!(shown, ["12 ms", "1.144 s", "1min", "1h 2min", "1d 1h"]);
    }

    #[test]
    fn a_moment_is_told_with_its_distance() {
        let screen = Screen {
            color: false,
            symbols: true,
            width: None,
            rows: None,
            zone: jiff::tz::TimeZone::UTC,
            now_usec: 1_000_000_000_000_000,
        };
        assert_eq!(screen.moment(999_999_875_000_000), "2001-09-09 01:44:35 (2min 5s ago)");
        assert_eq!(screen.moment(1_000_000_003_000_000), "2001-09-09 01:46:43 (in 3 s)");
        assert_eq!(screen.moment(0), "never");
        assert_eq!(screen.moment(u64::MAX), "18446744073709551615 us (in 213492408d 6h)");
    }
}
