//! The way in, as the environment file tells it.

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Ipv4Network;

/// The way in: how Packer, SSH, Ansible and the check of the API address reach private machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    pub via: Via,
    /// The networks the operator's machine connects from; the security groups admit SSH and the API from these only.
    /// Required where `platform` is `aws`.
    #[schemars(with = "Vec<Ipv4Network>")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Ipv4Net>,
    /// The jump machine, where `via` is `jump`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Jump>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// Private addresses are reachable, through a VPN or from a machine inside.
    Direct,
    /// Through one SSH jump machine.
    Jump,
}

/// A jump machine: one that exists (`host`), or one that `nodes` makes in a public subnet when `host` is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jump {
    /// Its name or address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default = "Jump::default_user")]
    pub user: String,
    #[serde(default = "Jump::default_port")]
    pub port: u16,
    /// Its public host key as in `known_hosts`, without the name: `ecdsa-sha2-nistp256 AAAA…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// The private key that opens it: `file:PATH`. Without it the environment's own key is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Jump {
    fn default_user() -> String {
        "rocky".to_owned()
    }

    fn default_port() -> u16 {
        22
    }
}
