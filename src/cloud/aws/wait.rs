//! Waits for AWS to get somewhere: asks again and again, ever more slowly, until an end that is said beforehand.
//!
//! A wait that is dropped stops at once and changes nothing.

use std::time::{Duration, Instant};

use crate::failure::{Exit, Failure};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);

/// Asks until there is an answer. `what` completes "… within 5 min", such as "`i-0ab1` did not start".
///
/// # Errors
/// What asking fails with, or a transient failure after `limit`.
pub async fn until<T, F>(what: &str, limit: Duration, ask: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<Option<T>, Failure>>,
{
    let end = Instant::now() + limit;
    let mut pause = FIRST;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() + pause > end {
            let minutes = limit.as_secs().div_ceil(60).max(1);
            return Err(Failure::new(Exit::Platform, format!("{what} within {minutes} min")).transient());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_answer_or_with_what_did_not_happen() {
        let asked = AtomicUsize::new(0);

        let answer = until("it did not come", Duration::from_secs(60), || async {
            let before = asked.fetch_add(1, Ordering::Relaxed);
            Ok((before == 1).then_some("here"))
        })
        .await;
        let silence = until("`i-1` did not start", Duration::from_millis(1), async || Ok(None::<()>)).await;

        assert_eq!(answer.expect("an answer"), "here");
        let failure = silence.expect_err("no answer");
        assert_eq!((failure.what(), failure.is_transient()), ("`i-1` did not start within 1 min", true));
    }
}
