//! Another release on a member, in place: its pods go elsewhere, the files come, and after the restart it takes pods again.
//!
//! Before each of them all servers are asked anew what they run: Kubernetes, and etcd by the word of each member.
//!
//! `up` keeps the release of the members, so a member that runs another one than is wanted is met only on the road of
//! `upgrade`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::artifact::{Access, Bundle};
use crate::environment::{NodeName, Role};
use crate::event::NodeState;
use crate::failure::{Exit, Failure};
use crate::node::{Connection, quote};
use crate::rke2::{ADMIN_KUBECONFIG, DATA_DIR, Runs, State, UnitActivity, Version, speaks_against};
use crate::stages::{Context, joining, staging};

/// How long pods may take to go; what has not gone by then ends with the restart.
const DRAIN: Duration = Duration::from_secs(120);

/// Makes a node that runs another release ready for this one, and tells the play where the files are; `None` where there
/// is nothing to upgrade. `through` is a server that is asked for the drain.
pub async fn prepare(
    cx: &Context<'_>,
    node: &NodeName,
    access: &Access,
    bundle: &Bundle,
    through: &NodeName,
) -> Result<Option<Value>, Failure> {
    if !is_due(cx, node, access).await? {
        return Ok(None);
    }
    measured(cx, node, access).await?;
    let staged = staging::send(node, &due_later(cx, node, access).await, access, bundle, cx).await?;
    cx.node(node, NodeState::Working, "draining");
    let server = cx.connections.get(through, access).await?;
    note(cx, &server, node).await?;
    if let Some(left) = drain(&server, node).await? {
        let budget = DRAIN.as_secs();
        cx.events.notice(format!("{node}: not drained within {budget} s, and restarted with what is left: {left}"));
        cx.ledger.record_fact(&format!("drain/{node}"), json!({ "run": cx.run, "left": left })).await?;
    }
    Ok(Some(json!({ "rke2_release_dir": staged, "rke2_release_on": "node", "rke2_release_keep": false })))
}

/// The other members that are still to get this release.
async fn due_later(cx: &Context<'_>, node: &NodeName, access: &Access) -> Vec<NodeName> {
    let mut later = Vec::new();
    for other in access.nodes.keys().filter(|other| *other != node) {
        // One that does not answer is met at its own turn.
        if is_due(cx, other, access).await.unwrap_or(false) {
            later.push(other.clone());
        }
    }
    later
}

/// Adds what [`prepare`] told to the variables of a play.
pub fn add(vars: &mut Value, told: Option<Value>) {
    if let (Value::Object(vars), Some(Value::Object(told))) = (vars, told) {
        vars.extend(told);
    }
}

/// Whether a node is a member with another release than the wanted one; what cannot be told is no reason to drain.
///
/// # Errors
/// Exit 7 where it would be brought back to an older one, with the upgrade that brings the others to its release.
pub async fn is_due(cx: &Context<'_>, node: &NodeName, access: &Access) -> Result<bool, Failure> {
    let census = cx.connections.census(node, access).await?;
    let state = State::read(&node.0, &census)?;
    let unit = |activity| matches!(activity, UnitActivity::Active | UnitActivity::Activating);
    let runs = unit(state.server.activity) || unit(state.agent.activity);
    let installed = state.installed.as_deref().unwrap_or_default();
    let wanted = cx.env.rke2.version.as_str();
    let is_member = runs || state.has_store || state.agent.is_enabled;
    match ahead(&cx.env.name, node, installed, joining::version(cx)?).filter(|_| is_member) {
        Some(failure) => Err(failure),
        None => Ok(is_member && !installed.is_empty() && installed != wanted),
    }
}

/// What keeps a member that is ahead of the others, as an upgrade leaves it that was given up for a restore, as it is.
fn ahead(environment: &str, node: &NodeName, installed: &str, to: Version) -> Option<Failure> {
    let newer = installed.parse::<Version>().ok().filter(|installed| *installed > to)?;
    let failure = Failure::new(Exit::Unhealthy, format!("`{node}` is not brought back from {newer} to {to}"));
    Some(
        failure
            .because("an upgrade has reached it and did not come to its end")
            .hint(format!("sre-provision upgrade {environment} --to {newer}   brings the others to its release")),
    )
}

/// The fact that tells that we keep new pods from a node, which takes none because of nobody else.
fn fact(node: &NodeName) -> String {
    format!("cordoned/{node}")
}

/// Writes down that a node is about to be cordoned, unless it is: then somebody else wants it so, and it stays.
async fn note(cx: &Context<'_>, server: &Connection, node: &NodeName) -> Result<(), Failure> {
    if cx.fact::<bool>(&fact(node))?.is_some() {
        return Ok(());
    }
    let script =
        kubectl(&format!("get node {} --ignore-not-found -o jsonpath='{{.spec.unschedulable}}'", quote(&node.0)));
    let said = server.ask(&format!("asking whether `{node}` takes pods"), &script).await?;
    if said.trim() == "true" {
        return Ok(());
    }
    cx.ledger.record_fact(&fact(node), json!(true)).await
}

/// A command for a server, as the cluster's administrator.
pub fn kubectl(words: &str) -> String {
    format!("{DATA_DIR}/bin/kubectl --kubeconfig {ADMIN_KUBECONFIG} {words}")
}

/// Whether this node may follow, by what every other server is seen to run now.
///
/// # Errors
/// Exit 7, before anything was touched, with the server and what it runs.
async fn measured(cx: &Context<'_>, node: &NodeName, access: &Access) -> Result<(), Failure> {
    let mut servers = Vec::new();
    let others = access.nodes.iter().filter(|(server, reach)| reach.role == Some(Role::Server) && *server != node);
    for (server, _) in others {
        cx.connections.forget_census(server).await;
        let state = State::read(&server.0, &*cx.connections.census(server, access).await?)?;
        let kubernetes = state.running.and_then(|running| running.parse().ok());
        servers.push(Runs { node: server.to_string(), kubernetes, etcd: state.voice.map(|member| member.version) });
    }
    let to = joining::version(cx)?;
    let is_server = access.reach(node)?.role == Some(Role::Server);
    match speaks_against(&servers, is_server, to) {
        Some(why) => Err(Failure::new(Exit::Unhealthy, format!("`{node}` is not brought to {to}")).because(why)),
        None => Ok(()),
    }
}

/// Takes a node's pods away within the budget; gives what kubectl said last where some stayed. They run on until their
/// node's service is restarted, and RKE2 lets pods outlive that.
async fn drain(server: &Connection, node: &NodeName) -> Result<Option<String>, Failure> {
    let script = format!(
        "k() {{ {DATA_DIR}/bin/kubectl --kubeconfig {ADMIN_KUBECONFIG} \"$@\"; }}\nk cordon {name} >/dev/null || exit 3\n\
         k drain {name} --ignore-daemonsets --delete-emptydir-data --force --timeout={budget}s 2>&1 || exit 4",
        name = quote(&node.0),
        budget = DRAIN.as_secs(),
    );
    let output = server.run_within(&script, true, DRAIN + Duration::from_secs(60)).await?;
    match output.code {
        0 => return Ok(None),
        4 => return Ok(Some(stayed(&output.stdout).to_owned())),
        _ => {}
    }
    Err(Failure::new(Exit::Unhealthy, format!("`{node}` was not cordoned")).because(output.stderr.trim()))
}

/// The last error of a drain, or its last line.
fn stayed(output: &str) -> &str {
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    lines().rfind(|line| line.starts_with("error")).or_else(|| lines().next_back()).unwrap_or("it said nothing")
}

/// Lets a node take pods again that we keep them from; of any other nothing is asked.
pub async fn uncordon(cx: &Context<'_>, node: &NodeName, access: &Access, through: &NodeName) -> Result<(), Failure> {
    if cx.fact::<bool>(&fact(node))?.is_none() {
        return Ok(());
    }
    let server = cx.connections.get(through, access).await?;
    // A snapshot from before it joined knows no such Node.
    let (name, get) = (quote(&node.0), "--ignore-not-found -o name");
    let script = format!(
        "set -eu\nthere=$({})\n[ -z \"$there\" ] || {}",
        kubectl(&format!("get node {name} {get}")),
        kubectl(&format!("uncordon {name}"))
    );
    server.ask(&format!("letting `{node}` take pods again"), &script).await?;
    cx.ledger.record_fact(&fact(node), Value::Null).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_ahead_is_not_brought_back() {
        let to: Version = "v1.34.4+rke2r1".parse().expect("a version");
        let told = |installed| ahead("dev", &NodeName("server-1".to_owned()), installed, to);

        let failure = told("v1.35.4+rke2r1").expect("refused");

        assert_eq!(failure.what(), "`server-1` is not brought back from v1.35.4+rke2r1 to v1.34.4+rke2r1");
        let hint = "sre-provision upgrade dev --to v1.35.4+rke2r1   brings the others to its release";
        assert_eq!(failure.hints(), [hint]);
        assert!(told("v1.33.4+rke2r1").is_none());
        assert!(told("").is_none());
    }

    #[test]
    fn of_a_drain_that_did_not_come_to_its_end_the_last_error_is_told() {
        let said = "node/general-1 cordoned\nevicting pod default/web-0\n\
                    error when evicting pods/\"web-0\" -n \"default\" (will retry after 5s): Cannot evict pod as it would \
                    violate the pod's disruption budget.\nThere are pending nodes to be drained:\n general-1\n";

        assert!(stayed(said).ends_with("violate the pod's disruption budget."), "{}", stayed(said));
        assert_eq!(stayed(""), "it said nothing");
    }
}
