//! The end of a restore: agents are back, Nodes of machines that are gone are removed, and the cluster is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::Value;

use super::fleet::Fleet;
use super::restoring::kubectl;
use crate::artifact::Kind;
use crate::environment::{NodeName, Role};
use crate::event::NodeState;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::node::{Connection, quote};
use crate::rke2::{Expected, NodeStatus, members_agree};
use crate::stages::{Context, Step};

/// How long etcd may take to tell the same on every server, once all of them serve.
const AGREE: Duration = Duration::from_secs(2 * 60);

/// What was seen of the cluster.
pub struct Seen {
    pub nodes: usize,
    pub namespaces: usize,
}

/// Removes the Nodes of servers that do not answer, and of names that are no node of the environment.
pub async fn remove_stale(fleet: &Fleet<'_>, server: &Connection, lost: &[NodeName]) -> Result<Vec<String>, Failure> {
    let known: BTreeSet<&str> = fleet.servers.keys().chain(fleet.agents.keys()).map(|node| node.0.as_str()).collect();
    let there = nodes(server).await?;
    let is_stale = |name: &str| !known.contains(name) || lost.iter().any(|node| node.0 == name);
    let stale: Vec<String> = there.into_iter().map(|node| node.name).filter(|name| is_stale(name)).collect();
    for name in &stale {
        let script = kubectl(&format!("delete node --ignore-not-found --wait=false {}", quote(name)));
        server.ask(&format!("removing the Node `{name}`"), &script).await?;
    }
    Ok(stale)
}

/// Restarts every agent and waits until it is Ready again; one that does not answer is told and left.
pub async fn agents_return(fleet: &Fleet<'_>, run: u32) -> Result<(), Failure> {
    let cx = Context { stage: Kind::Agents, ..*fleet.cx };
    for (node, joined) in &fleet.agents {
        let agent = match fleet.connection(node).await {
            Ok(agent) => agent,
            Err(failure) => {
                cx.events.notice(format!("{node} does not answer and is left out: {failure}"));
                continue;
            }
        };
        let inputs = Inputs::new().value("machine", &joined.machine);
        let step = Step::new(format!("restore-{run}/restart/{node}"), inputs, format!("restart {node}"));
        let act = async || {
            cx.node(node, NodeState::Working, "restart");
            agent.ask("restarting RKE2", "systemctl restart --no-block rke2-agent.service").await?;
            fleet.returns(node).await?;
            cx.node(node, NodeState::Done, "Ready again");
            Ok(node.0.clone())
        };
        cx.step(step, async |_: &String| Ok(true), act).await?;
    }
    Ok(())
}

/// Looks at members, nodes and objects.
///
/// # Errors
/// Exit 7 with what is not as it should be.
pub async fn verify(fleet: &Fleet<'_>, members: &[NodeName]) -> Result<Seen, Failure> {
    let cx = fleet.cx;
    let Some(first) = members.first() else { return Err(Failure::bug("a cluster without a server")) };
    let roles: BTreeMap<NodeName, Role> = members.iter().map(|node| (node.clone(), Role::Server)).collect();
    let expected = Expected { nodes: roles, excused: BTreeMap::new(), version: fleet.version(first)? };
    let servers = try_join_all(members.iter().map(|node| fleet.connection(node))).await?;
    let tell = |text: &str| cx.progress(text);
    members_agree(&servers, &expected, &cx.wait(AGREE, &tell)).await?;
    let server = &servers[0];
    server.ask("asking whether the API is ready", &kubectl("get --raw /readyz")).await?;
    let nodes = nodes(server).await?;
    let is_member = |name: &str| members.iter().any(|member| member.0 == name);
    if let Some(node) = nodes.iter().find(|node| is_member(&node.name) && node.not_ready.is_some()) {
        let why = node.not_ready.clone().unwrap_or_default();
        return Err(Failure::new(Exit::Unhealthy, format!("`{}` is not Ready", node.name)).because(why));
    }
    let namespaces = server.ask("counting namespaces", &kubectl("get namespaces --output name")).await?;
    let namespaces = namespaces.lines().filter(|line| !line.trim().is_empty()).count();
    Ok(Seen { nodes: nodes.len(), namespaces })
}

/// Every node that the cluster knows.
pub async fn nodes(server: &Connection) -> Result<Vec<NodeStatus>, Failure> {
    let said = server.ask("asking for the nodes", &kubectl("get --raw /api/v1/nodes")).await?;
    let list: Value = serde_json::from_str(&said)
        .map_err(|error| Failure::new(Exit::Unhealthy, "the API gave no list of nodes").because(error))?;
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(items.iter().filter_map(NodeStatus::read).collect())
}
