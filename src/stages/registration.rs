//! Who is behind the target groups of the load balancer: a node from the moment it serves, a server not while it is
//! restarted.
//!
//! # Why
//! A server that is restarted is taken out first, so that nobody is sent to it, and only where another one can answer in
//! its stead: taking out the last one would cut off the clients for longer than its restart does. (2026-11-21)

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use crate::artifact::{Joined, LoadBalancer};
use crate::cloud::TargetHealth;
use crate::environment::NodeName;
use crate::failure::Failure;
use crate::stages::Context;

/// Members that are not behind these target groups of the load balancer.
pub async fn unregistered(
    groups: &[&str],
    joined: &BTreeMap<NodeName, Joined>,
    balancer: &LoadBalancer,
    cx: &Context<'_>,
) -> Result<Vec<String>, Failure> {
    let asked = known(groups, balancer).map(async |(name, group)| {
        let targets = cx.cloud.targets(group).await?;
        let missing = joined.iter().filter(|(_, joined)| !is_in(&joined.machine, &targets));
        Ok(missing.map(|(node, _)| format!("{node} is not behind `{name}`")).collect::<Vec<_>>())
    });
    Ok(try_join_all(asked).await?.concat())
}

/// Behind these target groups from now on: it serves.
pub async fn register(
    groups: &[&str],
    node: &NodeName,
    joined: &Joined,
    balancer: &LoadBalancer,
    cx: &Context<'_>,
) -> Result<(), Failure> {
    for (_, group) in known(groups, balancer) {
        cx.cloud.register(group, &joined.machine).await.map_err(|failure| failure.of(node))?;
    }
    Ok(())
}

/// Each of these that is not behind these target groups yet.
pub async fn register_all(
    groups: &[&str],
    joined: &BTreeMap<NodeName, Joined>,
    balancer: &LoadBalancer,
    cx: &Context<'_>,
) -> Result<(), Failure> {
    for (_, group) in known(groups, balancer) {
        let targets = cx.cloud.targets(group).await?;
        for one in joined.values().filter(|one| !is_in(&one.machine, &targets)) {
            cx.cloud.register(group, &one.machine).await?;
        }
    }
    Ok(())
}

/// Out of these target groups before its service is touched, wherever another one is there to answer.
pub async fn step_aside(
    groups: &[&str],
    machine: &str,
    balancer: &LoadBalancer,
    cx: &Context<'_>,
) -> Result<(), Failure> {
    for (_, group) in known(groups, balancer) {
        if may_step_aside(machine, &cx.cloud.targets(group).await?) {
            cx.cloud.deregister(group, machine).await?;
        }
    }
    Ok(())
}

/// Whether somebody healthy is behind each of these target groups; nobody knows where the platform keeps none.
pub async fn is_served(groups: &[&str], balancer: &LoadBalancer, cx: &Context<'_>) -> Result<bool, Failure> {
    let asked = known(groups, balancer).map(async |(_, group)| {
        let targets = cx.cloud.targets(group).await?;
        Ok::<_, Failure>(targets.iter().any(|target| target.healthy))
    });
    let served = try_join_all(asked).await?;
    Ok(!served.is_empty() && served.into_iter().all(|is_served| is_served))
}

fn known<'a>(groups: &'a [&str], balancer: &'a LoadBalancer) -> impl Iterator<Item = (&'a str, &'a String)> {
    groups.iter().filter_map(|name| Some((*name, balancer.target_groups.get(*name)?)))
}

fn is_in(machine: &str, targets: &[TargetHealth]) -> bool {
    targets.iter().any(|target| target.machine == machine)
}

fn may_step_aside(machine: &str, targets: &[TargetHealth]) -> bool {
    is_in(machine, targets) && targets.iter().any(|other| other.machine != machine && other.healthy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(machine: &str, healthy: bool) -> TargetHealth {
        let state = if healthy { "healthy" } else { "unhealthy: Target.FailedHealthChecks" };
        TargetHealth { machine: machine.to_owned(), healthy, state: state.to_owned() }
    }

    #[test]
    fn a_server_steps_aside_only_where_another_one_can_answer() {
        let [one, other, ill] = [("i-1", true), ("i-2", true), ("i-3", false)];
        let may = |machine: &str, there: &[(&str, bool)]| {
            let targets: Vec<_> = there.iter().map(|(machine, healthy)| target(machine, *healthy)).collect();
            may_step_aside(machine, &targets)
        };

        assert!(may("i-1", &[one, other]));
        assert!(!may("i-1", &[one]), "the only one");
        assert!(!may("i-1", &[one, ill]), "the only one that serves");
        assert!(!may("i-1", &[other]), "it is not there");
        assert!(may("i-3", &[ill, other]));
    }
}
