//! RKE2 on the machines of the world, as far as joins, gates and health are judged by it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sre_provision::fingerprint::Digest;

use crate::wire::text;

pub const VERSION: &str = "v1.35.4+rke2r1";

/// A node that runs RKE2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub machine: String,
    pub role: String,
    /// What it was started with.
    pub config: Value,
}

/// At most one cluster; a second one is a fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    pub members: BTreeMap<String, Member>,
    /// The digests of the passwords that it was founded with: servers', agents'.
    passwords: Option<(Digest, Digest)>,
    /// Members whose service does not run.
    stopped: BTreeSet<String>,
    /// Nodes that the cluster does not take in, and what their service says then.
    rejected: BTreeMap<String, String>,
    /// Servers whose member does not vote, as etcd has it.
    learners: BTreeSet<String>,
    /// Names of etcd's members that are of no server.
    strays: BTreeSet<String>,
    /// By node, the conditions that are not true, and why.
    ill: BTreeMap<String, BTreeMap<String, String>>,
    /// By server, a fragment that a person wrote.
    by_hand: BTreeMap<String, String>,
    /// Servers with the datastore of another cluster.
    foreign: BTreeSet<String>,
    #[serde(skip)]
    pub faults: Vec<String>,
}

impl Cluster {
    /// Starts RKE2 on a node as the role would; gives what was done, nothing where it ran like that already.
    pub fn play(&mut self, stage: &str, node: &str, machine: &str, told: &Value) -> Result<Option<String>, String> {
        let config = json!({ "join": told["join"], "init": told["init"] });
        if let Some(member) = self.members.get(node).filter(|member| member.machine == machine) {
            if member.config == config {
                let did_stand = self.stopped.contains(node);
                self.heals(node);
                return Ok(did_stand.then(|| format!("start {node}")));
            }
            self.faults.push(format!("`{node}` was restarted for {config} instead of {}", member.config));
            return Ok(Some(format!("restart {node}")));
        }
        if self.rejected.contains_key(node) {
            // It starts, and ends by itself.
            return Ok(None);
        }
        let token = text(told, "token");
        let done = match (stage, told["init"].as_bool().unwrap_or_default()) {
            ("servers", true) => self.found(&token, &text(told, "agent_token"))?,
            ("servers", false) => self.join(&token, "server", &told["join"])?,
            (_, _) => self.join(&token, "node", &told["join"])?,
        };
        let role = if stage == "servers" { "server" } else { "agent" };
        self.members.insert(node.to_owned(), Member { machine: machine.to_owned(), role: role.to_owned(), config });
        self.heals(node);
        Ok(Some(format!("{done} {node}")))
    }

    fn found(&mut self, token: &str, agents: &str) -> Result<&'static str, String> {
        if self.passwords.is_some() {
            self.faults.push("a second cluster was founded".to_owned());
        }
        if token.is_empty() || agents.is_empty() {
            return Err("no token".to_owned());
        }
        self.passwords = Some((Digest::of(token.as_bytes()), Digest::of(agents.as_bytes())));
        Ok("found")
    }

    fn join(&mut self, token: &str, user: &str, through: &Value) -> Result<&'static str, String> {
        let Some((servers, agents)) = &self.passwords else { return Err("there is no cluster to join".to_owned()) };
        let before = format!("K10{}::{user}:", ca_digest());
        let Some(password) = token.strip_prefix(&before) else { return Err("token CA hash does not match".to_owned()) };
        let expected = if user == "server" { servers } else { agents };
        if Digest::of(password.as_bytes()) != *expected {
            self.faults.push(format!("a {user} was told another password than the cluster was founded with"));
            return Err("not authorized".to_owned());
        }
        if !through.is_string() {
            return Err("no address to join through".to_owned());
        }
        Ok("join")
    }

    /// The Node object of a member.
    pub fn node(&self, name: &str) -> Option<Value> {
        let member = self.members.get(name)?;
        let is_server = member.role == "server";
        let labels = if is_server { json!({ "node-role.kubernetes.io/control-plane": "true" }) } else { json!({}) };
        let annotations =
            if is_server { json!({ "etcd.rke2.cattle.io/node-name": format!("{name}-1f2e3d4c") }) } else { json!({}) };
        let condition = |kind: &str| {
            let why = self.ill.get(name).and_then(|ill| ill.get(kind));
            let (status, reason) = why.map_or(("True", ""), |why| ("False", why));
            json!({ "type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-11-21T15:50:00Z" })
        };
        Some(json!({
            "metadata": { "name": name, "labels": labels, "annotations": annotations },
            "status": {
                "nodeInfo": { "kubeletVersion": VERSION },
                "conditions": [condition("Ready"), condition("EtcdIsVoter")],
                "addresses": [],
            },
        }))
    }
}

impl Cluster {
    /// The member that runs on a machine; another machine of the same name is none.
    pub fn member(&self, node: &str, machine: &str) -> Option<&Member> {
        self.members.get(node).filter(|member| member.machine == machine)
    }

    pub fn is_stopped(&self, node: &str) -> bool {
        self.stopped.contains(node)
    }

    pub fn rejects(&mut self, node: &str, journal: &str) {
        self.rejected.insert(node.to_owned(), journal.to_owned());
    }

    /// What the service of a node says that is not taken in.
    pub fn rejection(&self, node: &str) -> Option<&String> {
        self.rejected.get(node)
    }

    pub fn falls_ill(&mut self, node: &str, condition: &str, why: &str) {
        self.ill.entry(node.to_owned()).or_default().insert(condition.to_owned(), why.to_owned());
    }

    pub fn heals(&mut self, node: &str) {
        self.ill.remove(node);
        self.stopped.remove(node);
        self.rejected.remove(node);
        self.learners.remove(node);
        self.foreign.remove(node);
    }

    pub fn learns(&mut self, node: &str) {
        self.learners.insert(node.to_owned());
    }

    /// etcd has a member of this name, or has it no more.
    pub fn strays(&mut self, member: &str, is_there: bool) {
        if is_there {
            self.strays.insert(member.to_owned());
        } else {
            self.strays.remove(member);
        }
    }

    /// The list of etcd's members: every server that joined, and what strays there.
    pub fn etcd(&self) -> Value {
        let servers = self.members.iter().filter(|(_, member)| member.role == "server");
        let members = servers
            .map(|(node, _)| json!({ "name": format!("{node}-1f2e3d4c"), "isLearner": self.learners.contains(node) }));
        let strays = self.strays.iter().map(|name| json!({ "name": name }));
        json!({ "members": members.chain(strays).collect::<Vec<_>>() })
    }

    /// All Node objects.
    pub fn nodes(&self) -> Value {
        json!({ "items": self.members.keys().filter_map(|name| self.node(name)).collect::<Vec<_>>() })
    }

    /// The secrets that the cluster remembers machines by.
    pub fn passwords(&self) -> String {
        self.members.keys().map(|name| format!("secret/{name}.node-password.rke2\n")).collect()
    }

    /// The fragments of a server: a person may have written one.
    pub fn configuration(&self, node: &str) -> String {
        let by_hand = self.by_hand.get(node).cloned().unwrap_or_default();
        format!("\n@sre-file /etc/rancher/rke2/config.yaml.d/99-person.yaml\n{by_hand}\n")
    }

    pub fn writes_by_hand(&mut self, node: &str, fragment: &str) {
        self.by_hand.insert(node.to_owned(), fragment.to_owned());
    }

    /// The CA of the datastore on a server that belongs to another cluster.
    pub fn ca_of(&self, node: &str) -> Option<Digest> {
        self.foreign.contains(node).then(|| Digest::of(b"another cluster"))
    }

    pub fn is_of_another(&mut self, node: &str) {
        self.foreign.insert(node.to_owned());
    }

    pub fn stops(&mut self, node: &str) {
        self.stopped.insert(node.to_owned());
        self.falls_ill(node, "Ready", "NodeStatusUnknown");
    }

    /// A node of no machine that the environment knows.
    pub fn takes_in(&mut self, node: &str) {
        let (machine, role) = ("i-stranger".to_owned(), "agent".to_owned());
        self.members.insert(node.to_owned(), Member { machine, role, config: Value::Null });
    }

    /// Nobody tells of it any more, as after `kubectl delete node`.
    pub fn deletes(&mut self, node: &str) {
        self.members.remove(node);
    }
}

/// Of the cluster's CA.
pub fn ca_digest() -> Digest {
    Digest::of(&std::fs::read(crate::lane::kept("ca.pem")).unwrap_or_default())
}
