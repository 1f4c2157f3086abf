//! The members of a cluster as recorded: which nodes joined, and with which release.

use std::collections::BTreeMap;

use crate::artifact::{Joined, Kind};
use crate::environment::NodeName;
use crate::event::Outcome;
use crate::journal::Memory;
use crate::rke2::Version;
use crate::stages::Cluster;

/// The members, also those that joined in a run that did not come to its end.
pub fn joined(memory: &Memory) -> BTreeMap<NodeName, Joined> {
    let joins = memory.steps.iter().filter(|((stage, _), _)| matches!(stage, Kind::Servers | Kind::Agents));
    let done = joins.filter(|(_, step)| step.outcome == Outcome::Succeeded);
    done.filter_map(|((_, node), step)| {
        let joined = serde_json::from_value(step.output.clone()?).ok()?;
        Some((NodeName(node.clone()), joined))
    })
    .collect()
}

/// The release of the cluster, if one was formed: of its servers the oldest, since nothing that joins may be newer.
pub fn release(memory: &Memory) -> Option<String> {
    let cluster = Cluster::recorded(&memory.facts)?;
    let servers = memory.steps.keys().filter(|(stage, _)| *stage == Kind::Servers).map(|(_, node)| node);
    let members = joined(memory);
    let running = servers.filter_map(|node| members.get(&NodeName(node.clone()))?.version.parse::<Version>().ok());
    running.min().map(|version| version.to_string()).or(cluster.version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fingerprint::{Digest, Reading};
    use crate::journal::StepMemory;

    fn step(stage: Kind, node: &str, outcome: Outcome, version: &str) -> ((Kind, String), StepMemory) {
        let output = (outcome == Outcome::Succeeded).then(|| json!({ "machine": "i-1", "version": version }));
        let (fingerprint, reading) = (Digest::of(b""), Reading::default());
        let (effect, time) = (String::new(), jiff::Timestamp::UNIX_EPOCH);
        let memory = StepMemory { outcome, fingerprint, reading, effect, output, why: None, run: 1, time };
        ((stage, node.to_owned()), memory)
    }

    fn cluster(version: Option<&str>) -> BTreeMap<String, serde_json::Value> {
        BTreeMap::from([("servers/cluster".to_owned(), json!({ "ca": Digest::of(b"ca"), "version": version }))])
    }

    #[test]
    fn a_cluster_has_the_oldest_release_of_its_servers() {
        let steps = [
            step(Kind::Servers, "server-1", Outcome::Succeeded, "v1.35.10+rke2r1"),
            step(Kind::Servers, "server-2", Outcome::Succeeded, "v1.35.4+rke2r1"),
            step(Kind::Servers, "server-3", Outcome::Failed, ""),
            step(Kind::Agents, "general-1", Outcome::Succeeded, "v1.34.4+rke2r1"),
            step(Kind::Nodes, "jump", Outcome::Succeeded, "v1.30.0+rke2r1"),
        ];
        let memory = Memory { steps: steps.into(), facts: cluster(None), ..Memory::default() };

        assert_eq!(release(&memory).as_deref(), Some("v1.35.4+rke2r1"));
        let names: Vec<String> = joined(&memory).into_keys().map(|name| name.0).collect();
        assert_eq!(names, ["general-1", "server-1", "server-2"]);
    }

    #[test]
    fn a_cluster_whose_servers_are_tried_again_keeps_the_release_that_it_was_founded_with() {
        let steps = [step(Kind::Servers, "server-1", Outcome::Interrupted, "")];
        let founded = Memory { steps: steps.into(), facts: cluster(Some("v1.34.4+rke2r1")), ..Memory::default() };

        assert_eq!(release(&founded).as_deref(), Some("v1.34.4+rke2r1"));
        assert_eq!(release(&Memory::default()), None, "nothing holds the first cluster to anything");
    }
}
