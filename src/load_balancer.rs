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
    /// Where `kind` is `kube-vip`: the servers' interface that gets the address; without it that of their default route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
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
