//! Builds the control plane: one server founds the cluster, the others join it one at a time behind gates.
//!
//! No server founds a second cluster, whatever is lost or reordered: one that was formed and does not answer needs a
//! person. A server that runs is touched only while all others serve, and those that do not run come first.
//!
//! # Why
//! One at a time, because etcd admits one learner at a time and going from one member to two needs both for a quorum
//! (rancher/rke2 issues 962 and 3926). (2026-11-21)

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::artifact::{Access, Artifact, Bundle, Hardening, Joined, Kind, LoadBalancer, Servers};
use crate::environment::{Environment, NodeName, Role};
use crate::event::NodeState;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::{Digest, Inputs};
use crate::rke2::{self, DATA_DIR, Need, State, Token, Version};
use crate::stages::cluster::{self, CLUSTER, Cluster};
use crate::stages::founding::{self, Founder, founder, in_turn, nodes, number, silent};
use crate::stages::halves::{self, Joining};
use crate::stages::joining::{
    self, AGENT_TOKEN, SERVER_TOKEN, address, member, password, play, still_member, variables,
};
use crate::stages::{Context, Given, Made, Presence, Stage, Step, members};
use crate::stages::{configuring, inventory, kube_vip, registration, staging, upgrading, ways};

pub struct ServersStage;

/// The target groups that servers serve.
const REGISTERED: [&str; 2] = ["api", "supervisor"];
/// How long the others may take to serve before a server that runs is left as it is.
const STEADY: Duration = Duration::from_secs(2 * 60);

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
        let (changed, unregistered) = tokio::try_join!(
            joining::changed_members(cx, Role::Server, &servers.joined, &access),
            registration::unregistered(&REGISTERED, &servers.joined, &balancer, cx),
        )?;
        if let Some(why) = founding::stray(&servers.ca, &access, cx).await? {
            return Ok(Presence::Foreign(why));
        }
        let halves = if changed.is_empty() { BTreeMap::new() } else { halves::half_joined(cx).await };
        let told = |node: &NodeName| halves.get(node).cloned().unwrap_or(format!("{node} does not run as it joined"));
        let changed = changed.iter().map(told);
        let mut amiss: Vec<String> = changed.chain(unregistered).collect();
        let fixed = joining::fixed_address(cx, &balancer.address, &servers.join_address);
        if !inventory::is_cluster(cx, &fixed) {
            amiss.push("the inventory is not as written".to_owned());
        }
        Ok(if amiss.is_empty() { Presence::Standing } else { Presence::Altered(amiss.join(", ")) })
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let access: Access = given.get(Kind::Access)?;
        let balancer: LoadBalancer = given.get(Kind::LoadBalancer)?;
        let servers: Vec<NodeName> = nodes(&access);
        let formed: Option<Cluster> = cx.fact(CLUSTER)?;
        let mut cluster = formed.map(|cluster| cluster.ca);
        if let Some(failure) = silent(&access) {
            return members_only(&servers, failure, &access, &balancer, cluster, cx).await;
        }
        let hardening: Hardening = given.get(Kind::Hardening)?;
        let ready: Vec<NodeName> = servers.iter().filter(|node| hardening.nodes.contains_key(*node)).cloned().collect();
        if let Some(failure) = joining::kept_out(&servers, servers.len()).filter(|_| ready.is_empty()) {
            return members_only(&servers, failure.of(cx.stage), &access, &balancer, cluster, cx).await;
        }
        let founder = founder(&servers, &ready, cluster.as_ref(), &access, cx).await?;
        if cluster.is_none() && !ready.contains(&founder.node) {
            let what = format!("servers: `{}` is to found the cluster and is not hardened", founder.node);
            return Err(Failure::new(Exit::Unhealthy, what));
        }
        let first = address(&access, &founder.node)?;
        inventory::write_cluster(cx, &joining::fixed_address(cx, &balancer.address, &first))?;
        let members = founding::members(&servers, cluster.as_ref(), &access, cx).await?;
        let bundle = staging::stage_all(&ready, &staging::agents(&access, &hardening), &access, given, cx).await?;
        let control =
            Control { access: &access, balancer: &balancer, founder: &founder, running: &members.running, bundle, cx };
        let order = in_turn(&servers, &founder.node, cluster.as_ref().map(|_| &members));
        control.measure().await?;
        let mut joined = BTreeMap::new();
        let mut kept_out = Vec::new();
        for node in &order {
            if !ready.contains(node) {
                match control.kept(node).await? {
                    Some(one) => {
                        // It may have been stopped before it was registered.
                        let alone = BTreeMap::from([(node.clone(), one)]);
                        registration::register_all(&REGISTERED, &alone, &balancer, cx).await?;
                        joined.extend(alone);
                    }
                    None => kept_out.push(node.clone()),
                }
                continue;
            }
            let one = control.join(node, cluster.as_ref(), &joined).await.map_err(|failure| failure.of(cx.stage))?;
            if cluster.is_none() {
                cluster = Some(control.founded(node, &one).await?);
            }
            registration::register(&REGISTERED, node, &one, &balancer, cx).await?;
            cx.node(node, NodeState::Done, "voter, serving");
            joined.insert(node.clone(), one);
        }
        let ca = cluster.ok_or_else(|| Failure::bug("servers joined a cluster without a CA"))?;
        let first = joined.keys().min_by_key(|node| (**node != founder.node, number(node)));
        let first = first.ok_or_else(|| Failure::bug("a cluster without servers"))?;
        let join_address = address(&access, first)?;
        let short = joining::kept_out(&kept_out, servers.len()).map(|failure| failure.of(cx.stage));
        Ok(Made { artifact: Artifact::Servers(Servers { ca: ca.to_string(), join_address, joined }), short })
    }

    /// The members go with their machines.
    async fn destroy(&self, left: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        inventory::remove_cluster(cx)?;
        let Some(Artifact::Servers(_)) = left else { return Ok(()) };
        founding::forget(cx).await?;
        cx.ledger.record_fact(CLUSTER, Value::Null).await
    }
}

/// With a server that does not answer: those that are members stay so, and the rest of the road may use them.
async fn members_only(
    servers: &[NodeName],
    failure: Failure,
    access: &Access,
    balancer: &LoadBalancer,
    cluster: Option<Digest>,
    cx: &Context<'_>,
) -> Result<Made, Failure> {
    let mut joined = BTreeMap::new();
    for node in servers {
        let step = step(node, &joining::machine(access, node)?, balancer, cx);
        let still = async |one: &Joined| still_member(cx, node, Role::Server, one, access).await;
        if let Some(one) = cx.kept_step(&step, still).await? {
            cx.node(node, NodeState::Done, "voter, serving");
            joined.insert(node.clone(), one);
        }
    }
    registration::register_all(&REGISTERED, &joined, balancer, cx).await?;
    let first = joined.keys().min_by_key(|node| number(node)).cloned();
    let (Some(ca), Some(first)) = (cluster, first) else { return Err(failure) };
    let join_address = address(access, &first)?;
    Ok(Made::part(Artifact::Servers(Servers { ca: ca.to_string(), join_address, joined }), failure))
}

/// A server's step with its own share of the inputs.
fn step(node: &NodeName, machine: &str, balancer: &LoadBalancer, cx: &Context<'_>) -> Step {
    let inputs = joining::node_inputs(cx, machine, Role::Server, None)
        .value("rke2.disable", &cx.env.rke2.disable)
        .value("load-balancer", &balancer.address)
        .tree("ansible/roles/rke2_server");
    Step::new(node.0.clone(), kube_vip::share(inputs, cx.env), format!("member {node} on {machine}"))
}

/// What every join needs.
struct Control<'a> {
    access: &'a Access,
    balancer: &'a LoadBalancer,
    founder: &'a Founder,
    /// The servers that ran as members when the stage began.
    running: &'a BTreeSet<NodeName>,
    bundle: Bundle,
    cx: &'a Context<'a>,
}

impl Control<'_> {
    /// A server that is a member as it joined.
    async fn kept(&self, node: &NodeName) -> Result<Option<Joined>, Failure> {
        let cx = self.cx;
        let step = step(node, &joining::machine(self.access, node)?, self.balancer, cx);
        let still = async |one: &Joined| still_member(cx, node, Role::Server, one, self.access).await;
        cx.kept_step(&step, still).await
    }

    /// Before a server that does not run joins: whether every node reaches what it needs.
    async fn measure(&self) -> Result<(), Failure> {
        if nodes(self.access).iter().all(|node| self.running.contains(node)) {
            return Ok(());
        }
        let all: Vec<NodeName> = self.access.nodes.keys().cloned().collect();
        let found = ways::measure(&all, (&self.balancer.address, Need::Name), self.access, self.cx).await?;
        let refusal = found.refusal(|node| nodes(self.access).contains(node));
        refusal.map_or(Ok(()), |failure| Err(failure.of(self.cx.stage)))
    }

    /// Brings one server into the cluster, unless it is in and as it should be.
    async fn join(
        &self,
        node: &NodeName,
        cluster: Option<&Digest>,
        joined: &BTreeMap<NodeName, Joined>,
    ) -> Result<Joined, Failure> {
        let cx = self.cx;
        if let Some(kept) = self.kept(node).await? {
            return Ok(kept);
        }
        let machine = joining::machine(self.access, node)?;
        let step = step(node, &machine, self.balancer, cx);
        let founds = self.founds(node, &machine, cluster).await?;
        upgrading::is_due(cx, node, self.access).await?;
        if self.running.contains(node) {
            self.others_serve(node, cluster, joined).await?;
        }
        let members = self.members(node, joined);
        if !members.is_empty() {
            let (fixed, agents) = (self.fixed()?, password(cx, AGENT_TOKEN).await?);
            configuring::compare(node, &members, &fixed, &agents, self.access, cx).await?;
        }
        cx.begin(&step).await?;
        cx.node(node, NodeState::Working, if founds { "founding the cluster" } else { "joining" });
        let result = self.start_and_wait(node, cluster, joined).await;
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
            .hint(founding::start_over(&self.cx.env.name)))
    }

    /// Waits until all other members serve: a restart while one of them does not could cost etcd its quorum.
    ///
    /// # Errors
    /// Exit 7, before anything was touched, with what the other one lacks.
    async fn others_serve(
        &self,
        node: &NodeName,
        cluster: Option<&Digest>,
        joined: &BTreeMap<NodeName, Joined>,
    ) -> Result<(), Failure> {
        let cx = self.cx;
        let is_member = |other: &NodeName| cluster.is_some() || self.running.contains(other);
        let others: Vec<NodeName> =
            nodes(self.access).into_iter().filter(|other| other != node && is_member(other)).collect();
        let asked = others.iter().map(async |other| {
            let connection = cx.connections.get(other, self.access).await?;
            let tell = |text: &str| cx.node(node, NodeState::Waiting, format!("{other}: {text}"));
            let version = self.version_of(other, joined).await?;
            rke2::serving(&connection, other, version, &cx.wait(STEADY, &tell)).await
        });
        match try_join_all(asked).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_cancelled() => Err(failure),
            Err(failure) => Err(failure.of(format!("`{node}` is not restarted"))),
        }
    }

    /// The release that a server joined with in this run, else the one that it runs; the file may ask for another by now.
    async fn version_of(&self, node: &NodeName, joined: &BTreeMap<NodeName, Joined>) -> Result<Version, Failure> {
        let runs = State::read(&node.0, &*self.cx.connections.census(node, self.access).await?)?.running;
        let recorded = members(self.cx, Role::Server, self.access).remove(node).map(|one| one.version);
        let known = joined.get(node).map(|one| one.version.clone()).or(runs).or(recorded);
        match known.and_then(|version| version.parse().ok()) {
            Some(version) => Ok(version),
            None => joining::version(self.cx),
        }
    }

    async fn start_and_wait(
        &self,
        node: &NodeName,
        cluster: Option<&Digest>,
        joined: &BTreeMap<NodeName, Joined>,
    ) -> Result<Joined, Failure> {
        let cx = self.cx;
        let machine = joining::machine(self.access, node)?;
        let members = self.members(node, joined);
        if let Some(ca) = cluster.filter(|_| !members.is_empty()) {
            let joining = Joining { node, role: Role::Server, members: &members, ca, access: self.access, cx };
            joining.mend().await?;
            joining.wait_for_members().await?;
        }
        // A founder whose data was moved aside joins like everybody else.
        let founds = self.founds(node, &machine, cluster).await?;
        let through = self.running.iter().find(|other| *other != node).unwrap_or(node);
        let upgrade = upgrading::prepare(cx, node, self.access, &self.bundle, through).await?;
        registration::step_aside(&REGISTERED, &machine, self.balancer, cx).await?;
        kube_vip::place(node, self.access, &self.bundle, cx).await?;
        let password = password(cx, SERVER_TOKEN).await?;
        let agents = joining::password(cx, AGENT_TOKEN).await?;
        // The founder knew no CA and keeps what it started with; everybody else is told whose cluster it is.
        let token = match cluster {
            Some(ca) if !founds => Token::server(ca.clone(), password).secure(),
            Some(_) | None => password,
        };
        let fixed = self.fixed()?;
        let mut vars = staging::variables(variables(cx, Role::Server)?, &self.bundle, cx);
        vars["rke2_cluster_init"] = json!(founds);
        vars["rke2_tls_san"] = json!(configuring::tls_san(cx.env, &fixed));
        vars["rke2_disable"] = json!(cx.env.rke2.disable);
        if !founds {
            vars["rke2_join_address"] = json!(self.peer(node, joined)?);
        }
        upgrading::add(&mut vars, upgrade);
        let secrets = configuring::secret_files(cx, Role::Server)?;
        let mut tokens = vec![("rke2_token_file", &token), ("rke2_agent_token_file", &agents)];
        tokens.extend(secrets.iter().map(|(variable, secret)| (*variable, secret)));
        let played = play(cx, (&node.0, "servers.yml"), std::slice::from_ref(node), vars, &tokens).await?;
        played.ok(node)?;
        let member = member(cx, node, Role::Server, self.access).await?;
        upgrading::uncordon(cx, node, self.access, node).await?;
        Ok(member)
    }

    /// Records the cluster that this node founded; gives its CA.
    async fn founded(&self, node: &NodeName, one: &Joined) -> Result<Digest, Failure> {
        let ca = self.read_ca(node).await?;
        let (version, cni) = (Some(one.version.clone()), Some(self.cx.env.rke2.cni));
        let fixed = cluster::fixed(&self.cx.env.rke2.config);
        self.cx.ledger.record_fact(CLUSTER, json!(Cluster { ca: ca.clone(), version, cni, fixed })).await?;
        Ok(ca)
    }

    fn fixed(&self) -> Result<String, Failure> {
        let founder = address(self.access, &self.founder.node)?;
        Ok(joining::fixed_address(self.cx, &self.balancer.address, &founder))
    }

    /// The servers besides this one that run as members now.
    fn members(&self, node: &NodeName, joined: &BTreeMap<NodeName, Joined>) -> Vec<NodeName> {
        let members: BTreeSet<&NodeName> = self.running.iter().chain(joined.keys()).collect();
        members.into_iter().filter(|other| *other != node).cloned().collect()
    }

    /// The address of a member to join through: never the load balancer's.
    fn peer(&self, node: &NodeName, joined: &BTreeMap<NodeName, Joined>) -> Result<String, Failure> {
        // The same one each time, because another address in its configuration would restart a server.
        let others = std::iter::once(&self.founder.node).chain(joined.keys());
        let recorded = match self.cx.known.artifact(Kind::Servers) {
            Some(Artifact::Servers(servers)) => servers.joined.keys().cloned().collect(),
            Some(_) | None => Vec::new(),
        };
        let known = others.chain(&recorded).chain(self.running);
        let known = known.filter(|other| *other != node && self.access.nodes.contains_key(*other));
        // The first of those that serve, else the first at all.
        let serves = |other: &NodeName| self.running.contains(other) || joined.contains_key(other);
        match known.min_by_key(|other| !serves(other)) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_joins_while_one_does_not_answer_and_an_agent_keeps_nobody_back() {
        let unreached = |name: &str, role| BTreeMap::from([(NodeName(name.to_owned()), role)]);
        let access = |unreached| Access { nodes: BTreeMap::new(), unreached, jump: None };

        let failure = silent(&access(unreached("server-2", Role::Server))).expect("kept back");

        assert_eq!(failure.what(), "servers: none joins while a server does not answer: server-2");
        assert!(silent(&access(unreached("general-1", Role::Agent))).is_none());
    }
}
