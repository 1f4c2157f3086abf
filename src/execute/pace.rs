//! How often a stage is tried, how long to wait before it is tried again, and how long it may say nothing.

use std::time::Duration;

use crate::artifact::Kind;
use crate::execute::overdue::Patience;

/// How often a stage is tried when its failures are transient, if its deadline lets it.
pub const ATTEMPTS: u32 = 4;

/// The wait before the second attempt is at most twice this.
const FIRST: Duration = Duration::from_secs(2);

/// How long after its deadline a stage may still look at what it waited for in vain.
const GRACE: Duration = Duration::from_secs(30);

/// How a stage that is overdue is stopped: tofu is let finish first, then interrupted, as by Ctrl-C. What only waits in
/// it ends at the deadline by itself and has [`GRACE`] to say what it saw.
pub fn patience(deadline: Duration) -> Patience {
    Patience { deadline: deadline + GRACE, grace: [300, 120, 30].map(Duration::from_secs) }
}

/// The wait before attempt `next` (2, 3, …): anything up to 4 s, 8 s, 16 s, as `spread` in 0.0..1.0 says, so that runs
/// that failed together do not return together; never less than `told`, which whoever refused asked for.
pub fn backoff(next: u32, spread: f64, told: Option<Duration>) -> Duration {
    let full = FIRST * (1 << next.saturating_sub(1).clamp(1, 4));
    full.mul_f64(spread.clamp(0.0, 1.0)).max(told.unwrap_or_default())
}

/// How long a stage may neither say anything nor get on before it is told as silent. Longer than what its kind of work
/// is silent for when all is well: Packer while an image is made, Ansible in a long task, a console that AWS brings up to
/// date every few minutes. Where it has little time, a third of that: who is told at the end has no time to look.
pub fn silence(stage: Kind, deadline: Duration) -> Duration {
    let minutes = match stage {
        Kind::Bundle | Kind::Health => 2,
        Kind::Network | Kind::LoadBalancer | Kind::Nodes => 3,
        Kind::Access | Kind::Servers | Kind::Agents => 6,
        Kind::Hardening => 10,
        Kind::BaseImage | Kind::NodeImage => 15,
    };
    Duration::from_secs(minutes * 60).min(deadline / 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlines::Deadlines;

    #[test]
    fn each_wait_lies_anywhere_below_twice_the_last_limit() {
        let seconds = |next, spread| backoff(next, spread, None).as_secs();

        assert_eq!([2, 3, 4].map(|next| seconds(next, 1.0)), [4, 8, 16]);
        assert_eq!((seconds(4, 0.0), seconds(4, 0.5), seconds(40, 1.0)), (0, 8, 32));
    }

    #[test]
    fn a_stage_is_told_as_silent_after_its_budget_or_a_third_of_a_short_deadline() {
        let usual = Deadlines::default();
        let minutes = |stage| silence(stage, usual.of(stage)).as_secs_f64() / 60.0;

        assert_eq!(Kind::ALL.map(minutes), [2.0, 15.0, 15.0, 3.0, 3.0, 3.0, 6.0, 10.0, 6.0, 6.0, 2.0]);
        assert_eq!(silence(Kind::Network, Duration::from_secs(30)), Duration::from_secs(10));
    }

    #[test]
    fn a_wait_is_never_shorter_than_whoever_refused_asked_for() {
        let told = Some(Duration::from_secs(20));

        assert_eq!(backoff(2, 1.0, told), Duration::from_secs(20));
        assert_eq!(backoff(5, 1.0, told), Duration::from_secs(32));
    }
}
