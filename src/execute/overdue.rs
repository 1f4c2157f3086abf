//! Ends what takes too long as a person would: one level of stopping after the other, each with time to take effect.

use std::future::Future;
use std::time::Duration;

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
    if let Ok(result) = tokio::time::timeout(patience.deadline, &mut work).await {
        return result;
    }
    let by_a_person = stop.is_asked();
    for grace in patience.grace {
        stop.raise();
        match tokio::time::timeout(grace, &mut work).await {
            Ok(Err(failure)) if failure.is_cancelled() && !by_a_person => {
                let log = failure.log_path().map(ToOwned::to_owned);
                let overdue = overdue.because(failure);
                return Err(log.into_iter().fold(overdue, Failure::log));
            }
            Ok(result) => return result,
            Err(_) => {}
        }
    }
    Err(overdue)
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

    #[tokio::test]
    async fn a_person_who_stopped_it_before_is_told_of_the_stop_and_not_of_the_deadline() {
        let stop = Stop::default();
        stop.raise();

        let failure = within(LONG, &stop, overdue(), ends_at(Level::Interrupt, &stop)).await.expect_err("stopped");

        assert_eq!(failure.to_string(), "tofu stopped");
    }
}
