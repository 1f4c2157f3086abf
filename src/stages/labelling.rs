//! Labels and taints of a pool's agents, as the file has them now.
//!
//! A kubelet gives its node labels and taints when it registers, and never again, so a change in the file is brought to
//! the Node object through a server. What we gave is the fact `marks/<node>`: of that, what the file no longer has goes,
//! and labels and taints of anybody else stay.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifact::Access;
use crate::environment::{Environment, NodeName};
use crate::failure::{Exit, Failure};
use crate::node::quote;
use crate::stages::upgrading::kubectl;
use crate::stages::{Context, configuring};

/// What a pool gives its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    labels: BTreeMap<String, String>,
    /// As `key=value:effect` or `key:effect`.
    taints: BTreeSet<String>,
}

/// The fact that tells which labels and taints we gave a node.
pub fn fact(node: &NodeName) -> String {
    format!("marks/{node}")
}

/// What the file gives a node; nothing where it is of no pool.
pub fn wanted(env: &Environment, node: &NodeName) -> Marks {
    let pool = env.pool_of(node);
    pool.map_or_else(Marks::default, |pool| Marks {
        labels: pool.labels.clone(),
        taints: pool.taints.iter().cloned().collect(),
    })
}

/// Whether the file gives a node other labels or taints than were noted, as a plan tells.
pub fn differs(env: &Environment, node: &NodeName, noted: Option<&Value>) -> bool {
    let noted = noted.and_then(|noted| serde_json::from_value::<Marks>(noted.clone()).ok());
    noted.is_some_and(|noted| noted != wanted(env, node))
}

/// Writes down what a node is about to register with, unless something is noted: then it may have registered with that. A
/// member that joined before anything was noted has registered: it is given all anew by [`follow`].
pub async fn note(cx: &Context<'_>, node: &NodeName) -> Result<(), Failure> {
    let was_member = cx.fact::<Value>(&configuring::fact(node))?.is_some();
    if was_member || cx.fact::<Marks>(&fact(node))?.is_some() {
        return Ok(());
    }
    cx.ledger.record_fact(&fact(node), json!(wanted(cx.env, node))).await
}

/// Gives a member what the file says, where that is not what was noted. `through` is a server.
///
/// # Errors
/// Exit 7: the server did not tell of the node, or did not take the change; 6: it does not answer.
pub async fn follow(cx: &Context<'_>, node: &NodeName, access: &Access, through: &NodeName) -> Result<(), Failure> {
    let wanted = wanted(cx.env, node);
    let noted = cx.fact::<Marks>(&fact(node))?.unwrap_or_default();
    if noted == wanted {
        return Ok(());
    }
    let server = cx.connections.get(through, access).await?;
    let told = server.ask(&format!("asking for the taints of `{node}`"), &asking(node)).await?;
    let there = taints(&told).ok_or_else(|| {
        Failure::new(Exit::Unhealthy, format!("`{through}` told nothing of the taints of `{node}`"))
            .because(told.trim())
    })?;
    if let Some(script) = script(node, &noted, &wanted, &there) {
        server.ask(&format!("giving `{node}` the labels and taints of its pool"), &script).await?;
    }
    cx.ledger.record_fact(&fact(node), json!(wanted)).await
}

fn asking(node: &NodeName) -> String {
    kubectl(&format!("get node {} -o json", quote(&node.0)))
}

/// The taints of a Node object; `None` where it is none.
fn taints(node: &str) -> Option<BTreeSet<Taint>> {
    let node: Value = serde_json::from_str(node).ok()?;
    let spec = node.get("spec")?;
    let listed = spec.get("taints").and_then(Value::as_array);
    let read = |one: &Value| {
        let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Taint { key: text("key"), value: text("value"), effect: text("effect") }
    };
    Some(listed.into_iter().flatten().map(read).collect())
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

impl Taint {
    fn parse(text: &str) -> Self {
        let (what, effect) = text.rsplit_once(':').unwrap_or((text, ""));
        let (key, value) = what.split_once('=').unwrap_or((what, ""));
        Self { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }
    }

    /// Kubernetes knows a taint by both.
    fn name(&self) -> (&str, &str) {
        (&self.key, &self.effect)
    }
}

/// What brings a node from what was noted to what is wanted; `None` where it is there. A taint that is not there cannot be
/// removed, a label can.
fn script(node: &NodeName, noted: &Marks, wanted: &Marks, there: &BTreeSet<Taint>) -> Option<String> {
    let gone = noted.labels.keys().filter(|key| !wanted.labels.contains_key(*key)).map(|key| format!("{key}-"));
    let labels: Vec<String> = wanted.labels.iter().map(|(key, value)| format!("{key}={value}")).chain(gone).collect();
    let read = |marks: &Marks| marks.taints.iter().map(|text| Taint::parse(text)).collect::<Vec<_>>();
    let (noted, wanted) = (read(noted), read(wanted));
    let has = |taints: &[Taint], one: &Taint| taints.iter().any(|other| other.name() == one.name());
    let stale = noted.iter().filter(|one| !has(&wanted, one) && there.iter().any(|other| other.name() == one.name()));
    let new = wanted.iter().filter(|one| !there.contains(one));
    let taints: Vec<String> = new
        .map(|one| match one.value.as_str() {
            "" => format!("{}:{}", one.key, one.effect),
            value => format!("{}={value}:{}", one.key, one.effect),
        })
        .chain(stale.map(|one| format!("{}:{}-", one.key, one.effect)))
        .collect();
    let say = |what: &str, words: &[String]| {
        let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
        (!words.is_empty()).then(|| kubectl(&format!("{what} node {} --overwrite {}", quote(&node.0), words.join(" "))))
    };
    let lines: Vec<String> = [say("label", &labels), say("taint", &taints)].into_iter().flatten().collect();
    (!lines.is_empty()).then(|| format!("set -e\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(labels: &[(&str, &str)], taints: &[&str]) -> Marks {
        Marks {
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            taints: taints.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn said(noted: &Marks, wanted: &Marks, node: &Value) -> Vec<String> {
        let there = taints(&node.to_string()).expect("a Node");
        let script = script(&NodeName("general-1".to_owned()), noted, wanted, &there).unwrap_or_default();
        let words = |line: &str| line.split_once("rke2.yaml ").map(|(_, words)| words.to_owned());
        script.lines().filter_map(words).collect()
    }

    #[test]
    fn what_the_file_no_longer_has_goes_and_what_somebody_else_gave_stays() {
        let noted = marks(&[("tier", "general"), ("old", "yes")], &["gpu=yes:NoSchedule", "left:NoExecute"]);
        let wanted = marks(&[("tier", "compute")], &["gpu=no:NoSchedule", "new:NoSchedule"]);
        let node = json!({ "spec": { "taints": [
            { "key": "gpu", "value": "yes", "effect": "NoSchedule" },
            { "key": "left", "effect": "NoExecute" },
            { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" },
        ] } });

        assert_eq!(
            said(&noted, &wanted, &node),
            [
                "label node 'general-1' --overwrite 'tier=compute' 'old-'",
                "taint node 'general-1' --overwrite 'gpu=no:NoSchedule' 'new:NoSchedule' 'left:NoExecute-'",
            ]
        );
    }

    #[test]
    fn a_taint_that_is_gone_is_not_removed_again_and_one_that_is_there_is_not_set() {
        let (noted, wanted) = (marks(&[], &["gone:NoSchedule"]), marks(&[], &["kept=a:NoSchedule"]));
        let node = json!({ "spec": { "taints": [{ "key": "kept", "value": "a", "effect": "NoSchedule" }] } });

        assert_eq!(said(&noted, &wanted, &node), Vec::<String>::new());
    }

    #[test]
    fn an_answer_that_is_no_node_is_not_taken_for_a_node_without_taints() {
        assert_eq!(taints("Error from server (NotFound): nodes \"general-1\" not found"), None);
        assert_eq!(taints(r#"{"kind":"Status"}"#), None);
        assert_eq!(taints(r#"{"spec":{}}"#), Some(BTreeSet::new()));
    }
}
