//! Brings the files of the release to nodes that lack them: to all at once, each file checked where it arrives, and where
//! the way from here is the slow one, passed on among the nodes.
//!
//! A machine of an image that holds the release lacks nothing; one that existed before gets it from the local store.

use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::artifact::{Access, Bundle, Hardening, Kind};
use crate::environment::{NodeName, Platform, Role};
use crate::event::NodeState;
use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::node::{Connection, Course, Sent, Shipment, Uplink, quote};
use crate::rke2::checksum_file;
use crate::stages::several::several;
use crate::stages::{Context, Given, packages};
use crate::workspace::file_digest;

/// Where the files lie on a node until the play has placed them.
const DIR: &str = "/var/lib/sre-provision/release";

/// Tells whether the release `$1` is installed with all archives that follow: `installed` or `lacking`.
const INSTALLED: &str = r#"
images=/var/lib/rancher/rke2/agent/images
[ "$(/usr/local/bin/rke2 --version 2>/dev/null | awk 'NR == 1 { print $3 }')" = "$1" ] || { echo lacking; exit 0; }
shift
for name in "$@"; do [ -f "$images/$name" ] || { echo lacking; exit 0; }; done
echo installed"#;

/// What the roles are told of a release that was brought here: it is on the node.
pub fn variables(mut vars: Value, bundle: &Bundle, cx: &Context<'_>) -> Value {
    if is_brought(cx) {
        vars["rke2_release_dir"] = json!(dir(&bundle.version));
        vars["rke2_release_on"] = json!("node");
    }
    vars["rke2_dnf_conf"] = json!(packages::configuration(cx));
    vars
}

/// Whether nodes get the release from here: the image that others were made from holds it.
fn is_brought(cx: &Context<'_>) -> bool {
    cx.env.platform == Platform::Hosts
}

/// The agents that will join after the servers.
pub fn agents(access: &Access, hardening: &Hardening) -> Vec<NodeName> {
    let agents = access.nodes.iter().filter(|(_, reach)| reach.role == Some(Role::Agent)).map(|(node, _)| node);
    agents.filter(|node| hardening.nodes.contains_key(*node)).cloned().collect()
}

/// Brings all of these nodes what they lack; gives the release that was brought. Those whose turn comes `later` are in the
/// same row, so that what all need goes over the way from here once; one of them that fails is met again at its turn.
///
/// # Errors
/// Which of the nodes did not get it.
pub async fn stage_all(
    nodes: &[NodeName],
    later: &[NodeName],
    access: &Access,
    given: &Given,
    cx: &Context<'_>,
) -> Result<Bundle, Failure> {
    let bundle: Bundle = given.get(Kind::Bundle)?;
    let results = stage(&[nodes, later].concat(), access, &bundle, cx).await?;
    let failures: Vec<(NodeName, Failure)> =
        nodes.iter().zip(results).filter_map(|(node, result)| Some((node.clone(), result.err()?))).collect();
    if failures.is_empty() { Ok(bundle) } else { Err(several(&failures, nodes.len(), "lack the release").of(cx.stage)) }
}

/// Brings these nodes what they lack, side by side; gives each one's result.
pub async fn stage(
    nodes: &[NodeName],
    access: &Access,
    bundle: &Bundle,
    cx: &Context<'_>,
) -> Result<Vec<Result<(), Failure>>, Failure> {
    if !is_brought(cx) {
        return Ok(nodes.iter().map(|_| Ok(())).collect());
    }
    let looks = nodes.iter().map(async |node| {
        let connection = cx.connections.get(node, access).await?;
        let is_lacking = !is_installed(&connection, bundle).await?;
        Ok(is_lacking.then_some(connection))
    });
    let mut results = Vec::new();
    let mut lacking = Vec::new();
    for (place, look) in join_all(looks).await.into_iter().enumerate() {
        results.push(look.map(|connection| lacking.extend(connection.map(|connection| (place, connection)))));
    }
    let ways: Vec<(&NodeName, &Connection)> =
        lacking.iter().filter_map(|(place, connection)| Some((nodes.get(*place)?, connection))).collect();
    for ((place, _), result) in lacking.iter().zip(deliver(&ways, bundle, cx).await?) {
        if let Some(known) = results.get_mut(*place) {
            *known = result;
        }
    }
    Ok(results)
}

/// Sends a node the files of the release that are not there yet; gives the directory in which they are. Where it has none
/// of them, those whose turn comes `later` get them in the same row: each finds them there then.
///
/// # Errors
/// The node itself did not get them; one of the others is met again at its turn.
pub async fn send(
    node: &NodeName,
    later: &[NodeName],
    access: &Access,
    bundle: &Bundle,
    cx: &Context<'_>,
) -> Result<String, Failure> {
    let connection = cx.connections.get(node, access).await?;
    let mut row = vec![(node, &connection)];
    let mut others = Vec::new();
    if !is_begun(&connection, bundle).await? {
        let opened = later.iter().map(async |node| Some((node, cx.connections.get(node, access).await.ok()?)));
        others.extend(join_all(opened).await.into_iter().flatten());
    }
    row.extend(others.iter().map(|(node, connection)| (*node, connection)));
    let mut results = deliver(&row, bundle, cx).await?.into_iter();
    results.next().unwrap_or_else(|| Err(Failure::bug("nobody was sent the release")))?;
    Ok(dir(&bundle.version))
}

/// Whether a node has files of this release from an earlier turn.
async fn is_begun(connection: &Connection, bundle: &Bundle) -> Result<bool, Failure> {
    let list = format!("{}/{}", dir(&bundle.version), checksum_file());
    let said = connection.run(&format!("test -f {}", quote(&list)), true).await?;
    Ok(said.code == 0)
}

/// The files of the release and the list of their checksums in the local store, each with its digest and size.
fn files(bundle: &Bundle, cx: &Context<'_>) -> Result<Vec<(PathBuf, Digest, u64)>, Failure> {
    let store = cx.workspace.release(&bundle.version);
    let sums = store.join(checksum_file());
    let list = (sums.clone(), file_digest(&sums)?, sums.metadata().map_or(0, |found| found.len()));
    let files = bundle.files.iter().map(|(name, file)| (store.join(name), file.sha256.clone(), file.size));
    Ok(files.chain([list]).collect())
}

/// One node's part of a delivery.
struct Part<'a> {
    node: &'a NodeName,
    connection: &'a Connection,
    /// Bytes that went to it from here.
    sent: u64,
    result: Result<(), Failure>,
}

/// Brings all files to these nodes, one after the other; who fails at one is sent no further one.
async fn deliver(
    nodes: &[(&NodeName, &Connection)],
    bundle: &Bundle,
    cx: &Context<'_>,
) -> Result<Vec<Result<(), Failure>>, Failure> {
    let files = files(bundle, cx)?;
    let all: u64 = files.iter().map(|(_, _, size)| size).sum();
    let started = Instant::now();
    let (uplink, mut course) = (Uplink::default(), Course::Straight);
    let part = |(node, connection)| Part { node, connection, sent: 0, result: Ok(()) };
    let mut parts: Vec<Part<'_>> = nodes.iter().copied().map(part).collect();
    let mut done = 0;
    for (local, digest, size) in &files {
        cx.checkpoint()?;
        let name = local.file_name().unwrap_or_default();
        let remote = Path::new(&dir(&bundle.version)).join(name);
        let shipment = Shipment::of(local, digest).await?;
        let mut left: Vec<&mut Part<'_>> = parts.iter_mut().filter(|part| part.result.is_ok()).collect();
        let names: Vec<&NodeName> = left.iter().map(|part| part.node).collect();
        let heard = |place: usize, bytes: u64| {
            cx.checkpoint()?;
            if let Some(node) = names.get(place) {
                cx.node(node, NodeState::Working, receiving(done + bytes, all));
            }
            Ok(())
        };
        names.iter().for_each(|node| cx.node(node, NodeState::Working, receiving(done, all)));
        let ways: Vec<(&Connection, &Path)> = left.iter().map(|part| (part.connection, remote.as_path())).collect();
        let (results, taken) = uplink.spread(&ways, &shipment, 0o600, &heard).await;
        for (part, result) in left.iter_mut().zip(results) {
            match result {
                Ok(Sent::Already) => {}
                Ok(Sent::Bytes(bytes)) => part.sent += bytes,
                Err(failure) => part.result = Err(failure),
            }
        }
        course = if taken == Course::PassedOn { taken } else { course };
        done += size;
    }
    let took = started.elapsed().as_secs_f64();
    for part in parts.iter().filter(|part| part.result.is_ok()) {
        let how = if course == Course::PassedOn { ", passed on among the nodes" } else { "" };
        let text = format!("has the release · {} sent{how} in {took:.1} s", mib(part.sent));
        cx.node(part.node, NodeState::Working, text);
    }
    Ok(parts.into_iter().map(|part| part.result).collect())
}

fn receiving(done: u64, all: u64) -> String {
    let percent = (done * 100).checked_div(all).unwrap_or(100);
    format!("receiving the release · {percent} % of {}", mib(all))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn dir(version: &str) -> String {
    format!("{DIR}/{version}")
}

async fn is_installed(connection: &Connection, bundle: &Bundle) -> Result<bool, Failure> {
    let archives = bundle.files.keys().filter(|name| name.starts_with("rke2-images"));
    let words: Vec<String> = std::iter::once(&bundle.version).chain(archives).map(|word| quote(word)).collect();
    let said = connection.ask("looking for the release", &format!("set -- {}{INSTALLED}", words.join(" "))).await?;
    Ok(said.trim() == "installed")
}
