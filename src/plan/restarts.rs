//! Which members start again because their configuration changed.
//!
//! # Why
//! Nothing is drained: RKE2's unit leaves containers alone when it is stopped, so that pods run on while kubelet and
//! control plane start again. What would need a drain, another CNI or other addresses, is for the cluster's life. (2026-11-30)

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::artifact::Joined;
use crate::decision::NodeChange;
use crate::environment::{Environment, NodeName, WantedNode};
use crate::fingerprint::Digest;
use crate::stages::{configuration_digests, configuration_fact, marks_differ, marks_fact};

/// The members that the file gives another configuration than they joined with, and the files that differ. One of which
/// nothing was noted is not told.
pub fn restarts(
    env: &Environment,
    facts: &BTreeMap<String, Value>,
    joined: &BTreeMap<NodeName, Joined>,
) -> Vec<NodeChange> {
    let wanted = env.wanted_nodes().into_iter().filter(|node| joined.contains_key(&node.name));
    wanted
        .filter_map(|WantedNode { name, role, .. }| {
            let noted = facts.get(&configuration_fact(&name))?.clone();
            let mut what = differing(&serde_json::from_value(noted).ok()?, &configuration_digests(env, role));
            if marks_differ(env, &name, facts.get(&marks_fact(&name))) {
                what.push("labels and taints".to_owned());
            }
            (!what.is_empty()).then_some(NodeChange::Restart { node: name, what })
        })
        .collect()
}

fn differing(noted: &BTreeMap<String, Digest>, wanted: &BTreeMap<String, Digest>) -> Vec<String> {
    let names: BTreeSet<&String> = noted.keys().chain(wanted.keys()).collect();
    names.into_iter().filter(|name| noted.get(*name) != wanted.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config;
    use crate::environment::Role;

    const DEV: &str = include_str!("../../environments/dev.yaml");

    #[test]
    fn a_changed_fragment_names_the_members_that_start_again_and_nobody_else() {
        let env = |retention: u16| {
            let text = format!("{DEV}\n").replace(
                "  cni: canal",
                &format!(
                    "  cni: canal\n  config: {{snapshots: {{retention: {retention}}}, arguments: {{kubelet: [a=b]}}}}"
                ),
            );
            config::read("environments/dev.yaml", "dev", &text).expect("valid")
        };
        let joined = |name: &str| {
            let one = Joined { machine: "i-1".to_owned(), version: "v1.35.4+rke2r1".to_owned() };
            (NodeName(name.to_owned()), one)
        };
        let members = BTreeMap::from(["server-1", "server-2", "general-1"].map(joined));
        let noted = |role| json!(configuration_digests(&env(3), role));
        let facts = BTreeMap::from([
            ("configuration/server-1".to_owned(), noted(Role::Server)),
            ("configuration/general-1".to_owned(), noted(Role::Agent)),
        ]);

        let what = vec!["40-sre-snapshots.yaml".to_owned()];
        let node = NodeName("server-1".to_owned());
        assert_eq!(restarts(&env(4), &facts, &members), [NodeChange::Restart { node, what }]);
        assert_eq!(restarts(&env(3), &facts, &members), []);
        let marked = |tier: &str| {
            let noted = json!({ "labels": { "tier": tier }, "taints": [] });
            let facts = facts.iter().map(|(name, value)| (name.clone(), value.clone()));
            facts.chain([("marks/general-1".to_owned(), noted)]).collect::<BTreeMap<_, _>>()
        };
        let (node, what) = (NodeName("general-1".to_owned()), vec!["labels and taints".to_owned()]);
        assert_eq!(restarts(&env(3), &marked("compute"), &members), [NodeChange::Restart { node, what }]);
        assert_eq!(restarts(&env(3), &marked("general"), &members), []);
    }
}
