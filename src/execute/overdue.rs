//! Ends what takes too long as a person would: one level of stopping after the other, each with time to take effect.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::stop::Stop;

/// How long work may take: at all, and then after each level of stopping.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub deadline: Duration,
    pub grace: [Duration; 3],
}

/// Gives what the work gives, or `overdue` with what it said when it was stopped after its deadline.
///
/// `stop` is the work's own. Work that does not end after the third level either is dropped: what it waits for is none
/// of its children, which are killed by then.
pub async fn within<T>(
    patience: Patience,
    stop: &Stop,
    overdue: Failure,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::pin!(work);
    if let Some(result) = in_time(patience.deadline, &mut work).await {
        return result;
    }
    let by_a_person = stop.is_asked();
    for grace in patience.grace {
        stop.raise();
        match in_time(grace, &mut work).await {
            Some(Err(failure)) if failure.is_cancelled() && !by_a_person => {
                let log = failure.log_path().map(ToOwned::to_owned);
                let overdue = overdue.because(failure);
                return Err(log.into_iter().fold(overdue, Failure::log));
            }
            Some(result) => return result,
            None => {}
        }
    }
    Err(overdue)
}

/// At most this much is waited for at a time.
const SLICE: Duration = Duration::from_secs(5);

/// What the work gives within this time; its turn comes first, so that what ended while we were suspended has ended.
async fn in_time<T>(length: Duration, work: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    let mut left = length;
    while left > Duration::ZERO {
        tokio::select! {
            biased;
            result = &mut *work => return Some(result),
            waited = slept(left.min(SLICE)) => left = left.saturating_sub(waited),
        }
    }
    None
}

/// Sleeps, and gives for how long in time that counts: where it took much longer than asked for, this program was
/// suspended (Ctrl-Z, SIGSTOP), and what it waits for could not be seen. A suspended machine is not noticed at all: the
/// clock of this stands still with it.
pub async fn slept(length: Duration) -> Duration {
    let begun = Instant::now();
    tokio::time::sleep(length).await;
    counted(length, begun.elapsed())
}

fn counted(asked: Duration, took: Duration) -> Duration {
    if took > 2 * asked + Duration::from_secs(1) { asked } else { took }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use crate::stop::Level;

    const SHORT: Patience = Patience { deadline: Duration::from_millis(20), grace: [Duration::from_millis(20); 3] };
    /// Where what is waited for comes before the patience ends.
    const LONG: Patience = Patience { deadline: Duration::from_millis(20), grace: [Duration::from_secs(60); 3] };

    fn overdue() -> Failure {
        Failure::new(Exit::Unhealthy, "network: not done within its 30 min")
    }

    /// Work that only this level ends.
    async fn ends_at(level: Level, stop: &Stop) -> Result<(), Failure> {
        stop.reached(level).await;
        Err(Failure::cancelled("tofu stopped").log("network.log"))
    }

    #[tokio::test]
    async fn work_that_is_overdue_is_stopped_level_by_level_and_says_how_it_ended() {
        let whole = Stop::default();
        let (stop, patience) =
            (whole.part(), Patience { grace: [SHORT.grace[0], LONG.grace[1], LONG.grace[2]], ..SHORT });

        let failure = within(patience, &stop, overdue(), ends_at(Level::Interrupt, &stop)).await.expect_err("overdue");

        assert_eq!(failure.to_string(), "network: not done within its 30 min: tofu stopped");
        assert_eq!(failure.log_path(), Some(std::path::Path::new("network.log")));
        assert_eq!((stop.level(), whole.level()), (Level::Interrupt, Level::Go));
    }

    #[tokio::test]
    async fn work_that_no_level_ends_is_let_go_in_the_end() {
        let stop = Stop::default();

        let work = std::future::pending::<Result<(), Failure>>();
        let failure = within(SHORT, &stop, overdue(), work).await.expect_err("overdue");

        assert_eq!((failure.to_string(), stop.level()), (overdue().to_string(), Level::Kill));
    }

    #[tokio::test]
    async fn work_that_finishes_while_it_is_stopped_is_done() {
        let stop = Stop::default();

        let made = within(LONG, &stop, overdue(), async {
            stop.reached(Level::Finish).await;
            Ok("made")
        });

        assert_eq!(made.await.map_err(|failure| failure.to_string()), Ok("made"));
    }

    #[test]
    fn time_in_which_the_program_was_suspended_does_not_count() {
        let asked = Duration::from_secs(5);

        assert_eq!(counted(asked, Duration::from_millis(5_200)), Duration::from_millis(5_200));
        assert_eq!(counted(asked, Duration::from_secs(3_600)), asked);
    }

    #[tokio::test]
    async fn a_person_who_stopped_it_before_is_told_of_the_stop_and_not_of_the_deadline() {
        let stop = Stop::default();
        stop.raise();

        let failure = within(LONG, &stop, overdue(), ends_at(Level::Interrupt, &stop)).await.expect_err("stopped");

        assert_eq!(failure.to_string(), "tofu stopped");
    }
}
