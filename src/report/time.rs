//! Lengths of time as people read them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `0m 41s`, `14m 07s`, `1h 02m`; below ten seconds `1.3 s`.
pub fn took(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// `12 s`, `4 min`, `2 h`, `41 d`: how long ago something was.
pub fn ago(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `10 s`, `4 min`, `2 h`: a length of time that is only estimated, rounded up.
pub fn about(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..50 => format!("{} s", (seconds + 1).next_multiple_of(10)),
        seconds @ 50..5_400 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    }
}

/// `2026-11-24 14:20 +01`: a point in time as the clock on the wall shows it.
pub fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// `14:20:09 UTC`: a point in time of today, which logs tell in the same zone.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_the_precision_that_matters() {
        let texts = [1_340, 41_000, 847_000, 3_720_000].map(|millis| took(Duration::from_millis(millis)));

        assert_eq!(texts, ["1.3 s", "0m 41s", "14m 07s", "1h 02m"]);
        assert_eq!(ago(Duration::from_secs(90_000)), "25 h");
    }

    #[test]
    fn an_estimate_promises_no_precision() {
        let texts = [3, 41, 55, 61, 3_700, 8_000].map(|seconds| about(Duration::from_secs(seconds)));

        assert_eq!(texts, ["10 s", "50 s", "1 min", "2 min", "62 min", "3 h"]);
    }

    #[test]
    fn a_point_in_time_is_told_without_seconds_and_with_its_zone() {
        let at: Timestamp = "2026-11-24T14:20:09.123456789Z".parse().expect("a time");

        assert_eq!(moment(at, &TimeZone::UTC), "2026-11-24 14:20 UTC");
    }
}
