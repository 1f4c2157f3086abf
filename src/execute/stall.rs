//! Tells of a stage that says nothing for longer than its kind of work ever does.
//!
//! It is told and not ended: that is what deadlines are for. Time in which this program was suspended is no silence.

use std::convert::Infallible;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::artifact::Kind;
use crate::event::{Event, Events};
use crate::execute::overdue::slept;

/// How many looks there are in one budget.
const LOOKS: u32 = 12;

/// Watches a stage until it is dropped: tells when nothing came from it for `budget`, then again after twice as long.
pub async fn watch(stage: Kind, budget: Duration, events: &Events) -> Infallible {
    let look = budget / LOOKS;
    let (mut silent, mut limit, mut seen) = (Duration::ZERO, budget, events.heard(stage));
    loop {
        silent += slept(look).await;
        let now = events.heard(stage);
        if now != seen {
            (silent, limit, seen) = (Duration::ZERO, budget, now);
        } else if silent >= limit {
            limit *= 2;
            let last = seen.last.clone();
            events.send(Event::StageSilent { stage, since: before(silent), silent, last });
        }
    }
}

/// The time so long ago, for people: what was measured does not depend on it.
fn before(silent: Duration) -> Timestamp {
    let now = Timestamp::now();
    SignedDuration::try_from(silent).ok().and_then(|silent| now.checked_sub(silent).ok()).unwrap_or(now)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::event::Received;

    const BUDGET: Duration = Duration::from_millis(120);

    async fn silence(received: &mut Received) -> (Kind, Duration, String) {
        loop {
            let event = received.recv().await.expect("events go on");
            if let Event::StageSilent { stage, silent, last, .. } = event {
                return (stage, silent, last);
            }
        }
    }

    #[tokio::test]
    async fn a_stage_that_says_nothing_is_told_with_the_last_line_that_was_seen() {
        let (events, mut received) = Events::channel();
        events.progress(Kind::Network, "1 of 3 changes made");
        events.send(Event::ToolSaid { slot: "nodes-apply".to_owned(), line: "another stage".to_owned() });

        let told = async {
            let first = silence(&mut received).await;
            (first, silence(&mut received).await)
        };
        let ((stage, silent, last), (_, longer, _)) = tokio::select! {
            told = told => told,
            never = watch(Kind::Network, BUDGET, &events) => match never {},
        };

        assert_eq!((stage, last.as_str()), (Kind::Network, "1 of 3 changes made"));
        assert!(silent >= BUDGET && longer >= 2 * BUDGET, "{silent:?} {longer:?}");
    }

    #[tokio::test]
    async fn a_line_of_its_tool_is_a_sign_of_life_and_the_same_words_again_are_none() {
        let (events, mut received) = Events::channel();
        let speaker = events.clone();
        let speaks = async move {
            for number in 0..6 {
                tokio::time::sleep(BUDGET / 2).await;
                speaker.send(Event::ToolSaid { slot: "node-image-build".to_owned(), line: format!("line {number}") });
            }
            loop {
                tokio::time::sleep(BUDGET / 4).await;
                speaker.progress(Kind::NodeImage, "line 5");
            }
        };

        let (_, _, last) = tokio::select! {
            told = silence(&mut received) => told,
            never = watch(Kind::NodeImage, BUDGET, &events) => match never {},
            () = speaks => unreachable!("it speaks for ever"),
        };

        assert_eq!(last, "line 5");
    }
}
