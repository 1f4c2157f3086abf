//! The reachability matrix: each node's ways, measured by itself, told where they have holes; and how clocks differ.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use crate::artifact::Access;
use crate::environment::{Environment, LoadBalancerKind, NodeName, Role};
use crate::failure::{Class, Exit, Failure};
use crate::rke2::{self, Ahead, Hole, Measured, Need, Way};
use crate::stages::Context;

/// The fact that holds what was measured last.
const FACT: &str = "ways";
/// Two tries of each way, side by side; a busy machine takes longer.
const DEADLINE: Duration = Duration::from_secs(60);
/// So many holes are told one by one.
const TOLD: usize = 12;

/// What was measured.
pub struct Found {
    pub holes: Vec<Hole>,
    /// The nodes whose clock differs from the others', by so many seconds that it is ahead.
    pub apart: BTreeMap<NodeName, i64>,
}

impl Found {
    /// Why one of these nodes does not join; `None` where nothing speaks against it.
    pub fn refusal(&self, is_meant: impl Fn(&NodeName) -> bool) -> Option<Failure> {
        let holes: Vec<Hole> = self.holes.iter().filter(|hole| is_meant(&hole.from)).cloned().collect();
        let apart = self.apart.iter().filter(|(node, _)| is_meant(node));
        clocks(&apart.map(|(node, ahead)| (node, *ahead)).collect::<Vec<_>>()).or_else(|| refusal(&holes))
    }
}

/// Measures the ways of these nodes and tells the closed ones; compares the clocks of all nodes.
///
/// `fixed` says how the way to the load balancer is judged: by its name alone while nobody is behind it. A node that does
/// not answer is not judged here. A way to a machine whose own firewall runs is judged later: the role
/// stops it before RKE2 is started.
pub async fn measure(
    from: &[NodeName],
    (balancer, fixed): (&str, Need),
    access: &Access,
    cx: &Context<'_>,
) -> Result<Found, Failure> {
    let nodes: BTreeMap<NodeName, (Role, String)> = access
        .nodes
        .iter()
        .filter_map(|(name, reach)| Some((name.clone(), (reach.role?, reach.address.clone()))))
        .collect();
    let asked = nodes.keys().map(async |node| {
        let mut ways = Vec::new();
        if from.contains(node) {
            ways = rke2::ways(node, &nodes);
            ways.extend(further(balancer, fixed, cx.env));
        }
        let connection = cx.connections.get(node, access).await?;
        let asked = now();
        let said = connection.run_within(&rke2::ask_ways(&ways), true, DEADLINE).await?;
        let measured = Measured::read(&said.stdout);
        let ahead = measured.ahead(asked, now());
        Ok::<_, Failure>((node.clone(), ways, measured, ahead))
    });
    let all: Vec<_> = join_all(asked).await.into_iter().filter_map(Result::ok).collect();
    let clocks: BTreeMap<NodeName, Ahead> =
        all.iter().filter_map(|(node, _, _, ahead)| Some((node.clone(), (*ahead)?))).collect();
    let measured: Vec<_> = all.into_iter().filter(|(node, ..)| from.contains(node)).collect();
    let firewalled: BTreeSet<&str> =
        measured.iter().filter(|(_, _, one, _)| one.has_firewall).map(|(node, ..)| node.0.as_str()).collect();
    let all = measured.iter().flat_map(|(node, ways, one, _)| one.holes(node, ways));
    let holes: Vec<Hole> = all.filter(|hole| !firewalled.contains(hole.way.to.as_str())).collect();
    for (node, _, one, _) in &measured {
        one.clock.iter().for_each(|why| cx.events.notice(format!("{}: the clock of `{node}` is {why}", cx.stage)));
    }
    for hole in holes.iter().filter(|hole| hole.way.need != Need::Join).take(TOLD) {
        cx.events.notice(format!("{}: closed: {hole}", cx.stage));
    }
    let apart = rke2::apart(&clocks);
    cx.ledger.record_fact(FACT, json!({ "measured": measured.len(), "holes": holes, "apart": apart })).await?;
    Ok(Found { holes, apart })
}

/// Seconds since 1970 by our own clock.
fn now() -> f64 {
    Timestamp::now().as_duration().as_secs_f64()
}

/// Why nothing is joined with clocks like these.
fn clocks(apart: &[(&NodeName, i64)]) -> Option<Failure> {
    let names: Vec<String> = apart.iter().map(|(node, _)| format!("`{node}`")).collect();
    let what = match &names[..] {
        [] => return None,
        [one] => format!("the clock of {one} is wrong"),
        several => format!("the clocks of {} are wrong", several.join(", ")),
    };
    let failure = apart.iter().fold(Failure::new(Exit::Unhealthy, what), |failure, (node, ahead)| {
        let way = if *ahead < 0 { "behind" } else { "ahead of" };
        failure.because(format!("`{node}` is {} s {way} the other nodes", ahead.abs()))
    });
    let failure = failure.because("a certificate made by one node would not be valid yet for another");
    Some(failure.class(Class::NeedsPerson).hint(
        "look at `chronyc sources` there, set the clock with `chronyc makestep`, then run the same command again",
    ))
}

/// What lies outside of the nodes: the fixed address, and each registry once.
fn further(balancer: &str, fixed: Need, env: &Environment) -> Vec<Way> {
    let mut ways = Vec::new();
    if env.load_balancer.kind != LoadBalancerKind::None && !balancer.is_empty() {
        ways.push(Way::new("load balancer", balancer, 9345, "registration", fixed));
        ways.push(Way::new("load balancer", balancer, rke2::API_PORT, "API", fixed));
    }
    let registries = &env.rke2.config.registries;
    let places: BTreeSet<(&str, u16)> = registries
        .mirrors
        .values()
        .flatten()
        .chain(registries.access.keys())
        .map(|endpoint| host_and_port(endpoint))
        .collect();
    ways.extend(places.into_iter().map(|(host, port)| Way::new("registry", host, port, "images", Need::Later)));
    ways
}

/// Where a registry listens, by its URL or its `host[:port]`; an IPv6 address stands in brackets.
fn host_and_port(endpoint: &str) -> (&str, u16) {
    let (default, rest) = match endpoint.strip_prefix("http://") {
        Some(rest) => (80, rest),
        None => (443, endpoint.trim_start_matches("https://")),
    };
    let address = rest.split('/').next().unwrap_or(rest);
    if let Some((host, rest)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.trim_start_matches(':').parse().unwrap_or(default));
    }
    let (host, port) = address.split_once(':').unwrap_or((address, ""));
    (host, port.parse().unwrap_or(default))
}

/// Why nothing is joined over ways like these; `None` where those that a join needs are open.
fn refusal(holes: &[Hole]) -> Option<Failure> {
    let needed: Vec<&Hole> = holes.iter().filter(|hole| hole.way.need == Need::Join).collect();
    let count = needed.len();
    let noun = if count == 1 { "way that a join needs is closed" } else { "ways that a join needs are closed" };
    let failure = Failure::new(Exit::Unhealthy, format!("{count} {noun}"));
    let failure = needed.iter().take(TOLD).fold(failure, |failure, hole| failure.because(hole));
    let failure = if count > TOLD { failure.because(format!("and {} more", count - TOLD)) } else { failure };
    let hint = "compare security groups and firewalls with docs/network.md, then run the same command again";
    (count > 0).then(|| failure.hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_registry_is_tried_once_whether_it_is_a_mirror_or_only_has_a_login() {
        let dev = include_str!("../../environments/dev.yaml").replace(
            "  cni: canal",
            "  cni: canal\n  config:\n    registries:\n      mirrors:\n        docker.io: [\"https://one.example:5000/v2\", \"http://two.example\"]\n        quay.io: [\"https://one.example:5000\"]\n      access:\n        one.example:5000: {ca: a.pem}\n        three.example: {ca: a.pem}",
        );
        let env = crate::config::read("environments/dev.yaml", "dev", &dev).expect("valid");

        let ways = further("api.example", Need::Join, &env);

        let told: Vec<String> =
            ways.iter().map(|way| format!("{} {}:{} {:?}", way.to, way.host, way.port, way.need)).collect();
        assert_eq!(
            told,
            [
                "load balancer api.example:9345 Join",
                "load balancer api.example:6443 Join",
                "registry one.example:5000 Later",
                "registry three.example:443 Later",
                "registry two.example:80 Later",
            ]
        );
        assert_eq!(host_and_port("https://[2001:db8::1]:5000/v2"), ("2001:db8::1", 5000));
    }

    #[test]
    fn a_wrong_clock_keeps_back_its_node_and_is_told_before_closed_ways() {
        let (one, other) = (NodeName("server-1".to_owned()), NodeName("server-2".to_owned()));
        let found = Found { holes: vec![], apart: BTreeMap::from([(other.clone(), -3600)]) };

        assert!(found.refusal(|node| *node == one).is_none());
        let failure = found.refusal(|node| *node == other).expect("refused");

        assert_eq!(failure.what(), "the clock of `server-2` is wrong");
        assert_eq!(failure.causes()[0], "`server-2` is 3600 s behind the other nodes");
    }

    #[test]
    fn only_ways_that_a_join_needs_keep_it_back_and_each_is_named() {
        let hole = |port, need| Hole {
            from: NodeName("server-2".to_owned()),
            way: Way::new("server-1", "10.0.0.4", port, "etcd peers", need),
            why: "no answer within 3 s".to_owned(),
        };

        assert!(refusal(&[hole(10250, Need::Later)]).is_none());
        let failure = refusal(&[hole(10250, Need::Later), hole(2380, Need::Join)]).expect("refused");

        assert_eq!(failure.what(), "1 way that a join needs is closed");
        assert_eq!(failure.causes(), ["server-2 → server-1 10.0.0.4:2380 (etcd peers): no answer within 3 s"]);
    }
}
