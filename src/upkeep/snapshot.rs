//! Snapshots of etcd: taken on one server, listed from all and from where RKE2 has put copies, pruned by number.
//!
//! The disks are asked themselves, because that answers while the API does not; the API tells what lies in S3.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::fleet::Fleet;
use super::restoring::kubectl;
use crate::artifact::Kind;
use crate::environment::NodeName;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::node::{Connection, quote};
use crate::rke2::DATA_DIR;
use crate::workspace::write_atomic;

/// A large datastore on a slow disk.
const SAVING: Duration = Duration::from_secs(10 * 60);

/// Where a snapshot lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On the disk of this server.
    Node(NodeName),
    /// At this address in S3.
    S3(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::S3(address) => f.write_str(address),
        }
    }
}

/// A snapshot of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    pub name: String,
    pub place: Place,
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

/// The snapshots on every server that answers, and those in S3 that the cluster knows, newest first. A server that does not
/// answer is told, and so is an API that does not where snapshots go to S3.
pub async fn list_snapshots(fleet: &Fleet<'_>) -> Result<Vec<Snapshot>, Failure> {
    let mut all = Vec::new();
    let mut silent = Failure::new(Exit::Platform, "no server answers, so nobody knows of snapshots");
    let mut answered = false;
    for node in fleet.servers.keys() {
        let listed = async { list_on(node, &fleet.connection(node).await?).await };
        match listed.await {
            Ok(snapshots) => {
                answered = true;
                all.extend(snapshots);
            }
            Err(failure) => {
                fleet.cx.events.notice(format!("{node}: {failure}"));
                silent = silent.because(format!("{node}: {failure}"));
            }
        }
    }
    if !answered {
        return Err(silent);
    }
    match elsewhere(fleet).await {
        Ok(copies) => all.extend(copies),
        Err(failure) if fleet.cx.env.rke2.config.snapshots.s3.is_some() => {
            fleet.cx.events.notice(format!("what lies in S3 is not known: {failure}"));
        }
        // Without a bucket there is nothing elsewhere.
        Err(_) => {}
    }
    all.sort_by(|one, two| two.created.cmp(&one.created).then_with(|| one.name.cmp(&two.name)));
    Ok(all)
}

/// The snapshots beside the disks of the servers, as the cluster's own list has them.
async fn elsewhere(fleet: &Fleet<'_>) -> Result<Vec<Snapshot>, Failure> {
    let (_, server) = fleet.a_server().await?;
    let script = kubectl("get --raw /apis/k3s.cattle.io/v1/etcdsnapshotfiles");
    let said = server.ask("asking for copies of snapshots", &script).await?;
    let list: Value = serde_json::from_str(&said)
        .map_err(|error| Failure::new(Exit::Unhealthy, "the API gave no list of snapshots").because(error))?;
    Ok(list.get("items").and_then(Value::as_array).into_iter().flatten().filter_map(copy_in_s3).collect())
}

/// An ETCDSnapshotFile of a snapshot that lies in S3 and is whole.
fn copy_in_s3(file: &Value) -> Option<Snapshot> {
    let (spec, status) = (file.get("spec")?, file.get("status")?);
    let location = spec.get("location")?.as_str()?;
    if !location.starts_with("s3://") || status.get("readyToUse").and_then(Value::as_bool) != Some(true) {
        return None;
    }
    Some(Snapshot {
        name: spec.get("snapshotName")?.as_str()?.to_owned(),
        place: Place::S3(location.to_owned()),
        size: quantity(status.get("size")?)?,
        created: status.get("creationTime")?.as_str()?.parse().ok()?,
        copy: None,
        sha256: None,
    })
}

/// A quantity of bytes as Kubernetes writes it: `2211872`, `2160Ki`, `2M`.
fn quantity(value: &Value) -> Option<u64> {
    let text = value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()))?;
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" => 1000,
        "Ki" => 1 << 10,
        "M" => 1_000_000,
        "Mi" => 1 << 20,
        "G" => 1_000_000_000,
        "Gi" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
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
        let Place::Node(node) = &snapshot.place else { continue };
        let server = fleet.connection(node).await?;
        server.ask(&format!("removing snapshot `{}`", snapshot.name), &removing(&snapshot.name)).await?;
    }
    Ok(going)
}

/// Without the word about S3, which the server's own configuration may say, the copies there would go as well.
fn removing(name: &str) -> String {
    format!("/usr/local/bin/rke2 etcd-snapshot delete --etcd-s3=false {}", quote(name))
}

fn beyond(newest_first: Vec<Snapshot>, prefix: &str, keep: usize) -> Vec<Snapshot> {
    let mut kept = std::collections::BTreeMap::new();
    let mut going = newest_first;
    going.retain(|snapshot| {
        // RKE2 removes copies in S3 by their own retention.
        let Place::Node(node) = &snapshot.place else { return false };
        if !snapshot.name.starts_with(prefix) {
            return false;
        }
        let count = kept.entry(node.clone()).or_insert(0);
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
            place: Place::Node(node.clone()),
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
    use serde_json::json;

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
    fn of_the_clusters_own_list_what_lies_in_s3_and_is_whole_is_told() {
        let file = |location: &str, ready: bool, size: &str| {
            let status = json!({"readyToUse": ready, "size": size, "creationTime": "2026-11-30T04:51:02Z"});
            json!({"spec": {"snapshotName": "pre-1", "nodeName": "s3", "location": location}, "status": status})
        };

        let found = copy_in_s3(&file("s3://bucket/folder/pre-1", true, "2160Ki")).expect("a copy");

        assert_eq!(found.place.to_string(), "s3://bucket/folder/pre-1");
        assert_eq!((found.name.as_str(), found.size), ("pre-1", 2160 << 10));
        assert_eq!(copy_in_s3(&file("file:///var/lib/rancher/rke2/server/db/snapshots/pre-1", true, "9")), None);
        assert_eq!(copy_in_s3(&file("s3://bucket/pre-1", false, "0")), None);
        assert!(beyond(vec![found], "pre", 0).is_empty(), "it is not ours to prune");
    }

    #[test]
    fn a_name_that_could_be_an_option_or_a_path_is_refused() {
        for name in ["", "-x", "../x", "a b", ".hidden"] {
            assert_eq!(check_name(name).expect_err("refused").exit(), Exit::Usage, "{name}");
        }
        assert!(check_name("before-v1.35.4").is_ok());
    }
}
