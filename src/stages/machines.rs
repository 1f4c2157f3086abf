//! The checked list of machines that already exist.
//!
//! A machine is taken before anything on it is changed: a note on it says for which environment, and what was there
//! before. So nobody's cluster is touched, two environments never share a machine, and `down` leaves it as it was.
//!
//! # Why
//! The note is on the machine and not only in the journal: whoever lost the journal must not take the machine for a
//! fresh one, and what was there before can be told by nobody else. (2026-11-30)

mod note;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::artifact::{Access, Artifact, Kind, Node, Nodes, Reach};
use crate::bundle::LoadedRpms;
use crate::environment::{Environment, NodeName, Role, Via};
use crate::event::NodeState;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Inputs;
use crate::node::{Connection, quote};
use crate::stages::packages::{self, Lacking};
use crate::stages::several::several;
use crate::stages::{Context, Given, Made, Presence, Stage, Step, named_jump};
use crate::units::ByteSize;

use note::{CLAIM, LEAVE, LOOK, Look, whose, with_words};

pub struct MachinesStage;

/// Walking all files for their modes may take a while on a slow disk.
const CLAIMING: Duration = Duration::from_secs(5 * 60);
/// Stopping a server with all its pods may, too.
const LEAVING: Duration = Duration::from_secs(10 * 60);
/// Told by the claiming script: another environment has the machine.
const TAKEN: i32 = 75;

/// What was noted of a machine before anything was changed on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Before {
    machine: String,
    /// Whether there was a user or group `etcd`.
    had_etcd: bool,
    /// Which of the packages that we install where missing were there.
    packages: Vec<String>,
    /// Of the whole note, which lies on the machine.
    digest: String,
}

#[async_trait]
impl Stage for MachinesStage {
    fn makes(&self) -> Kind {
        Kind::Nodes
    }

    /// No machine is touched before all that goes on it is here.
    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::Bundle]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            .value("hosts", &env.hosts.as_ref().map(|hosts| &hosts.machines))
            .value("access", &env.access)
            .value("packages", &packages::wanted(env, true))
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Nodes(nodes) = recorded else { return Ok(Presence::Gone) };
        let looks =
            ways(cx).into_iter().filter(|(name, _)| nodes.nodes.contains_key(name)).map(async |(name, reach)| {
                // One that does not answer is told by the stage that opens the ways.
                let Ok(connection) = open(&name, &reach, cx).await else { return Ok(None) };
                let look = look(&connection).await?;
                Ok(look.holder().map_or_else(
                    || Some(Presence::Altered(format!("{name} has lost the note of what was there before"))),
                    |holder| {
                        let is_ours = holder == cx.identity.id.to_string();
                        (!is_ours).then(|| Presence::Foreign(format!("{name} belongs to {}", whose(&look.claim))))
                    },
                ))
            });
        let seen: Vec<Presence> =
            join_all(looks).await.into_iter().collect::<Result<Vec<_>, Failure>>()?.into_iter().flatten().collect();
        let foreign = seen.iter().find(|presence| matches!(presence, Presence::Foreign(_)));
        Ok(foreign.or(seen.first()).cloned().unwrap_or(Presence::Standing))
    }

    async fn make(&self, _: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        kept_members(cx)?;
        let ways = ways(cx);
        // All or none: who joins depends on who is there. None is taken before all were looked at.
        let rpms = packages::open(cx).await?;
        let looks = join_all(ways.iter().map(|(name, reach)| fitting(name, reach, rpms.as_ref(), cx))).await;
        let looks = all_of(&ways, looks, cx)?;
        let taken = ways.iter().zip(&looks).map(|((name, reach), (_, look))| take(name, reach, look, cx));
        all_of(&ways, join_all(taken).await, cx)?;
        if let Some(rpms) = rpms {
            bring(&ways, &looks, &rpms, cx).await?;
        }
        let nodes = ways.iter().map(|(name, reach)| (name.clone(), node(reach))).collect();
        Ok(Artifact::Nodes(Nodes { nodes, jump: None }).into())
    }

    /// Leaves every machine as it was before it was taken; those of the file, and those that were recorded.
    async fn destroy(&self, left: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        let ways = ways_to_leave(left, cx);
        let results = join_all(ways.iter().map(|(name, reach)| leave(name, reach, cx))).await;
        let failures: Vec<(NodeName, Failure)> =
            ways.keys().zip(results).filter_map(|(name, result)| Some((name.clone(), result.err()?))).collect();
        cx.connections.close().await;
        if failures.is_empty() { Ok(()) } else { Err(several(&failures, ways.len(), "are not as they were")) }
    }
}

/// The way to each machine of the file.
fn ways(cx: &Context<'_>) -> BTreeMap<NodeName, Reach> {
    let Some(hosts) = &cx.env.hosts else { return BTreeMap::new() };
    let wanted = cx.env.wanted_nodes().into_iter();
    wanted.filter_map(|node| Some((node.name.clone(), hosts.reach(&node.name, node.role)?))).collect()
}

/// As [`ways`], and those to machines that the file no longer names.
fn ways_to_leave(left: Option<&Artifact>, cx: &Context<'_>) -> BTreeMap<NodeName, Reach> {
    let mut ways = ways(cx);
    let known: Option<Access> = cx.known.get(Kind::Access).ok();
    let Some(Artifact::Nodes(nodes)) = left else { return ways };
    for name in nodes.nodes.keys() {
        if let Some(reach) = known.as_ref().and_then(|access| access.nodes.get(name)) {
            ways.entry(name.clone()).or_insert_with(|| reach.clone());
        }
    }
    ways
}

fn node(reach: &Reach) -> Node {
    Node {
        machine: reach.machine.clone(),
        role: reach.role.unwrap_or(Role::Agent),
        address: reach.address.clone(),
        image: String::new(),
        size: String::new(),
        disk_gib: 0,
        zone: String::new(),
        user: reach.user.clone(),
        port: reach.port,
    }
}

/// A node that was taken stays one until the environment goes: what is on its machine would be forgotten with it.
fn kept_members(cx: &Context<'_>) -> Result<(), Failure> {
    let Some(Artifact::Nodes(recorded)) = cx.known.artifact(Kind::Nodes) else { return Ok(()) };
    let ways = ways(cx);
    let is_same = |name: &NodeName, node: &Node| ways.get(name).is_some_and(|reach| reach.machine == node.machine);
    let gone: Vec<String> =
        recorded.nodes.iter().filter(|(name, node)| !is_same(name, node)).map(|(name, _)| name.to_string()).collect();
    if gone.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Approval, format!("nodes: other machines, or none, are named for {}", gone.join(", ")))
        .class(Class::NeedsPerson)
        .because("a node is on the machine that it was made on; its data and its place among etcd's members are there")
        .hint(format!("name the same machines again in environments/{}.yaml, with the same host keys", cx.env.name)))
}

async fn open(name: &NodeName, reach: &Reach, cx: &Context<'_>) -> Result<Connection, Failure> {
    let jump = match cx.env.access.via {
        Via::Direct => None,
        Via::Jump => cx.env.access.jump.as_ref().and_then(named_jump),
    };
    cx.connections.open(&name.0, reach, jump.as_ref()).await
}

async fn look(connection: &Connection) -> Result<Look, Failure> {
    let said = connection.ask("looking at the machine", LOOK).await?;
    Ok(Look::read(&said))
}

/// What came of each machine, where it came of all.
fn all_of<T>(
    ways: &BTreeMap<NodeName, Reach>,
    results: Vec<Result<T, Failure>>,
    cx: &Context<'_>,
) -> Result<Vec<(NodeName, T)>, Failure> {
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (name, result) in ways.keys().zip(results) {
        match result {
            Ok(one) => done.push((name.clone(), one)),
            Err(failure) if failure.is_cancelled() => return Err(failure),
            Err(failure) => {
                cx.node(name, NodeState::Failed, failure.what());
                failures.push((name.clone(), failure));
            }
        }
    }
    if failures.is_empty() { Ok(done) } else { Err(several(&failures, ways.len(), "cannot be taken").of(cx.stage)) }
}

/// Looks whether a machine can be a node.
async fn fitting(name: &NodeName, reach: &Reach, rpms: Option<&LoadedRpms>, cx: &Context<'_>) -> Result<Look, Failure> {
    cx.node(name, NodeState::Working, "looking");
    let connection = open(name, reach, cx).await?;
    let look = look(&connection).await?;
    let free = cx.env.hosts.as_ref().map_or_else(ByteSize::default, |hosts| hosts.free_disk);
    look.fits(name, &cx.env.name, cx.identity.id, free, Timestamp::now())?;
    if let Some(rpms) = rpms {
        packages::refuse(name, &connection, &missing(&look, cx), rpms, cx.env).await?;
    }
    Ok(look)
}

fn missing(look: &Look, cx: &Context<'_>) -> Vec<&'static str> {
    look.missing(packages::wanted(cx.env, look.has_selinux()))
}

/// Brings every machine the packages that it lacks.
async fn bring(
    ways: &BTreeMap<NodeName, Reach>,
    looks: &[(NodeName, Look)],
    rpms: &LoadedRpms,
    cx: &Context<'_>,
) -> Result<(), Failure> {
    let mut opened = Vec::new();
    for ((name, reach), (_, look)) in ways.iter().zip(looks) {
        let missing = missing(look, cx);
        if !missing.is_empty() {
            opened.push((name, open(name, reach, cx).await?, missing));
        }
    }
    let machines: Vec<Lacking<'_>> = opened
        .iter()
        .map(|(node, connection, missing)| Lacking { node, connection, missing: missing.clone() })
        .collect();
    let mut failures = Vec::new();
    for (machine, result) in machines.iter().zip(packages::bring(&machines, rpms, cx).await?) {
        match result {
            Ok(()) => {
                cx.node(machine.node, NodeState::Done, format!("has {} packages to install", machine.missing.len()))
            }
            Err(failure) => failures.push((machine.node.clone(), failure)),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(several(&failures, ways.len(), "lack packages").of(cx.stage)) }
}

/// Takes a machine that was looked at.
async fn take(name: &NodeName, reach: &Reach, look: &Look, cx: &Context<'_>) -> Result<(), Failure> {
    let connection = open(name, reach, cx).await?;
    let inputs = Inputs::new().value("machine", &reach.machine);
    let step = Step::new(name.0.clone(), inputs, format!("claim of {} on {}", cx.identity.id, reach.machine));
    let is_noted = look.holder().is_some();
    cx.step(step, async |_: &Before| Ok(is_noted), async || claim(name, reach, &connection, cx).await).await?;
    cx.node(name, NodeState::Done, look.system.clone());
    Ok(())
}

async fn claim(name: &NodeName, reach: &Reach, connection: &Connection, cx: &Context<'_>) -> Result<Before, Failure> {
    let script = with_words(&cx.identity.id.to_string(), &cx.env.name, name, CLAIM);
    let output = connection.run_within(&script, true, CLAIMING).await?;
    match output.code {
        0 => Ok(note::before(&reach.machine, &output.stdout)),
        TAKEN => Err(note::taken(name, output.stdout.trim())),
        code => Err(Failure::new(Exit::Tool, format!("`{name}` cannot be taken: the script ended with code {code}"))
            .because(output.stderr.lines().last().unwrap_or("it said nothing"))
            .hint(format!("look at `/var/lib/sre-provision` on `{name}`; the same command goes on"))),
    }
}

async fn leave(name: &NodeName, reach: &Reach, cx: &Context<'_>) -> Result<(), Failure> {
    cx.node(name, NodeState::Working, "leaving it as it was");
    let connection = open(name, reach, cx).await?;
    let address = cx.env.load_balancer.address.as_deref().filter(|_| cx.env.load_balancer.image.is_some());
    let script = format!("VIP={}\n{LEAVE}", quote(address.unwrap_or_default()));
    let script = with_words(&cx.identity.id.to_string(), &cx.env.name, name, &script);
    let output = connection.run_within(&script, true, LEAVING).await?;
    let said = output.stdout.lines().last().unwrap_or_default();
    match said.split_once(' ').unwrap_or((said, "")) {
        ("left", _) => cx.node(name, NodeState::Done, "as it was"),
        ("never", _) => cx.node(name, NodeState::Done, "nothing of ours was there"),
        ("other", claim) => cx.node(name, NodeState::Done, format!("not touched: it belongs to {}", whose(claim))),
        _ => {
            return Err(Failure::new(Exit::Unhealthy, format!("`{name}` is not as it was"))
                .because(output.stderr.lines().last().unwrap_or("the script on it did not come to its end"))
                .hint(format!("`sre-provision down {}` goes on", cx.env.name)));
        }
    }
    Ok(())
}
