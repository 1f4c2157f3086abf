//! `sre-provision nodes`: the machines of an environment, as recorded and as they answer now.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::Common;
use super::desk::{Desk, known, recorded_access};
use crate::artifact::{Access, Kind, Node, Nodes};
use crate::environment::{NodeName, Role};
use crate::failure::Failure;
use crate::node::Connections;
use crate::report::{Screen, table};
use crate::rke2::{NodeStatus, State, UnitActivity};
use crate::upkeep::{cluster_nodes, days_left};

const HEAD: [&str; 13] =
    ["NODE", "ROLE", "RKE2", "READY", "AGE", "VERSION", "ETCD", "CERTS", "ADDRESS", "ZONE", "SIZE", "IMAGE", "MACHINE"];

#[derive(Debug, clap::Args)]
pub struct NodesArgs {
    /// The environment
    environment: String,
}

#[derive(Debug, Serialize)]
struct Line {
    node: String,
    role: Role,
    /// What RKE2's service is there.
    state: String,
    /// By the API; nothing where it does not answer or knows no such node.
    ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_ready: Option<String>,
    /// In seconds, since the cluster has known it.
    age: Option<u64>,
    version: String,
    /// What its etcd member is, on a server where it answers.
    etcd: Option<&'static str>,
    /// Until the first of its certificates ends.
    certificate_days: Option<i64>,
    address: String,
    zone: String,
    size: String,
    image: String,
    machine: String,
}

impl NodesArgs {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let desk = Desk::open(common, &self.environment).await?;
        let identity = desk.made_identity().await?;
        let journal = desk.journal(&identity).await?;
        let known = known(journal.memory());
        let access = recorded_access(&known, &self.environment)?;
        let nodes: Nodes = known.get(Kind::Nodes)?;
        let connections = desk.connections(&desk.secrets(&identity)?, &identity)?;
        let asked = nodes.nodes.keys().map(async |name| {
            let census = connections.census(name, &access).await;
            (name, census.and_then(|census| State::read(&name.0, &census)))
        });
        let states: BTreeMap<&NodeName, Result<State, Failure>> = join_all(asked).await.into_iter().collect();
        let serving = states.iter().filter(|(_, state)| state.as_ref().is_ok_and(serves)).map(|(name, _)| *name);
        let seen = by_the_api(serving, &connections, &access).await;
        connections.close().await;
        let now = Timestamp::now();
        let lines: Vec<Line> = nodes
            .nodes
            .iter()
            .filter_map(|(name, node)| Some(line(name, node, states.get(name)?, seen.get(&name.0), now)))
            .collect();
        screen.result(&text(&lines), &lines);
        Ok(())
    }
}

fn serves(state: &State) -> bool {
    state.server.activity == UnitActivity::Active
}

/// The nodes as the first server that answers for the API has them; nothing where none does.
async fn by_the_api(
    servers: impl Iterator<Item = &NodeName>,
    connections: &Connections,
    access: &Access,
) -> BTreeMap<String, NodeStatus> {
    for server in servers {
        let asked = async { cluster_nodes(&connections.get(server, access).await?).await };
        if let Ok(nodes) = asked.await {
            return nodes.into_iter().map(|status| (status.name.clone(), status)).collect();
        }
    }
    BTreeMap::new()
}

fn line(
    name: &NodeName,
    node: &Node,
    state: &Result<State, Failure>,
    seen: Option<&NodeStatus>,
    now: Timestamp,
) -> Line {
    let known = state.as_ref().ok();
    let (told, version) = match state {
        Ok(state) => (state.unit(node.role).activity.name().to_owned(), state.running.clone().unwrap_or_default()),
        Err(failure) => (failure.to_string(), String::new()),
    };
    Line {
        node: name.to_string(),
        role: node.role,
        state: told,
        ready: seen.map(|seen| seen.not_ready.is_none()),
        not_ready: seen.and_then(|seen| seen.not_ready.clone()),
        age: seen.and_then(|seen| u64::try_from(now.as_second() - seen.created?.as_second()).ok()),
        version,
        etcd: known.and_then(|state| Some(state.voice.as_ref()?.role.name())),
        certificate_days: known.and_then(State::first_end).map(|end| days_left(end, now)),
        address: node.address.clone(),
        zone: node.zone.clone(),
        size: node.size.clone(),
        image: node.image.clone(),
        machine: node.machine.clone(),
    }
}

fn text(lines: &[Line]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    let none = || "–".to_owned();
    rows.extend(lines.iter().map(|line| {
        let ready = match line.ready {
            Some(true) => "yes".to_owned(),
            Some(false) => "no".to_owned(),
            None => none(),
        };
        vec![
            line.node.clone(),
            line.role.to_string(),
            line.state.clone(),
            ready,
            line.age.map_or_else(none, age),
            line.version.clone(),
            line.etcd.map_or_else(none, str::to_owned),
            line.certificate_days.map_or_else(none, |days| format!("{days}d")),
            line.address.clone(),
            line.zone.clone(),
            line.size.clone(),
            line.image.clone(),
            line.machine.clone(),
        ]
    }));
    table(&rows)
}

/// The largest unit alone, as kubectl tells ages.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        assert_eq!(
            [59, 119, 120, 7199, 7200, 172_799, 172_800].map(age),
            ["59s", "119s", "2m", "119m", "2h", "47h", "2d"]
        );
    }
}
