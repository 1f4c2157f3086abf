//! What stands before the servers, as the environment file wants it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The id of an artifact whose address the servers pass on among themselves.
pub const KUBE_VIP: &str = "kube-vip";

/// The fixed address of the API and of registration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    #[serde(default)]
    pub kind: LoadBalancerKind,
    /// Where `kind` is `external`: the DNS name or address that forwards ports 6443 and 9345 to all servers. Where it is
    /// `kube-vip`: a free IPv4 address of the servers' network, which one of them has at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where `kind` is `kube-vip`: its container image with its digest,
    /// `ghcr.io/kube-vip/kube-vip:v0.9.1@sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where `kind` is `kube-vip`: the servers' interface that gets the address; without it that of their default route, or
    /// with `bgp` the loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Where `kind` is `kube-vip`: routers that each server tells the way to the address, in the place of ARP. The address
    /// need not be of the servers' network then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<Bgp>,
}

/// How servers speak BGP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bgp {
    /// The number of the servers' autonomous system.
    #[serde(rename = "as")]
    pub number: u32,
    /// The routers.
    pub peers: Vec<Peer>,
}

/// A router that takes the servers' word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its IPv4 address.
    pub address: String,
    /// The number of its autonomous system.
    #[serde(rename = "as")]
    pub number: u32,
    /// Whether it is further away than the next hop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multihop: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoadBalancerKind {
    #[default]
    Nlb,
    KubeVip,
    External,
    /// The address of the only server.
    None,
}
