//! Which nodes a plan adds, and which it leaves as they are although the file has moved on.

use std::collections::BTreeMap;

use crate::artifact::{Image, Joined, Nodes};
use crate::decision::NodeChange;
use crate::environment::{NodeName, WantedNode};

/// What runs as a member, and what the file asks for.
#[derive(Clone, Debug, Default)]
pub struct Releases {
    pub joined: BTreeMap<NodeName, Joined>,
    pub wanted: String,
}

/// Compares the nodes that the file wants with those that were made.
pub fn node_changes(
    wanted: &[WantedNode],
    made: Option<&Nodes>,
    image: Option<&Image>,
    releases: &Releases,
) -> Vec<NodeChange> {
    let none = BTreeMap::new();
    let made = made.map_or(&none, |nodes| &nodes.nodes);
    let mut changes = Vec::new();
    for want in wanted {
        let Some(node) = made.get(&want.name) else {
            changes.push(NodeChange::Add { node: want.name.clone() });
            continue;
        };
        let mut what = Vec::new();
        if node.size != want.size {
            what.push(format!("size {}, wanted {}", node.size, want.size));
        }
        if node.disk_gib != want.disk.gib() {
            what.push(format!("disk {} GiB, wanted {} GiB", node.disk_gib, want.disk.gib()));
        }
        if let Some(image) = image.filter(|image| image.id != node.image) {
            what.push(format!("image {}, newest {}", node.image, image.id));
        }
        let member = releases.joined.get(&want.name).filter(|member| member.machine == node.machine);
        if let Some(member) = member.filter(|member| member.version != releases.wanted) {
            what.push(format!("RKE2 {}, wanted {}", member.version, releases.wanted));
        }
        if !what.is_empty() {
            changes.push(NodeChange::Outdated { node: want.name.clone(), what });
        }
    }
    let is_wanted = |name: &NodeName| wanted.iter().any(|want| want.name == *name);
    let unwanted = made.keys().filter(|name| !is_wanted(name)).map(|name| NodeChange::Unwanted { node: name.clone() });
    changes.extend(unwanted);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Node;
    use crate::environment::Role;
    use crate::units::ByteSize;

    fn want(name: &str) -> WantedNode {
        WantedNode {
            name: NodeName(name.to_owned()),
            role: Role::Agent,
            size: "m6i.large".to_owned(),
            disk: ByteSize(ByteSize::GIB),
            zone: 0,
        }
    }

    fn made(name: &str, size: &str) -> (NodeName, Node) {
        let node = Node {
            machine: "i-1".to_owned(),
            role: Role::Agent,
            address: "10.0.0.1".to_owned(),
            image: "ami-1".to_owned(),
            size: size.to_owned(),
            disk_gib: 1,
            zone: "a".to_owned(),
            user: "rocky".to_owned(),
            port: 22,
        };
        (NodeName(name.to_owned()), node)
    }

    #[test]
    fn one_more_agent_is_the_only_node_that_changes() {
        let nodes = Nodes { nodes: [made("a-1", "m6i.large")].into(), jump: None };

        let changes = node_changes(&[want("a-1"), want("a-2")], Some(&nodes), None, &Releases::default());

        assert_eq!(changes, [NodeChange::Add { node: NodeName("a-2".to_owned()) }]);
    }

    #[test]
    fn another_size_makes_a_node_outdated_and_replaces_nothing() {
        let nodes = Nodes { nodes: [made("a-1", "m6i.xlarge")].into(), jump: None };

        let changes = node_changes(&[want("a-1")], Some(&nodes), None, &Releases::default());

        let what = vec!["size m6i.xlarge, wanted m6i.large".to_owned()];
        assert_eq!(changes, [NodeChange::Outdated { node: NodeName("a-1".to_owned()), what }]);
    }

    #[test]
    fn another_release_makes_the_members_outdated_and_says_nothing_of_machines_that_are_none() {
        let nodes = Nodes { nodes: [made("a-1", "m6i.large"), made("a-2", "m6i.large")].into(), jump: None };
        let member = |machine: &str| Joined { machine: machine.to_owned(), version: "v1.34.4+rke2r1".to_owned() };
        // The second one is of a machine that is gone.
        let joined = [("a-1", "i-1"), ("a-2", "i-0")].map(|(name, id)| (NodeName(name.to_owned()), member(id)));
        let releases = Releases { joined: joined.into(), wanted: "v1.35.4+rke2r1".to_owned() };

        let changes = node_changes(&[want("a-1"), want("a-2")], Some(&nodes), None, &releases);

        let what = vec!["RKE2 v1.34.4+rke2r1, wanted v1.35.4+rke2r1".to_owned()];
        assert_eq!(changes, [NodeChange::Outdated { node: NodeName("a-1".to_owned()), what }]);
    }
}
