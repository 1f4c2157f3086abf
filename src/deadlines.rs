//! How long each stage may take.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Kind;
use crate::units::Span;

/// The time that a stage has for all its attempts, by the name of the stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Deadlines {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_image: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_image: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardening: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Span>,
}

impl Deadlines {
    /// As the file says, else generous: what would never end is ended, not what is slow.
    pub fn of(&self, stage: Kind) -> Duration {
        let minutes = match stage {
            Kind::Bundle | Kind::Network | Kind::LoadBalancer | Kind::Nodes => 30,
            Kind::BaseImage | Kind::NodeImage => 90,
            Kind::Access => 20,
            Kind::Hardening | Kind::Agents => 45,
            Kind::Servers => 75,
            Kind::Health => 15,
        };
        self.given(stage).map_or(Duration::from_secs(minutes * 60), |span| span.0)
    }

    /// What the file says.
    pub fn given(&self, stage: Kind) -> Option<Span> {
        match stage {
            Kind::Bundle => self.bundle,
            Kind::BaseImage => self.base_image,
            Kind::NodeImage => self.node_image,
            Kind::Network => self.network,
            Kind::LoadBalancer => self.load_balancer,
            Kind::Nodes => self.nodes,
            Kind::Access => self.access,
            Kind::Hardening => self.hardening,
            Kind::Servers => self.servers,
            Kind::Agents => self.agents,
            Kind::Health => self.health,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_what_the_file_says_and_the_others_have_their_usual_time() {
        let deadlines = Deadlines { access: Some(Span(Duration::from_secs(90))), ..Deadlines::default() };

        assert_eq!(deadlines.of(Kind::Access), Duration::from_secs(90));
        assert_eq!(deadlines.of(Kind::Servers), Duration::from_secs(75 * 60));
    }
}
