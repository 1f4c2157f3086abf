//! What the entries add up to: the last of every stage, step, fact and run.
//!
//! A fold without I/O and without a clock: the same entries always give the same memory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::Actor;
use super::entry::{Claim, Deed, Entry, Intent, Record, Settled};
use crate::artifact::{Artifact, Kind};
use crate::event::Outcome;
use crate::fingerprint::{Digest, Reading};

/// What is remembered of an environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Stages that were ever begun and not removed since.
    pub stages: BTreeMap<Kind, StageMemory>,
    pub steps: BTreeMap<(Kind, String), StepMemory>,
    pub facts: BTreeMap<String, Value>,
    pub last_run: Option<RunMemory>,
    /// Children whose result nobody has taken over, by id.
    pub open_children: BTreeMap<String, OpenChild>,
    /// Everything that was ever approved, in order.
    pub approvals: Vec<Approved>,
    /// The last lease.
    pub claim: Option<Claim>,
}

/// What is remembered of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageMemory {
    /// The last artifact that was made. It stays while a later attempt is open or failed, so that what may be left can
    /// be found.
    pub made: Option<Made>,
    /// How the last attempt ended; an open intent reads as [`Outcome::Indeterminate`].
    pub last: Outcome,
    /// What the last attempt was about.
    pub deed: Deed,
    pub attempt: u32,
    pub run: u32,
    pub why: Option<String>,
    /// Of the last attempt.
    pub intended: Option<Intent>,
}

impl StageMemory {
    /// What the stage made, if its last attempt made it: what a plan may reuse.
    pub fn current(&self) -> Option<&Made> {
        self.made.as_ref().filter(|_| self.last == Outcome::Succeeded && self.deed == Deed::Make)
    }

    fn vacant() -> Self {
        Self { made: None, last: Outcome::Skipped, deed: Deed::Make, attempt: 0, run: 0, why: None, intended: None }
    }
}

/// An artifact, and what it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub artifact: Artifact,
    pub fingerprint: Digest,
    pub reading: Reading,
    pub run: u32,
    pub time: Timestamp,
}

/// What is remembered of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepMemory {
    /// An open intent reads as [`Outcome::Indeterminate`].
    pub outcome: Outcome,
    pub fingerprint: Digest,
    pub reading: Reading,
    /// The name or tag by which its effect can be found.
    pub effect: String,
    pub output: Option<Value>,
    pub why: Option<String>,
    pub run: u32,
    pub time: Timestamp,
}

/// What is remembered of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunMemory {
    pub number: u32,
    pub command: String,
    pub actor: Actor,
    pub started: Timestamp,
    /// Absent while it runs, and for ever if it was killed.
    pub ended: Option<Timestamp>,
    pub outcome: Option<Outcome>,
    pub why: Option<String>,
}

/// A child that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenChild {
    pub slot: String,
    pub lock: String,
    pub run: u32,
    pub started: Timestamp,
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    pub plan: Digest,
    pub by: String,
    pub what: String,
}

impl Memory {
    pub fn of(entries: &[Entry]) -> Self {
        let mut memory = Self::default();
        entries.iter().for_each(|entry| memory.admit(entry));
        memory
    }

    /// The number of the run that comes next.
    pub fn next_run(&self) -> u32 {
        self.last_run.as_ref().map_or(1, |run| run.number.saturating_add(1))
    }

    pub fn step(&self, stage: Kind, step: &str) -> Option<&StepMemory> {
        self.steps.get(&(stage, step.to_owned()))
    }

    /// Adds one entry.
    pub fn admit(&mut self, entry: &Entry) {
        match &entry.record {
            Record::Intent(intent) => self.intend(entry, intent),
            Record::Outcome(settled) => self.settle(entry, settled),
            Record::Fact { name, value: Value::Null } => drop(self.facts.remove(name)),
            Record::Fact { name, value } => drop(self.facts.insert(name.clone(), value.clone())),
            Record::Lease(claim) => self.claim = Some(claim.clone()),
            Record::ChildStarted { id, slot, lock } => {
                let (slot, lock) = (slot.clone(), lock.clone());
                self.open_children.insert(id.clone(), OpenChild { slot, lock, run: entry.run, started: entry.time });
            }
            Record::ChildEnded { id, .. } => drop(self.open_children.remove(id)),
            Record::Approval { plan, by, what } => {
                self.approvals.push(Approved { plan: plan.clone(), by: by.clone(), what: what.clone() });
            }
            Record::RunStarted { command, .. } => self.start_run(entry, command),
            Record::RunEnded { outcome, why } => self.end_run(entry, *outcome, why.clone()),
            Record::Unrecognised => {}
        }
    }

    fn intend(&mut self, entry: &Entry, intent: &Intent) {
        if let Some(step) = &intent.step {
            let memory = StepMemory {
                outcome: Outcome::Indeterminate,
                fingerprint: intent.fingerprint.clone(),
                reading: intent.reading.clone(),
                effect: intent.effect.clone(),
                output: None,
                why: None,
                run: entry.run,
                time: entry.time,
            };
            self.steps.insert((intent.stage, step.clone()), memory);
            return;
        }
        let stage = self.stages.entry(intent.stage).or_insert_with(StageMemory::vacant);
        stage.last = Outcome::Indeterminate;
        stage.deed = intent.deed;
        stage.attempt = intent.attempt;
        stage.run = entry.run;
        stage.why = None;
        stage.intended = Some(intent.clone());
    }

    fn settle(&mut self, entry: &Entry, settled: &Settled) {
        match &settled.step {
            Some(step) => self.settle_step(entry, settled, step),
            None => self.settle_stage(entry, settled),
        }
    }

    fn settle_step(&mut self, entry: &Entry, settled: &Settled, step: &str) {
        let key = (settled.stage, step.to_owned());
        if settled.deed == Deed::Remove && settled.outcome == Outcome::Succeeded {
            self.steps.remove(&key);
        } else if let Some(memory) = self.steps.get_mut(&key) {
            memory.outcome = settled.outcome;
            memory.output = settled.output.clone();
            memory.why = settled.why.clone();
            memory.time = entry.time;
        }
    }

    fn settle_stage(&mut self, entry: &Entry, settled: &Settled) {
        if settled.outcome == Outcome::Skipped {
            // Nothing was begun: what was made before is as good as before.
            return;
        }
        if settled.deed == Deed::Remove && settled.outcome == Outcome::Succeeded {
            self.stages.remove(&settled.stage);
            self.steps.retain(|(stage, _), _| *stage != settled.stage);
            return;
        }
        let stage = self.stages.entry(settled.stage).or_insert_with(StageMemory::vacant);
        stage.last = settled.outcome;
        stage.deed = settled.deed;
        stage.attempt = settled.attempt;
        stage.run = entry.run;
        stage.why = settled.why.clone();
        if let (Outcome::Succeeded | Outcome::Partial, Some(artifact), Some(intent)) =
            (settled.outcome, &settled.artifact, &stage.intended)
        {
            stage.made = Some(Made {
                artifact: artifact.clone(),
                fingerprint: intent.fingerprint.clone(),
                reading: intent.reading.clone(),
                run: entry.run,
                time: entry.time,
            });
        }
    }

    fn start_run(&mut self, entry: &Entry, command: &str) {
        self.last_run = Some(RunMemory {
            number: entry.run,
            command: command.to_owned(),
            actor: entry.actor.clone(),
            started: entry.time,
            ended: None,
            outcome: None,
            why: None,
        });
    }

    fn end_run(&mut self, entry: &Entry, outcome: Outcome, why: Option<String>) {
        if let Some(run) = self.last_run.as_mut().filter(|run| run.number == entry.run) {
            run.ended = Some(entry.time);
            run.outcome = Some(outcome);
            run.why = why;
        }
    }
}
