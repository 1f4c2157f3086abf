//! Mends nodes that are half in the cluster, before they are started again, and lets a server join only members that agree.
//!
//! # Why
//! Whatever RKE2 says of such a node it says for ever, and by hand the remedy takes an etcd client that no node has. What
//! is removed is what no machine of the environment owns: a member whose data is not on the node of its name, the
//! memory of an earlier machine. A datastore is moved aside, never deleted. (2026-11-30)

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::artifact::{Access, Kind};
use crate::environment::{NodeName, Role};
use crate::event::NodeState;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::Connection;
use crate::rke2::{self, Expected, Left, State, Told, UnitActivity};
use crate::stages::{Context, joining};

/// How long the members may take to tell the same, with nobody joining.
const AGREE: Duration = Duration::from_secs(3 * 60);

/// The servers that do not run and are half in the cluster, as a plan tells them: what they and etcd say of each other.
///
/// Empty where there is no cluster yet, or nobody who tells.
pub async fn half_joined(cx: &Context<'_>) -> BTreeMap<NodeName, String> {
    let Ok(access) = cx.known.get::<Access>(Kind::Access) else { return BTreeMap::new() };
    let servers = access.nodes.iter().filter(|(_, reach)| reach.role == Some(Role::Server));
    let asked = servers.map(async |(node, reach)| {
        let census = cx.connections.census(node, &access).await.ok()?;
        Some((node.clone(), reach.address.clone(), State::read(&node.0, &census).ok()?))
    });
    let states: Vec<(NodeName, String, State)> = join_all(asked).await.into_iter().flatten().collect();
    let runs = |state: &State| state.server.activity == UnitActivity::Active;
    let Some(members) = states.iter().filter(|(_, _, state)| runs(state)).find_map(|(_, _, state)| state.etcd.clone())
    else {
        return BTreeMap::new();
    };
    let told = Told::of_members(members);
    let halves = states.iter().filter(|(_, _, state)| !runs(state)).filter_map(|(node, address, state)| {
        let left: Vec<String> = rke2::left(node, Role::Server, address, state, &told).iter().map(Left::what).collect();
        (!left.is_empty()).then(|| (node.clone(), format!("{node} is half joined: {}", left.join(", "))))
    });
    halves.collect()
}

/// Why a node is left to a person that holds what is of another cluster.
pub fn another_cluster(node: &NodeName, why: &str) -> Failure {
    let hint = format!(
        "if nothing of it is to be kept: run rke2-killall.sh on `{node}` and remove /var/lib/rancher/rke2/server"
    );
    let failure = Failure::new(Exit::Unhealthy, format!("`{node}` belongs to another cluster"));
    failure.class(Class::NeedsPerson).because(why).hint(hint)
}

/// A node that is to join, and the servers that are members and run.
pub struct Joining<'a> {
    pub node: &'a NodeName,
    pub role: Role,
    pub members: &'a [NodeName],
    pub ca: &'a Digest,
    pub access: &'a Access,
    pub cx: &'a Context<'a>,
}

impl Joining<'_> {
    /// Removes what keeps the node out, if anything does, through a member that serves.
    ///
    /// # Errors
    /// Exit 7, a person decides: its datastore is of another cluster, another machine serves under its name, or removing
    /// its old member could cost etcd its quorum.
    pub async fn mend(&self) -> Result<(), Failure> {
        let (cx, node) = (self.cx, self.node);
        let state = State::read(&node.0, &*cx.connections.census(node, self.access).await?)?;
        if self.runs(&state) {
            return Ok(());
        }
        if let Some(why) = rke2::foreign_store(&state, self.ca).filter(|_| self.role == Role::Server) {
            return Err(another_cluster(node, &why));
        }
        let Some((server, told)) = self.told().await? else { return Ok(()) };
        let address = self.address()?;
        let left = rke2::left(node, self.role, address, &state, &told);
        if left.is_empty() {
            return Ok(());
        }
        self.may_mend(&left, &told, address)?;
        let told: Vec<String> = left.iter().map(Left::what).collect();
        let told = format!("half joined, removing {}", told.join(", "));
        cx.events.notice(format!("{}: `{node}` was {told}", cx.stage));
        cx.node(node, NodeState::Working, told);
        let machine = cx.connections.get(node, self.access).await?;
        machine.ask("stopping RKE2", &rke2::halt()).await?;
        for one in &left {
            match one.mend_cluster(node) {
                Some(script) => server.ask(&format!("removing {}", one.what()), &script).await?,
                None => machine.ask("moving a datastore aside", &rke2::move_store_aside()).await?,
            };
        }
        cx.connections.forget_census(node).await;
        Ok(())
    }

    fn runs(&self, state: &State) -> bool {
        state.unit(self.role).activity == UnitActivity::Active
    }

    fn address(&self) -> Result<&str, Failure> {
        Ok(&self.access.reach(self.node)?.address)
    }

    /// What the first member that answers tells, and the way to it.
    async fn told(&self) -> Result<Option<(Connection, Told)>, Failure> {
        let mut silent = None;
        for member in self.members {
            let connection = self.cx.connections.get(member, self.access).await?;
            let said = connection.run(&rke2::ask_all(), true).await?;
            match Told::read(&said.stdout) {
                Some(told) => return Ok(Some((connection, told))),
                None => silent = Some((member, said.stderr)),
            }
        }
        let Some((member, why)) = silent else { return Ok(None) };
        Err(Failure::new(Exit::Unhealthy, format!("`{member}` does not tell who is in the cluster"))
            .because(why.lines().last().unwrap_or("it said nothing"))
            .transient())
    }

    /// # Errors
    /// Exit 7: what speaks against it.
    fn may_mend(&self, left: &[Left], told: &Told, address: &str) -> Result<(), Failure> {
        let node = self.node;
        let refused = |why: String| {
            Failure::new(Exit::Unhealthy, format!("`{node}` is half joined and is not mended")).because(why)
        };
        if let Some(other) = told.serves_elsewhere(node, address) {
            return Err(refused(format!("a node of that name serves at {other}, its machine is at {address}"))
                .hint("if the machine there was replaced: switch it off, and run the same command a minute later"));
        }
        let removes_voter = left.iter().any(|one| matches!(one, Left::Member { is_learner: false, .. }));
        let (voters, serve) = (told.members.voters(), self.members.len());
        if removes_voter && serve < voters / 2 + 1 {
            return Err(refused(format!("etcd has {voters} voters, and only {serve} of them serve"))
                .class(Class::NeedsPerson)
                .hint("bring the other servers back first, or restore a snapshot"));
        }
        Ok(())
    }

    /// Waits until each member, asked itself and with a quorum behind it, tells the same, and none of them is a learner.
    ///
    /// # Errors
    /// Exit 7 at the deadline, before anything was started, with the member that tells otherwise.
    pub async fn wait_for_members(&self) -> Result<(), Failure> {
        let (cx, node) = (self.cx, self.node);
        let mut connections = Vec::new();
        for member in self.members {
            connections.push(cx.connections.get(member, self.access).await?);
        }
        let nodes: BTreeMap<NodeName, Role> = self.members.iter().map(|node| (node.clone(), Role::Server)).collect();
        let servers = self.access.nodes.iter().filter(|(_, reach)| reach.role == Some(Role::Server));
        let mut excused = self.access.unreached.clone();
        excused.extend(
            servers.map(|(name, _)| (name.clone(), Role::Server)).filter(|(name, _)| !nodes.contains_key(name)),
        );
        let expected = Expected { nodes, excused, version: joining::version(cx)? };
        let tell = |text: &str| cx.node(node, NodeState::Waiting, text);
        let joiner = (node, self.address()?);
        rke2::ready_for(joiner, &connections, &expected, &cx.wait(AGREE, &tell)).await
    }
}
