//! The stages: each makes one kind of artifact and knows nothing of the others.
//!
//! A stage says which artifacts it needs and which one it makes; `plan/` draws the graph. All stages are listed in
//! [`all`]; a new one is a file beside this one and a line there. Where a platform has nothing that a stage could ask,
//! another stage makes the same artifact.

mod access;
mod age;
mod agents;
mod answering;
mod base_image;
mod build_place;
mod bundle;
mod cluster;
mod configuring;
mod console;
mod context;
mod fixed_address;
mod founding;
mod halves;
mod hardening;
mod health;
mod image;
mod image_check;
mod image_proof;
mod infrastructure;
mod inventory;
mod joining;
mod jump;
mod kube_vip;
mod labelling;
mod load_balancer;
mod machines;
mod members;
mod neighbour;
mod network;
mod node_image;
mod node_machines;
mod nodes;
mod packages;
mod promoted;
mod reading;
mod registration;
mod servers;
mod several;
mod staging;
mod upgrading;
mod vsphere_network;
mod vsphere_nodes;
mod ways;

use async_trait::async_trait;

use crate::artifact::{Artifact, Kind};
use crate::environment::{Environment, Platform};
use crate::failure::Failure;
use crate::fingerprint::Inputs;

pub use cluster::{Cluster, FIXED, fixed};
pub use configuring::{digests as configuration_digests, fact as configuration_fact};
pub use context::{Context, Given, Ledger, SECRETS, Step, StepMemory};
pub use halves::half_joined;
pub use joining::{AGENT_TOKEN, SERVER_TOKEN};
pub use jump::named_jump;
pub use labelling::{differs as marks_differ, fact as marks_fact};
pub use members::members;
pub use reading::Reader;
pub use registration::{register, step_aside};
pub use upgrading::uncordon;

/// What a probe saw of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there and as recorded.
    Standing,
    Gone,
    /// It is there and differs: what.
    Altered(String),
    /// It is there and as recorded, and is made anew all the same: why.
    Outdated(String),
    /// Something is there that this environment did not make: what.
    Foreign(String),
    /// Nobody answered: why.
    Unknown(String),
}

/// What a stage made: the whole, or a part of it and what kept back the rest.
#[derive(Clone, Debug)]
pub struct Made {
    pub artifact: Artifact,
    /// What failed of it. What needs the artifact goes on with the part, the stage is made again by the next run.
    pub short: Option<Failure>,
}

impl Made {
    pub fn part(artifact: Artifact, short: Failure) -> Self {
        Self { artifact, short: Some(short) }
    }
}

impl From<Artifact> for Made {
    fn from(artifact: Artifact) -> Self {
        Self { artifact, short: None }
    }
}

/// Makes one kind of artifact.
#[async_trait]
pub trait Stage: Send + Sync {
    /// The one kind of artifact; it also names the stage.
    fn makes(&self) -> Kind;

    /// The kinds it must be given.
    fn needs(&self, env: &Environment) -> Vec<Kind>;

    /// Everything else that would make the artifact out of date. Declared, not read.
    fn inputs(&self, env: &Environment) -> Inputs;

    /// Looks, without changing anything.
    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure>;

    /// Makes the artifact, or as much of it as can be made; safe to repeat after being stopped at any instruction.
    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure>;

    /// Removes what `make` left, finished or half-made, found by tag even when nothing was recorded.
    async fn destroy(&self, left: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure>;
}

/// The programs that a stage may start.
pub fn programs(platform: Platform, stage: Kind) -> &'static [&'static str] {
    match stage {
        Kind::BaseImage | Kind::NodeImage => &["packer", "ansible-playbook"],
        Kind::LoadBalancer | Kind::Nodes if platform == Platform::Hosts => &[],
        Kind::LoadBalancer if platform == Platform::Vsphere => &[],
        Kind::Network | Kind::LoadBalancer | Kind::Nodes => &["tofu"],
        Kind::Hardening | Kind::Servers | Kind::Agents => &["ansible-playbook"],
        Kind::Bundle | Kind::Access | Kind::Health => &[],
    }
}

/// Every stage of a platform, in the order of the road.
pub fn all(platform: Platform) -> Vec<Box<dyn Stage>> {
    match platform {
        Platform::Aws => made(),
        Platform::Vsphere => made_on_vsphere(),
        Platform::Hosts => existing(),
    }
}

/// Where machines exist: no image, no network.
fn existing() -> Vec<Box<dyn Stage>> {
    vec![
        Box::new(bundle::BundleStage),
        Box::new(fixed_address::FixedAddressStage),
        Box::new(machines::MachinesStage),
        Box::new(access::AccessStage),
        Box::new(hardening::HardeningStage),
        Box::new(servers::ServersStage),
        Box::new(agents::AgentsStage),
        Box::new(health::HealthStage),
    ]
}

/// Where machines are made in a network that is there, behind an address that is somebody else's.
fn made_on_vsphere() -> Vec<Box<dyn Stage>> {
    vec![
        Box::new(bundle::BundleStage),
        Box::new(base_image::BaseImageStage),
        Box::new(node_image::NodeImageStage),
        Box::new(vsphere_network::VsphereNetworkStage),
        Box::new(fixed_address::FixedAddressStage),
        Box::new(vsphere_nodes::VsphereNodesStage),
        Box::new(access::AccessStage),
        Box::new(hardening::HardeningStage),
        Box::new(servers::ServersStage),
        Box::new(agents::AgentsStage),
        Box::new(health::HealthStage),
    ]
}

/// Where machines are made.
fn made() -> Vec<Box<dyn Stage>> {
    vec![
        Box::new(bundle::BundleStage),
        Box::new(base_image::BaseImageStage),
        Box::new(node_image::NodeImageStage),
        Box::new(network::NetworkStage),
        Box::new(load_balancer::LoadBalancerStage),
        Box::new(nodes::NodesStage),
        Box::new(access::AccessStage),
        Box::new(hardening::HardeningStage),
        Box::new(servers::ServersStage),
        Box::new(agents::AgentsStage),
        Box::new(health::HealthStage),
    ]
}
