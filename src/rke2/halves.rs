//! Nodes that are half in a cluster: a member without its machine, a machine whose member is gone, a name that the
//! cluster remembers another machine by.
//!
//! Machine, etcd member and Node object are three facts, and each is asked: the machine of itself, etcd's list and the
//! API's objects through a server that serves. Where they do not fit each other, a start of the service would fail for
//! ever: `duplicate node name found`, `the member has been permanently removed`, `Node password rejected`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::environment::{NodeName, Role};
use crate::fingerprint::Digest;
use crate::node::quote;
use crate::rke2::etcd::{Members, ask_members, remove_member};
use crate::rke2::node_status::NodeStatus;
use crate::rke2::state::State;
use crate::rke2::{ADMIN_KUBECONFIG, DATA_DIR};

/// Where a node keeps what it proves its name with.
const PASSWORD_SECRET: &str = "node-password.rke2";

/// What a server that serves tells of the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub members: Members,
    nodes: BTreeMap<String, NodeStatus>,
    /// Names that the cluster remembers a machine by.
    passwords: BTreeSet<String>,
}

/// What a join that did not come to its end, or a machine that is gone, has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// An etcd member of a machine that is not there or does not know it.
    Member { id: String, name: String, is_learner: bool },
    /// The data of a member that etcd removed.
    Store { member: String },
    /// The Node object of an earlier machine.
    Node,
    /// The secret that an earlier machine proved its name with.
    Password,
}

/// A script for a server that serves.
pub fn ask_all() -> String {
    let kubectl = format!("{DATA_DIR}/bin/kubectl --kubeconfig {ADMIN_KUBECONFIG} --request-timeout=10s");
    format!(
        "set -e\necho @members; {}\necho; echo @nodes; {kubectl} get --raw /api/v1/nodes\n\
         echo; echo @passwords; {kubectl} get secrets --namespace kube-system --output name",
        ask_members()
    )
}

impl Told {
    /// Reads the answer to [`ask_all`]; `None` when a part of it is missing.
    pub fn read(answer: &str) -> Option<Self> {
        let part = |name: &str| {
            let rest = answer.split_once(&format!("@{name}\n"))?.1;
            Some(rest.split("\n@").next().unwrap_or(rest).trim())
        };
        let nodes: Value = serde_json::from_str(part("nodes")?).ok()?;
        let nodes = nodes.get("items")?.as_array()?.iter().filter_map(NodeStatus::read);
        let secret =
            |line: &str| line.strip_prefix("secret/")?.strip_suffix(&format!(".{PASSWORD_SECRET}")).map(str::to_owned);
        Some(Self {
            members: Members::read(part("members")?)?,
            nodes: nodes.map(|node| (node.name.clone(), node)).collect(),
            passwords: part("passwords")?.lines().filter_map(|line| secret(line.trim())).collect(),
        })
    }

    /// What is known where etcd alone was asked.
    pub fn of_members(members: Members) -> Self {
        Self { members, nodes: BTreeMap::new(), passwords: BTreeSet::new() }
    }

    /// Where a node of this name serves now, if it does so at another address than this.
    pub fn serves_elsewhere(&self, node: &NodeName, address: &str) -> Option<&str> {
        let found = self.nodes.get(&node.0).filter(|found| found.not_ready.is_none())?;
        found.address.as_deref().filter(|theirs| *theirs != address)
    }
}

/// Why the datastore on a machine is of no cluster of ours; `None` where it is, or where there is none.
pub fn foreign_store(state: &State, ca: &Digest) -> Option<String> {
    let theirs = state.ca.as_ref().filter(|theirs| state.has_store && *theirs != ca)?;
    Some(format!("it holds the datastore of a cluster with the CA {}, this one has {}", theirs.short(), ca.short()))
}

/// What keeps a node out that does not run as a member, the first thing to be mended first.
pub fn left(node: &NodeName, role: Role, address: &str, state: &State, told: &Told) -> Vec<Left> {
    let mut found = match role {
        Role::Server => of_etcd(node, address, state, &told.members),
        Role::Agent => vec![],
    };
    // Without its password a machine makes a new one, which the cluster refuses as another machine's.
    if !state.has_password {
        found.extend(told.nodes.contains_key(&node.0).then_some(Left::Node));
        found.extend(told.passwords.contains(&node.0).then_some(Left::Password));
    }
    found
}

fn of_etcd(node: &NodeName, address: &str, state: &State, members: &Members) -> Vec<Left> {
    let own = state.member.as_deref().filter(|_| state.has_store);
    let mut found = Vec::new();
    let mut is_member = false;
    for member in members.of(node, address) {
        // One that has a store may not have told its name yet.
        if own.is_some_and(|own| own == member.name || member.name.is_empty()) {
            is_member = true;
        } else {
            let (id, name) = (member.id.clone(), member.name.clone());
            found.push(Left::Member { id, name, is_learner: member.is_learner });
        }
    }
    if let Some(member) = own.filter(|_| !is_member) {
        found.push(Left::Store { member: member.to_owned() });
    }
    found
}

impl Left {
    /// As a person is told it.
    pub fn what(&self) -> String {
        match self {
            Self::Member { name, is_learner, .. } => {
                let kind = if *is_learner { "learner" } else { "member" };
                let named = if name.is_empty() { "that never started".to_owned() } else { format!("`{name}`") };
                format!("an etcd {kind} {named} without its machine")
            }
            Self::Store { member } => format!("the data of etcd member `{member}`, which was removed"),
            Self::Node => "the Node of an earlier machine".to_owned(),
            Self::Password => "the node password of an earlier machine".to_owned(),
        }
    }

    /// A script for a server that serves, as root; `None` where the machine itself is to be mended.
    pub fn mend_cluster(&self, node: &NodeName) -> Option<String> {
        let kubectl = format!("{DATA_DIR}/bin/kubectl --kubeconfig {ADMIN_KUBECONFIG} --request-timeout=20s");
        match self {
            Self::Member { id, .. } => Some(remove_member(id)),
            Self::Store { .. } => None,
            Self::Node => Some(format!("{kubectl} delete node {} --ignore-not-found --wait=false", quote(&node.0))),
            Self::Password => Some(format!(
                "{kubectl} delete secret {} --namespace kube-system --ignore-not-found",
                quote(&format!("{node}.{PASSWORD_SECRET}"))
            )),
        }
    }
}

/// Ends what runs of RKE2 on a machine that is no member, so that nothing is joined while its leftovers are removed.
pub fn halt() -> String {
    "systemctl stop rke2-server.service rke2-agent.service 2>/dev/null\nexit 0".to_owned()
}

/// Moves the datastore of a removed member aside, as RKE2 does with one that it finds marked as removed; what still runs
/// of it is ended before. Nothing is deleted.
pub fn move_store_aside() -> String {
    format!(
        "set -e\nkillall=/usr/local/bin/rke2-killall.sh\n[ ! -x \"$killall\" ] || \"$killall\" >/dev/null 2>&1\n\
         mv {DATA_DIR}/server/db/etcd {DATA_DIR}/server/db/etcd-left-$(date +%s)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::node_status::tests::node;
    use crate::rke2::state::parse;

    const ADDRESS: &str = "10.20.1.7";

    fn name() -> NodeName {
        NodeName("server-3".to_owned())
    }

    /// What a server tells whose etcd has two voters and this, and which knows this node.
    fn told(member: &str, knows: bool) -> Told {
        let voters = r#"{"ID":"1","name":"server-1-0badcafe"},{"ID":"2","name":"server-2-0badcafe"}"#;
        let third = if member.is_empty() { String::new() } else { format!(",{member}") };
        let nodes =
            if knows { node("server-3", Role::Server, "v1.35.4+rke2r1", &[]).to_string() } else { String::new() };
        let secret = if knows { "secret/server-3.node-password.rke2\n" } else { "" };
        let text = format!(
            "@members\n{{\"members\":[{voters}{third}]}}\n@nodes\n{{\"items\":[{nodes}]}}\n\
             @passwords\nsecret/other\nsecret/server-1.node-password.rke2\n{secret}"
        );
        Told::read(&text).expect("told")
    }

    fn found(machine: &str, member: &str, knows: bool) -> Vec<Left> {
        left(&name(), Role::Server, ADDRESS, &parse(machine), &told(member, knows))
    }

    const LEARNER: &str = r#"{"ID":"3","name":"server-3-1f2e3d4c","isLearner":true}"#;
    const UNNAMED: &str = r#"{"ID":"3","isLearner":true,"peerURLs":["https://10.20.1.7:2380"]}"#;

    #[test]
    fn a_new_machine_of_a_new_name_has_left_nothing() {
        assert_eq!(found("", "", false), []);
    }

    #[test]
    fn a_member_that_the_machine_does_not_know_goes_by_its_id() {
        let member = |name: &str| Left::Member { id: "3".to_owned(), name: name.to_owned(), is_learner: true };

        assert_eq!(found("", LEARNER, false), [member("server-3-1f2e3d4c")]);
        assert_eq!(found("", UNNAMED, false), [member("")]);
        assert_eq!(member("").what(), "an etcd learner that never started without its machine");
        let of_another = UNNAMED.replace("1.7", "1.9");
        assert_eq!(found("", &of_another, false), [], "the learner of another machine");
        let other_store = "store=yes\nmember=server-3-99999999\npassword=yes";
        let store = Left::Store { member: "server-3-99999999".to_owned() };
        assert_eq!(found(other_store, LEARNER, false), [member("server-3-1f2e3d4c"), store]);
    }

    #[test]
    fn a_learner_that_the_machine_has_the_data_of_goes_on_by_itself() {
        let machine = "store=yes\nmember=server-3-1f2e3d4c\npassword=yes";

        assert_eq!(found(machine, LEARNER, true), []);
        assert_eq!(found(machine, UNNAMED, true), []);
    }

    #[test]
    fn the_data_of_a_member_that_was_removed_is_left() {
        let store = Left::Store { member: "server-3-1f2e3d4c".to_owned() };

        assert_eq!(found("store=yes\nmember=server-3-1f2e3d4c\npassword=yes", "", true), [store]);
        assert_eq!(found("store=yes\npassword=yes", "", true), [], "whose data it is nobody knows");
    }

    #[test]
    fn a_machine_without_a_password_is_another_one_than_the_cluster_knows() {
        assert_eq!(found("", "", true), [Left::Node, Left::Password]);
        assert_eq!(found("password=yes", "", true), []);
        let agent = left(&name(), Role::Agent, ADDRESS, &parse(""), &told(LEARNER, true));
        assert_eq!(agent, [Left::Node, Left::Password], "an agent has no member");
    }

    #[test]
    fn a_datastore_of_another_cluster_is_told_by_its_ca() {
        let (ours, theirs) = (Digest::of(b"ours"), Digest::of(b"theirs"));
        let state = parse(&format!("store=yes\nca={theirs}"));

        let why = foreign_store(&state, &ours).expect("foreign");

        assert!(why.contains(theirs.short()) && why.contains(ours.short()), "{why}");
        assert_eq!(foreign_store(&state, &theirs), None);
        assert_eq!(foreign_store(&parse(&format!("ca={theirs}")), &ours), None, "without a store it joins");
    }

    #[test]
    fn a_node_of_that_name_that_serves_elsewhere_is_told_with_its_address() {
        let ready = node("server-3", Role::Server, "v1.35.4+rke2r1", &[("Ready", "True", "")]);
        let told = Told::read(&format!("@members\n{{\"members\":[]}}\n@nodes\n{{\"items\":[{ready}]}}\n@passwords\n"));
        let told = told.expect("told");

        assert_eq!(told.serves_elsewhere(&name(), ADDRESS), Some("10.20.1.5"));
        assert_eq!(told.serves_elsewhere(&name(), "10.20.1.5"), None);
    }

    #[test]
    fn half_an_answer_is_none() {
        assert_eq!(Told::read("@members\n{}\n@nodes\n"), None);
    }
}
