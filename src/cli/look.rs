//! The look that `plan` and `up` share: everything that is decided is decided here, by the same code for both.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::desk::{Desk, known};
use crate::artifact::{Artifact, Image, Kind, Nodes};
use crate::cloud::Cloud;
use crate::decision::Plan;
use crate::event::{Events, Outcome};
use crate::failure::{Exit, Failure};
use crate::fingerprint::{Digest, Reading};
use crate::identity::Identity;
use crate::journal::{Journal, Memory};
use crate::node::Connections;
use crate::plan::{Graph, Survey, decide, node_changes, refusal, restarts, survey};
use crate::process::{Children, Witness};
use crate::secrets::Secrets;
use crate::stages::{Context, Given, Ledger, Reader, Stage, StepMemory};
use crate::stop::{Level, Stop};

/// What a command laid out to look and work with.
#[derive(Clone, Copy)]
pub struct Layout<'a> {
    pub desk: &'a Desk,
    pub identity: &'a Identity,
    /// It was given in this run.
    pub is_new: bool,
    pub cloud: &'a dyn Cloud,
    pub secrets: &'a Secrets,
    pub connections: &'a Connections,
    pub events: &'a Events,
    pub stop: &'a Stop,
}

/// What a look saw, and what follows from it.
pub struct Looked {
    pub graph: Graph,
    pub survey: Survey,
    pub plan: Plan,
    pub known: Given,
    /// How long the stages took before, here or in an earlier environment of this name.
    pub usual: BTreeMap<Kind, Duration>,
}

impl Looked {
    /// Why `up` would do nothing: the file asks for what was settled otherwise for life, what was made is not ours, or
    /// nobody could say what became of it.
    pub fn standstill(&self, environment: &str) -> Option<Failure> {
        if let Some(refused) = refusal(self.survey.lasting(), environment) {
            return Some(refused);
        }
        let stopped = self.plan.stopped()?;
        let failure = Failure::new(Exit::Platform, format!("the plan stops at {}", stopped.stage));
        let hint = "what is not ours or does not answer is not touched; look at it, then try again";
        Some(failure.because(&stopped.reason).hint(hint))
    }
}

impl<'a> Layout<'a> {
    /// Probes what was made and decides every stage; changes nothing.
    pub async fn look(&self, stages: &[Box<dyn Stage>], journal: &Journal) -> Result<Looked, Failure> {
        let env = &self.desk.env;
        let memory = journal.memory();
        let known = known(memory);
        let graph = Graph::new(stages, env);
        let order = graph.order().map_err(|circle| Failure::bug(format!("stages need each other: {circle:?}")))?;
        let reader = Reader::new(&self.desk.workspace, &self.desk.tools);
        let remembered = Arc::new(Remembered(memory.clone()));
        let children = self.desk.children(self.events, self.stop, remembered.clone());
        let view = self.view(memory.next_run(), &known, &reader, remembered.as_ref(), &children);
        // Looking changes nothing, so it may end anywhere.
        let survey = tokio::select! {
            survey = survey(stages, &graph, memory, |stage| Context { stage, ..view }) => survey?,
            () = self.stop.reached(Level::Finish) => return Err(Failure::cancelled("stopped while looking")),
        };
        let decisions = decide(&graph, &order, &survey);
        let nodes: Option<Nodes> = known.get(Kind::Nodes).ok();
        let image = node_image(&known);
        let releases = self.desk.releases(memory);
        let mut nodes = node_changes(&env.wanted_nodes(), nodes.as_ref(), image.as_ref(), &releases);
        nodes.extend(restarts(env, &memory.facts, &releases.joined));
        let plan = Plan { decisions, nodes };
        let usual = if plan.is_noop() { BTreeMap::new() } else { self.desk.usual(journal).await };
        Ok(Looked { graph, survey, plan, known, usual })
    }

    /// The world as the first stage sees it.
    pub fn view<'b>(
        &self,
        run: u32,
        known: &'b Given,
        reader: &'b Reader<'b>,
        ledger: &'b dyn Ledger,
        children: &'b Children,
    ) -> Context<'b>
    where
        'a: 'b,
    {
        Context {
            stage: Kind::Bundle,
            run,
            env: &self.desk.env,
            identity: self.identity,
            is_new: self.is_new,
            workspace: &self.desk.workspace,
            state: &self.desk.state,
            cloud: self.cloud,
            secrets: self.secrets,
            tools: &self.desk.tools,
            children,
            connections: self.connections,
            reader,
            shelf: &self.desk.shelf,
            ledger,
            events: self.events,
            stop: self.stop,
            until: None,
            known,
        }
    }
}

fn node_image(known: &Given) -> Option<Image> {
    match known.artifact(Kind::NodeImage) {
        Some(Artifact::NodeImage(image)) => Some(image.clone()),
        Some(_) | None => None,
    }
}

/// The journal for looking only: a probe that tries to write is a defect.
pub struct Remembered(pub Memory);

fn no_writing() -> Failure {
    Failure::bug("a look at the world tried to write to the journal")
}

#[async_trait]
impl Ledger for Remembered {
    fn step(&self, stage: Kind, step: &str) -> Option<StepMemory> {
        let memory = self.0.steps.get(&(stage, step.to_owned()))?;
        let (outcome, output) = (memory.outcome, memory.output.clone());
        Some(StepMemory { outcome, fingerprint: memory.fingerprint.clone(), output })
    }

    async fn intend(&self, _: Kind, _: &str, _: &Reading, _: &str) -> Result<(), Failure> {
        Err(no_writing())
    }

    async fn settle(&self, _: Kind, _: &str, _: Outcome, _: Option<Value>, _: Option<String>) -> Result<(), Failure> {
        Err(no_writing())
    }

    fn fact(&self, name: &str) -> Option<Value> {
        self.0.facts.get(name).cloned()
    }

    async fn record_fact(&self, _: &str, _: Value) -> Result<(), Failure> {
        Err(no_writing())
    }
}

#[async_trait]
impl Witness for Remembered {
    async fn started(&self, _: &str, _: &str, _: &Path) -> Result<(), Failure> {
        Err(no_writing())
    }

    async fn ended(&self, _: &str, _: Option<i32>, _: Option<Duration>) -> Result<(), Failure> {
        Err(no_writing())
    }

    fn open(&self) -> Vec<String> {
        self.0.open_children.keys().cloned().collect()
    }

    async fn vanished(&self, _: &str) -> Result<(), Failure> {
        Err(no_writing())
    }

    async fn state_kept(&self, _: &str, _: &Path, _: &Digest) -> Result<(), Failure> {
        Err(no_writing())
    }

    async fn state_locked(&self, _: Kind, _: &str) -> Result<bool, Failure> {
        Err(no_writing())
    }

    async fn lock_left(&self, _: Kind) -> Result<Option<String>, Failure> {
        Err(no_writing())
    }
}
