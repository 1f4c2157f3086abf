//! How the operating system of nodes is hardened, as the environment file says.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Day;
use crate::wanted::{NodeName, Role};

/// Every rule of every profile, with what stands behind its check.
const RULES: &str = include_str!("compliance/data/classes.json");

/// The operating system's hardening.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hardening {
    #[serde(default)]
    pub profile: HardeningProfile,
    /// Rules that are let fail for a time. A waiver makes no rule pass: what it covers is told as waived.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<Waiver>,
}

/// A rule that is let fail, by whom, why and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// `RHEL-09-412035`, `CIS-5.4.3.2`: a rule of the profile.
    pub rule: String,
    /// Nodes that it is for, by name; without nodes and pools it is for every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Pools that it is for: `servers`, or a name under `nodes.agents`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
    /// Why, in words that an assessor can follow.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// The last day on which it holds.
    pub expires: Day,
}

impl Waiver {
    /// The pool that every server is in.
    pub const SERVERS: &str = "servers";

    pub fn covers(&self, node: &NodeName, role: Role) -> bool {
        let pool = match role {
            Role::Server => Self::SERVERS,
            Role::Agent => node.0.rsplit_once('-').map_or("", |(pool, _)| pool),
        };
        let is_for_all = self.nodes.is_empty() && self.pools.is_empty();
        is_for_all || self.nodes.contains(&node.0) || self.pools.iter().any(|one| one == pool)
    }

    /// Whether its last day is over on this one.
    pub fn has_expired(&self, today: Day) -> bool {
        self.expires < today
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HardeningProfile {
    #[default]
    Stig,
    Cis,
    None,
}

impl HardeningProfile {
    /// The ids of its rules. There is no rule in a profile that is none.
    pub fn rules(self) -> Vec<String> {
        let prefix = match self {
            Self::Stig => "RHEL-",
            Self::Cis => "CIS-",
            Self::None => return vec![],
        };
        let all: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_str(RULES).unwrap_or_default();
        all.into_keys().filter(|id| id.starts_with(prefix)).collect()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Stig => "stig",
            Self::Cis => "cis",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiver(nodes: &[&str], pools: &[&str]) -> Waiver {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Waiver {
            rule: "RHEL-09-412035".to_owned(),
            nodes: owned(nodes),
            pools: owned(pools),
            reason: "a console stays open".to_owned(),
            owner: "operations".to_owned(),
            expires: "2027-03-31".parse().expect("a day"),
        }
    }

    #[test]
    fn a_waiver_covers_the_nodes_and_pools_it_names_or_every_node() {
        let covers = |waiver: &Waiver| {
            let covers = |name: &str, role| waiver.covers(&NodeName(name.to_owned()), role);
            [covers("server-1", Role::Server), covers("general-1", Role::Agent), covers("general-gpu-1", Role::Agent)]
        };

        assert_eq!(covers(&waiver(&[], &[])), [true, true, true]);
        assert_eq!(covers(&waiver(&["general-1"], &[])), [false, true, false]);
        assert_eq!(covers(&waiver(&[], &["servers"])), [true, false, false]);
        assert_eq!(covers(&waiver(&["server-1"], &["general-gpu"])), [true, false, true]);
    }

    #[test]
    fn a_waiver_holds_on_its_last_day_and_not_after_it() {
        let on = |day: &str| waiver(&[], &[]).has_expired(day.parse().expect("a day"));

        assert_eq!((on("2027-03-31"), on("2027-04-01")), (false, true));
    }

    #[test]
    fn a_profile_knows_its_rules() {
        assert_eq!((HardeningProfile::Stig.rules().len(), HardeningProfile::Cis.rules().len()), (445, 235));
        assert!(HardeningProfile::None.rules().is_empty());
    }
}
