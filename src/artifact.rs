//! What a stage leaves behind: typed, checkable, removable.
//!
//! An artifact is all that stages learn from each other. It goes into the journal, so it never holds a secret; its
//! digest goes into the fingerprint of what needs it, so it holds nothing that changes without meaning (no times).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::environment::{NodeName, Role};
use crate::failure::Failure;
use crate::fingerprint::Digest;

/// The kinds of artifact, in the order of the road. Each names the one stage that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Bundle,
    BaseImage,
    NodeImage,
    Network,
    LoadBalancer,
    Nodes,
    Access,
    Hardening,
    Servers,
    Agents,
    Health,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Bundle,
        Self::BaseImage,
        Self::NodeImage,
        Self::Network,
        Self::LoadBalancer,
        Self::Nodes,
        Self::Access,
        Self::Hardening,
        Self::Servers,
        Self::Agents,
        Self::Health,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::BaseImage => "base-image",
            Self::NodeImage => "node-image",
            Self::Network => "network",
            Self::LoadBalancer => "load-balancer",
            Self::Nodes => "nodes",
            Self::Access => "access",
            Self::Hardening => "hardening",
            Self::Servers => "servers",
            Self::Agents => "agents",
            Self::Health => "health",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("`{text}` is no stage"))
    }
}

/// What a stage made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Artifact {
    Bundle(Bundle),
    BaseImage(Image),
    NodeImage(Image),
    Network(Network),
    LoadBalancer(LoadBalancer),
    Nodes(Nodes),
    Access(Access),
    Hardening(Hardening),
    Servers(Servers),
    Agents(Agents),
    Health(Health),
}

impl Artifact {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Bundle(_) => Kind::Bundle,
            Self::BaseImage(_) => Kind::BaseImage,
            Self::NodeImage(_) => Kind::NodeImage,
            Self::Network(_) => Kind::Network,
            Self::LoadBalancer(_) => Kind::LoadBalancer,
            Self::Nodes(_) => Kind::Nodes,
            Self::Access(_) => Kind::Access,
            Self::Hardening(_) => Kind::Hardening,
            Self::Servers(_) => Kind::Servers,
            Self::Agents(_) => Kind::Agents,
            Self::Health(_) => Kind::Health,
        }
    }

    pub fn digest(&self) -> Digest {
        Digest::of_value(self)
    }

    /// A few words for the plan and the closing table.
    pub fn summary(&self) -> String {
        match self {
            Self::Bundle(bundle) => format!("{} · {} files, verified", bundle.version, bundle.files.len()),
            Self::BaseImage(image) | Self::NodeImage(image) => {
                format!("{} (fingerprint {})", image.id, image.fingerprint.short())
            }
            Self::Network(network) => format!("{}, {} zones", network.id, network.zones.len()),
            Self::LoadBalancer(balancer) => balancer.address.clone(),
            Self::Nodes(nodes) => plural(nodes.nodes.len(), "machine"),
            Self::Access(access) if !access.unreached.is_empty() => {
                let names: Vec<&str> = access.unreached.keys().map(|name| name.0.as_str()).collect();
                format!("{} pinned, not reached: {}", plural(access.nodes.len(), "host key"), names.join(", "))
            }
            Self::Access(access) => format!("{} pinned", plural(access.nodes.len(), "host key")),
            Self::Hardening(hardening) => {
                format!("{} measured, {}", plural(hardening.nodes.len(), "node"), hardening.profile)
            }
            Self::Servers(servers) => plural(servers.joined.len(), "voter"),
            Self::Agents(agents) => format!("{} joined", plural(agents.joined.len(), "agent")),
            Self::Health(health) => health.api.clone(),
        }
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Gives each typed artifact a way in and a way out of [`Artifact`].
macro_rules! one_of_many {
    ($($type:ident),*) => {$(
        impl TryFrom<&Artifact> for $type {
            type Error = Kind;

            /// # Errors
            /// The kind that was found instead.
            fn try_from(artifact: &Artifact) -> Result<Self, Kind> {
                match artifact {
                    Artifact::$type(inner) => Ok(inner.clone()),
                    other => Err(other.kind()),
                }
            }
        }
    )*};
}
one_of_many!(Bundle, Network, LoadBalancer, Nodes, Access, Hardening, Servers, Agents, Health);

/// The files of one RKE2 release in the local store, each verified against the release's checksums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    pub version: String,
    /// By official file name.
    pub files: BTreeMap<String, BundleFile>,
    /// Archives of images that are in no release, by their names in the store.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, BundleFile>,
}

/// One verified file of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleFile {
    pub sha256: Digest,
    /// In bytes.
    pub size: u64,
}

/// A machine image of the platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// AMI id, or a template's id.
    pub id: String,
    pub name: String,
    /// The fingerprint it was built for: how it is found again.
    pub fingerprint: Digest,
    /// The image it was built from.
    pub parent: String,
    /// The RKE2 release that is staged in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rke2: Option<String>,
    /// Who may log in on a machine of it.
    pub user: String,
}

/// The private network of the nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    pub id: String,
    pub cidr: String,
    pub zones: Vec<String>,
    /// In the order of `zones`.
    pub private_subnets: Vec<String>,
    /// Their ranges, in the same order.
    pub private_ranges: Vec<String>,
    /// Where load balancers have their addresses.
    pub balancer_subnets: Vec<String>,
    pub balancer_ranges: Vec<String>,
    pub public_subnets: Vec<String>,
    pub public_ranges: Vec<String>,
    /// The way out of the private subnets; absent in older records.
    #[serde(default)]
    pub nat_gateways: Vec<String>,
}

/// The fixed registration and API address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// ARN, or the address itself where there is nothing behind it.
    pub id: String,
    /// DNS name or IP address.
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_group: Option<String>,
    /// Target groups by listener: `api`, `supervisor`, `http`, `https`.
    #[serde(default)]
    pub target_groups: BTreeMap<String, String>,
}

/// The machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nodes {
    pub nodes: BTreeMap<NodeName, Node>,
    /// The jump machine that was made with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<JumpMachine>,
}

/// One machine that is a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The platform's id of the machine.
    pub machine: String,
    pub role: Role,
    pub address: String,
    /// The image it was made from; kept when the environment moves on to a newer one.
    pub image: String,
    pub size: String,
    pub disk_gib: u64,
    pub zone: String,
    pub user: String,
    /// Where its sshd listens.
    #[serde(default = "Node::usual_port", skip_serializing_if = "Node::is_usual_port")]
    pub port: u16,
}

impl Node {
    fn usual_port() -> u16 {
        22
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    fn is_usual_port(port: &u16) -> bool {
        *port == Self::usual_port()
    }
}

/// A jump machine of the environment's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JumpMachine {
    pub machine: String,
    pub public_address: String,
    pub private_address: String,
    pub user: String,
}

/// Pinned host keys and the way to every node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Access {
    pub nodes: BTreeMap<NodeName, Reach>,
    /// Nodes that were made and did not answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreached: BTreeMap<NodeName, Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Reach>,
}

impl Access {
    /// The way to a node that another artifact names.
    ///
    /// # Errors
    /// A bug: there is none.
    pub fn reach(&self, node: &NodeName) -> Result<&Reach, Failure> {
        self.nodes.get(node).ok_or_else(|| Failure::bug(format!("no way to `{node}`")))
    }
}

/// How one machine is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    pub machine: String,
    pub role: Option<Role>,
    pub address: String,
    pub port: u16,
    pub user: String,
    /// Host keys as in `known_hosts`, without the name.
    pub host_keys: Vec<String>,
    /// The machine that leads there, where it is another one than leads to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Box<Reach>>,
}

/// Nodes measured against the profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hardening {
    pub profile: String,
    pub nodes: BTreeMap<NodeName, Measured>,
}

/// What was measured on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub machine: String,
    pub passed: u32,
    /// Rules that fail and that nothing corrects on a live node.
    pub open: Vec<String>,
}

/// The control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Servers {
    /// SHA-256 of the cluster's CA as it stands in every secure token.
    pub ca: String,
    /// Where further nodes join: a server's own address.
    pub join_address: String,
    pub joined: BTreeMap<NodeName, Joined>,
}

/// A node that joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    pub machine: String,
    pub version: String,
}

/// The workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agents {
    pub joined: BTreeMap<NodeName, Joined>,
}

/// A cluster that serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `https://…:6443` as clients outside use it.
    pub api: String,
    pub servers: usize,
    pub agents: usize,
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>(), Ok(kind));
        }
        assert_eq!("nodse".parse::<Kind>(), Err("`nodse` is no stage".to_owned()));
    }

    #[test]
    fn an_artifact_of_another_kind_is_refused_by_name() {
        let bundle = Artifact::Bundle(Bundle {
            version: "v1.35.4+rke2r1".to_owned(),
            files: BTreeMap::new(),
            images: BTreeMap::new(),
        });

        assert_eq!(Network::try_from(&bundle), Err(Kind::Bundle));
    }
}
