//! Builds the control plane: one server founds the cluster, the others join it one at a time behind gates.
//!
//! Who founds is chosen once and journaled before anything starts. After that no server ever founds again, whatever is
//! lost or reordered: a cluster that was formed and does not answer needs a person.
//!
//! # Why
//! One at a time, because etcd admits one learner at a time and going from one member to two needs both for a quorum
//! (rancher/rke2 issues 962 and 3926). (2026-11-21)

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifact::{Access, Artifact, Joined, Kind, LoadBalancer, Servers};
use crate::environment::{Environment, NodeName, Role};
use crate::event::NodeState;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::{Digest, Inputs};
use crate::rke2::{DATA_DIR, State, Token};
use crate::stages::joining::{self, AGENT_TOKEN, SERVER_TOKEN, member, password, play, still_member, variables};
use crate::stages::{Context, Given, Presence, Stage, Step};

pub struct ServersStage;

/// The target groups that servers serve.
const REGISTERED: [&str; 2] = ["api", "supervisor"];
/// Who founds, or founded, the cluster.
const FOUNDER: &str = "servers/founder";
/// The CA of the cluster once it was formed.
const CLUSTER: &str = "servers/cluster";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Founder {
    node: NodeName,
    machine: String,
}

#[async_trait]
impl Stage for ServersStage {
    fn makes(&self) -> Kind {
        Kind::Servers
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::Access, Kind::Hardening, Kind::Bundle, Kind::LoadBalancer]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            .value("rke2", &env.rke2_without_source())
            .value("nodes.servers.count", &env.nodes.servers.count)
            .tree("ansible/servers.yml")
            .tree("ansible/roles/rke2_common")
            .tree("ansible/roles/rke2_server")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Servers(servers) = recorded else { return Ok(Presence::Gone) };
        let access: Access = cx.known.get(Kind::Access)?;
        let balancer: LoadBalancer = cx.known.get(Kind::LoadBalancer)?;
        let mut amiss = Vec::new();
        for (node, joined) in servers.joined.iter().filter(|(node, _)| access.nodes.contains_key(*node)) {
            if !still_member(cx, node, Role::Server, joined, &access).await? {
                amiss.push(format!("{node} does not run as it joined"));
            }
        }
        amiss.extend(joining::unregistered(&REGISTERED, &servers.joined, &balancer, cx).await?);
        Ok(if amiss.is_empty() { Presence::Standing } else { Presence::Altered(amiss.join(", ")) })
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Artifact, Failure> {
        let access: Access = given.get(Kind::Access)?;
        let balancer: LoadBalancer = given.get(Kind::LoadBalancer)?;
        let servers: Vec<NodeName> = nodes(&access);
        let founder = founder(&servers, &access, cx).await?;
        let control = Control { access: &access, balancer: &balancer, founder: &founder, cx };
        let mut order = servers;
        order.sort_by_key(|node| (*node != founder.node, number(node)));
        let mut cluster: Option<Digest> = recorded_cluster(cx);
        let mut joined = BTreeMap::new();
        for node in &order {
            let one = control.join(node, cluster.as_ref(), &joined).await.map_err(|failure| failure.of(cx.stage))?;
            if cluster.is_none() {
                let ca = control.read_ca(node).await?;
                cx.ledger.record_fact(CLUSTER, json!({ "ca": ca })).await?;
                cluster = Some(ca);
            }
            control.register(node, &one).await?;
            cx.node(node, NodeState::Done, "voter, serving");
            joined.insert(node.clone(), one);
        }
        let ca = cluster.ok_or_else(|| Failure::bug("servers joined a cluster without a CA"))?;
        let join_address = address(&access, &order[0])?;
        Ok(Artifact::Servers(Servers { ca: ca.to_string(), join_address, joined }))
    }

    /// The members go with their machines.
    async fn destroy(&self, left: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        let Some(Artifact::Servers(_)) = left else { return Ok(()) };
        cx.ledger.record_fact(FOUNDER, Value::Null).await?;
        cx.ledger.record_fact(CLUSTER, Value::Null).await
    }
}

fn nodes(access: &Access) -> Vec<NodeName> {
    let servers = access.nodes.iter().filter(|(_, reach)| reach.role == Some(Role::Server));
    servers.map(|(name, _)| name.clone()).collect()
}

/// `server-2` before `server-10`.
fn number(node: &NodeName) -> (usize, String) {
    (node.0.len(), node.0.clone())
}

fn address(access: &Access, node: &NodeName) -> Result<String, Failure> {
    let reach = access.nodes.get(node).ok_or_else(|| Failure::bug(format!("no way to `{node}`")))?;
    Ok(reach.address.clone())
}

fn recorded_cluster(cx: &Context<'_>) -> Option<Digest> {
    Digest::parse(cx.ledger.fact(CLUSTER)?["ca"].as_str()?)
}

/// Who founds the cluster: as recorded; else the one that has founded one already; else the first server.
///
/// # Errors
/// Two servers with clusters of their own, or a recorded founder that is gone before its cluster was formed elsewhere:
/// a person decides.
async fn founder(servers: &[NodeName], access: &Access, cx: &Context<'_>) -> Result<Founder, Failure> {
    if let Some(founder) = cx.ledger.fact(FOUNDER).and_then(|fact| serde_json::from_value::<Founder>(fact).ok()) {
        return Ok(founder);
    }
    let mut clusters: BTreeMap<Digest, Vec<NodeName>> = BTreeMap::new();
    for node in servers {
        let census = cx.connections.census(node, access).await?;
        let state = State::read(&node.0, &census)?;
        if let Some(ca) = state.ca.filter(|_| state.has_store) {
            clusters.entry(ca).or_default().push(node.clone());
        }
    }
    let node = chosen(servers, clusters)?;
    let founder = Founder { machine: joining::machine(access, &node)?, node };
    cx.ledger.record_fact(FOUNDER, json!(founder)).await?;
    Ok(founder)
}

/// A server that has a cluster already; else the first one.
fn chosen(servers: &[NodeName], clusters: BTreeMap<Digest, Vec<NodeName>>) -> Result<NodeName, Failure> {
    if clusters.len() > 1 {
        let described: Vec<String> = clusters
            .iter()
            .map(|(ca, nodes)| {
                let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                format!("{} (CA {})", names.join(", "), ca.short())
            })
            .collect();
        return Err(Failure::new(Exit::Unhealthy, "servers: the nodes belong to different clusters")
            .class(Class::NeedsPerson)
            .because(described.join("; "))
            .hint("decide which cluster stays, run rke2-killall.sh and remove server/db on the servers of the other"));
    }
    let members = clusters.into_values().flatten().min_by_key(number);
    members
        .or_else(|| servers.iter().min_by_key(|node| number(node)).cloned())
        .ok_or_else(|| Failure::bug("an environment without servers"))
}

/// What every join needs.
struct Control<'a> {
    access: &'a Access,
    balancer: &'a LoadBalancer,
    founder: &'a Founder,
    cx: &'a Context<'a>,
}

impl Control<'_> {
    /// Brings one server into the cluster, unless it is in and as it should be.
    async fn join(
        &self,
        node: &NodeName,
        cluster: Option<&Digest>,
        joined: &BTreeMap<NodeName, Joined>,
    ) -> Result<Joined, Failure> {
        let cx = self.cx;
        let machine = joining::machine(self.access, node)?;
        let inputs = joining::node_inputs(cx, &machine, None)
            .value("rke2.disable", &cx.env.rke2.disable)
            .value("load-balancer", &self.balancer.address)
            .tree("ansible/roles/rke2_server");
        let step = Step::new(node.0.clone(), inputs, format!("member {node} on {machine}"));
        let still = async |one: &Joined| still_member(cx, node, Role::Server, one, self.access).await;
        if let Some(kept) = cx.kept_step(&step, still).await? {
            return Ok(kept);
        }
        let founds = self.founds(node, &machine, cluster).await?;
        cx.begin(&step).await?;
        cx.node(node, NodeState::Working, if founds { "founding the cluster" } else { "joining" });
        let result = self.start_and_wait(node, founds, cluster, joined).await;
        cx.finish(&step, &result).await?;
        if let Err(failure) = &result {
            cx.node(node, NodeState::Failed, failure.what());
        }
        result
    }

    /// Only the recorded founder, on the machine it was recorded with: until its cluster was formed, and for ever after
    /// as the member it is. With its store lost it joins like everybody else.
    async fn founds(&self, node: &NodeName, machine: &str, cluster: Option<&Digest>) -> Result<bool, Failure> {
        let is_founder = *node == self.founder.node && machine == self.founder.machine;
        match (is_founder, cluster) {
            (true, None) => return Ok(true),
            (true, Some(_)) => {
                let census = self.cx.connections.census(node, self.access).await?;
                return Ok(State::read(&node.0, &census)?.has_store);
            }
            (false, Some(_)) => return Ok(false),
            (false, None) => {}
        }
        Err(Failure::new(Exit::Unhealthy, format!("`{node}` must not found a second cluster"))
            .class(Class::NeedsPerson)
            .because(format!(
                "`{}` on {} was to found it, and nobody knows whether it did",
                self.founder.node, self.founder.machine
            ))
            .hint(format!(
                "sre-provision down {}   and up again, if nothing of the cluster is to be kept",
                self.cx.env.name
            )))
    }

    async fn start_and_wait(
        &self,
        node: &NodeName,
        founds: bool,
        cluster: Option<&Digest>,
        joined: &BTreeMap<NodeName, Joined>,
    ) -> Result<Joined, Failure> {
        let cx = self.cx;
        self.deregister(node).await?;
        let password = password(cx, SERVER_TOKEN).await?;
        let agents = joining::password(cx, AGENT_TOKEN).await?;
        // The founder knew no CA and keeps what it started with; everybody else is told whose cluster it is.
        let token = match cluster {
            Some(ca) if !founds => Token::server(ca.clone(), password).secure(),
            Some(_) | None => password,
        };
        let founder_address = address(self.access, &self.founder.node)?;
        let fixed = joining::fixed_address(cx, &self.balancer.address, &founder_address);
        let mut vars = variables(cx);
        vars["rke2_cluster_init"] = json!(founds);
        vars["rke2_tls_san"] = json!([fixed]);
        vars["rke2_disable"] = json!(cx.env.rke2.disable);
        if !founds {
            vars["rke2_join_address"] = json!(self.peer(node, joined)?);
        }
        let tokens = [("rke2_token_file", &token), ("rke2_agent_token_file", &agents)];
        let played = play(cx, (&node.0, "servers.yml"), std::slice::from_ref(node), vars, &tokens).await?;
        played.ok(node)?;
        member(cx, node, Role::Server, self.access).await
    }

    /// The address of a member to join through: never the load balancer's.
    fn peer(&self, node: &NodeName, joined: &BTreeMap<NodeName, Joined>) -> Result<String, Failure> {
        // The same one each time, because another address in its configuration would restart a server.
        let others = std::iter::once(&self.founder.node).chain(joined.keys());
        let recorded = match self.cx.known.artifact(Kind::Servers) {
            Some(Artifact::Servers(servers)) => servers.joined.keys().cloned().collect(),
            Some(_) | None => Vec::new(),
        };
        let peer = others.chain(&recorded).find(|other| *other != node && self.access.nodes.contains_key(*other));
        match peer {
            Some(peer) => address(self.access, peer),
            None => Err(Failure::new(Exit::Unhealthy, format!("`{node}` has no peer to join through"))
                .class(Class::NeedsPerson)
                .because("the cluster was formed and none of its members is known")
                .hint("restore a snapshot, or take the environment down and up again")),
        }
    }

    /// The digest of the cluster's CA as it stands in the token that the first server wrote.
    async fn read_ca(&self, node: &NodeName) -> Result<Digest, Failure> {
        let connection = self.cx.connections.get(node, self.access).await?;
        let output = connection.run(&format!("cat {DATA_DIR}/server/token"), true).await?;
        Ok(Token::parse(&output.stdout)?.ca)
    }

    /// Behind the load balancer from now on: it serves.
    async fn register(&self, node: &NodeName, joined: &Joined) -> Result<(), Failure> {
        for name in REGISTERED {
            if let Some(group) = self.balancer.target_groups.get(name) {
                self.cx.cloud.register(group, &joined.machine).await.map_err(|failure| failure.of(node))?;
            }
        }
        Ok(())
    }

    /// Out of the load balancer before its service is touched.
    async fn deregister(&self, node: &NodeName) -> Result<(), Failure> {
        let machine = joining::machine(self.access, node)?;
        for name in REGISTERED {
            let Some(group) = self.balancer.target_groups.get(name) else { continue };
            if self.cx.cloud.targets(group).await?.iter().any(|target| target.machine == machine) {
                self.cx.cloud.deregister(group, &machine).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> Vec<NodeName> {
        names.map(|name| NodeName(name.to_owned())).to_vec()
    }

    #[test]
    fn the_server_with_the_lowest_number_founds_a_cluster_that_is_not_there() {
        let chosen = chosen(&names(["server-10", "server-2", "server-3"]), BTreeMap::new()).expect("one");

        assert_eq!(chosen.0, "server-2");
    }

    #[test]
    fn a_server_that_has_a_cluster_goes_before_the_first_one() {
        let clusters = BTreeMap::from([(Digest::of(b"ca"), names(["server-3", "server-2"]))]);

        let chosen = chosen(&names(["server-1", "server-2", "server-3"]), clusters).expect("one");

        assert_eq!(chosen.0, "server-2");
    }

    #[test]
    fn two_clusters_are_for_a_person_who_is_told_which_server_has_which() {
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let clusters =
            BTreeMap::from([(one.clone(), names(["server-1"])), (other.clone(), names(["server-2", "server-3"]))]);

        let failure = chosen(&names(["server-1"]), clusters).expect_err("for a person");

        let cause = &failure.causes()[0];
        assert!(cause.contains(&format!("server-1 (CA {})", one.short())), "{cause}");
        assert!(cause.contains(&format!("server-2, server-3 (CA {})", other.short())), "{cause}");
        assert_eq!(failure.kind(), Class::NeedsPerson);
    }
}
