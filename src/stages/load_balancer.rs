//! Makes the fixed address of the API and of registration: listeners with empty target groups.
//!
//! Nobody is behind it yet: a server is registered at the moment it serves. An environment with one server and no load
//! balancer has that server's own address, known only once there is a machine.

use async_trait::async_trait;
use serde_json::json;

use crate::artifact::{Artifact, Kind, LoadBalancer, Network};
use crate::cloud::FoundBalancer;
use crate::environment::{Environment, LoadBalancerKind, Via};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::stages::{Context, Given, Made, Presence, Stage, infrastructure};

pub struct LoadBalancerStage;

#[async_trait]
impl Stage for LoadBalancerStage {
    fn makes(&self) -> Kind {
        Kind::LoadBalancer
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::Network]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            // Everything carries it as a tag: what is protected is so without any state.
            .value("class", &env.class)
            .value("load_balancer", &env.load_balancer)
            .value("access", &env.access)
            .tree("tofu/modules/aws/nlb")
            .tree("tofu/roots/aws/load-balancer")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::LoadBalancer(balancer) = recorded else { return Ok(Presence::Gone) };
        if cx.env.load_balancer.kind == LoadBalancerKind::None {
            return Ok(Presence::Standing);
        }
        Ok(match cx.cloud.load_balancer(&balancer.id).await? {
            Some(found) => amiss(balancer, &found).map_or(Presence::Standing, Presence::Altered),
            None => Presence::Gone,
        })
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        match cx.env.load_balancer.kind {
            LoadBalancerKind::Nlb => Ok(nlb(given, cx).await?.into()),
            LoadBalancerKind::None => {
                // One that was begun and never finished, while the file still wanted it.
                infrastructure::destroy(cx).await?;
                Ok(Artifact::LoadBalancer(LoadBalancer::default()).into())
            }
            LoadBalancerKind::KubeVip | LoadBalancerKind::External => {
                Err(Failure::new(Exit::Environment, "load-balancer: this version makes `nlb` and `none` only")
                    .hint("set `load_balancer.kind` to `nlb`"))
            }
        }
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        infrastructure::take_away(cx).await
    }
}

/// What a load balancer that is there lacks; `None` when it does its work.
fn amiss(recorded: &LoadBalancer, found: &FoundBalancer) -> Option<String> {
    if found.state != "active" {
        return Some(format!("it is {}", found.state));
    }
    let lost = recorded.target_groups.iter().filter(|(_, group)| !found.leads_to.contains(*group));
    let lost: Vec<String> = lost.map(|(name, _)| format!("`{name}`")).collect();
    (!lost.is_empty()).then(|| format!("no listener leads to {}", lost.join(", ")))
}

async fn nlb(given: &Given, cx: &Context<'_>) -> Result<Artifact, Failure> {
    let network: Network = given.get(Kind::Network)?;
    let from: Vec<String> = cx.env.access.from.iter().map(ToString::to_string).collect();
    let mut api = from.clone();
    // A jump machine forwards to the API, and to nothing else that the load balancer serves.
    if cx.env.access.via == Via::Jump {
        api.extend(network.public_ranges.iter().cloned());
    }
    let values = json!({
        "vpc_id": network.id,
        "subnet_ids": network.balancer_subnets,
        "target_cidrs": network.private_ranges,
        "node_cidrs": network.private_ranges,
        "api_cidrs": api,
        "ingress_cidrs": from,
    });
    let outputs = infrastructure::apply(cx, values).await?;
    Ok(Artifact::LoadBalancer(LoadBalancer {
        id: outputs.get("arn")?,
        address: outputs.get("dns_name")?,
        security_group: Some(outputs.get("security_group_id")?),
        target_groups: outputs.get("target_group_arns")?,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn a_load_balancer_that_lost_a_listener_or_a_target_group_is_made_whole_again() {
        let groups = ["api", "supervisor"].map(|name| (name.to_owned(), format!("arn:{name}")));
        let recorded = LoadBalancer { target_groups: BTreeMap::from(groups), ..LoadBalancer::default() };
        let found = |state: &str, leads_to: &[&str]| {
            let leads_to = leads_to.iter().map(|group| (*group).to_owned()).collect::<BTreeSet<_>>();
            amiss(&recorded, &FoundBalancer { state: state.to_owned(), leads_to })
        };

        assert_eq!(found("active", &["arn:api", "arn:supervisor", "arn:somebody's"]), None);
        assert_eq!(found("active", &["arn:api"]).as_deref(), Some("no listener leads to `supervisor`"));
        assert_eq!(found("failed", &["arn:api", "arn:supervisor"]).as_deref(), Some("it is failed"));
    }
}
