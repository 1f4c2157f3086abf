//! The certificates of the cluster's services: when they end, and making them anew.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::fleet::Fleet;
use super::open::Open;
use super::restoring;
use crate::environment::{NodeName, Role};
use crate::failure::{Exit, Failure};
use crate::rke2;

/// Days before the end at which a warning becomes more urgent.
const WARNINGS: [i64; 3] = [14, 30, 60];
const ROTATING: Duration = Duration::from_secs(10 * 60);

/// A certificate on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expiring {
    pub node: NodeName,
    /// Below RKE2's data directory.
    pub file: String,
    pub not_after: Timestamp,
    pub days: i64,
    /// The smallest of 60, 30 and 14 days that the end is within.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<i64>,
}

/// The certificates of every node that answers, the first to end first; a node that does not answer is told.
///
/// # Errors
/// Exit 6 when none of them answers.
pub async fn expiring(fleet: &Fleet<'_>, now: Timestamp) -> Result<Vec<Expiring>, Failure> {
    let mut all = Vec::new();
    let mut silent = Failure::new(Exit::Platform, "no node answers, so nobody knows of certificates");
    let mut answered = false;
    for (node, state) in fleet.ask(fleet.servers.keys().chain(fleet.agents.keys())).await {
        match state {
            Ok(state) => {
                answered = true;
                all.extend(state.certificates.iter().map(|(file, end)| one(&node, file, *end, now)));
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
    all.sort_by(|one, two| (one.not_after, &one.node, &one.file).cmp(&(two.not_after, &two.node, &two.file)));
    Ok(all)
}

fn one(node: &NodeName, file: &str, not_after: Timestamp, now: Timestamp) -> Expiring {
    let days = days_left(not_after, now);
    let file = file.strip_prefix(rke2::DATA_DIR).unwrap_or(file).trim_start_matches('/').to_owned();
    let within = WARNINGS.into_iter().find(|limit| days < *limit);
    Expiring { node: node.clone(), file, not_after, days, within }
}

/// Whole days until a time; negative when it has passed.
pub fn days_left(end: Timestamp, now: Timestamp) -> i64 {
    (end.as_second() - now.as_second()).div_euclid(24 * 60 * 60)
}

/// Has every node make its certificates anew: servers one at a time behind the gate, then agents one at a time.
///
/// # Errors
/// Exit 7 where a gate is not passed, before or after a node was touched; the same call goes on.
pub async fn rotate_certificates(fleet: &Fleet<'_>, command: &str) -> Result<(), Failure> {
    let is_open = fleet.cx.fact::<Open>(super::OPEN)?.is_some_and(|open| open.command == command);
    if !is_open {
        // Where nobody runs nothing is begun.
        fleet.a_server().await?;
    }
    let open = Open::begin(fleet.cx, command, || Value::Null).await?;
    fleet.note_left_out(&open).await?;
    let name = format!("certificates-{}", open.run);
    let work = async |node: &NodeName, connection: &crate::node::Connection| {
        let role = if fleet.servers.contains_key(node) { Role::Server } else { Role::Agent };
        let tell = |text: &str| fleet.cx.progress(format!("{node}: {text}"));
        let (unit, wait) = (format!("{name}-{node}"), fleet.cx.wait(ROTATING, &tell));
        restoring::unit(connection, &unit, &rotating(role), &wait).await.map(drop)
    };
    fleet.one_by_one(&name, "new certificates", work).await?;
    open.end(fleet.cx).await
}

/// The service is started again whatever came of it.
fn rotating(role: Role) -> String {
    let unit = rke2::unit(role);
    format!(
        "set -eu\nsystemctl stop {unit}.service\ncode=0\n/usr/local/bin/rke2 certificate rotate || code=$?\n\
         systemctl start --no-block {unit}.service\nexit $code\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_warns_at_the_smallest_limit_that_it_is_within() {
        let node = NodeName("server-1".to_owned());
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().expect("a time");
        let within = |end: &str| {
            let found = one(&node, "/var/lib/rancher/rke2/agent/x.crt", end.parse().expect("a time"), now);
            assert_eq!(found.file, "agent/x.crt");
            (found.days, found.within)
        };

        assert_eq!(within("2027-11-30T12:00:00Z"), (365, None));
        assert_eq!(within("2027-01-29T11:00:00Z"), (59, Some(60)));
        assert_eq!(within("2026-12-30T11:00:00Z"), (29, Some(30)));
        assert_eq!(within("2026-12-01T11:00:00Z"), (0, Some(14)));
        assert_eq!(within("2026-11-29T11:00:00Z"), (-2, Some(14)));
    }
}
