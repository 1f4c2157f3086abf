//! The journal told run by run, for `history`, `report` and the auditor.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Actor, Deed, Entry, Record};
use crate::artifact::Kind;
use crate::event::Outcome;
use crate::fingerprint::Digest;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastRun {
    pub number: u32,
    pub command: String,
    pub program: String,
    pub plan: Option<Digest>,
    pub actor: Actor,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    /// [`Outcome::Indeterminate`] for a run that still goes on or was killed.
    pub outcome: Outcome,
    pub why: Option<String>,
    /// Who agreed to what.
    pub approvals: Vec<String>,
    /// In the order in which they began.
    pub stages: Vec<PastStage>,
    /// The numbers of its first and last entry.
    pub entries: (u64, u64),
}

/// What a run did in one stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastStage {
    pub stage: Kind,
    pub deed: Deed,
    pub attempts: u32,
    pub steps: u32,
    pub outcome: Outcome,
    pub why: Option<String>,
    pub took: Option<Duration>,
    /// What it made, in a few words.
    pub made: Option<String>,
}

/// One entry in one line, as `history --entries` shows it: number, time, run, and what it says.
pub fn line(entry: &Entry) -> String {
    let subject = |stage: &Kind, step: &Option<String>, deed: Deed| {
        let verb = match deed {
            Deed::Make => "make",
            Deed::Remove => "remove",
        };
        step.as_ref().map_or_else(|| format!("{verb} {stage}"), |step| format!("{verb} {stage}/{step}"))
    };
    let why = |why: &Option<String>| why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let says = match &entry.record {
        Record::Intent(intent) => {
            format!("{} (found by {})", subject(&intent.stage, &intent.step, intent.deed), intent.effect)
        }
        Record::Outcome(settled) => {
            let subject = subject(&settled.stage, &settled.step, settled.deed);
            format!("{subject} {}{}", settled.outcome.name(), why(&settled.why))
        }
        Record::Fact { name, value } => format!("{name} = {value}"),
        Record::Lease(_) => format!("epoch {} by {}", entry.epoch, entry.actor),
        Record::ChildStarted { id, slot, .. } => format!("{id} for {slot}"),
        Record::ChildEnded { id, code, took } => {
            let end = code.map_or_else(|| "by a signal".to_owned(), |code| format!("with {code}"));
            let took = took.map_or_else(String::new, |took| format!(" after {:.1} s", took.as_secs_f64()));
            format!("{id} {end}{took}")
        }
        Record::Approval { by, what, .. } => format!("{by}: {what}"),
        Record::RunStarted { command, program, .. } => format!("{command} (sre-provision {program})"),
        Record::RunEnded { outcome, why: reason } => format!("{}{}", outcome.name(), why(reason)),
        Record::Unrecognised => "written by a newer program".to_owned(),
    };
    let time = entry.time.strftime("%Y-%m-%d %H:%M:%S");
    format!("{:>6}  {time}  {:04}  {:<13}  {says}", entry.number, entry.run, entry.record.kind())
}

/// How many makings of a stage are looked at for how long it takes.
const LATEST: usize = 3;

/// How long each stage takes to make: the longest of its latest successes. A stage that was never made is not in it.
pub fn usual(runs: &[PastRun]) -> BTreeMap<Kind, Duration> {
    let mut latest: BTreeMap<Kind, Vec<Duration>> = BTreeMap::new();
    for stage in runs.iter().rev().flat_map(|run| &run.stages) {
        if let (Deed::Make, Outcome::Succeeded, Some(took)) = (stage.deed, stage.outcome, stage.took) {
            latest.entry(stage.stage).or_default().push(took);
        }
    }
    let longest = |times: Vec<Duration>| times.into_iter().take(LATEST).max().unwrap_or_default();
    latest.into_iter().map(|(stage, times)| (stage, longest(times))).collect()
}

/// All runs, the first one first.
pub fn history(entries: &[Entry]) -> Vec<PastRun> {
    let mut runs: Vec<PastRun> = Vec::new();
    for entry in entries {
        match (&entry.record, runs.last_mut().filter(|run| run.number == entry.run)) {
            (Record::RunStarted { command, program, plan }, None) => {
                runs.push(begun(entry, command, program, plan.clone()));
            }
            (_, Some(run)) => run.admit(entry),
            // The lease of a run is recorded before its beginning.
            (_, None) => {}
        }
    }
    runs
}

fn begun(entry: &Entry, command: &str, program: &str, plan: Option<Digest>) -> PastRun {
    PastRun {
        number: entry.run,
        command: command.to_owned(),
        program: program.to_owned(),
        plan,
        actor: entry.actor.clone(),
        started: entry.time,
        ended: None,
        outcome: Outcome::Indeterminate,
        why: None,
        approvals: vec![],
        stages: vec![],
        entries: (entry.number, entry.number),
    }
}

impl PastRun {
    fn admit(&mut self, entry: &Entry) {
        self.entries.1 = entry.number;
        match &entry.record {
            Record::Intent(intent) if intent.step.is_none() => {
                let stage = self.stage(intent.stage, intent.deed);
                stage.attempts += 1;
                stage.outcome = Outcome::Indeterminate;
            }
            Record::Intent(intent) => self.stage(intent.stage, intent.deed).steps += 1,
            Record::Outcome(settled) if settled.step.is_none() => {
                let stage = self.stage(settled.stage, settled.deed);
                stage.outcome = settled.outcome;
                stage.why = settled.why.clone();
                stage.took = Some(stage.took.unwrap_or_default() + settled.took);
                stage.made = settled.artifact.as_ref().map(|artifact| artifact.summary());
            }
            // What was removed by its tag alone, by no stage.
            Record::Outcome(settled) => {
                let stage = self.stage(settled.stage, settled.deed);
                if stage.attempts == 0 {
                    (stage.outcome, stage.why) = (settled.outcome, settled.why.clone());
                    stage.took = Some(stage.took.unwrap_or_default() + settled.took);
                }
            }
            Record::Approval { by, what, .. } => self.approvals.push(format!("{by}: {what}")),
            Record::RunEnded { outcome, why } => {
                self.ended = Some(entry.time);
                self.outcome = *outcome;
                self.why = why.clone();
            }
            Record::Fact { .. }
            | Record::Lease(_)
            | Record::ChildStarted { .. }
            | Record::ChildEnded { .. }
            | Record::RunStarted { .. }
            | Record::Unrecognised => {}
        }
    }

    fn stage(&mut self, kind: Kind, deed: Deed) -> &mut PastStage {
        let found = self.stages.iter().position(|stage| (stage.stage, stage.deed) == (kind, deed));
        let index = found.unwrap_or_else(|| {
            self.stages.push(PastStage {
                stage: kind,
                deed,
                attempts: 0,
                steps: 0,
                outcome: Outcome::Indeterminate,
                why: None,
                took: None,
                made: None,
            });
            self.stages.len() - 1
        });
        &mut self.stages[index]
    }
}
