//! Makes what the plan says, each stage as soon as its needs are met.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::artifact::{Artifact, Kind};
use crate::decision::{Decision, Plan, Verdict};
use crate::event::{Event, Outcome};
use crate::execute::World;
use crate::execute::attempt;
use crate::failure::Failure;
use crate::plan::{Graph, Survey, with_needs};
use crate::stages::{Given, Presence, Stage};

/// What became of every stage.
#[derive(Debug, Default)]
pub struct Report {
    pub stages: BTreeMap<Kind, Settled>,
    pub given: Given,
}

/// What became of one stage.
#[derive(Debug)]
pub struct Settled {
    pub outcome: Outcome,
    pub reused: bool,
    pub took: Duration,
    pub summary: String,
    pub failure: Option<Failure>,
}

impl Report {
    /// The failure the run ends with: the first by the order of the road, real ones before interrupts.
    ///
    /// A stop that came between two stages failed none of them, and the run is not done all the same.
    pub fn failure(&self) -> Option<Failure> {
        let failures = || self.stages.values().filter_map(|settled| settled.failure.as_ref());
        let told = failures().find(|failure| !failure.is_cancelled()).or_else(|| failures().next());
        told.cloned().or_else(|| {
            let (first, _) = self.stages.iter().find(|(_, settled)| settled.outcome != Outcome::Succeeded)?;
            Some(Failure::cancelled(format!("stopped before {first} was begun")))
        })
    }

    pub fn outcome(&self) -> Outcome {
        match self.failure() {
            None => Outcome::Succeeded,
            Some(failure) if failure.is_cancelled() => Outcome::Interrupted,
            Some(_) => Outcome::Failed,
        }
    }
}

/// Carries out a plan.
pub async fn up(stages: &[Box<dyn Stage>], graph: &Graph, plan: &Plan, survey: &Survey, world: &World<'_>) -> Report {
    let mut report = Report::default();
    let mut waiting: Vec<&dyn Stage> = stages.iter().map(AsRef::as_ref).collect();
    let mut working = FuturesUnordered::new();
    loop {
        let mut index = 0;
        while index < waiting.len() {
            let kind = waiting[index].makes();
            match ready(kind, graph, &report, world) {
                Readiness::Wait => index += 1,
                Readiness::Skip(why) => {
                    waiting.remove(index);
                    skip(kind, why, &mut report, world);
                    index = 0;
                }
                Readiness::Start => {
                    let stage = waiting.remove(index);
                    let given = report.given.clone();
                    working.push(settle(stage, given, graph, plan.of(kind), survey, world));
                }
            }
        }
        let Some((kind, settled, artifact)) = working.next().await else { break };
        if let Some(artifact) = artifact {
            report.given.insert(artifact);
        }
        report.stages.insert(kind, settled);
    }
    report
}

enum Readiness {
    Wait,
    Start,
    Skip(String),
}

fn ready(kind: Kind, graph: &Graph, report: &Report, world: &World<'_>) -> Readiness {
    for need in graph.needs(kind) {
        match report.stages.get(need) {
            None => return Readiness::Wait,
            // What was made in part is enough to go on with that part.
            Some(settled) if matches!(settled.outcome, Outcome::Succeeded | Outcome::Partial) => {}
            Some(_) => return Readiness::Skip(format!("needs {need}")),
        }
    }
    if world.stop.is_asked() { Readiness::Skip("stopped before it started".to_owned()) } else { Readiness::Start }
}

fn skip(kind: Kind, why: String, report: &mut Report, world: &World<'_>) {
    let (outcome, took) = (Outcome::Skipped, Duration::ZERO);
    world.events.send(Event::StageEnded { stage: kind, outcome, took, summary: why.clone() });
    report.stages.insert(kind, Settled { outcome, reused: false, took, summary: why, failure: None });
}

/// Reuses or makes one stage.
async fn settle(
    stage: &dyn Stage,
    given: Given,
    graph: &Graph,
    decision: Option<&Decision>,
    survey: &Survey,
    world: &World<'_>,
) -> (Kind, Settled, Option<Artifact>) {
    let kind = stage.makes();
    let reading = with_needs(survey.reading(kind), graph.needs(kind), &given);
    let verdict = decision.map_or(Verdict::Run, |decision| decision.verdict);
    if let Some(artifact) = reusable(stage, verdict, &reading, world).await {
        let summary = artifact.summary();
        world.events.send(Event::StageReused { stage: kind, summary: summary.clone() });
        let took = Duration::ZERO;
        let settled = Settled { outcome: Outcome::Succeeded, reused: true, took, summary, failure: None };
        return (kind, settled, Some(artifact));
    }
    let ended = attempt::make(stage, &given, &reading, world).await;
    let (summary, failure, artifact) = match ended.result {
        Ok(made) => (made.artifact.summary(), made.short, Some(made.artifact)),
        Err(failure) => (failure.what().to_owned(), Some(failure), None),
    };
    (kind, Settled { outcome: ended.outcome, reused: false, took: ended.took, summary, failure }, artifact)
}

/// The recorded artifact, if the plan reuses it, or if what it needs came out the same and it still stands.
async fn reusable(
    stage: &dyn Stage,
    verdict: Verdict,
    reading: &crate::fingerprint::Reading,
    world: &World<'_>,
) -> Option<Artifact> {
    let recorded = world.known.artifact(stage.makes())?.clone();
    match verdict {
        Verdict::Reuse => Some(recorded),
        Verdict::Run | Verdict::Blocked | Verdict::Stop => None,
        Verdict::Follow => {
            let same = world.book.made_with(stage.makes()).as_ref() == Some(reading);
            let stands =
                same && matches!(stage.probe(&recorded, &world.context(stage.makes())).await, Ok(Presence::Standing));
            stands.then_some(recorded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn report(stages: &[(Kind, Outcome, Option<Failure>)]) -> Report {
        let settled = |outcome, failure| Settled {
            outcome,
            reused: false,
            took: Duration::ZERO,
            summary: String::new(),
            failure,
        };
        let stages = stages.iter().map(|(kind, outcome, failure)| (*kind, settled(*outcome, failure.clone())));
        Report { stages: stages.collect(), given: Given::default() }
    }

    #[test]
    fn a_stop_between_two_stages_is_no_success_although_nothing_failed() {
        let report = report(&[(Kind::Network, Outcome::Succeeded, None), (Kind::Nodes, Outcome::Skipped, None)]);

        let failure = report.failure().expect("not done");

        assert_eq!((failure.what(), failure.exit()), ("stopped before nodes was begun", Exit::Interrupted));
        assert_eq!(report.outcome(), Outcome::Interrupted);
    }

    #[test]
    fn what_really_failed_is_told_before_what_was_only_stopped() {
        let report = report(&[
            (Kind::BaseImage, Outcome::Interrupted, Some(Failure::cancelled("packer was stopped"))),
            (Kind::Network, Outcome::Failed, Some(Failure::new(Exit::Tool, "tofu ended with exit code 1"))),
        ]);

        assert_eq!(report.failure().expect("failed").what(), "tofu ended with exit code 1");
        assert_eq!(report.outcome(), Outcome::Failed);
    }

    #[test]
    fn a_run_whose_stages_all_succeeded_is_done() {
        let report = report(&[(Kind::Network, Outcome::Succeeded, None)]);

        assert_eq!((report.failure().map(|failure| failure.to_string()), report.outcome()), (None, Outcome::Succeeded));
    }
}
