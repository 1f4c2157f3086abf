//! The cluster, once it was formed: what every later member joins, and what it keeps for its life.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::Cni;
use crate::fingerprint::Digest;
use crate::rke2_config::Rke2Config;

/// The fact that tells of it, from the moment its first server is a member.
pub const CLUSTER: &str = "servers/cluster";

/// What was noted when it was formed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    pub ca: Digest,
    /// The release that it was founded with; older records do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<Cni>,
    /// The addresses of pods and services, and the domain, by their keys in the environment file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fixed: BTreeMap<String, String>,
}

/// What of RKE2's configuration is fixed when a cluster is founded.
pub fn fixed(config: &Rke2Config) -> BTreeMap<String, String> {
    let domain = config.cluster_domain.clone().unwrap_or_else(|| "cluster.local".to_owned());
    let values = [config.pods().to_string(), config.services().to_string(), domain];
    FIXED.iter().map(|key| (*key).to_owned()).zip(values).collect()
}

/// The keys of [`fixed`].
pub const FIXED: [&str; 3] = ["rke2.config.cluster_cidr", "rke2.config.service_cidr", "rke2.config.cluster_domain"];

impl Cluster {
    /// The cluster among the recorded facts; `None` as long as there is none.
    pub fn recorded(facts: &BTreeMap<String, Value>) -> Option<Self> {
        serde_json::from_value(facts.get(CLUSTER)?.clone()).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_of_a_cluster_that_tells_only_its_ca_is_one_all_the_same() {
        let ca = Digest::of(b"ca");
        let facts = |value: Value| BTreeMap::from([(CLUSTER.to_owned(), value)]);

        let old = Cluster::recorded(&facts(json!({ "ca": ca })));
        let new = Cluster::recorded(&facts(json!({ "ca": ca, "version": "v1.35.4+rke2r1", "cni": "cilium" })));

        assert_eq!(old, Some(Cluster { ca: ca.clone(), version: None, cni: None, fixed: BTreeMap::new() }));
        let version = Some("v1.35.4+rke2r1".to_owned());
        assert_eq!(new, Some(Cluster { ca, version, cni: Some(Cni::Cilium), fixed: BTreeMap::new() }));
        assert_eq!(Cluster::recorded(&BTreeMap::new()), None);
    }
}
