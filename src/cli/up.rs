//! `sre-provision up`: makes the environment, or goes on where it was stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde_json::json;

use super::Common;
use super::ask::ask;
use super::desk::{Desk, TOOLS};
use super::look::{Layout, Looked};
use super::operation::nothing_open;
use super::plan::heading;
use super::run::Run;
use crate::artifact::{Health, Kind};
use crate::cloud::{Cloud, Need};
use crate::decision::{Plan, Verdict};
use crate::environment::{Role, Via};
use crate::event::{Events, Outcome, Received};
use crate::execute::{Report, World, up};
use crate::failure::{Exit, Failure};
use crate::identity::{Identity, TAG_NODE, tag_of};
use crate::journal::{Journal, Lease};
use crate::node::Connections;
use crate::report::{Screen, StageLine, ago, closing_table, kept_text, moment, plan_text, took};
use crate::secrets::Secrets;
use crate::stages::{self, Reader, Stage};
use crate::stop::Stop;
use crate::tools::require_plugins;
use crate::vsphere::Size;
use crate::wanted::WantedNode;

#[derive(Debug, clap::Args)]
pub struct Up {
    /// The environment
    environment: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What a command that changes an environment has in hand once it may write.
pub(super) struct Ready {
    pub desk: Desk,
    pub cloud: Box<dyn Cloud>,
    pub identity: Identity,
    pub is_new: bool,
    pub secrets: Secrets,
    pub lease: Lease,
    pub journal: Journal,
}

/// A run that has come to its end.
pub(super) struct Ended {
    pub desk: Desk,
    identity: Identity,
    pub report: Report,
    pub run: u32,
    lasted: Duration,
    /// What came of telling the end of the journal where the file says.
    pub anchored: Result<(), Failure>,
}

impl Up {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let ready = Ready::new(Desk::open(common, &self.environment).await?).await?;
        nothing_open(&ready.journal, None)?;
        let road = Road { command: "up", yes: self.yes };
        road.go(ready, screen, stop).await
    }
}

/// The way of `up`, which `upgrade` goes too with another release.
pub(super) struct Road {
    /// The command that goes it, for the journal and for what to type again.
    pub command: &'static str,
    pub yes: bool,
}

impl Road {
    pub async fn go(&self, ready: Ready, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let started = Instant::now();
        let is_tidy = ready.desk.is_tidy(&ready.secrets)?;
        let connections = ready.desk.connections(&ready.secrets, &ready.identity)?;
        let (events, received) = Events::channel();
        let stages = stages::all(ready.desk.env.platform);
        let layout = ready.layout(&connections, &events, stop);
        let looked = layout.look(&stages, &ready.journal).await?;
        if let Some(failure) = looked.standstill(&ready.desk.env.name) {
            screen.remark(&plan_text(&looked.plan, &looked.usual));
            return Err(failure);
        }
        if looked.plan.is_noop() {
            if is_tidy {
                connections.close().await;
                return as_described(&ready, &looked, started, screen);
            }
            // A run was killed after its last outcome: what it left is taken away under the journal, and nobody is asked.
        } else {
            self.ask(&ready, &looked, screen, stop).await?;
            preflight(&ready, &stages, &looked.plan, &connections).await?;
        }
        ready.desk.home.keep_identity(&ready.identity).await?;
        let (told, going) = ((events, received), (self.command, screen));
        let ended = carry_out(ready, &looked, &stages, &connections, told, going, stop).await;
        connections.close().await;
        let ended = ended?;
        conclude(&ended, screen).and(ended.anchored)
    }

    async fn ask(&self, ready: &Ready, looked: &Looked, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        screen.remark(&format!(
            "{}\n\n{}\n",
            heading(&ready.desk, &ready.identity),
            plan_text(&looked.plan, &looked.usual)
        ));
        if self.yes {
            return Ok(());
        }
        match ask(screen, "go on? [y/N]".to_owned(), stop).await?.as_deref() {
            Some("y" | "Y" | "yes") => Ok(()),
            Some(_) => Err(Failure::new(Exit::Approval, format!("{}: nothing was done", self.command))),
            None => Err(Failure::new(Exit::Approval, format!("{}: nobody can answer whether to go on", self.command))
                .because("standard input is no terminal")
                .hint(format!("sre-provision {} {} --yes", self.command, ready.desk.env.name))),
        }
    }
}

impl Ready {
    pub(super) async fn new(mut desk: Desk) -> Result<Self, Failure> {
        let lease = desk.lease().await?;
        let recorded = desk.recorded_identity().await?;
        let (cloud, account) = desk.cloud(recorded.as_ref()).await?;
        // Another class than the recorded one counts only once the plan that carries it was agreed to.
        let identity = desk.identity(cloud.as_ref(), &account).await?;
        if recorded.is_none() {
            desk.home.keep_identity(&identity).await?;
        }
        let journal = desk.journal(&identity).await?;
        desk.keep_release(journal.memory());
        let secrets = desk.secrets_known_to(&journal, &identity)?;
        if desk.env.hosts.is_none() {
            secrets.ssh_key()?;
        }
        let is_new = recorded.is_none();
        Ok(Self { desk, cloud, identity, is_new, secrets, lease, journal })
    }

    pub(super) fn layout<'a>(&'a self, connections: &'a Connections, events: &'a Events, stop: &'a Stop) -> Layout<'a> {
        Layout {
            desk: &self.desk,
            identity: &self.identity,
            is_new: self.is_new,
            cloud: self.cloud.as_ref(),
            secrets: &self.secrets,
            connections,
            events,
            stop,
        }
    }
}

/// What must be there before anything is made: the tools, Packer's plugins where an image is built, and the way in where
/// it can be walked already.
pub(super) async fn preflight(
    ready: &Ready,
    stages: &[Box<dyn Stage>],
    plan: &Plan,
    connections: &Connections,
) -> Result<(), Failure> {
    let platform = ready.desk.env.platform;
    let starts = |tool: &str| stages.iter().any(|stage| stages::programs(platform, stage.makes()).contains(&tool));
    for tool in TOOLS.into_iter().filter(|tool| starts(tool)) {
        ready.desk.tools.get(tool)?;
    }
    ready.desk.tools.require_connecting()?;
    for (image, templates) in [(Kind::BaseImage, "packer/base"), (Kind::NodeImage, "packer/node")] {
        if plan.of(image).is_some_and(|decision| matches!(decision.verdict, Verdict::Run | Verdict::Follow)) {
            require_plugins(&ready.desk.tools, &ready.desk.workspace.asset(Path::new(templates)))?;
        }
    }
    room(ready, plan).await?;
    let access = &ready.desk.env.access;
    if access.via == Via::Jump
        && let Some(reach) = access.jump.as_ref().and_then(stages::named_jump)
    {
        connections.open_jump(&reach).await.map_err(|failure| failure.of("access"))?;
    }
    Ok(())
}

/// Whether the platform has room for the machines that are to be made: told before an image is built for them.
async fn room(ready: &Ready, plan: &Plan) -> Result<(), Failure> {
    if plan.of(Kind::Nodes).is_none_or(|one| !matches!(one.verdict, Verdict::Run | Verdict::Follow)) {
        return Ok(());
    }
    let there = ready.cloud.machines(&tag_of(ready.identity.id)).await?;
    let is_there = |name: &str| there.iter().any(|machine| machine.tags.get(TAG_NODE).is_some_and(|node| node == name));
    let mut new = ready.desk.env.wanted_nodes();
    let kept_apart = new.iter().filter(|node| node.role == Role::Server).count() > 1;
    new.retain(|node| !is_there(&node.name.0));
    let need = Need { kept_apart, ..need(&new) };
    ready.cloud.room(&need).await.map_err(|failure| failure.of("nodes"))
}

/// What these nodes take, where their sizes tell it.
fn need(nodes: &[WantedNode]) -> Need {
    let mut need = Need::default();
    for node in nodes {
        let Some(size) = Size::read(&node.size) else { continue };
        let memory = u64::from(size.memory_gib);
        need.machines += 1;
        need.cpus += size.cpus;
        need.memory_gib += memory;
        need.disk_gib += node.disk.gib();
        need.most_cpus = need.most_cpus.max(size.cpus);
        need.most_memory_gib = need.most_memory_gib.max(memory);
    }
    need
}

/// Carries out a plan as a run of its own.
///
/// # Errors
/// The journal could not be written; what came of the stages is in the report.
pub(super) async fn carry_out(
    ready: Ready,
    looked: &Looked,
    stages: &[Box<dyn Stage>],
    connections: &Connections,
    told: (Events, Received),
    (command, screen): (&str, Screen),
    stop: &Stop,
) -> Result<Ended, Failure> {
    let Ready { desk, cloud, identity, is_new, secrets, lease, journal } = ready;
    let started = Instant::now();
    let command = format!("{command} {}", desk.env.name);
    let written = (command.as_str(), Some(looked.plan.digest()));
    let run = Run::begin(&desk, &identity, (lease, journal), written, told, screen, stop).await?;
    desk.tell_refused(&run.events);
    let report = {
        let layout = Layout {
            desk: &desk,
            identity: &identity,
            is_new,
            cloud: cloud.as_ref(),
            secrets: &secrets,
            connections,
            events: &run.events,
            stop,
        };
        let children = desk.children(&run.events, stop, run.book.clone());
        let reader = Reader::new(&desk.workspace, &desk.tools);
        let view = layout.view(run.number, &looked.known, &reader, run.book.as_ref(), &children);
        let world = World { view, book: run.book.clone() };
        let report = up(stages, &looked.graph, &looked.plan, &looked.survey, &world).await;
        desk.tidy(&children, &secrets, report.outcome() == Outcome::Succeeded, &run.book, &run.events).await;
        report
    };
    let why = report.failure().map(|failure| failure.to_string());
    let outcome = report.outcome();
    run.tell_end(outcome);
    let number = run.number;
    let end = run.close(outcome, why).await?;
    let anchored = desk.anchor(&identity, &end, screen).await;
    Ok(Ended { desk, identity, report, run: number, lasted: started.elapsed(), anchored })
}

/// The stages of a run, for the closing table.
pub(super) fn lines(report: &Report) -> Vec<StageLine> {
    let stages = report.stages.iter();
    stages
        .map(|(stage, settled)| StageLine {
            stage: *stage,
            outcome: settled.outcome,
            reused: settled.reused,
            took: settled.took,
            summary: settled.summary.clone(),
        })
        .collect()
}

/// The closing table, then how it ended.
fn conclude(ended: &Ended, screen: Screen) -> Result<(), Failure> {
    let Ended { desk, identity, report, run, .. } = ended;
    let run = *run;
    let lines = lines(report);
    screen.remark(&format!("\n{}\n", closing_table(&lines)));
    match report.failure() {
        None => {
            let text = arrived(desk, identity, report, ended.lasted);
            let health: Option<Health> = report.given.get(Kind::Health).ok();
            screen.result(&text, &json!({ "event": "up", "run": run, "stages": lines, "health": health }));
            Ok(())
        }
        Some(failure) => {
            let made = lines.iter().filter(|line| line.outcome == Outcome::Succeeded).count();
            let skipped = lines.iter().filter(|line| line.outcome == Outcome::Skipped).count();
            let ended = lines.len() - made - skipped;
            screen.remark(&format!(
                "{made} stages made or reused, {ended} ended early, {skipped} not started · nothing was undone"
            ));
            let hint = format!("sre-provision up {}   goes on where this run stopped", desk.env.name);
            Err(failure.log_if_none(desk.state.run(run)).hint(hint))
        }
    }
}

fn arrived(desk: &Desk, identity: &Identity, report: &Report, lasted: Duration) -> String {
    let name = &desk.env.name;
    let mut text = format!("{name} is up");
    if let Ok(health) = report.given.get::<Health>(Kind::Health) {
        text.push_str(&format!(" · {} servers, {} agents", health.servers, health.agents));
        text.push_str(&format!(" · {}\n  api         {}", took(lasted), health.api));
    } else {
        text.push_str(&format!(" · {}", took(lasted)));
    }
    let kubeconfig = desk.state.kubeconfig();
    text.push_str(&format!("\n  kubeconfig  {}", desk.workspace.shown(&kubeconfig).display()));
    if let Some(expires) = identity.expires {
        text.push_str(&format!("\n  expires     {}", moment(expires, &TimeZone::UTC)));
    }
    text
}

/// Nothing to do: one line.
fn as_described(ready: &Ready, looked: &Looked, started: Instant, screen: Screen) -> Result<(), Failure> {
    let name = &ready.desk.env.name;
    // Those that the stage `health` has just seen; where it stands, all of them are Ready.
    let nodes = looked.known.get::<Health>(Kind::Health).map_or(0, |health| health.servers + health.agents);
    let since = ready.journal.memory().last_run.as_ref().and_then(|run| run.ended);
    let checked = format!("checked in {:.1} s", started.elapsed().as_secs_f64());
    let text = format!("{name} is up and as described · {nodes} nodes ready · {checked}");
    let last = since.map(|at| ago(std::time::Duration::try_from(jiff::Timestamp::now() - at).unwrap_or_default()));
    let kept = kept_text(&looked.plan);
    if !kept.is_empty() {
        screen.remark(kept.trim_end());
    }
    screen
        .result(&text, &json!({ "event": "as-described", "environment": name, "nodes": nodes, "last-run-ago": last }));
    Ok(())
}
