//! Lays out the private network: VPC, subnets over the zones, the way out, flow logs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;

use crate::artifact::{Artifact, Kind, Network};
use crate::environment::{Environment, Nat};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::stages::{Context, Given, Made, Presence, Stage, infrastructure};

pub struct NetworkStage;

/// The zones are chosen once: a zone that opens later must not move the subnets of a running cluster.
const ZONES: &str = "network/zones";

#[async_trait]
impl Stage for NetworkStage {
    fn makes(&self) -> Kind {
        Kind::Network
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            // Everything carries it as a tag: what is protected is so without any state.
            .value("class", &env.class)
            .value("network", &env.network)
            .tree("tofu/modules/aws/vpc")
            .tree("tofu/roots/aws/network")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Network(network) = recorded else { return Ok(Presence::Gone) };
        infrastructure::standing_network(&network.id, &parts(network), cx).await
    }

    async fn make(&self, _: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let zones = zones(cx).await?;
        let wanted = cx.env.own_network()?;
        let nat = match wanted.nat {
            Nat::Single => "single",
            Nat::PerZone => "per_zone",
            Nat::None => "none",
        };
        let flow_logs = if wanted.flow_logs { json!({}) } else { json!(null) };
        let cidr = wanted.cidr.to_string();
        let values = json!({ "cidr": cidr, "zones": zones, "nat": nat, "flow_logs": flow_logs });
        let outputs = infrastructure::apply(cx, values).await?;
        let gateways: BTreeMap<String, String> = outputs.get("nat_gateway_ids")?;
        Ok(Artifact::Network(Network {
            id: outputs.get("vpc_id")?,
            cidr: outputs.get("vpc_cidr")?,
            zones: outputs.get("zones")?,
            private_subnets: outputs.get("private_subnet_ids")?,
            private_ranges: outputs.get("private_subnet_cidrs")?,
            balancer_subnets: outputs.get("balancer_subnet_ids")?,
            balancer_ranges: outputs.get("balancer_subnet_cidrs")?,
            public_subnets: outputs.get("public_subnet_ids")?,
            public_ranges: outputs.get("public_subnet_cidrs")?,
            nat_gateways: gateways.into_values().collect(),
        })
        .into())
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        infrastructure::take_away(cx).await
    }
}

/// What must be there beside the VPC itself.
fn parts(network: &Network) -> Vec<String> {
    [&network.private_subnets, &network.balancer_subnets, &network.public_subnets, &network.nat_gateways]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}

/// The first zones of the region, as many as the file wants and never other ones than before.
async fn zones(cx: &Context<'_>) -> Result<Vec<String>, Failure> {
    let wanted = usize::from(cx.env.own_network()?.zones);
    let chosen: Vec<String> = cx.fact(ZONES)?.unwrap_or_default();
    if chosen.len() >= wanted {
        return Ok(chosen[..wanted].to_vec());
    }
    let mut zones = chosen;
    for zone in cx.cloud.zones().await? {
        if zones.len() < wanted && !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    if zones.len() < wanted {
        let what =
            format!("network: {} has {} availability zones, {wanted} are wanted", cx.identity.region, zones.len());
        return Err(Failure::new(Exit::Platform, what).hint(format!("set `network.zones` to {} or less", zones.len())));
    }
    cx.ledger.record_fact(ZONES, json!(zones)).await?;
    Ok(zones)
}
