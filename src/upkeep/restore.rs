//! Brings a cluster back to a snapshot, also when most of its servers are gone.
//!
//! All servers that answer are stopped; one becomes the only member with the snapshot's data, and the others join it anew,
//! one at a time behind the gate. Each of these is a journaled step, so that a restore goes on where it was stopped. The
//! token stays: the data is sealed with it. Servers that do not answer are named, and their Nodes removed; `up` makes them
//! anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fleet::Fleet;
use super::open::Open;
use super::restoring::{self, SNAPSHOTS};
use super::snapshot::{check_name, list_on};
use super::tokens::ROTATED;
use super::verified;
use crate::artifact::Kind;
use crate::environment::NodeName;
use crate::event::NodeState;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Inputs;
use crate::node::Connection;
use crate::stages::{Context, Step, uncordon};
use crate::workspace::large_file_digest;

/// Stopping all pods of a busy server may take a while, and so may reading a large snapshot.
const STOPPING: Duration = Duration::from_secs(10 * 60);
const RESETTING: Duration = Duration::from_secs(20 * 60);

/// Which snapshot.
#[derive(Clone, Debug)]
pub enum Source {
    /// By its name on a server.
    Named(String),
    /// A file here, which is sent to a server.
    File(PathBuf),
}

/// What was decided at the beginning and holds to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Chosen {
    snapshot: String,
    /// The server that is reset.
    first: NodeName,
    /// The other servers that answer.
    others: Vec<NodeName>,
    /// Those that do not.
    lost: Vec<NodeName>,
}

/// A cluster that was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    pub snapshot: String,
    pub first: NodeName,
    pub rejoined: Vec<NodeName>,
    /// Servers that did not answer: `up` makes them anew.
    pub lost: Vec<NodeName>,
    /// Nodes of machines that are gone, which were removed from the cluster.
    pub removed_nodes: Vec<String>,
    pub nodes: usize,
    pub namespaces: usize,
}

/// Restores, or goes on with it. `command` is what is typed to go on.
///
/// # Errors
/// Exit 1 where nobody has the snapshot; exit 7 where a gate is not passed; the same call goes on.
pub async fn restore(fleet: Fleet<'_>, source: &Source, command: &str) -> Result<Restored, Failure> {
    let fleet = &fleet.as_installed().await;
    let cx = fleet.cx;
    let chosen = match cx.fact::<Open>(super::OPEN)?.filter(|open| open.command == command) {
        Some(_) => None,
        None => Some(choose(fleet, source).await?),
    };
    let open = Open::begin(cx, command, || json!(chosen)).await?;
    let chosen: Chosen = serde_json::from_value(open.details.clone())
        .map_err(|error| Failure::bug("a restore that is open has another shape").because(error))?;
    let work = Work { fleet, chosen: &chosen, run: open.run };
    let answering = || std::iter::once(&chosen.first).chain(&chosen.others);
    for node in answering() {
        work.step("stop", node, async |server| work.stop(node, &server).await).await?;
    }
    let first = &chosen.first;
    work.step("reset", first, async |server| work.reset(&server).await).await?;
    work.step("start", first, async |server| {
        server.ask("starting RKE2", &restoring::starting()).await?;
        fleet.returns(first).await
    })
    .await?;
    let address = fleet.address(first)?;
    for node in &chosen.others {
        work.step("rejoin", node, async |server| work.rejoin(node, &server, address).await).await?;
    }
    let server = fleet.connection(first).await?;
    let removed_nodes = verified::remove_stale(fleet, &server, &chosen.lost).await?;
    verified::agents_return(fleet, open.run).await?;
    // An upgrade that was given up for this may have kept pods from some.
    for node in answering().chain(fleet.agents.keys()) {
        uncordon(cx, node, &fleet.access, first).await?;
    }
    let members: Vec<NodeName> = answering().cloned().collect();
    let seen = verified::verify(fleet, &members).await?;
    server.ask("clearing up after the restore", &restoring::clearing(&chosen.snapshot)).await?;
    open.end(cx).await?;
    Ok(Restored {
        snapshot: chosen.snapshot.clone(),
        first: first.clone(),
        rejoined: chosen.others.clone(),
        lost: chosen.lost.clone(),
        removed_nodes,
        nodes: seen.nodes,
        namespaces: seen.namespaces,
    })
}

/// Which servers answer, who has the snapshot, and so who is reset.
async fn choose(fleet: &Fleet<'_>, source: &Source) -> Result<Chosen, Failure> {
    let (mut answering, mut lost) = (Vec::new(), Vec::new());
    for (node, state) in fleet.ask(fleet.servers.keys()).await {
        match state {
            Ok(_) => answering.push(node),
            Err(failure) => {
                fleet.cx.events.notice(format!("{node} does not answer and is left out: {failure}"));
                lost.push(node);
            }
        }
    }
    let (snapshot, holders) = match source {
        Source::Named(name) => (name.clone(), holders(fleet, &answering, name).await?),
        Source::File(path) => (send(fleet, &answering, path).await?, answering.first().cloned().into_iter().collect()),
    };
    let Some(first) = holders.first().cloned() else {
        let failure = Failure::new(Exit::NotDone, format!("no server that answers has a snapshot `{snapshot}`"));
        let failure = if lost.is_empty() { failure } else { failure.because(format!("not asked: {}", names(&lost))) };
        return Err(failure
            .hint(format!("sre-provision snapshot list {}", fleet.cx.env.name))
            .hint("a copy beside the servers is restored with `--from FILE`"));
    };
    if let Some(rotated) = fleet.cx.fact::<Timestamp>(ROTATED)?.filter(|rotated| is_before(&snapshot, *rotated)) {
        return Err(Failure::new(Exit::NotDone, format!("`{snapshot}` is from before the tokens were rotated"))
            .because(format!("that was at {rotated}; the snapshot is sealed with the token of then"))
            .hint("restore one that was taken since; nothing was stopped"));
    }
    let others = answering.into_iter().filter(|node| *node != first).collect();
    Ok(Chosen { snapshot, first, others, lost })
}

/// Whether a snapshot was taken before a time, by the seconds that RKE2 ends its name with.
fn is_before(snapshot: &str, time: Timestamp) -> bool {
    let name = snapshot.strip_suffix(".zip").unwrap_or(snapshot);
    let taken = name.rsplit_once('-').and_then(|(_, seconds)| seconds.parse::<i64>().ok());
    taken.is_some_and(|taken| taken < time.as_second())
}

async fn holders(fleet: &Fleet<'_>, answering: &[NodeName], name: &str) -> Result<Vec<NodeName>, Failure> {
    check_name(name)?;
    let mut holders = Vec::new();
    for node in answering {
        let listed = list_on(node, &fleet.connection(node).await?).await?;
        if listed.iter().any(|snapshot| snapshot.name == name && snapshot.size > 0) {
            holders.push(node.clone());
        }
    }
    Ok(holders)
}

/// Sends a local snapshot to the first server that answers; gives its name there.
async fn send(fleet: &Fleet<'_>, answering: &[NodeName], path: &Path) -> Result<String, Failure> {
    let Some(first) = answering.first() else {
        return Err(Failure::new(Exit::Platform, "no server answers: there is nowhere to restore to")
            .class(Class::NeedsPerson)
            .hint(format!("sre-provision up {}   makes machines anew", fleet.cx.env.name)));
    };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    check_name(&name)?;
    let digest = large_file_digest(path).await?;
    let server = fleet.connection(first).await?;
    fleet.cx.progress(format!("sending {name} to {first}"));
    server.put(path, &Path::new(SNAPSHOTS).join(&name), 0o600, &digest).await?;
    Ok(name)
}

fn names(nodes: &[NodeName]) -> String {
    nodes.iter().map(|node| node.0.as_str()).collect::<Vec<_>>().join(", ")
}

struct Work<'a> {
    fleet: &'a Fleet<'a>,
    chosen: &'a Chosen,
    /// Which began it.
    run: u32,
}

impl Work<'_> {
    /// One phase on one server, unless it was done before a stop.
    async fn step(
        &self,
        phase: &str,
        node: &NodeName,
        act: impl AsyncFnOnce(Connection) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let cx = Context { stage: Kind::Servers, ..*self.fleet.cx };
        let inputs = Inputs::new().value("snapshot", &self.chosen.snapshot);
        let step = Step::new(format!("restore-{}/{phase}/{node}", self.run), inputs, format!("{phase} {node}"));
        let act = async || {
            cx.node(node, NodeState::Working, phase);
            act(self.fleet.connection(node).await?).await?;
            cx.node(node, NodeState::Done, format!("{phase}: done"));
            Ok(phase.to_owned())
        };
        cx.step(step, async |_: &String| Ok(true), act).await.map(drop)
    }

    fn unit(&self, phase: &str, node: &NodeName) -> String {
        format!("restore-{}-{phase}-{node}", self.run)
    }

    async fn stop(&self, node: &NodeName, server: &Connection) -> Result<(), Failure> {
        let tell = |text: &str| self.fleet.cx.node(node, NodeState::Working, text);
        let wait = self.fleet.cx.wait(STOPPING, &tell);
        if *node == self.chosen.first {
            server.ask("putting the snapshot aside", &restoring::setting_aside(&self.chosen.snapshot)).await?;
        }
        restoring::unit(server, &self.unit("stop", node), &restoring::stopping(self.run), &wait).await.map(drop)
    }

    async fn reset(&self, server: &Connection) -> Result<(), Failure> {
        let first = &self.chosen.first;
        let tell = |text: &str| self.fleet.cx.node(first, NodeState::Working, text);
        let wait = self.fleet.cx.wait(RESETTING, &tell);
        let script = restoring::resetting(&self.chosen.snapshot);
        let said = restoring::unit(server, &self.unit("reset", first), &script, &wait).await?;
        if restoring::is_reset(&said) {
            return Ok(());
        }
        server.forget_unit(&self.unit("reset", first)).await?;
        Err(Failure::new(Exit::Tool, format!("`{first}` did not say that it was reset"))
            .because(said.lines().last().unwrap_or_default()))
    }

    async fn rejoin(&self, node: &NodeName, server: &Connection, address: &str) -> Result<(), Failure> {
        let tell = |text: &str| self.fleet.cx.node(node, NodeState::Working, text);
        let wait = self.fleet.cx.wait(STOPPING, &tell);
        let script = restoring::rejoining(address);
        restoring::unit(server, &self.unit("rejoin", node), &script, &wait).await?;
        self.fleet.returns(node).await?;
        server.ask("clearing up after the join", &restoring::rejoined()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_tells_by_its_name_whether_it_is_from_before_a_rotation() {
        let rotated: Timestamp = "2026-11-30T05:52:00Z".parse().expect("a time");

        assert!(is_before("pre-server-1-1796017867", rotated));
        assert!(!is_before("pre-server-1-1796018000", rotated));
        assert!(!is_before("of-unknown-age", rotated), "what cannot be told is left to the reset");
    }
}
