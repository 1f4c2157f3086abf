//! The beginning and the end of an upgrade: what every member runs, measured, and whether that may become the new release.
//!
//! What lies between is the work of the stages, which bring one node after the other to the release.

use serde_json::Value;

use super::fleet::Fleet;
use super::open::Open;
use super::snapshot::save_snapshot;
use super::verified::nodes;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::rke2::{Runs, Version, uneven_etcd};
use crate::stages::Step;

/// What one node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measured {
    node: String,
    is_server: bool,
    /// The program that runs.
    running: Version,
    /// As the API has it of the kubelet.
    kubelet: Version,
    /// Of a server: of its etcd member.
    etcd: Option<String>,
}

/// Measures every member, refuses what must not be, takes a snapshot, and opens the upgrade. Gives what was measured, for
/// people.
///
/// # Errors
/// Exit 2 for a downgrade or a skipped minor release; exit 7 where a node does not answer or is not Ready.
pub async fn begin_upgrade(fleet: &Fleet<'_>, to: Version, command: &str) -> Result<String, Failure> {
    let cx = fleet.cx;
    let is_open = cx.fact::<Open>(super::OPEN)?.is_some_and(|open| open.command == command);
    if is_open {
        // One node may just be down in the middle of it: the stages wait for it and say what it lacks.
        return Ok("goes on with the upgrade".to_owned());
    }
    let measured = measure(fleet).await?;
    may_become(&measured, to)?;
    let open = Open::begin(cx, command, || Value::Null).await?;
    let step = Step::new(format!("upgrade-{}/snapshot", open.run), Inputs::new(), "snapshot before the upgrade");
    let name = format!("before-{}", to.kubernetes());
    let act = async || save_snapshot(fleet, &name, None).await.map(|saved| saved.name);
    let saved: String = cx.step(step, async |_: &String| Ok(true), act).await?;
    let lines = measured.iter().map(|one| {
        let etcd = one.etcd.as_ref().map(|etcd| format!(" · etcd {etcd}")).unwrap_or_default();
        format!("  {:<12} {}{etcd}", one.node, one.running)
    });
    Ok(format!("every node is measured, and snapshot {saved} is taken:\n{}\n", lines.collect::<Vec<_>>().join("\n")))
}

/// Measures again, and closes the upgrade.
///
/// # Errors
/// Exit 7 when a node runs another release, with the node.
pub async fn end_upgrade(fleet: &Fleet<'_>, to: Version) -> Result<(), Failure> {
    let measured = measure(fleet).await?;
    even(&measured)?;
    if let Some(one) = measured.iter().find(|one| one.running != to || one.kubelet != to) {
        return Err(Failure::new(Exit::Unhealthy, format!("`{}` does not run {to}", one.node))
            .because(format!("its program is {}, its kubelet {}", one.running, one.kubelet)));
    }
    match fleet.cx.fact::<Open>(super::OPEN)? {
        Some(open) => open.end(fleet.cx).await,
        None => Ok(()),
    }
}

async fn measure(fleet: &Fleet<'_>) -> Result<Vec<Measured>, Failure> {
    let (_, server) = fleet.a_server().await?;
    let known = nodes(&server).await?;
    let mut all = Vec::new();
    for (node, state) in fleet.ask(fleet.servers.keys().chain(fleet.agents.keys())).await {
        let state = state.map_err(|failure| failure.of("every node must answer before an upgrade"))?;
        let lacks =
            |why: &str| Failure::new(Exit::Unhealthy, format!("`{node}` is not fit for an upgrade")).because(why);
        let status =
            known.iter().find(|status| status.name == node.0).ok_or_else(|| lacks("the cluster has no such Node"))?;
        if let Some(why) = &status.not_ready {
            return Err(lacks(&format!("not Ready: {why}")));
        }
        let version = |text: &str| text.parse::<Version>().map_err(|why| lacks(&why));
        let is_server = fleet.servers.contains_key(&node);
        if is_server && state.voice.is_none() {
            return Err(lacks("its etcd member does not answer"));
        }
        all.push(Measured {
            node: node.to_string(),
            is_server,
            running: version(state.running.as_deref().unwrap_or_default())?,
            kubelet: version(&status.version)?,
            etcd: state.voice.map(|member| member.version),
        });
    }
    Ok(all)
}

/// Whether etcd is of one minor release on all servers.
fn even(measured: &[Measured]) -> Result<(), Failure> {
    let runs = measured.iter().filter(|one| one.is_server).map(|one| Runs {
        node: one.node.clone(),
        kubernetes: Some(one.running),
        etcd: one.etcd.clone(),
    });
    match uneven_etcd(&runs.collect::<Vec<_>>()) {
        Some(why) => Err(Failure::new(Exit::Unhealthy, "etcd is not of one minor release on all servers").because(why)),
        None => Ok(()),
    }
}

/// Whether nodes that run this may be brought to a release.
fn may_become(measured: &[Measured], to: Version) -> Result<(), Failure> {
    even(measured)?;
    for one in measured {
        let refused = |why: String| {
            Failure::new(Exit::Usage, format!("`{}` cannot be brought from {} to {to}", one.node, one.running))
                .because(why)
        };
        if one.running != one.kubelet {
            let why = format!(
                "its program is {}, its kubelet {}: it was replaced and not restarted",
                one.running, one.kubelet
            );
            return Err(refused(why));
        }
        if to < one.running {
            return Err(refused("a cluster is not brought back to an older release".to_owned())
                .hint("a snapshot that was taken under the older release is restored with that release"));
        }
        if (to.major, to.minor) > (one.running.major, one.running.minor + 1) {
            let next = format!("v{}.{}", one.running.major, one.running.minor + 1);
            return Err(refused("no minor release may be left out".to_owned()).hint(format!("first to one of {next}")));
        }
    }
    let oldest_server = measured.iter().filter(|one| one.is_server).map(|one| one.running).min();
    let newer = measured.iter().find(|one| !one.is_server && Some(one.running) > oldest_server);
    match newer {
        Some(one) => Err(Failure::new(Exit::Unhealthy, format!("`{}` is newer than a server", one.node))
            .because("an agent must not be newer than the servers")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(node: &str, is_server: bool, version: &str) -> Measured {
        let version: Version = version.parse().expect("a version");
        Measured { node: node.to_owned(), is_server, running: version, kubelet: version, etcd: None }
    }

    fn refusal(from: &str, to: &str) -> Option<String> {
        may_become(&[measured("server-1", true, from)], to.parse().expect("a version"))
            .err()
            .map(|failure| failure.to_string())
    }

    #[test]
    fn the_next_minor_release_may_follow_and_no_other() {
        assert_eq!(refusal("v1.34.4+rke2r1", "v1.35.4+rke2r1"), None);
        assert_eq!(refusal("v1.35.4+rke2r1", "v1.35.4+rke2r2"), None);
        assert_eq!(
            refusal("v1.34.4+rke2r1", "v1.36.0+rke2r1").as_deref(),
            Some(
                "`server-1` cannot be brought from v1.34.4+rke2r1 to v1.36.0+rke2r1: no minor release may be left out"
            )
        );
        assert_eq!(
            refusal("v1.35.4+rke2r1", "v1.34.4+rke2r1").as_deref(),
            Some(
                "`server-1` cannot be brought from v1.35.4+rke2r1 to v1.34.4+rke2r1: a cluster is not brought back to an \
                 older release"
            )
        );
    }

    #[test]
    fn a_node_whose_program_was_replaced_and_an_agent_that_is_newer_are_refused() {
        let to = "v1.35.4+rke2r1".parse().expect("a version");
        let mut replaced = measured("server-1", true, "v1.35.4+rke2r1");
        replaced.kubelet = "v1.34.4+rke2r1".parse().expect("a version");
        let newer = [measured("server-1", true, "v1.34.4+rke2r1"), measured("general-1", false, "v1.35.4+rke2r1")];

        let failure = may_become(&[replaced], to).expect_err("refused");
        assert_eq!(
            failure.causes(),
            ["its program is v1.35.4+rke2r1, its kubelet v1.34.4+rke2r1: it was replaced and not restarted"]
        );
        assert_eq!(may_become(&newer, to).expect_err("refused").what(), "`general-1` is newer than a server");
    }
}
