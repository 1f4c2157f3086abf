//! One stage from intent to outcome, with its attempts.

use std::time::{Duration, Instant};

use crate::artifact::Artifact;
use crate::event::{Event, Outcome};
use crate::execute::World;
use crate::execute::overdue::within;
use crate::execute::pace::{ATTEMPTS, backoff, deadline, patience};
use crate::failure::{Exit, Failure};
use crate::fingerprint::{Digest, Reading};
use crate::stages::{Context, Given, Stage};

/// How a stage ended.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub took: Duration,
    pub result: Result<Artifact, Failure>,
}

/// Carries out one stage: intent, work, outcome; again after a transient failure, within the stage's deadline. What runs
/// for it then is stopped as by Ctrl-C before the stage ends.
pub async fn make(stage: &dyn Stage, given: &Given, reading: &Reading, world: &World<'_>) -> Ended {
    let kind = stage.makes();
    let started = Instant::now();
    let stop = world.stop.part();
    let children = world.children.under(&stop);
    let cx = Context { stop: &stop, children: &children, ..world.context(kind) };
    let result = within(patience(kind), &stop, overdue(stage), attempts(stage, given, reading, world, &cx)).await;
    let outcome = outcome_of(&result);
    let took = started.elapsed();
    let result = match world.book.stage_ended(kind, outcome, result.as_ref().ok(), result.as_ref().err(), took).await {
        Ok(()) => result,
        Err(failure) => Err(failure),
    };
    let summary = match &result {
        Ok(artifact) => artifact.summary(),
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
) -> Result<Artifact, Failure> {
    let kind = stage.makes();
    let mut attempt = 1;
    loop {
        world.book.stage_intended(kind, attempt, reading).await?;
        world.events.send(Event::StageStarted { stage: kind, attempt });
        let failure = match stage.make(given, cx).await {
            Ok(artifact) => return Ok(artifact),
            Err(failure) => failure,
        };
        if !failure.is_transient() || attempt == ATTEMPTS || cx.stop.is_asked() {
            return Err(failure);
        }
        attempt += 1;
        let after = backoff(attempt, spread(kind.name(), attempt));
        world.events.send(Event::Retry { stage: kind, attempt, why: failure.to_string(), after });
        tokio::select! {
            () = tokio::time::sleep(after) => {}
            () = cx.stop.reached(crate::stop::Level::Finish) => return Err(failure),
        }
    }
}

/// A number in 0.0..1.0 that differs between processes and attempts.
fn spread(stage: &str, attempt: u32) -> f64 {
    let seed = format!("{stage}{attempt}{}{:?}", std::process::id(), Instant::now());
    let byte = u8::from_str_radix(&Digest::of(seed.as_bytes()).as_str()[..2], 16).unwrap_or(0);
    f64::from(byte) / 256.0
}

fn outcome_of(result: &Result<Artifact, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Succeeded,
        Err(failure) if failure.is_cancelled() => Outcome::Interrupted,
        Err(_) => Outcome::Failed,
    }
}

fn overdue(stage: &dyn Stage) -> Failure {
    let minutes = deadline(stage.makes()).as_secs() / 60;
    Failure::new(Exit::Unhealthy, format!("{}: not done within its {minutes} min", stage.makes()))
        .hint("the same command resumes it; the log of the stage shows what it waited for")
}
