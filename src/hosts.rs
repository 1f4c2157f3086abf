//! Machines that already exist: who they are and how they are reached, as the environment file tells it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Reach;
use crate::environment::{NodeName, Role};
use crate::fingerprint::Digest;

/// The machines of an environment on the platform `hosts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    /// The private key that opens every machine: `file:PATH`.
    pub key: String,
    /// Who logs in: `root`, or a user that may use sudo without a password.
    #[serde(default = "Hosts::default_user")]
    pub user: String,
    #[serde(default = "Hosts::default_port")]
    pub port: u16,
    /// By the name of the node: `server-1`, `server-2` and so on, and `<pool>-1` and so on for each pool of agents.
    pub machines: BTreeMap<String, Host>,
}

/// One machine that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its IPv4 address: where it is reached, and what the cluster knows the node by.
    pub address: String,
    /// Its public host key as in `known_hosts`, without the name: `ecdsa-sha2-nistp256 AAAA…`.
    pub host_key: String,
    /// Another user than `hosts.user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Another port than `hosts.port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A machine that leads to it, where `access.jump` does not; `hosts.key` opens it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Way>,
}

/// A machine that leads to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// Its name or address.
    pub host: String,
    /// As `host_key` of a machine.
    pub host_key: String,
    #[serde(default = "Hosts::default_user")]
    pub user: String,
    #[serde(default = "Hosts::default_port")]
    pub port: u16,
}

impl Hosts {
    fn default_user() -> String {
        "rocky".to_owned()
    }

    fn default_port() -> u16 {
        22
    }

    /// The way to a machine; `None` where the file does not name it.
    pub fn reach(&self, node: &NodeName, role: Role) -> Option<Reach> {
        let host = self.machines.get(&node.0)?;
        Some(Reach {
            machine: host.machine(),
            role: Some(role),
            address: host.address.clone(),
            port: host.port.unwrap_or(self.port),
            user: host.user.clone().unwrap_or_else(|| self.user.clone()),
            host_keys: vec![host.key_words()],
            jump: host.jump.as_ref().map(|way| Box::new(way.reach())),
        })
    }
}

impl Host {
    /// The id of the machine, from its host key: what has another key is another machine, whatever its address is.
    pub fn machine(&self) -> String {
        format!("host-{}", &Digest::of(self.key_words().as_bytes()).as_str()[..16])
    }

    /// Kind and key, without a comment behind them.
    pub fn key_words(&self) -> String {
        key_words(&self.host_key)
    }
}

impl Way {
    fn reach(&self) -> Reach {
        Reach {
            machine: format!("way-{}", &Digest::of(key_words(&self.host_key).as_bytes()).as_str()[..16]),
            role: None,
            address: self.host.clone(),
            port: self.port,
            user: self.user.clone(),
            host_keys: vec![key_words(&self.host_key)],
            jump: None,
        }
    }
}

fn key_words(key: &str) -> String {
    key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(key: &str, address: &str) -> Host {
        Host { address: address.to_owned(), host_key: key.to_owned(), user: None, port: None, jump: None }
    }

    #[test]
    fn a_machine_is_known_by_its_host_key_and_not_by_its_address_or_a_comment() {
        let one = host("ecdsa-sha2-nistp256 AAAA", "10.0.0.1").machine();

        assert_eq!(one, host("ecdsa-sha2-nistp256 AAAA root@here", "10.0.0.2").machine());
        assert_ne!(one, host("ecdsa-sha2-nistp256 AAAB", "10.0.0.1").machine());
        assert_eq!(one.len(), "host-".len() + 16);
    }

    #[test]
    fn a_machine_is_reached_as_all_unless_it_says_otherwise() {
        let way = Way {
            host: "192.0.2.9".to_owned(),
            host_key: "ssh-rsa CCCC here".to_owned(),
            user: "ops".to_owned(),
            port: 22,
        };
        let other = Host {
            jump: Some(way),
            user: Some("root".to_owned()),
            port: Some(2222),
            ..host("ssh-rsa BBBB", "10.0.0.2")
        };
        let machines =
            BTreeMap::from([("server-1".to_owned(), host("ssh-rsa AAAA", "10.0.0.1")), ("server-2".to_owned(), other)]);
        let hosts = Hosts { key: "file:key".to_owned(), user: "ops".to_owned(), port: 22, machines };
        let reach = |node: &str| hosts.reach(&NodeName(node.to_owned()), Role::Server);
        let way = |node: &str| reach(node).map(|reach| format!("{}@{}:{}", reach.user, reach.address, reach.port));

        assert_eq!(way("server-1").as_deref(), Some("ops@10.0.0.1:22"));
        assert_eq!(way("server-2").as_deref(), Some("root@10.0.0.2:2222"));
        assert_eq!(way("server-3"), None);
        let led = reach("server-2").and_then(|reach| reach.jump).map(|jump| (jump.address, jump.host_keys));
        assert_eq!(led, Some(("192.0.2.9".to_owned(), vec!["ssh-rsa CCCC".to_owned()])));
        assert_eq!(reach("server-1").and_then(|reach| reach.jump), None);
    }
}
