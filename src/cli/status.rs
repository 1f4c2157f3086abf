//! `sre-provision status`: every environment of the workspace, from what is recorded; asks nobody.

use jiff::Timestamp;
use serde::Serialize;

use super::Common;
use crate::artifact::{Artifact, Kind};
use crate::event::Outcome;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::journal::{Journal, Lease, LocalStore, Memory, load_identity};
use crate::report::{Screen, ago, table};
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub struct Status {
    /// One environment only
    environment: Option<String>,
}

/// One environment's line.
#[derive(Debug, Serialize)]
struct Line {
    environment: String,
    platform: String,
    nodes: String,
    rke2: String,
    state: String,
    expires: String,
}

impl Status {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let workspace = common.open()?;
        let mut names = match &self.environment {
            Some(name) => vec![name.clone()],
            None => [workspace.environments()?, workspace.remembered()?].concat(),
        };
        names.sort();
        names.dedup();
        let mut lines = Vec::new();
        for name in names {
            lines.push(line(&workspace, &name).await?);
        }
        let mut rows =
            vec![["ENVIRONMENT", "PLATFORM", "NODES", "RKE2", "STATE", "EXPIRES"].map(str::to_owned).to_vec()];
        rows.extend(lines.iter().map(|line| {
            [&line.environment, &line.platform, &line.nodes, &line.rke2, &line.state, &line.expires]
                .map(|cell| if cell.is_empty() { "–".to_owned() } else { cell.clone() })
                .to_vec()
        }));
        screen.result(&table(&rows), &lines);
        Ok(())
    }
}

async fn line(workspace: &Workspace, name: &str) -> Result<Line, Failure> {
    let state = workspace.state(name);
    let mut line = Line {
        environment: name.to_owned(),
        platform: String::new(),
        nodes: String::new(),
        rke2: String::new(),
        state: "not made".to_owned(),
        expires: String::new(),
    };
    let Some(identity) = load_identity(&state)? else { return Ok(line) };
    let journal = Journal::open(Box::new(LocalStore::new(&state)), &identity).await?;
    let memory = journal.memory();
    line.platform = format!("{} {}", identity.platform, identity.region);
    (line.nodes, line.rke2) = members(memory);
    line.state = match Lease::holder(&state) {
        Some(holder) => format!("busy: {} by {}", holder.command.unwrap_or_default(), holder.actor),
        None => condition(memory),
    };
    line.expires = expires(&identity);
    Ok(line)
}

/// How many of the machines joined, and the version they run.
fn members(memory: &Memory) -> (String, String) {
    let made = |kind| memory.stages.get(&kind).and_then(|stage| stage.made.as_ref()).map(|made| &made.artifact);
    let (mut joined, mut version) = (0, String::new());
    if let Some(Artifact::Servers(servers)) = made(Kind::Servers) {
        joined += servers.joined.len();
        version = servers.joined.values().next().map(|one| one.version.clone()).unwrap_or_default();
    }
    if let Some(Artifact::Agents(agents)) = made(Kind::Agents) {
        joined += agents.joined.len();
    }
    match made(Kind::Nodes) {
        Some(Artifact::Nodes(nodes)) => (format!("{joined}/{}", nodes.nodes.len()), version),
        Some(_) | None => (String::new(), version),
    }
}

fn condition(memory: &Memory) -> String {
    let open = memory.stages.iter().find(|(_, stage)| stage.last != Outcome::Succeeded);
    let since = memory.last_run.as_ref().map(|run| ago(since(run.ended.unwrap_or(run.started)))).unwrap_or_default();
    match open {
        Some((kind, stage)) => format!("{} at {kind}, {since} ago", stage.last.name()),
        None if memory.stages.contains_key(&Kind::Health) => format!("up, {since} ago"),
        None => format!("not whole, {since} ago"),
    }
}

fn expires(identity: &Identity) -> String {
    let Some(at) = identity.expires else { return String::new() };
    let now = Timestamp::now();
    if at > now { format!("in {}", ago(since_until(now, at))) } else { format!("{} ago", ago(since(at))) }
}

fn since(at: Timestamp) -> std::time::Duration {
    since_until(at, Timestamp::now())
}

fn since_until(from: Timestamp, to: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
