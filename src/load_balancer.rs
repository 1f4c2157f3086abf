//! What stands before the servers, as the environment file wants it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The fixed address of the API and of registration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    #[serde(default)]
    pub kind: LoadBalancerKind,
    /// Where `kind` is `external`: the DNS name or address that forwards ports 6443 and 9345 to all servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
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
