//! What servers and agents share: the play that starts a node's service, and the wait until it is a member.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::artifact::{Access, Joined};
use crate::environment::{Agents, LoadBalancerKind, NodeName, Role};
use crate::event::NodeState;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::rke2::{self, State, Version};
use crate::secret::Secret;
use crate::secrets::random_token;
use crate::stages::infrastructure::tool_cx;
use crate::stages::{Context, configuring, inventory};
use crate::tools::ansible::{self, Play, Played};
use crate::tools::may_pass;
use crate::workspace::TmpFile;

/// How long a node may take from the start of its service to its membership; the first server imports its images.
const JOIN: Duration = Duration::from_secs(15 * 60);

/// The names of the cluster's secrets in the sealed store.
pub const SERVER_TOKEN: &str = "rke2-server-token";
pub const AGENT_TOKEN: &str = "rke2-agent-token";

/// The password part of a token: made once, sealed, read back and noted before any server starts with it.
pub async fn password(cx: &Context<'_>, name: &str) -> Result<Secret, Failure> {
    let password = cx.secrets.get_or_create(name, random_token)?;
    cx.note_secrets().await?;
    Ok(password)
}

pub fn version(cx: &Context<'_>) -> Result<Version, Failure> {
    cx.env.rke2.version.parse().map_err(|why: String| Failure::new(Exit::Environment, why))
}

/// What of the environment makes a node's configuration, apart from what only its role has.
pub fn node_inputs(cx: &Context<'_>, machine: &str, role: Role, pool: Option<&Agents>) -> Inputs {
    let labels = pool.map(|pool| (&pool.labels, &pool.taints));
    Inputs::new()
        .value("machine", &machine)
        .value("rke2.version", &cx.env.rke2.version)
        .value("rke2.cni", &cx.env.rke2.cni)
        .value("rke2.profile", &cx.env.rke2.profile)
        .value("rke2.config", &configuring::share(cx.env, role))
        .value("labels and taints", &labels)
        .tree("ansible/roles/rke2_common")
}

/// What our plays give to both roles: what the inventory says of RKE2, and that the wait is ours.
pub fn variables(cx: &Context<'_>, role: Role) -> Result<Value, Failure> {
    let mut vars = inventory::settings(cx.env);
    configuring::tell(cx.env, role, &mut vars)?;
    vars["rke2_wait"] = json!(false);
    Ok(vars)
}

/// Runs one playbook for some nodes; the token files lie on tmpfs while it runs.
///
/// Where they lie is told in a file of its own, since it differs from run to run: a play that a killed run left is the
/// same play as ours.
pub async fn play(
    cx: &Context<'_>,
    (name, playbook): (&str, &str),
    nodes: &[NodeName],
    vars: Value,
    tokens: &[(&str, &Secret)],
) -> Result<Results, Failure> {
    let scope = cx.secrets.scope();
    let mut files = Vec::new();
    let mut paths = BTreeMap::new();
    for (variable, token) in tokens {
        let file = TmpFile::create(&scope, variable, token.expose())?;
        paths.insert(*variable, file.path().to_owned());
        files.push(file);
    }
    let told = TmpFile::create(&scope, "token-files", json!(paths).to_string().as_bytes())?;
    let log = cx.state.run(cx.run).join(format!("{}-{name}.log", cx.stage));
    let play = Play {
        name: name.to_owned(),
        playbook: cx.workspace.asset(std::path::Path::new("ansible")).join(playbook),
        inventory: cx.workspace.inventory(&cx.env.name),
        limit: nodes.to_vec(),
        vars,
        secret_files: vec![told.path().to_owned()],
        ssh_args: cx.connections.ansible_ssh_args(),
        check: false,
    };
    let played = ansible::play(&tool_cx(cx), &play).await;
    for node in nodes {
        cx.connections.forget_census(node).await;
    }
    drop((files, told));
    Ok(Results { played: played?, log })
}

/// What came of a play, and where people read it.
pub struct Results {
    played: Played,
    log: PathBuf,
}

impl Results {
    /// # Errors
    /// Exit 5: Ansible did not come through on this node, with what it said; exit 6 where the node did not answer it.
    pub fn ok(&self, node: &NodeName) -> Result<(), Failure> {
        let host = self.played.hosts.get(&node.0);
        let failure = match host {
            Some(host) if !host.failed && !host.unreachable => return Ok(()),
            Some(host) if host.unreachable => Failure::new(Exit::Platform, format!("`{node}` did not answer Ansible"))
                .because(&host.message)
                .transient(),
            Some(host) if sounds_full(&host.message) => {
                Failure::new(Exit::Tool, format!("the disk of `{node}` is full")).because(&host.message).hint(format!(
                    "free some space on `{node}`: `sudo du -xh --max-depth=2 / | sort -h | tail` shows where it went"
                ))
            }
            Some(host) => {
                let failure = Failure::new(Exit::Tool, format!("Ansible failed on `{node}`")).because(&host.message);
                if may_pass(&host.message) { failure.transient() } else { failure }
            }
            None => Failure::new(Exit::Tool, format!("Ansible never came to `{node}`")),
        };
        Err(failure.log(&self.log))
    }
}

/// Whether this is how a full disk sounds.
fn sounds_full(message: &str) -> bool {
    ["No space left on device", "ENOSPC", "Disk quota exceeded"].iter().any(|sign| message.contains(sign))
}

/// Waits until a node is a member of the cluster.
pub async fn member(cx: &Context<'_>, node: &NodeName, role: Role, access: &Access) -> Result<Joined, Failure> {
    let machine = machine(access, node)?;
    let tell = |text: &str| cx.node(node, NodeState::Working, text);
    let wait = cx.wait(JOIN, &tell);
    let connection = cx.connections.get(node, access).await?;
    let member = rke2::joined(&connection, node, role, version(cx)?, &wait).await?;
    if let Some(start) = member.start {
        cx.ledger.record_fact(&format!("start/{node}"), json!(start)).await?;
    }
    cx.ledger.record_fact(&configuring::fact(node), json!(configuring::digests(cx.env, role))).await?;
    Ok(Joined { machine, version: member.version })
}

/// Those of these members that do not run as they joined.
pub async fn changed_members(
    cx: &Context<'_>,
    role: Role,
    joined: &BTreeMap<NodeName, Joined>,
    access: &Access,
) -> Result<Vec<NodeName>, Failure> {
    let known = joined.iter().filter(|(node, _)| access.nodes.contains_key(*node));
    let asked = known.map(async |(node, joined)| {
        let still = still_member(cx, node, role, joined, access).await?;
        Ok((!still).then(|| node.clone()))
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

/// Whether a node that joined once still runs as it did.
pub async fn still_member(
    cx: &Context<'_>,
    node: &NodeName,
    role: Role,
    joined: &Joined,
    access: &Access,
) -> Result<bool, Failure> {
    if machine(access, node)? != joined.machine {
        return Ok(false);
    }
    let census = cx.connections.census(node, access).await?;
    Ok(State::read(&node.0, &census)?.lacks(role, &joined.version).is_none())
}

/// Where a node answers to the other nodes.
pub fn address(access: &Access, node: &NodeName) -> Result<String, Failure> {
    Ok(access.reach(node)?.address.clone())
}

pub fn machine(access: &Access, node: &NodeName) -> Result<String, Failure> {
    Ok(access.reach(node)?.machine.clone())
}

/// Why nodes that are no members, and are not hardened, are kept out of the cluster; `None` where there are none.
pub fn kept_out(nodes: &[NodeName], of: usize) -> Option<Failure> {
    let names: Vec<&str> = nodes.iter().map(|node| node.0.as_str()).collect();
    let what = format!("{} of {of} nodes may not join, for want of hardening: {}", names.len(), names.join(", "));
    (!names.is_empty()).then(|| Failure::new(Exit::Unhealthy, what))
}

/// The address that clients outside use, which the API's certificate must hold.
pub fn fixed_address(cx: &Context<'_>, balancer: &str, first: &str) -> String {
    match cx.env.load_balancer.kind {
        LoadBalancerKind::None => first.to_owned(),
        LoadBalancerKind::Nlb | LoadBalancerKind::KubeVip | LoadBalancerKind::External => balancer.to_owned(),
    }
}
