//! RKE2 on the machines of the world, as far as joins, gates and health are judged by it.

use std::collections::BTreeMap;

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
    #[serde(skip)]
    pub faults: Vec<String>,
}

impl Cluster {
    /// Starts RKE2 on a node as the role would; gives what was done, nothing where it ran like that already.
    pub fn play(&mut self, stage: &str, node: &str, machine: &str, told: &Value) -> Result<Option<String>, String> {
        let config = json!({ "join": told["join"], "init": told["init"] });
        if let Some(member) = self.members.get(node).filter(|member| member.machine == machine) {
            if member.config == config {
                return Ok(None);
            }
            self.faults.push(format!("`{node}` was restarted for {config} instead of {}", member.config));
            return Ok(Some(format!("restart {node}")));
        }
        let token = text(told, "token");
        let done = match (stage, told["init"].as_bool().unwrap_or_default()) {
            ("servers", true) => self.found(&token, &text(told, "agent_token"))?,
            ("servers", false) => self.join(&token, "server", &told["join"])?,
            (_, _) => self.join(&token, "node", &told["join"])?,
        };
        let role = if stage == "servers" { "server" } else { "agent" };
        self.members.insert(node.to_owned(), Member { machine: machine.to_owned(), role: role.to_owned(), config });
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
        let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "", "message": "", "lastTransitionTime": "2026-11-21T15:50:00Z" });
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

/// Of the cluster's CA.
pub fn ca_digest() -> Digest {
    Digest::of(&std::fs::read(crate::lane::kept("ca.pem")).unwrap_or_default())
}
