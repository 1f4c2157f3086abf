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
use crate::rke2::{Need, Token};
use crate::stages::halves::Joining;
use crate::stages::joining::{self, AGENT_TOKEN, member, password, play, still_member, variables};
use crate::stages::several::several;
use crate::stages::{
    Context, Given, Made, Presence, Stage, Step, configuring, labelling, registration, staging, upgrading, ways,
};

pub struct AgentsStage;

/// The target groups that agents serve.
const INGRESS: [&str; 2] = ["http", "https"];
/// The target groups that agents join through.
const REGISTRATION: [&str; 2] = ["api", "supervisor"];

/// So many join at once: more would wait for each other at the servers (RKE2 docs, install/ha).
const AT_ONCE: usize = 50;
/// How many members are brought to another release at once: their pods go to the others.
const UPGRADED_AT_ONCE: usize = 2;

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
        let (due, new) = by_release(pending, &access, cx).await?;
        let mut failures = Vec::new();
        for batch in new.chunks(AT_ONCE) {
            failures.extend(join_batch(batch, &access, &servers, (&balancer, given), &mut joined, cx).await?);
        }
        // No further ones after one that did not come back.
        for batch in due.chunks(UPGRADED_AT_ONCE) {
            if failures.is_empty() {
                failures.extend(join_batch(batch, &access, &servers, (&balancer, given), &mut joined, cx).await?);
            }
        }
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
        let inputs = joining::node_inputs(cx, &machine, Role::Agent, cx.env.pool_of(node))
            .value("load-balancer", &balancer.address)
            .tree("ansible/roles/rke2_agent");
        Ok((node.clone(), Step::new(node.0.clone(), inputs, format!("node {node} on {machine}"))))
    };
    access_agents(access).map(one).collect()
}

type Pending = Vec<(NodeName, Step)>;

/// Members that get another release, and nodes that join.
async fn by_release(pending: Pending, access: &Access, cx: &Context<'_>) -> Result<(Pending, Pending), Failure> {
    let (mut due, mut new) = (Vec::new(), Vec::new());
    for (node, step) in pending {
        let is_due = upgrading::is_due(cx, &node, access).await?;
        if is_due { &mut due } else { &mut new }.push((node, step));
    }
    Ok((due, new))
}

/// A server that is asked for what an agent may not do.
fn through<'a>(servers: &'a Servers, access: &Access) -> Option<&'a NodeName> {
    servers.joined.keys().find(|node| access.nodes.contains_key(*node))
}

async fn arrived(node: &NodeName, servers: &Servers, access: &Access, cx: &Context<'_>) -> Result<Joined, Failure> {
    let one = member(cx, node, Role::Agent, access).await?;
    if let Some(through) = through(servers, access) {
        upgrading::uncordon(cx, node, access, through).await?;
        labelling::follow(cx, node, access, through).await?;
    }
    Ok(one)
}

/// One play for all, then each waits for itself.
async fn join_batch(
    pending: &[(NodeName, Step)],
    access: &Access,
    servers: &Servers,
    (balancer, given): (&LoadBalancer, &Given),
    joined: &mut BTreeMap<NodeName, Joined>,
    cx: &Context<'_>,
) -> Result<Vec<(NodeName, Failure)>, Failure> {
    if pending.is_empty() {
        return Ok(vec![]);
    }
    for (node, step) in pending {
        cx.begin(step).await?;
        cx.node(node, NodeState::Working, "joining");
    }
    let names: Vec<NodeName> = pending.iter().map(|(node, _)| node.clone()).collect();
    let mut refused = refused(&names, servers, balancer, access, cx).await?;
    let bundle: Bundle = given.get(Kind::Bundle)?;
    let free: Vec<NodeName> = names.into_iter().filter(|node| !refused.contains_key(node)).collect();
    let staged = staging::stage(&free, access, &bundle, cx).await?;
    let mut playing = Vec::new();
    for (node, staged) in free.into_iter().zip(staged) {
        match staged {
            Ok(()) => playing.push(node),
            Err(failure) => drop(refused.insert(node, failure)),
        }
    }
    let played = match playing.is_empty() {
        true => Err(Failure::bug("nobody is left to play for")),
        false => start(&playing, servers, (balancer, access), &bundle, cx).await,
    };
    let waits = pending.iter().map(async |(node, step)| {
        let result = match &played {
            _ if refused.contains_key(node) => Err(refused[node].clone()),
            Ok(played) => match played.ok(node) {
                Ok(()) => arrived(node, servers, access, cx).await,
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

/// Mends what can be mended, and measures the ways; gives those agents that cannot join, and why. What keeps out one of
/// them keeps out no other.
async fn refused(
    names: &[NodeName],
    servers: &Servers,
    balancer: &LoadBalancer,
    access: &Access,
    cx: &Context<'_>,
) -> Result<BTreeMap<NodeName, Failure>, Failure> {
    let ca = Digest::parse(&servers.ca).ok_or_else(|| Failure::bug("the recorded CA is no digest"))?;
    let is_there = |node: &&NodeName| access.nodes.contains_key(*node);
    let members: Vec<NodeName> = servers.joined.keys().filter(is_there).cloned().collect();
    let mended = names.iter().map(async |node| {
        let joining = Joining { node, role: Role::Agent, members: &members, ca: &ca, access, cx };
        (node.clone(), joining.mend().await)
    });
    let mended = join_all(mended).await.into_iter();
    let mut refused: BTreeMap<NodeName, Failure> =
        mended.filter_map(|(node, mended)| Some((node, mended.err()?))).collect();
    let found = ways::measure(names, (&balancer.address, registered(balancer, cx).await?), access, cx).await?;
    for node in names {
        if let Some(failure) = found.refusal(|one| one == node) {
            refused.insert(node.clone(), failure.of(node));
        }
    }
    Ok(refused)
}

/// How the way to the fixed address is judged: agents join through it, so once somebody is behind it, it must be open.
async fn registered(balancer: &LoadBalancer, cx: &Context<'_>) -> Result<Need, Failure> {
    let is_served = registration::is_served(&REGISTRATION, balancer, cx).await?;
    Ok(if is_served { Need::Join } else { Need::Name })
}

async fn start(
    names: &[NodeName],
    servers: &Servers,
    (balancer, access): (&LoadBalancer, &Access),
    bundle: &Bundle,
    cx: &Context<'_>,
) -> Result<joining::Results, Failure> {
    let ca = Digest::parse(&servers.ca).ok_or_else(|| Failure::bug("the recorded CA is no digest"))?;
    let token = Token::agent(ca, password(cx, AGENT_TOKEN).await?).secure();
    let mut vars = staging::variables(variables(cx, Role::Agent)?, bundle, cx);
    vars["rke2_join_address"] = json!(joining::fixed_address(cx, &balancer.address, &servers.join_address));
    if let Some(through) = through(servers, access) {
        for node in names {
            let told = upgrading::prepare(cx, node, access, bundle, through).await?;
            upgrading::add(&mut vars, told);
        }
    }
    for node in names {
        labelling::note(cx, node).await?;
    }
    let secrets = configuring::secret_files(cx, Role::Agent)?;
    let mut files = vec![("rke2_token_file", &token)];
    files.extend(secrets.iter().map(|(variable, secret)| (*variable, secret)));
    play(cx, ("join", "agents.yml"), names, vars, &files).await
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
