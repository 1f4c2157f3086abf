//! `sre-provision status`: every environment of the workspace, from what is recorded; asks nobody but a bucket that keeps
//! what is recorded.

use jiff::Timestamp;
use serde::Serialize;

use super::{Common, homes};
use crate::artifact::{Artifact, Kind};
use crate::event::Outcome;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::journal::Memory;
use crate::report::{Screen, ago, table};
use crate::workspace::{Workspace, check_name};

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
        let now = Timestamp::now();
        let lines = match &self.environment {
            Some(name) => vec![line(&workspace, name, now).await?],
            None => all(&workspace, now).await?,
        };
        screen.result(&table(&rows(&lines)), &lines);
        Ok(())
    }
}

/// A line for every environment that has a file or left something; one that cannot be read hides none of the others.
async fn all(workspace: &Workspace, now: Timestamp) -> Result<Vec<Line>, Failure> {
    let mut names = [workspace.environments()?, workspace.remembered()?].concat();
    names.sort();
    names.dedup();
    let mut lines = Vec::new();
    for name in names {
        let read = line(workspace, &name, now).await;
        lines.push(read.unwrap_or_else(|failure| Line::new(&name, failure.to_string())));
    }
    Ok(lines)
}

fn rows(lines: &[Line]) -> Vec<Vec<String>> {
    let head = ["ENVIRONMENT", "PLATFORM", "NODES", "RKE2", "STATE", "EXPIRES"].map(str::to_owned).to_vec();
    let cells = lines.iter().map(|line| {
        [&line.environment, &line.platform, &line.nodes, &line.rke2, &line.state, &line.expires]
            .map(|cell| if cell.is_empty() { "–".to_owned() } else { cell.clone() })
            .to_vec()
    });
    std::iter::once(head).chain(cells).collect()
}

impl Line {
    fn new(name: &str, state: String) -> Self {
        let environment = name.to_owned();
        Self {
            environment,
            platform: String::new(),
            nodes: String::new(),
            rke2: String::new(),
            state,
            expires: String::new(),
        }
    }
}

async fn line(workspace: &Workspace, name: &str, now: Timestamp) -> Result<Line, Failure> {
    check_name(name)?;
    let home = homes::named(workspace, name).await?;
    let mut line = Line::new(name, "not made".to_owned());
    let Some(identity) = home.identity().await? else { return Ok(line) };
    let journal = home.journal(&identity).await?;
    let memory = journal.memory();
    line.platform = format!("{} {}", identity.platform, identity.region);
    (line.nodes, line.rke2) = members(memory);
    line.state = match home.holder().await? {
        Some(holder) => format!("busy: {} by {}", holder.command.unwrap_or_default(), holder.actor),
        None => condition(memory, now),
    };
    line.expires = expires(&identity, now);
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

fn condition(memory: &Memory, now: Timestamp) -> String {
    let open = memory.stages.iter().find(|(_, stage)| stage.last != Outcome::Succeeded);
    let last = memory.last_run.as_ref().map(|run| run.ended.unwrap_or(run.started));
    let since = last.map(|at| ago(between(at, now))).unwrap_or_default();
    match open {
        Some((kind, stage)) => format!("{} at {kind}, {since} ago", stage.last.name()),
        None if memory.stages.contains_key(&Kind::Health) => format!("up, {since} ago"),
        None => format!("not whole, {since} ago"),
    }
}

/// How far away the end of an environment is, or was: `in 23 h`, `2 d ago`; empty without one.
pub fn expires(identity: &Identity, now: Timestamp) -> String {
    let Some(at) = identity.expires else { return String::new() };
    if at > now { format!("in {}", ago(between(now, at))) } else { format!("{} ago", ago(between(at, now))) }
}

fn between(from: Timestamp, to: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::artifact::{Agents, Joined, Node, Nodes, Servers};
    use crate::environment::{EnvironmentClass, NodeName, Platform, Role};
    use crate::fingerprint::{Digest, Reading};
    use crate::journal::{Actor, Deed, Intent, Journal, Lease, LocalStore, Record, Settled, Writer, save_identity};
    use crate::workspace::StateDir;

    fn identity(name: &str) -> Identity {
        Identity {
            version: 1,
            id: Uuid::new_v4(),
            name: name.to_owned(),
            platform: Platform::Aws,
            class: EnvironmentClass::Ephemeral,
            account: "123456789012".to_owned(),
            region: "eu-central-1".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            created_by: "a.operator".to_owned(),
            expires: Some(at("2026-11-24T14:00:00Z")),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn nodes() -> Artifact {
        let node = |role| Node {
            machine: "i-1".to_owned(),
            role,
            address: "10.20.1.5".to_owned(),
            image: "ami-1".to_owned(),
            size: "m6i.large".to_owned(),
            disk_gib: 100,
            zone: "eu-central-1a".to_owned(),
            user: "rocky".to_owned(),
            port: 22,
        };
        let all = [("server-1", Role::Server), ("general-1", Role::Agent), ("general-2", Role::Agent)];
        let nodes = all.into_iter().map(|(name, role)| (NodeName(name.to_owned()), node(role))).collect();
        Artifact::Nodes(Nodes { nodes, jump: None })
    }

    fn joined(name: &str) -> (NodeName, Joined) {
        let one = Joined { machine: "i-1".to_owned(), version: "v1.35.4+rke2r1".to_owned() };
        (NodeName(name.to_owned()), one)
    }

    /// A stage that was made, or failed where it made nothing.
    fn made(stage: Kind, artifact: Option<Artifact>) -> [Record; 2] {
        let reading = Reading::default();
        let intent = Intent {
            stage,
            step: None,
            deed: Deed::Make,
            attempt: 1,
            fingerprint: reading.fingerprint(stage.name()),
            reading,
            effect: "sre:environment=1".to_owned(),
            tools: [].into(),
        };
        let settled = Settled {
            stage,
            step: None,
            deed: Deed::Make,
            attempt: 1,
            outcome: if artifact.is_some() { Outcome::Succeeded } else { Outcome::Failed },
            artifact,
            output: None,
            why: None,
            class: None,
            took: Duration::ZERO,
        };
        [Record::Intent(intent), Record::Outcome(Box::new(settled))]
    }

    /// An environment with one run that recorded this and has ended.
    async fn ran(state: &StateDir, identity: &Identity, records: impl IntoIterator<Item = [Record; 2]>) {
        save_identity(state, identity).expect("kept");
        let journal = Journal::open(Box::new(LocalStore::new(state)), identity).await.expect("empty");
        let lease = Lease::take(state, Actor::here()).expect("free");
        let writer = Writer::begin(journal, lease, &format!("up {}", identity.name), None).await.expect("begun");
        for record in records.into_iter().flatten() {
            writer.append(record).await.expect("written");
        }
        writer.end(Outcome::Succeeded, None).await.expect("ended");
    }

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = Workspace::open(dir.path()).expect("a workspace");
        (dir, workspace)
    }

    #[tokio::test]
    async fn an_environment_tells_its_members_its_condition_and_its_end() {
        let (_dir, workspace) = workspace();
        let servers = Servers {
            ca: Digest::of(b"ca").to_string(),
            join_address: "10.20.1.5".to_owned(),
            joined: [joined("server-1")].into(),
        };
        let agents = Agents { joined: [joined("general-1")].into() };
        let records = [
            made(Kind::Nodes, Some(nodes())),
            made(Kind::Servers, Some(Artifact::Servers(servers))),
            made(Kind::Agents, Some(Artifact::Agents(agents))),
        ];
        ran(&workspace.state("dev"), &identity("dev"), records).await;

        let line = line(&workspace, "dev", Timestamp::now()).await.expect("a line");

        assert_eq!((line.platform.as_str(), line.nodes.as_str()), ("aws eu-central-1", "2/3"));
        assert_eq!(line.rke2, "v1.35.4+rke2r1");
        assert_eq!(line.state, "not whole, 0 s ago");
    }

    #[tokio::test]
    async fn what_failed_is_named_by_its_stage() {
        let (_dir, workspace) = workspace();
        ran(&workspace.state("dev"), &identity("dev"), [made(Kind::Network, None)]).await;

        let line = line(&workspace, "dev", Timestamp::now()).await.expect("a line");

        assert_eq!((line.state.as_str(), line.nodes.as_str()), ("failed at network, 0 s ago", ""));
    }

    #[tokio::test]
    async fn an_environment_that_is_worked_on_names_who_does() {
        let (_dir, workspace) = workspace();
        let state = workspace.state("dev");
        ran(&state, &identity("dev"), []).await;
        let mut lease = Lease::take(&state, Actor::here()).expect("free");
        lease.note_run(2, "down dev").await.expect("noted");

        let line = line(&workspace, "dev", Timestamp::now()).await.expect("a line");

        assert_eq!(line.state, format!("busy: down dev by {}", Actor::here()));
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_hides_none_of_the_others() {
        let (dir, workspace) = workspace();
        std::fs::create_dir(dir.path().join("environments")).expect("made");
        std::fs::write(dir.path().join("environments/new.yaml"), "").expect("written");
        let state = workspace.state("dev");
        ran(&state, &identity("dev"), []).await;
        std::fs::write(state.journal().join("0000000001.json"), "{}").expect("altered");

        let lines = all(&workspace, Timestamp::now()).await.expect("lines");

        let told: Vec<_> = lines.iter().map(|line| line.environment.as_str()).collect();
        assert_eq!(told, ["dev", "new"]);
        assert!(
            lines[0].state.starts_with("the journal of `dev` is damaged: entry 1 was altered"),
            "{}",
            lines[0].state
        );
        assert_eq!(lines[1].state, "not made");
        let row = &rows(&lines)[2];
        assert_eq!(row, &["new", "–", "–", "–", "not made", "–"].map(str::to_owned));
    }

    #[test]
    fn the_end_is_told_from_now() {
        let told = |now: &str| expires(&identity("dev"), at(now));

        assert_eq!(told("2026-11-21T14:00:00Z"), "in 3 d");
        assert_eq!(told("2026-11-24T15:00:00Z"), "1 h ago");
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_refused() {
        let (_dir, workspace) = workspace();

        let failure = line(&workspace, "../x", Timestamp::now()).await.expect_err("refused");

        assert_eq!(failure.what(), "`../x` cannot be the name of an environment");
    }
}
