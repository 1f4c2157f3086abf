//! Brings the files of the release to nodes that lack them: to all at once, each file checked where it arrives.
//!
//! A machine of an image that holds the release lacks nothing; one that existed before gets it from the local store.

use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::artifact::{Access, Bundle, Kind};
use crate::environment::{NodeName, Platform};
use crate::event::NodeState;
use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::node::{Connection, Sent, quote};
use crate::rke2::checksum_file;
use crate::stages::several::several;
use crate::stages::{Context, Given};
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
    vars
}

/// Whether nodes get the release from here: the image that others were made from holds it.
fn is_brought(cx: &Context<'_>) -> bool {
    cx.env.platform == Platform::Hosts
}

/// Brings all of these nodes what they lack; gives the release that was brought.
///
/// # Errors
/// Which of them did not get it.
pub async fn stage_all(
    nodes: &[NodeName],
    access: &Access,
    given: &Given,
    cx: &Context<'_>,
) -> Result<Bundle, Failure> {
    let bundle: Bundle = given.get(Kind::Bundle)?;
    let results = stage(nodes, access, &bundle, cx).await?;
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
    let files = files(bundle, cx)?;
    let lacking = async |node: &NodeName| {
        let connection = cx.connections.get(node, access).await?;
        match is_installed(&connection, bundle).await? {
            true => Ok(()),
            false => deliver(&connection, node, bundle, &files, cx).await,
        }
    };
    Ok(join_all(nodes.iter().map(lacking)).await)
}

/// Sends a node the files of the release that are not there yet; gives the directory in which they are.
pub async fn send(
    connection: &Connection,
    node: &NodeName,
    bundle: &Bundle,
    cx: &Context<'_>,
) -> Result<String, Failure> {
    deliver(connection, node, bundle, &files(bundle, cx)?, cx).await?;
    Ok(dir(&bundle.version))
}

/// The files of the release and the list of their checksums in the local store, each with its digest and size.
fn files(bundle: &Bundle, cx: &Context<'_>) -> Result<Vec<(PathBuf, Digest, u64)>, Failure> {
    let store = cx.workspace.release(&bundle.version);
    let sums = store.join(checksum_file());
    let list = (sums.clone(), file_digest(&sums)?, sums.metadata().map_or(0, |found| found.len()));
    let files = bundle.files.iter().map(|(name, file)| (store.join(name), file.sha256.clone(), file.size));
    Ok(files.chain([list]).collect())
}

async fn deliver(
    connection: &Connection,
    node: &NodeName,
    bundle: &Bundle,
    files: &[(PathBuf, Digest, u64)],
    cx: &Context<'_>,
) -> Result<(), Failure> {
    let all: u64 = files.iter().map(|(_, _, size)| size).sum();
    let (started, mut done, mut sent) = (Instant::now(), 0_u64, 0_u64);
    for (local, digest, size) in files {
        cx.checkpoint()?;
        let percent = (done * 100).checked_div(all).unwrap_or(100);
        cx.node(node, NodeState::Working, format!("receiving the release · {percent} % of {}", mib(all)));
        let name = local.file_name().unwrap_or_default();
        let remote = Path::new(&dir(&bundle.version)).join(name);
        match connection.put(local, &remote, 0o600, digest).await? {
            Sent::Already => {}
            Sent::Bytes(bytes) => sent += bytes,
        }
        done += size;
    }
    let took = started.elapsed().as_secs_f64();
    cx.node(node, NodeState::Working, format!("has the release · {} sent in {took:.1} s", mib(sent)));
    Ok(())
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
