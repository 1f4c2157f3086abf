//! What a stage works with, and how it records its steps.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::artifact::{Artifact, Kind};
use crate::cloud::Cloud;
use crate::environment::{Environment, NodeName};
use crate::event::{Events, NodeState, Outcome};
use crate::failure::Failure;
use crate::fingerprint::{Digest, Inputs, Reading};
use crate::identity::Identity;
use crate::images::Shelf;
use crate::node::{Connections, Wait};
use crate::process::Children;
use crate::secrets::Secrets;
use crate::stages::Reader;
use crate::stop::Stop;
use crate::tools::Tools;
use crate::workspace::{StateDir, Workspace};

/// The fact that tells which secrets there are: a [`crate::secrets::Manifest`].
pub const SECRETS: &str = "secrets";

/// The least time that a wait has: what comes late is looked at, too.
const ONE_LOOK: Duration = Duration::from_secs(10);

/// The artifacts a stage is given.
#[derive(Clone, Debug, Default)]
pub struct Given(BTreeMap<Kind, Artifact>);

impl Given {
    pub fn insert(&mut self, artifact: Artifact) {
        self.0.insert(artifact.kind(), artifact);
    }

    pub fn artifact(&self, kind: Kind) -> Option<&Artifact> {
        self.0.get(&kind)
    }

    /// The artifact of this kind in its own type.
    ///
    /// # Errors
    /// A bug: the stage did not declare the need, or the plan did not meet it.
    pub fn get<T>(&self, kind: Kind) -> Result<T, Failure>
    where
        T: for<'a> TryFrom<&'a Artifact, Error = Kind>,
    {
        self.0
            .get(&kind)
            .and_then(|artifact| T::try_from(artifact).ok())
            .ok_or_else(|| Failure::bug(format!("a stage was not given the `{kind}` that it needs")))
    }
}

/// What the journal remembers of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepMemory {
    pub outcome: Outcome,
    pub fingerprint: Digest,
    pub output: Option<Value>,
}

/// Where steps and facts are kept; `execute/` writes them to the journal.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The last record of a step; an intent without an outcome reads as [`Outcome::Indeterminate`].
    fn step(&self, stage: Kind, step: &str) -> Option<StepMemory>;

    /// Makes the intent durable. `effect` is the name or tag by which the effect can be found again.
    async fn intend(&self, stage: Kind, step: &str, reading: &Reading, effect: &str) -> Result<(), Failure>;

    async fn settle(
        &self,
        stage: Kind,
        step: &str,
        outcome: Outcome,
        output: Option<Value>,
        why: Option<String>,
    ) -> Result<(), Failure>;

    /// The last value of a fact, such as who was chosen to initialise the cluster.
    fn fact(&self, name: &str) -> Option<Value>;

    async fn record_fact(&self, name: &str, value: Value) -> Result<(), Failure>;
}

/// A journaled piece of a stage: its work on one node, or on one group of resources.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: String,
    pub inputs: Inputs,
    /// The name or tag by which its effect can be found again.
    pub effect: String,
}

impl Step {
    pub fn new(name: impl Into<String>, inputs: Inputs, effect: impl Into<String>) -> Self {
        Self { name: name.into(), inputs, effect: effect.into() }
    }
}

/// What a stage works with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub stage: Kind,
    pub run: u32,
    pub env: &'a Environment,
    pub identity: &'a Identity,
    /// The environment got its identity in this run: nothing can carry its tag that this run did not make.
    pub is_new: bool,
    pub workspace: &'a Workspace,
    pub state: &'a StateDir,
    pub cloud: &'a dyn Cloud,
    pub secrets: &'a Secrets,
    pub tools: &'a Tools,
    pub children: &'a Children,
    pub connections: &'a Connections,
    pub reader: &'a Reader<'a>,
    /// Where statements about images are kept.
    pub shelf: &'a Shelf,
    pub ledger: &'a dyn Ledger,
    pub events: &'a Events,
    pub stop: &'a Stop,
    /// When the stage must be done; nothing while it only looks.
    pub until: Option<Instant>,
    /// What was recorded of every stage when the run began; for probes, which are given nothing.
    pub known: &'a Given,
}

impl Context<'_> {
    pub fn progress(&self, text: impl Into<String>) {
        self.events.progress(self.stage, text);
    }

    pub fn node(&self, node: &NodeName, state: NodeState, text: impl Into<String>) {
        self.events.node(self.stage, node, state, text);
    }

    /// A wait of this length, or for what is left of the stage's time where that is less; always long enough to look
    /// once and tell what was seen.
    pub fn wait<'w>(&'w self, length: Duration, tell: &'w (dyn Fn(&str) + Send + Sync)) -> Wait<'w> {
        let left = self.until.map_or(length, |until| until.saturating_duration_since(Instant::now()));
        Wait::within(length.min(left.max(ONE_LOOK)), self.stop, tell)
    }

    /// Ends the stage here if we were told to stop; called between steps and in every wait.
    pub fn checkpoint(&self) -> Result<(), Failure> {
        if self.stop.is_asked() {
            return Err(Failure::cancelled(format!("{}: stopped between two steps", self.stage)));
        }
        Ok(())
    }

    /// A fact in its own type.
    ///
    /// # Errors
    /// A bug: it is recorded in another shape. That is never taken for none: what was chosen once would be chosen anew.
    pub fn fact<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        let read = |value| {
            serde_json::from_value(value)
                .map_err(|error| Failure::bug(format!("the fact `{name}` has another shape")).because(error))
        };
        self.ledger.fact(name).map(read).transpose()
    }

    /// Records which secrets there are, if that changed: the next run notices a lost one and makes none anew.
    pub async fn note_secrets(&self) -> Result<(), Failure> {
        let manifest = serde_json::to_value(self.secrets.manifest()?)
            .map_err(|error| Failure::bug("a manifest is no JSON").because(error))?;
        if self.ledger.fact(SECRETS).as_ref() == Some(&manifest) {
            return Ok(());
        }
        self.ledger.record_fact(SECRETS, manifest).await
    }

    /// Carries out one step, unless an earlier run did with the same fingerprint and `still` says that it holds.
    ///
    /// The intent is durable before `act` starts and the outcome after it ends. A step whose outcome is unknown is
    /// carried out again, so `act` looks for what it may have left before it makes anything.
    pub async fn step<T>(
        &self,
        step: Step,
        still: impl AsyncFnOnce(&T) -> Result<bool, Failure>,
        act: impl AsyncFnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned,
    {
        if let Some(kept) = self.kept_step(&step, still).await? {
            return Ok(kept);
        }
        self.begin(&step).await?;
        let result = act().await;
        self.finish(&step, &result).await?;
        result
    }

    /// What an earlier run made in this step, if it had the same fingerprint and `still` says that it holds.
    pub async fn kept_step<T: DeserializeOwned>(
        &self,
        step: &Step,
        still: impl AsyncFnOnce(&T) -> Result<bool, Failure>,
    ) -> Result<Option<T>, Failure> {
        let reading = self.reader.read(&step.inputs)?;
        let fingerprint = reading.fingerprint(&format!("{}/{}", self.stage, step.name));
        let Some(kept) = self.kept(&step.name, &fingerprint) else { return Ok(None) };
        Ok(still(&kept).await?.then_some(kept))
    }

    /// Makes the intent of a step durable. Steps that one tool carries out together are begun and finished one by one.
    pub async fn begin(&self, step: &Step) -> Result<(), Failure> {
        self.checkpoint()?;
        let reading = self.reader.read(&step.inputs)?;
        self.ledger.intend(self.stage, &step.name, &reading, &step.effect).await
    }

    /// Records what came of a step that was begun.
    pub async fn finish<T: Serialize>(&self, step: &Step, result: &Result<T, Failure>) -> Result<(), Failure> {
        let output = result.as_ref().ok().and_then(|output| serde_json::to_value(output).ok());
        let why = result.as_ref().err().map(ToString::to_string);
        self.ledger.settle(self.stage, &step.name, Outcome::of(result), output, why).await
    }

    /// Records that steps which an earlier run left open, or saw fail, turned out to be done.
    pub async fn found_done(&self, steps: &[&str], output: &impl Serialize) -> Result<(), Failure> {
        for step in steps {
            let memory = self.ledger.step(self.stage, step);
            if memory.is_some_and(|memory| memory.outcome != Outcome::Succeeded) {
                let output = serde_json::to_value(output).ok();
                self.ledger.settle(self.stage, step, Outcome::Succeeded, output, None).await?;
            }
        }
        Ok(())
    }

    /// What an earlier run recorded for this step, if it succeeded with the same fingerprint.
    fn kept<T: DeserializeOwned>(&self, step: &str, fingerprint: &Digest) -> Option<T> {
        let memory = self.ledger.step(self.stage, step)?;
        let holds = memory.outcome == Outcome::Succeeded && memory.fingerprint == *fingerprint;
        serde_json::from_value(memory.output.filter(|_| holds)?).ok()
    }
}
