//! The nodes that an environment file wants, by name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::environment::{Agents, Environment, Rke2};
use crate::units::ByteSize;

/// What a node is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Server,
    Agent,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Agent => "agent",
        })
    }
}

/// The name of a node within its environment: a DNS label such as `server-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A node as the environment file wants it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WantedNode {
    pub name: NodeName,
    pub role: Role,
    pub size: String,
    pub disk: ByteSize,
    /// Index of its zone, from 0.
    pub zone: u8,
}

impl Environment {
    /// Every node the file asks for: servers by number, then the pools by name.
    pub fn wanted_nodes(&self) -> Vec<WantedNode> {
        let servers = &self.nodes.servers;
        let mut wanted: Vec<WantedNode> = (0..servers.count)
            .map(|index| WantedNode {
                name: NodeName(format!("server-{}", index + 1)),
                role: Role::Server,
                size: servers.size.clone(),
                disk: self.disk_of(servers.disk),
                zone: self.zone_of(index),
            })
            .collect();
        for (name, agents) in &self.nodes.agents {
            wanted.extend((0..agents.count).map(|index| WantedNode {
                name: NodeName(format!("{name}-{}", index + 1)),
                role: Role::Agent,
                size: agents.size.clone(),
                disk: self.disk_of(agents.disk),
                zone: self.zone_of(index),
            }));
        }
        wanted
    }

    /// The pool that an agent's name belongs to, also where the pool no longer counts that far.
    pub fn pool_of(&self, agent: &NodeName) -> Option<&Agents> {
        let (pool, number) = agent.0.rsplit_once('-')?;
        number.parse::<u16>().ok().and_then(|_| self.nodes.agents.get(pool))
    }

    /// What of `rke2` a node's configuration depends on: where the files came from is not part of it.
    pub fn rke2_without_source(&self) -> Rke2 {
        Rke2 { release: None, ..self.rke2.clone() }
    }

    /// A machine that exists is as large as it is.
    fn disk_of(&self, told: ByteSize) -> ByteSize {
        if self.hosts.is_some() { ByteSize::default() } else { told }
    }

    fn zone_of(&self, index: u16) -> u8 {
        (index % u16::from(self.network.as_ref().map_or(1, |network| network.zones.max(1)))) as u8
    }
}
