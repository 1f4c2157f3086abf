//! Snapshots of etcd: taken on one server, listed from all, pruned by number.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::fleet::Fleet;
use crate::artifact::Kind;
use crate::environment::NodeName;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::{Connection, quote};
use crate::rke2::DATA_DIR;
use crate::workspace::write_atomic;

/// A large datastore on a slow disk.
const SAVING: Duration = Duration::from_secs(10 * 60);

/// A snapshot on the disk of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    pub name: String,
    pub node: NodeName,
    /// In bytes.
    pub size: u64,
    pub created: Timestamp,
    /// Where it was copied to, beside the server's disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// The directory of snapshots on a server.
pub fn directory() -> String {
    format!("{DATA_DIR}/server/db/snapshots")
}

/// Takes a snapshot on a server that runs, and copies it to `to` with its digest beside it.
///
/// # Errors
/// Exit 7 where no server runs; exit 5 when RKE2 refuses or what it left is empty.
pub async fn save_snapshot(fleet: &Fleet<'_>, name: &str, to: Option<&Path>) -> Result<Snapshot, Failure> {
    check_name(name)?;
    let cx = fleet.cx;
    let (node, server) = fleet.a_server().await?;
    let unit = format!("snapshot-{}-{node}", cx.run);
    let tell = |text: &str| cx.events.progress(Kind::Servers, format!("{node}: {text}"));
    let script = format!("set -eu\n/usr/local/bin/rke2 etcd-snapshot save --name {}\n", quote(name));
    let output = super::restoring::unit(&server, &unit, &script, &cx.wait(SAVING, &tell)).await?;
    server.forget_unit(&unit).await?;
    let saved = saved(&output).ok_or_else(|| {
        Failure::new(Exit::Tool, format!("no snapshot was saved on `{node}`")).because(last_line(&output))
    })?;
    let found = list_on(&node, &server).await?.into_iter().find(|snapshot| snapshot.name == saved);
    let mut snapshot = found.filter(|snapshot| snapshot.size > 0).ok_or_else(|| {
        Failure::new(Exit::Tool, format!("the snapshot `{saved}` on `{node}` is empty or gone"))
            .hint(format!("look at the free space of {} on `{node}`", directory()))
    })?;
    if let Some(dir) = to {
        let (copy, sha256) = fetch(&snapshot, &server, dir).await?;
        snapshot.copy = Some(copy);
        snapshot.sha256 = Some(sha256);
    }
    Ok(snapshot)
}

/// Brings a snapshot into a directory here, for its owner alone, with its digest beside it as `sha256sum -c` reads it.
async fn fetch(snapshot: &Snapshot, server: &Connection, dir: &Path) -> Result<(PathBuf, Digest), Failure> {
    let remote = format!("{}/{}", directory(), snapshot.name);
    let said = server.ask(&format!("reading `{remote}`"), &format!("sha256sum <{}", quote(&remote))).await?;
    let digest = said.split_whitespace().next().and_then(Digest::parse);
    let digest = digest.ok_or_else(|| Failure::new(Exit::Tool, format!("no digest of `{remote}`")).because(&said))?;
    let copy = dir.join(&snapshot.name);
    server.get(&remote, &copy, &digest).await?;
    let line = format!("{digest}  {}\n", snapshot.name);
    write_atomic(&dir.join(format!("{}.sha256", snapshot.name)), line.as_bytes(), 0o600)?;
    Ok((copy, digest))
}

/// The snapshots on every server that answers, newest first; a server that does not is told.
pub async fn list_snapshots(fleet: &Fleet<'_>) -> Result<Vec<Snapshot>, Failure> {
    let mut all = Vec::new();
    let mut answered = false;
    for node in fleet.servers.keys() {
        let listed = async { list_on(node, &fleet.connection(node).await?).await };
        match listed.await {
            Ok(snapshots) => {
                answered = true;
                all.extend(snapshots);
            }
            Err(failure) => fleet.cx.events.notice(format!("{node}: {failure}")),
        }
    }
    if !answered {
        return Err(Failure::new(Exit::Platform, "no server answers, so nobody knows of snapshots"));
    }
    all.sort_by(|one, two| two.created.cmp(&one.created).then_with(|| one.name.cmp(&two.name)));
    Ok(all)
}

/// Removes all but the newest `keep` snapshots on each server of those whose name begins with `prefix`; gives those that
/// went.
pub async fn prune_snapshots(
    fleet: &Fleet<'_>,
    prefix: &str,
    keep: usize,
    dry_run: bool,
) -> Result<Vec<Snapshot>, Failure> {
    let going = beyond(list_snapshots(fleet).await?, prefix, keep);
    if dry_run {
        return Ok(going);
    }
    for snapshot in &going {
        let server = fleet.connection(&snapshot.node).await?;
        let script = format!("/usr/local/bin/rke2 etcd-snapshot delete {}", quote(&snapshot.name));
        server.ask(&format!("removing snapshot `{}`", snapshot.name), &script).await?;
    }
    Ok(going)
}

fn beyond(newest_first: Vec<Snapshot>, prefix: &str, keep: usize) -> Vec<Snapshot> {
    let mut kept = std::collections::BTreeMap::new();
    let mut going = newest_first;
    going.retain(|snapshot| {
        if !snapshot.name.starts_with(prefix) {
            return false;
        }
        let count = kept.entry(snapshot.node.clone()).or_insert(0);
        *count += 1;
        *count > keep
    });
    going
}

/// The snapshots in a server's directory, whether RKE2 runs there or not.
pub async fn list_on(node: &NodeName, server: &Connection) -> Result<Vec<Snapshot>, Failure> {
    let script = format!(
        "cd {} 2>/dev/null || exit 0\nfor f in *; do [ ! -f \"$f\" ] || stat -c '%s %Y %n' -- \"$f\"; done",
        directory()
    );
    Ok(listed(node, &server.ask("listing snapshots", &script).await?))
}

fn listed(node: &NodeName, text: &str) -> Vec<Snapshot> {
    let one = |line: &str| {
        let (size, rest) = line.split_once(' ')?;
        let (created, name) = rest.split_once(' ')?;
        Some(Snapshot {
            name: name.to_owned(),
            node: node.clone(),
            size: size.parse().ok()?,
            created: Timestamp::from_second(created.parse().ok()?).ok()?,
            copy: None,
            sha256: None,
        })
    };
    text.lines().filter_map(one).collect()
}

/// The name in `Snapshot <name> saved.`
fn saved(output: &str) -> Option<String> {
    output.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("Snapshot ")?;
        Some(rest.split_once(" saved.")?.0.trim().to_owned())
    })
}

/// The name becomes part of a file's.
///
/// # Errors
/// Exit 2.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_plain) && !name.starts_with(['-', '.']) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("`{name}` is no name for a snapshot"))
        .hint("letters, digits, `-`, `_` and `.`, not `-` or `.` first"))
}

fn last_line(text: &str) -> &str {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(snapshots: &[Snapshot]) -> Vec<&str> {
        snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect()
    }

    #[test]
    fn the_name_of_a_saved_snapshot_is_the_one_that_rke2_tells() {
        let output = "time=\"2026-11-30T04:51:02Z\" level=warning msg=\"Unknown flag --token-file found in config.yaml, skipping\\n\"\n\
                      time=\"2026-11-30T04:51:03Z\" level=info msg=\"Snapshot pre-server-1-1796014263 saved.\"\n";

        assert_eq!(saved(output).as_deref(), Some("pre-server-1-1796014263"));
        assert_eq!(saved("level=fatal msg=\"Error: connection refused\""), None);
    }

    #[test]
    fn the_newest_of_each_server_are_kept_and_those_of_other_names_are_not_counted() {
        let node = |name: &str| NodeName(name.to_owned());
        let mut all = listed(&node("server-1"), "9 50 pre-5\n9 40 etcd-snapshot-4\n9 30 pre-3\n9 20 pre-2\n");
        all.extend(listed(&node("server-2"), "9 10 pre-1\nnot a line\n"));

        assert_eq!(names(&beyond(all.clone(), "pre", 1)), ["pre-3", "pre-2"]);
        assert_eq!(names(&beyond(all, "", 3)), ["pre-2"]);
    }

    #[test]
    fn a_name_that_could_be_an_option_or_a_path_is_refused() {
        for name in ["", "-x", "../x", "a b", ".hidden"] {
            assert_eq!(check_name(name).expect_err("refused").exit(), Exit::Usage, "{name}");
        }
        assert!(check_name("before-v1.35.4").is_ok());
    }
}
