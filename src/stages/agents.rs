//! Joins the workers, all at once: one that fails does not keep the others out.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::json;

use crate::artifact::{Access, Agents, Artifact, Bundle, Hardening, Joined, Kind, LoadBalancer, Servers};
use crate::environment::{Environment, NodeName, Role};
use crate::event::NodeState;
use crate::failure::Failure;
use crate::fingerprint::{Digest, Inputs};
use crate::rke2::Token;
use crate::stages::joining::{self, AGENT_TOKEN, member, password, play, still_member, variables};
use crate::stages::several::several;
use crate::stages::{Context, Given, Made, Presence, Stage, Step, registration, upgrading};

pub struct AgentsStage;

/// The target groups that agents serve.
const INGRESS: [&str; 2] = ["http", "https"];

#[async_trait]
impl Stage for AgentsStage {
    fn makes(&self) -> Kind {
        Kind::Agents
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::Access, Kind::Hardening, Kind::Bundle, Kind::LoadBalancer, Kind::Servers]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            .value("rke2", &env.rke2_without_source())
            .value("nodes.agents", &env.nodes.agents)
            .tree("ansible/agents.yml")
            .tree("ansible/roles/rke2_common")
            .tree("ansible/roles/rke2_agent")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Agents(agents) = recorded else { return Ok(Presence::Gone) };
        let access: Access = cx.known.get(Kind::Access)?;
        let servers: Servers = cx.known.get(Kind::Servers)?;
        let balancer: LoadBalancer = cx.known.get(Kind::LoadBalancer)?;
        let (changed, unregistered) = tokio::try_join!(
            joining::changed_members(cx, Role::Agent, &agents.joined, &access),
            registration::unregistered(
                &INGRESS,
                behind_ingress(cx.env, &agents.joined, &servers.joined),
                &balancer,
                cx
            ),
        )?;
        let changed = changed.iter().map(|node| format!("{node} does not run as it joined"));
        let amiss: Vec<String> = changed.chain(unregistered).collect();
        Ok(if amiss.is_empty() { Presence::Standing } else { Presence::Altered(amiss.join(", ")) })
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let access: Access = given.get(Kind::Access)?;
        let servers: Servers = given.get(Kind::Servers)?;
        let balancer: LoadBalancer = given.get(Kind::LoadBalancer)?;
        let mut joined = BTreeMap::new();
        let hardening: Hardening = given.get(Kind::Hardening)?;
        let (mut pending, mut kept_out) = (Vec::new(), Vec::new());
        for (node, step) in steps(&access, &balancer, cx)? {
            let still = async |one: &Joined| still_member(cx, &node, Role::Agent, one, &access).await;
            match cx.kept_step(&step, still).await? {
                Some(one) => drop(joined.insert(node, one)),
                None if hardening.nodes.contains_key(&node) => pending.push((node, step)),
                None => kept_out.push(node),
            }
        }
        let bundle: Bundle = given.get(Kind::Bundle)?;
        let joining = Joining { access: &access, servers: &servers, balancer: &balancer, bundle: &bundle, cx };
        let failures = joining.in_batches(&pending, &mut joined).await?;
        if failures.is_empty() || !joined.is_empty() {
            let behind = behind_ingress(cx.env, &joined, &servers.joined);
            registration::register_all(&INGRESS, behind, &balancer, cx).await?;
        }
        let count = access_agents(&access).count();
        let kept_out = joining::kept_out(&kept_out, count);
        if failures.is_empty() {
            let short = kept_out.map(|failure| failure.of(cx.stage));
            return Ok(Made { artifact: Artifact::Agents(Agents { joined }), short });
        }
        Err(kept_out.into_iter().fold(several(&failures, count, "did not join"), Failure::because).of(cx.stage))
    }

    /// The members go with their machines.
    async fn destroy(&self, _: Option<&Artifact>, _: &Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn access_agents(access: &Access) -> impl Iterator<Item = &NodeName> {
    access.nodes.iter().filter(|(_, reach)| reach.role == Some(Role::Agent)).map(|(name, _)| name)
}

/// Each agent's step with its own share of the inputs.
fn steps(access: &Access, balancer: &LoadBalancer, cx: &Context<'_>) -> Result<Vec<(NodeName, Step)>, Failure> {
    let one = |node: &NodeName| {
        let machine = joining::machine(access, node)?;
        let inputs = joining::node_inputs(cx, &machine, cx.env.pool_of(node))
            .value("load-balancer", &balancer.address)
            .tree("ansible/roles/rke2_agent");
        Ok((node.clone(), Step::new(node.0.clone(), inputs, format!("node {node} on {machine}"))))
    };
    access_agents(access).map(one).collect()
}

/// How many members are brought to another release at once: their pods go to the others.
const BATCH: usize = 2;

/// What every join needs.
struct Joining<'a> {
    access: &'a Access,
    servers: &'a Servers,
    balancer: &'a LoadBalancer,
    bundle: &'a Bundle,
    cx: &'a Context<'a>,
}

impl Joining<'_> {
    /// Nodes that join, all at once; members that get another release a few at a time, and no further ones after one that
    /// did not come back.
    async fn in_batches(
        &self,
        pending: &[(NodeName, Step)],
        joined: &mut BTreeMap<NodeName, Joined>,
    ) -> Result<Vec<(NodeName, Failure)>, Failure> {
        let (mut due, mut new) = (Vec::new(), Vec::new());
        for (node, step) in pending {
            let is_due = upgrading::is_due(self.cx, node, self.access).await?;
            if is_due { &mut due } else { &mut new }.push((node.clone(), step.clone()));
        }
        let mut failures = self.join(&new, joined).await?;
        for batch in due.chunks(BATCH) {
            if !failures.is_empty() {
                break;
            }
            failures.extend(self.join(batch, joined).await?);
        }
        Ok(failures)
    }

    /// One play for all, then each waits for itself.
    async fn join(
        &self,
        pending: &[(NodeName, Step)],
        joined: &mut BTreeMap<NodeName, Joined>,
    ) -> Result<Vec<(NodeName, Failure)>, Failure> {
        let cx = self.cx;
        if pending.is_empty() {
            return Ok(vec![]);
        }
        for (node, step) in pending {
            cx.begin(step).await?;
            cx.node(node, NodeState::Working, "joining");
        }
        let names: Vec<NodeName> = pending.iter().map(|(node, _)| node.clone()).collect();
        let played = self.start(&names).await;
        let waits = pending.iter().map(async |(node, step)| {
            let result = match &played {
                Ok(played) => match played.ok(node) {
                    Ok(()) => self.arrived(node).await,
                    Err(failure) => Err(failure),
                },
                Err(failure) => Err(failure.clone()),
            };
            match &result {
                Ok(_) => cx.node(node, NodeState::Done, "joined"),
                Err(failure) => cx.node(node, NodeState::Failed, failure.what()),
            }
            cx.finish(step, &result).await?;
            Ok::<_, Failure>((node.clone(), result))
        });
        let mut failures = Vec::new();
        for result in join_all(waits).await {
            match result? {
                (node, Ok(one)) => drop(joined.insert(node, one)),
                (node, Err(failure)) => failures.push((node, failure)),
            }
        }
        Ok(failures)
    }

    async fn arrived(&self, node: &NodeName) -> Result<Joined, Failure> {
        let one = member(self.cx, node, Role::Agent, self.access).await?;
        if let Some(through) = self.through() {
            upgrading::uncordon(self.cx, node, self.access, through).await?;
        }
        Ok(one)
    }

    /// A server that is asked for what an agent may not do.
    fn through(&self) -> Option<&NodeName> {
        self.servers.joined.keys().find(|node| self.access.nodes.contains_key(*node))
    }

    async fn start(&self, names: &[NodeName]) -> Result<joining::Results, Failure> {
        let (cx, servers) = (self.cx, self.servers);
        let ca = Digest::parse(&servers.ca).ok_or_else(|| Failure::bug("the recorded CA is no digest"))?;
        let token = Token::agent(ca, password(cx, AGENT_TOKEN).await?).secure();
        let mut vars = variables(cx);
        vars["rke2_join_address"] = json!(joining::fixed_address(cx, &self.balancer.address, &servers.join_address));
        for node in names {
            if let Some(through) = self.through() {
                let told = upgrading::prepare(cx, node, self.access, self.bundle, through).await?;
                upgrading::add(&mut vars, told);
            }
        }
        play(cx, ("join", "agents.yml"), names, vars, &[("rke2_token_file", &token)]).await
    }
}

/// Who takes the ingress traffic: the agents, or the servers of a cluster that has none.
fn behind_ingress<'a>(
    env: &Environment,
    agents: &'a BTreeMap<NodeName, Joined>,
    servers: &'a BTreeMap<NodeName, Joined>,
) -> &'a BTreeMap<NodeName, Joined> {
    if env.nodes.agents.values().any(|pool| pool.count > 0) { agents } else { servers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const DEV: &str = include_str!("../../environments/dev.yaml");

    fn joined(name: &str) -> BTreeMap<NodeName, Joined> {
        let one = Joined { machine: "i-1".to_owned(), version: "v1.35.4+rke2r1".to_owned() };
        BTreeMap::from([(NodeName(name.to_owned()), one)])
    }

    #[test]
    fn servers_take_the_ingress_traffic_of_a_cluster_without_agents() {
        let mut env = config::read("environments/dev.yaml", "dev", DEV).expect("valid");
        let (agents, servers) = (joined("general-1"), joined("server-1"));

        assert_eq!(behind_ingress(&env, &agents, &servers), &agents);
        assert_eq!(behind_ingress(&env, &BTreeMap::new(), &servers), &BTreeMap::new(), "none of them answers");
        env.nodes.agents.clear();
        assert_eq!(behind_ingress(&env, &BTreeMap::new(), &servers), &servers);
    }
}
