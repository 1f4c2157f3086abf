//! A node as the Kubernetes API shows it.

use jiff::Timestamp;
use serde_json::Value;

use crate::environment::Role;

/// The little of a Node object that joins and health are judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    pub name: String,
    pub role: Role,
    pub version: String,
    /// Why it is not Ready; `None` when it is.
    pub not_ready: Option<String>,
    /// Why its etcd member does not vote; `None` when it votes. Of a server only.
    pub not_voting: Option<String>,
    /// The name of its etcd member, of a server only.
    pub member: Option<String>,
    pub address: Option<String>,
    /// When it was registered.
    pub created: Option<Timestamp>,
    /// When the last of the conditions that a join waits for came true; to the second.
    pub since: Option<Timestamp>,
}

impl NodeStatus {
    /// Reads a Node object.
    pub fn read(node: &Value) -> Option<Self> {
        let metadata = node.get("metadata")?;
        let status = node.get("status")?;
        let label = |name: &str| metadata.get("labels").and_then(|labels| labels.get(name)).is_some();
        let annotation = |name: &str| metadata.get("annotations")?.get(name)?.as_str().map(str::to_owned);
        let is_server = label("node-role.kubernetes.io/control-plane") || label("node-role.kubernetes.io/etcd");
        Some(Self {
            name: metadata.get("name")?.as_str()?.to_owned(),
            role: if is_server { Role::Server } else { Role::Agent },
            version: status.get("nodeInfo")?.get("kubeletVersion")?.as_str()?.to_owned(),
            not_ready: unmet(status, "Ready"),
            not_voting: unmet(status, "EtcdIsVoter").filter(|_| is_server),
            member: annotation("etcd.rke2.cattle.io/node-name"),
            address: address(status),
            created: metadata.get("creationTimestamp").and_then(|time| time.as_str()?.parse().ok()),
            since: since(status),
        })
    }

    /// What is still missing until it has joined at this version; `None` when nothing is.
    pub fn lacks(&self, role: Role, version: &str) -> Option<String> {
        if let Some(why) = &self.not_ready {
            return Some(format!("not Ready: {why}"));
        }
        if self.version != version {
            return Some(format!("runs {}, wanted is {version}", self.version));
        }
        if self.role != role {
            return Some(format!("is registered as {}", self.role));
        }
        match (role, &self.not_voting) {
            (Role::Server, Some(why)) => Some(format!("etcd member does not vote: {why}")),
            (Role::Server, None) if self.member.is_none() => Some("its etcd member is not announced".to_owned()),
            (Role::Server, None) | (Role::Agent, _) => None,
        }
    }
}

/// Why a condition is not true; `None` when it is.
fn unmet(status: &Value, kind: &str) -> Option<String> {
    let of = |condition: &Value, key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let conditions = status.get("conditions").and_then(Value::as_array);
    let found = conditions.and_then(|all| all.iter().find(|condition| of(condition, "type") == kind));
    match found {
        None => Some("no such condition yet".to_owned()),
        Some(condition) if of(condition, "status") == "True" => None,
        Some(condition) => {
            let (reason, message) = (of(condition, "reason"), of(condition, "message"));
            Some(if message.is_empty() { reason } else { format!("{reason}: {message}") })
        }
    }
}

fn since(status: &Value) -> Option<Timestamp> {
    let waited_for = |condition: &&Value| {
        let is = |key: &str, value: &str| condition.get(key).and_then(Value::as_str) == Some(value);
        (is("type", "Ready") || is("type", "EtcdIsVoter")) && is("status", "True")
    };
    let conditions = status.get("conditions")?.as_array()?;
    let times =
        conditions.iter().filter(waited_for).filter_map(|condition| condition.get("lastTransitionTime")?.as_str());
    times.filter_map(|time| time.parse().ok()).max()
}

fn address(status: &Value) -> Option<String> {
    let addresses = status.get("addresses")?.as_array()?;
    let internal =
        addresses.iter().find(|address| address.get("type").and_then(Value::as_str) == Some("InternalIP"))?;
    internal.get("address")?.as_str().map(str::to_owned)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A Node object; each condition is type, status, reason.
    pub fn node(name: &str, role: Role, version: &str, conditions: &[(&str, &str, &str)]) -> Value {
        let is_server = role == Role::Server;
        let labels = if is_server { json!({"node-role.kubernetes.io/control-plane": "true"}) } else { json!({}) };
        let annotations =
            if is_server { json!({"etcd.rke2.cattle.io/node-name": format!("{name}-1f2e3d4c")}) } else { json!({}) };
        let conditions: Vec<Value> = conditions
            .iter()
            .enumerate()
            .map(|(second, (kind, status, reason))| {
                let time = format!("2026-11-21T15:50:{second:02}Z");
                json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": time})
            })
            .collect();
        json!({
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "status": {
                "nodeInfo": {"kubeletVersion": version},
                "conditions": conditions,
                "addresses": [{"type": "InternalIP", "address": "10.20.1.5"}],
            },
        })
    }

    const VERSION: &str = "v1.35.4+rke2r1";

    #[test]
    fn a_server_has_joined_when_it_is_ready_at_the_version_and_votes() {
        let conditions = [("Ready", "True", "KubeletReady"), ("EtcdIsVoter", "True", "MemberNotLearner")];
        let status = NodeStatus::read(&node("server-1", Role::Server, VERSION, &conditions)).expect("a node");

        assert_eq!(status.lacks(Role::Server, VERSION), None);
        assert_eq!(status.member.as_deref(), Some("server-1-1f2e3d4c"));
        assert_eq!(status.address.as_deref(), Some("10.20.1.5"));
        assert_eq!(status.since.map(|since| since.to_string()).as_deref(), Some("2026-11-21T15:50:01Z"));
    }

    #[test]
    fn what_is_missing_is_told_in_the_clusters_own_words() {
        let server = |conditions: &[_], version| {
            NodeStatus::read(&node("s", Role::Server, version, conditions)).expect("a node")
        };
        let ready = ("Ready", "True", "KubeletReady");

        let learner = server(&[ready, ("EtcdIsVoter", "False", "MemberIsLearner")], VERSION);
        let starting = server(&[("Ready", "False", "KubeletNotReady")], VERSION);
        let old = server(&[ready], "v1.34.4+rke2r1");

        assert_eq!(learner.lacks(Role::Server, VERSION).as_deref(), Some("etcd member does not vote: MemberIsLearner"));
        assert_eq!(starting.lacks(Role::Server, VERSION).as_deref(), Some("not Ready: KubeletNotReady"));
        assert_eq!(old.lacks(Role::Server, VERSION).as_deref(), Some("runs v1.34.4+rke2r1, wanted is v1.35.4+rke2r1"));
    }

    #[test]
    fn an_agent_needs_no_etcd_member() {
        let status =
            NodeStatus::read(&node("general-1", Role::Agent, VERSION, &[("Ready", "True", "")])).expect("a node");

        assert_eq!(status.lacks(Role::Agent, VERSION), None);
        assert_eq!(status.lacks(Role::Server, VERSION).as_deref(), Some("is registered as agent"));
    }
}
