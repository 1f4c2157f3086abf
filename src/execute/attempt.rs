//! One stage from intent to outcome, with its attempts.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::event::{Event, Outcome};
use crate::execute::World;
use crate::execute::overdue::within;
use crate::execute::pace::{ATTEMPTS, backoff, patience, silence};
use crate::execute::stall;
use crate::failure::{Exit, Failure};
use crate::fingerprint::{Digest, Reading};
use crate::stages::{Context, Given, Made, Stage};
use crate::units::Span;

/// How a stage ended.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub took: Duration,
    pub result: Result<Made, Failure>,
}

/// Carries out one stage: intent, work, outcome; again after a transient failure, within the stage's deadline. What runs
/// for it then is stopped as by Ctrl-C before the stage ends. Of each attempt the journal has the outcome, with its class
/// and reason.
pub async fn make(stage: &dyn Stage, given: &Given, reading: &Reading, world: &World<'_>) -> Ended {
    let kind = stage.makes();
    let started = Instant::now();
    let deadline = world.env.deadlines.of(kind);
    let stop = world.stop.part();
    let children = world.children.under(&stop);
    let until = started.checked_add(deadline);
    let cx = Context { stop: &stop, children: &children, until, ..world.context(kind) };
    let work = attempts(stage, given, reading, world, &cx);
    let result = tokio::select! {
        result = within(patience(deadline), &stop, overdue(stage, deadline), work) => result,
        never = stall::watch(kind, silence(kind, deadline), world.events) => match never {},
    };
    let outcome = outcome_of(&result);
    let took = started.elapsed();
    let (artifact, failure) = (result.as_ref().ok().map(|made| &made.artifact), failure_of(&result));
    let result = match world.book.stage_ended(kind, outcome, artifact, failure).await {
        Ok(()) => result,
        Err(failure) => Err(failure),
    };
    let summary = match &result {
        Ok(made) => made.artifact.summary(),
        Err(failure) => failure.what().to_owned(),
    };
    world.events.send(Event::StageEnded { stage: kind, outcome, took, summary });
    Ended { outcome, took, result }
}

async fn attempts(
    stage: &dyn Stage,
    given: &Given,
    reading: &Reading,
    world: &World<'_>,
    cx: &Context<'_>,
) -> Result<Made, Failure> {
    let kind = stage.makes();
    let mut attempt = 1;
    loop {
        world.book.stage_intended(kind, attempt, reading).await?;
        world.events.send(Event::StageStarted { stage: kind, attempt, until: by_the_clock(cx.until) });
        let result = stage.make(given, cx).await;
        let Some(failure) = failure_of(&result).filter(|failure| failure.is_transient()) else { return result };
        let after = backoff(attempt + 1, spread(kind.name(), attempt), failure.wait());
        // A wait that would outlast the deadline is none: the stage ends with what it was told.
        let is_late = cx.until.is_some_and(|until| until.saturating_duration_since(Instant::now()) <= after);
        if attempt == ATTEMPTS || is_late || cx.stop.is_asked() {
            return result;
        }
        let artifact = result.as_ref().ok().map(|made| &made.artifact);
        world.book.stage_ended(kind, outcome_of(&result), artifact, Some(failure)).await?;
        attempt += 1;
        world.events.send(Event::Retry { stage: kind, attempt, why: failure.to_string(), after });
        tokio::select! {
            () = tokio::time::sleep(after) => {}
            () = cx.stop.reached(crate::stop::Level::Finish) => return result,
        }
    }
}

/// When that moment is by the clock of now, for people: the deadline itself does not depend on it.
fn by_the_clock(until: Option<Instant>) -> Timestamp {
    let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
    let now = Timestamp::now();
    SignedDuration::try_from(left).ok().and_then(|left| now.checked_add(left).ok()).unwrap_or(now)
}

/// A number in 0.0..1.0 that differs between processes and attempts.
fn spread(stage: &str, attempt: u32) -> f64 {
    let seed = format!("{stage}{attempt}{}{:?}", std::process::id(), Instant::now());
    let byte = u8::from_str_radix(&Digest::of(seed.as_bytes()).as_str()[..2], 16).unwrap_or(0);
    f64::from(byte) / 256.0
}

/// What failed, of the whole or of a part.
fn failure_of(result: &Result<Made, Failure>) -> Option<&Failure> {
    match result {
        Ok(made) => made.short.as_ref(),
        Err(failure) => Some(failure),
    }
}

fn outcome_of(result: &Result<Made, Failure>) -> Outcome {
    match result {
        Ok(Made { short: Some(_), .. }) => Outcome::Partial,
        result => Outcome::of(result),
    }
}

fn overdue(stage: &dyn Stage, deadline: Duration) -> Failure {
    Failure::new(Exit::Unhealthy, format!("{}: not done within its {}", stage.makes(), Span(deadline)))
        .hint("the same command resumes it; the log of the stage shows what it waited for")
        .hint(format!("`deadlines: {{{}: …}}` in the environment file gives it more time", stage.makes()))
}
