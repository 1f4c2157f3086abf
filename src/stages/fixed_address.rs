//! The fixed address of the API and of registration where no load balancer is made: one that is there already, or none.
//!
//! What stands behind an address of somebody else's shows only when servers serve; the proof of health goes through it. One
//! that the servers pass on among themselves must be nobody's before they do.

use std::time::Duration;

use async_trait::async_trait;

use crate::artifact::{Access, Artifact, Kind, LoadBalancer};
use crate::environment::{Environment, LoadBalancerKind};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::load_balancer::KUBE_VIP;
use crate::rke2::API_PORT;
use crate::stages::{Context, Given, Made, Presence, Stage, kube_vip};

pub struct FixedAddressStage;

/// How long a name service may take.
const ASKING: Duration = Duration::from_secs(10);

#[async_trait]
impl Stage for FixedAddressStage {
    fn makes(&self) -> Kind {
        Kind::LoadBalancer
    }

    fn needs(&self, env: &Environment) -> Vec<Kind> {
        match env.load_balancer.kind {
            LoadBalancerKind::KubeVip => vec![Kind::Access],
            LoadBalancerKind::External | LoadBalancerKind::None | LoadBalancerKind::Nlb => vec![],
        }
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new().value("load_balancer", &env.load_balancer)
    }

    /// There is nothing of ours to look at.
    async fn probe(&self, _: &Artifact, _: &Context<'_>) -> Result<Presence, Failure> {
        Ok(Presence::Standing)
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        match (cx.env.load_balancer.kind, &cx.env.load_balancer.address) {
            (LoadBalancerKind::External, Some(address)) => {
                known(address).await?;
                let (id, address) = (address.clone(), address.clone());
                Ok(Artifact::LoadBalancer(LoadBalancer { id, address, ..LoadBalancer::default() }).into())
            }
            (LoadBalancerKind::KubeVip, Some(address)) => {
                let access: Access = given.get(Kind::Access)?;
                kube_vip::free(address, &access, cx).await.map_err(|failure| failure.of(cx.stage))?;
                let (id, address) = (KUBE_VIP.to_owned(), address.clone());
                Ok(Artifact::LoadBalancer(LoadBalancer { id, address, ..LoadBalancer::default() }).into())
            }
            (LoadBalancerKind::None, _) => Ok(Artifact::LoadBalancer(LoadBalancer::default()).into()),
            (LoadBalancerKind::External | LoadBalancerKind::Nlb | LoadBalancerKind::KubeVip, _) => {
                Err(Failure::bug("a load balancer that this platform does not have was not refused with its file"))
            }
        }
    }

    async fn destroy(&self, _: Option<&Artifact>, _: &Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Whether the name, or address, leads anywhere.
async fn known(address: &str) -> Result<(), Failure> {
    let refused = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Environment, format!("load-balancer: `{address}` is not known here"))
            .because(why)
            .hint("set `load_balancer.address` to a name that this machine and all nodes know, or to an address")
    };
    match tokio::time::timeout(ASKING, tokio::net::lookup_host((address, API_PORT))).await {
        Ok(Ok(mut found)) => found.next().map(drop).ok_or_else(|| refused(&"it has no address")),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(refused(&"the name service did not answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_known_and_a_name_that_nobody_gave_is_refused_with_what_to_change() {
        assert!(known("10.20.9.1").await.is_ok());

        let failure = known("no-such-name.invalid").await.expect_err("not known");

        assert_eq!(failure.what(), "load-balancer: `no-such-name.invalid` is not known here");
        assert!(failure.hints()[0].starts_with("set `load_balancer.address`"), "{failure:?}");
    }
}
