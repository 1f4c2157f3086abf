//! How often a stage is tried, and how long to wait before it is tried again.

use std::time::Duration;

use crate::execute::overdue::Patience;

/// How often a stage is tried when its failures are transient.
pub const ATTEMPTS: u32 = 3;

/// How long after its deadline a stage may still look at what it waited for in vain.
const GRACE: Duration = Duration::from_secs(30);

/// How a stage that is overdue is stopped: tofu is let finish first, then interrupted, as by Ctrl-C. What only waits in
/// it ends at the deadline by itself and has [`GRACE`] to say what it saw.
pub fn patience(deadline: Duration) -> Patience {
    Patience { deadline: deadline + GRACE, grace: [300, 120, 30].map(Duration::from_secs) }
}

/// The wait before attempt `next` (2, 3, …): doubles from 2 s; `spread` in 0.0..1.0 takes up to half of it away, so
/// that runs that failed together do not return together.
pub fn backoff(next: u32, spread: f64) -> Duration {
    let full = Duration::from_secs(1 << next.clamp(1, 6));
    full.mul_f64(1.0 - spread.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_last_and_never_less_than_half_of_it() {
        assert_eq!(backoff(2, 0.0), Duration::from_secs(4));
        assert_eq!(backoff(3, 0.0), Duration::from_secs(8));
        assert_eq!(backoff(3, 1.0), Duration::from_secs(4));
    }
}
