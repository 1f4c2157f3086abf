//! Prepares the place of the nodes on vSphere: the port group is there already and looked up, a folder is made.

use async_trait::async_trait;
use serde_json::json;

use crate::artifact::{Artifact, Kind, Network};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::fingerprint::Inputs;
use crate::stages::{Context, Given, Made, Presence, Stage, infrastructure};

pub struct VsphereNetworkStage;

#[async_trait]
impl Stage for VsphereNetworkStage {
    fn makes(&self) -> Kind {
        Kind::Network
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            // The folder carries it as an attribute: what is protected is so without any state.
            .value("class", &env.class)
            .value("vsphere", &env.vsphere)
            .tree("tofu/modules/vsphere/network")
            .tree("tofu/roots/vsphere/network")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Network(network) = recorded else { return Ok(Presence::Gone) };
        infrastructure::standing_network(&network.id, &network.private_subnets, cx).await
    }

    async fn make(&self, _: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let place = cx.env.own_vsphere()?;
        let tags = cx.identity.tags();
        // What carries attributes finds them defined.
        cx.cloud.build_network(&tags, &[]).await?;
        let values = json!({
            "datacenter": place.datacenter,
            "network": place.network,
            "folder": place.folder,
            "attributes": tags,
            "tagged": place.tags,
        });
        let outputs = infrastructure::apply(cx, values).await?;
        Ok(Artifact::Network(Network {
            id: outputs.get("folder")?,
            cidr: place.addresses.cidr.to_string(),
            zones: vec![place.cluster.clone()],
            private_subnets: vec![outputs.get("network")?],
            private_ranges: vec![place.addresses.cidr.to_string()],
            balancer_subnets: vec![],
            balancer_ranges: vec![],
            public_subnets: vec![],
            public_ranges: vec![],
            nat_gateways: vec![],
        })
        .into())
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        infrastructure::take_away(cx).await
    }
}
