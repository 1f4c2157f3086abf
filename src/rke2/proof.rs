//! The proof that a cluster serves: asked through the address that its users have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::environment::{NodeName, Role};
use crate::failure::{Exit, Failure};
use crate::node::{Look, Wait};
use crate::rke2::api::Api;
use crate::rke2::node_status::NodeStatus;
use crate::rke2::version::Version;

const EVERY: Duration = Duration::from_secs(2);

/// What the cluster is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub nodes: BTreeMap<NodeName, Role>,
    /// Nodes that may be there in any state.
    pub excused: BTreeMap<NodeName, Role>,
    pub version: Version,
}

/// What was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub servers: usize,
    pub agents: usize,
}

/// Waits until the API is ready and every node is Ready, at the version and in its role, and every server votes.
///
/// # Errors
/// Exit 7 at the deadline, naming the nodes that are not as they should be; exit 7 at once for a node that is in the
/// cluster and not in the environment; what [`Api::readyz`] gives when it cannot pass.
pub async fn serves(api: &Api, expected: &Expected, wait: &Wait<'_>) -> Result<Proof, Failure> {
    let what = format!("the cluster does not serve at {}", api.server());
    wait.until(&what, Exit::Unhealthy, EVERY, || async {
        api.readyz().await?;
        judge(&api.nodes().await?, expected)
    })
    .await
}

fn judge(nodes: &[NodeStatus], expected: &Expected) -> Result<Look<Proof>, Failure> {
    let wanted = expected.version.to_string();
    let missing: Vec<String> = expected
        .nodes
        .iter()
        .filter_map(|(name, role)| {
            let lacks = match nodes.iter().find(|node| node.name == name.0) {
                None => "not registered".to_owned(),
                Some(node) => node.lacks(*role, &wanted)?,
            };
            Some(format!("{name}: {lacks}"))
        })
        .collect();
    if !missing.is_empty() {
        let (count, all) = (missing.len(), expected.nodes.len());
        return Ok(Look::NotYet(format!("{count} of {all} nodes: {}", missing.join("; "))));
    }
    let is_known = |name: &NodeName| expected.nodes.contains_key(name) || expected.excused.contains_key(name);
    if let Some(stranger) = nodes.iter().find(|node| !is_known(&NodeName(node.name.clone()))) {
        let name = &stranger.name;
        return Err(Failure::new(
            Exit::Unhealthy,
            format!("node `{name}` is in the cluster and not in the environment"),
        )
        .hint(format!("if its machine is gone for good: `kubectl delete node {name}`")));
    }
    let proven = |node: &&NodeStatus| expected.nodes.contains_key(&NodeName(node.name.clone()));
    let count = |role| nodes.iter().filter(proven).filter(|node| node.role == role).count();
    let voters: BTreeSet<&String> = nodes.iter().filter(proven).filter_map(|node| node.member.as_ref()).collect();
    if voters.len() != count(Role::Server) {
        return Ok(Look::NotYet(format!("{} etcd members for {} servers", voters.len(), count(Role::Server))));
    }
    Ok(Look::Done(Proof { servers: count(Role::Server), agents: count(Role::Agent) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::node_status::tests::node;

    const VERSION: &str = "v1.35.4+rke2r1";
    const VOTING: [(&str, &str, &str); 2] = [("Ready", "True", ""), ("EtcdIsVoter", "True", "MemberNotLearner")];

    fn status(name: &str, role: Role, conditions: &[(&str, &str, &str)]) -> NodeStatus {
        NodeStatus::read(&node(name, role, VERSION, conditions)).expect("a node")
    }

    fn expected() -> Expected {
        let nodes = [("server-1", Role::Server), ("general-1", Role::Agent), ("general-2", Role::Agent)];
        Expected {
            nodes: nodes.into_iter().map(|(name, role)| (NodeName(name.to_owned()), role)).collect(),
            excused: BTreeMap::new(),
            version: VERSION.parse().expect("a version"),
        }
    }

    #[test]
    fn a_node_that_is_known_not_to_answer_neither_proves_nor_disproves_anything() {
        let mut expected = expected();
        let silent = NodeName("general-2".to_owned());
        expected.nodes.remove(&silent);
        expected.excused.insert(silent, Role::Agent);
        let nodes = [
            status("server-1", Role::Server, &VOTING),
            status("general-1", Role::Agent, &VOTING),
            status("general-2", Role::Agent, &[("Ready", "Unknown", "NodeStatusUnknown")]),
        ];

        let look = judge(&nodes, &expected).expect("judged");

        assert_eq!(look, Look::Done(Proof { servers: 1, agents: 1 }));
    }

    #[test]
    fn a_cluster_serves_when_every_node_is_as_it_should_be() {
        let nodes = [
            status("general-1", Role::Agent, &VOTING),
            status("general-2", Role::Agent, &VOTING),
            status("server-1", Role::Server, &VOTING),
        ];

        let proof = judge(&nodes, &expected()).expect("judged");

        assert_eq!(proof, Look::Done(Proof { servers: 1, agents: 2 }));
    }

    #[test]
    fn the_nodes_that_are_not_as_they_should_be_are_named() {
        let nodes = [
            status("server-1", Role::Server, &VOTING),
            status("general-1", Role::Agent, &[("Ready", "False", "KubeletNotReady")]),
        ];

        let look = judge(&nodes, &expected()).expect("judged");

        assert_eq!(
            look,
            Look::NotYet("2 of 3 nodes: general-1: not Ready: KubeletNotReady; general-2: not registered".to_owned())
        );
    }

    #[test]
    fn a_node_of_nobody_is_no_proof() {
        let nodes = [
            status("server-1", Role::Server, &VOTING),
            status("general-1", Role::Agent, &VOTING),
            status("general-2", Role::Agent, &VOTING),
            status("general-3", Role::Agent, &VOTING),
        ];

        let failure = judge(&nodes, &expected()).expect_err("refused");

        assert_eq!(failure.what(), "node `general-3` is in the cluster and not in the environment");
        assert_eq!(failure.hints(), ["if its machine is gone for good: `kubectl delete node general-3`"]);
    }
}
