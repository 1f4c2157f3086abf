//! One cluster to be: what `environments/<name>.yaml` describes, once it is known to be valid.
//!
//! These are the words every room reads; `config/` makes them and refuses what cannot be. The JSON Schema that
//! `sre-provision schema` prints is generated from this file, so its doc comments are what users read.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::access::{Access, Jump, Via};
use crate::audit::Audit;
use crate::deadlines::Deadlines;
use crate::failure::Failure;
pub use crate::hardening::{Hardening, HardeningProfile};
pub use crate::hosts::Hosts;
pub use crate::image_policy::Images;
pub use crate::load_balancer::{LoadBalancer, LoadBalancerKind};
use crate::rke2_config::Rke2Config;
use crate::state::{State, StatePlace};
use crate::supply::{Supply, Trust};
use crate::units::{ByteSize, Ipv4Network, Span};
pub use crate::vsphere::Vsphere;
pub use crate::wanted::{NodeName, Role, WantedNode};

/// A cluster to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The file's name without `.yaml`; not a key of the file.
    #[serde(skip)]
    pub name: String,
    /// The format of the file: 1.
    pub version: u32,
    /// Where the cluster lives.
    pub platform: Platform,
    /// What may happen to the environment: `protected` ones are never taken down.
    #[serde(default)]
    pub class: EnvironmentClass,
    /// How long an ephemeral environment may stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<Span>,
    /// How the operator's machine reaches the nodes.
    pub access: Access,
    /// Required where `platform` is `aws`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
    /// Required where `platform` is `hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// Required where `platform` is `vsphere`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsphere: Option<Vsphere>,
    /// Required where `platform` is `aws`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    #[serde(default)]
    pub image: Image,
    /// What must be known of an image before nodes boot from it.
    #[serde(default)]
    pub images: Images,
    pub nodes: Nodes,
    #[serde(default)]
    pub load_balancer: LoadBalancer,
    pub rke2: Rke2,
    #[serde(default)]
    pub hardening: Hardening,
    /// How long each stage may take, by its name; those that are not named have their usual time.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// What vouches for the journal.
    #[serde(default)]
    pub audit: Audit,
    /// Where the state is kept.
    #[serde(default)]
    pub state: State,
    /// What a bundle of this environment holds beside the RKE2 release.
    #[serde(default)]
    pub bundle: Supply,
    /// Whose signature counts.
    #[serde(default)]
    pub trust: Trust,
}

impl Environment {
    /// Where in S3 the state is; `None` where it is in the workspace.
    pub fn state_place(&self) -> Option<StatePlace> {
        Some(self.state.s3.as_ref()?.place(&self.name, self.aws.as_ref()))
    }

    /// Where an environment on vSphere lives.
    ///
    /// # Errors
    /// A bug: only what runs on vSphere asks for it.
    pub fn own_vsphere(&self) -> Result<&Vsphere, Failure> {
        self.vsphere.as_ref().ok_or_else(|| Failure::bug(format!("`{}` has no vCenter", self.platform)))
    }

    /// The network of a platform on which one is made.
    ///
    /// # Errors
    /// A bug: nothing that asks for it runs on a platform without one.
    pub fn own_network(&self) -> Result<&Network, Failure> {
        self.network.as_ref().ok_or_else(|| Failure::bug(format!("`{}` has no network of its own", self.platform)))
    }
}

/// Where an environment lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    Aws,
    Vsphere,
    Hosts,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Vsphere => "vsphere",
            Self::Hosts => "hosts",
        })
    }
}

/// What may happen to an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentClass {
    /// Has an end: `expires_after` says when it may be reaped.
    Ephemeral,
    #[default]
    Standard,
    /// `down` refuses it.
    Protected,
}

impl EnvironmentClass {
    /// As it stands in files and tags.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::Standard => "standard",
            Self::Protected => "protected",
        }
    }
}

/// The account and region of an environment on AWS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    pub region: String,
    #[serde(default = "Aws::default_partition")]
    pub partition: String,
    /// The only account this environment may be made in. Without it the account of the first `up` is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Aws {
    fn default_partition() -> String {
        "aws".to_owned()
    }
}

/// The private network of the nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// A /16 to /22 that nothing else uses.
    #[schemars(with = "Ipv4Network")]
    pub cidr: Ipv4Net,
    /// Over how many availability zones: 1 to 3.
    #[serde(default = "Network::default_zones")]
    pub zones: u8,
    #[serde(default)]
    pub nat: Nat,
    #[serde(default = "Network::default_flow_logs")]
    pub flow_logs: bool,
}

impl Network {
    fn default_zones() -> u8 {
        3
    }

    fn default_flow_logs() -> bool {
        true
    }
}

/// How private machines reach the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// One NAT gateway for all zones.
    #[default]
    Single,
    PerZone,
    /// Not at all: an air gap.
    None,
}

/// The image every node boots from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Image {
    /// What the base image is built from.
    pub source: ImageSource,
    /// Whether the machines run in FIPS mode.
    pub fips: bool,
    /// An older image is made anew by `up`; nodes keep the one they were made from.
    pub max_age: Span,
    pub build: ImageBuild,
}

impl Default for Image {
    fn default() -> Self {
        let month = std::time::Duration::from_secs(30 * 86_400);
        Self { source: ImageSource::default(), fips: true, max_age: Span(month), build: ImageBuild::default() }
    }
}

/// Whose image the base image starts from, resolved once to an id: the newest one of this owner and name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSource {
    /// The account that publishes it; a name alone could be anybody's. On AWS only.
    pub owner: String,
    /// Its name, `*` allowed; on vSphere that of a template, or its path below the datacenter's folder of machines.
    pub name: String,
    /// The user that its cloud-init makes.
    pub user: String,
}

impl Default for ImageSource {
    fn default() -> Self {
        Self {
            owner: "792107900819".to_owned(),
            name: "Rocky-9-EC2-Base-9.*.x86_64".to_owned(),
            user: "rocky".to_owned(),
        }
    }
}

/// Where images are built; without `vpc` and `subnet` in a temporary network that is removed afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageBuild {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    pub size: String,
    pub disk: ByteSize,
}

impl Default for ImageBuild {
    fn default() -> Self {
        Self { vpc: None, subnet: None, size: "m6i.large".to_owned(), disk: ByteSize(40 * ByteSize::GIB) }
    }
}

/// The machines of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    pub servers: Servers,
    /// Pools of agents by name; the machines are called `<pool>-1`, `<pool>-2` and so on.
    #[serde(default)]
    pub agents: BTreeMap<String, Agents>,
}

/// The control plane: 1, 3, 5 or 7 machines called `server-1`, `server-2` and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Servers {
    pub count: u16,
    /// Required where machines are made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub size: String,
    /// Required where machines are made.
    #[serde(default, skip_serializing_if = "ByteSize::is_none")]
    pub disk: ByteSize,
}

/// A pool of agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agents {
    pub count: u16,
    /// Required where machines are made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub size: String,
    #[serde(default = "Agents::default_disk")]
    pub disk: ByteSize,
    /// Kubernetes labels, given at registration; members follow a change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints as `key=value:effect`, given at registration; members follow a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<String>,
}

impl Agents {
    fn default_disk() -> ByteSize {
        ByteSize(100 * ByteSize::GIB)
    }
}

/// The Kubernetes distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rke2 {
    /// A release, such as `v1.35.4+rke2r1`.
    pub version: String,
    #[serde(default)]
    pub cni: Cni,
    /// The CIS profile of RKE2, on by default.
    #[serde(default)]
    pub profile: Rke2Profile,
    /// Where the release's files are: a directory or a URL under which `<version>/` lies. Without it, a directory
    /// named by `INSTALL_RKE2_ARTIFACT_PATH` or else the project's own release page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Charts of RKE2 that are not to be installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disable: Vec<String>,
    #[serde(default)]
    pub config: Rke2Config,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cni {
    #[default]
    Canal,
    Calico,
    Cilium,
    Flannel,
}

impl Cni {
    pub fn name(self) -> &'static str {
        match self {
            Self::Canal => "canal",
            Self::Calico => "calico",
            Self::Cilium => "cilium",
            Self::Flannel => "flannel",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rke2Profile {
    #[default]
    Cis,
    None,
}
