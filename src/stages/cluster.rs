//! The cluster, once it was formed: what every later member joins, and what it keeps for its life.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::Cni;
use crate::fingerprint::Digest;

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
}

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

        assert_eq!(old, Some(Cluster { ca: ca.clone(), version: None, cni: None }));
        let version = Some("v1.35.4+rke2r1".to_owned());
        assert_eq!(new, Some(Cluster { ca, version, cni: Some(Cni::Cilium) }));
        assert_eq!(Cluster::recorded(&BTreeMap::new()), None);
    }
}
