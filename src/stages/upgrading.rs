//! Another release on a member, in place: its pods go elsewhere, the files come, and after the restart it takes pods again.
//!
//! `up` keeps the release of the members, so a member that runs another one than is wanted is met only on the road of
//! `upgrade`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::artifact::{Access, Bundle};
use crate::environment::NodeName;
use crate::event::NodeState;
use crate::failure::{Exit, Failure};
use crate::node::{Connection, quote};
use crate::rke2::{ADMIN_KUBECONFIG, DATA_DIR, State, UnitActivity};
use crate::stages::{Context, staging};

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
    let connection = cx.connections.get(node, access).await?;
    let staged = staging::send(&connection, node, bundle, cx).await?;
    cx.node(node, NodeState::Working, "draining");
    let server = cx.connections.get(through, access).await?;
    note(cx, &server, node).await?;
    drain(&server, node).await?;
    Ok(Some(json!({ "rke2_release_dir": staged, "rke2_release_on": "node", "rke2_release_keep": false })))
}

/// Adds what [`prepare`] told to the variables of a play.
pub fn add(vars: &mut Value, told: Option<Value>) {
    if let (Value::Object(vars), Some(Value::Object(told))) = (vars, told) {
        vars.extend(told);
    }
}

/// Whether a node is a member with another release than the wanted one; what cannot be told is no reason to drain.
pub async fn is_due(cx: &Context<'_>, node: &NodeName, access: &Access) -> Result<bool, Failure> {
    let census = cx.connections.census(node, access).await?;
    let state = State::read(&node.0, &census)?;
    let unit = |activity| matches!(activity, UnitActivity::Active | UnitActivity::Activating);
    let runs = unit(state.server.activity) || unit(state.agent.activity);
    let installed = state.installed.as_deref().unwrap_or_default();
    let wanted = cx.env.rke2.version.as_str();
    Ok((runs || state.has_store || state.agent.is_enabled) && !installed.is_empty() && installed != wanted)
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

fn kubectl(words: &str) -> String {
    format!("{DATA_DIR}/bin/kubectl --kubeconfig {ADMIN_KUBECONFIG} {words}")
}

/// Takes a node's pods away within the budget; what stays is told by kubectl and ends with the restart.
async fn drain(server: &Connection, node: &NodeName) -> Result<(), Failure> {
    let script = format!(
        "k() {{ {DATA_DIR}/bin/kubectl --kubeconfig {ADMIN_KUBECONFIG} \"$@\"; }}\nk cordon {name} >/dev/null || exit 3\n\
         k drain {name} --ignore-daemonsets --delete-emptydir-data --force --timeout={budget}s >/dev/null 2>&1\nexit 0",
        name = quote(&node.0),
        budget = DRAIN.as_secs(),
    );
    let output = server.run_within(&script, true, DRAIN + Duration::from_secs(60)).await?;
    if output.code == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Unhealthy, format!("`{node}` was not cordoned")).because(output.stderr.trim()))
}

/// Lets a node take pods again that we keep them from; of any other nothing is asked.
pub async fn uncordon(cx: &Context<'_>, node: &NodeName, access: &Access, through: &NodeName) -> Result<(), Failure> {
    if cx.fact::<bool>(&fact(node))?.is_none() {
        return Ok(());
    }
    let server = cx.connections.get(through, access).await?;
    let script = kubectl(&format!("uncordon {}", quote(&node.0)));
    server.ask(&format!("letting `{node}` take pods again"), &script).await?;
    cx.ledger.record_fact(&fact(node), Value::Null).await
}
