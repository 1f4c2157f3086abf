//! An environment of which each part may be missing, because it was told to be wrong already.
//!
//! Rules look at the parts they need and are silent when one is not there, so that one run tells everything.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::audit::Audit;
use crate::config::document::{Node, Value};
use crate::config::problem::Problem;
use crate::deadlines::Deadlines;
use crate::environment::{
    Access, Agents, Aws, EnvironmentClass, Hardening, Hosts, Image, Images, LoadBalancer, Network, Platform, Rke2,
    Servers, Vsphere,
};
use crate::state::State;
use crate::units::Span;

pub struct Draft<'a> {
    root: &'a Node,
    problems: Vec<Problem>,
    pub version: Option<u32>,
    pub platform: Option<Platform>,
    pub class: Option<EnvironmentClass>,
    pub expires_after: Option<Span>,
    pub access: Option<Access>,
    pub aws: Option<Aws>,
    pub hosts: Option<Hosts>,
    pub vsphere: Option<Vsphere>,
    pub network: Option<Network>,
    pub image: Option<Image>,
    pub images: Option<Images>,
    pub servers: Option<Servers>,
    pub agents: BTreeMap<String, Option<Agents>>,
    pub load_balancer: Option<LoadBalancer>,
    pub rke2: Option<Rke2>,
    pub deadlines: Option<Deadlines>,
    pub audit: Option<Audit>,
    pub state: Option<State>,
    pub hardening: Option<Hardening>,
}

impl<'a> Draft<'a> {
    pub fn of(root: &'a Node, value: &Json) -> Self {
        let pools = value["nodes"]["agents"].as_object();
        Self {
            root,
            problems: vec![],
            version: part(&value["version"]),
            platform: part(&value["platform"]),
            class: defaulted(root, "class", value),
            expires_after: part(&value["expires_after"]),
            access: part(&value["access"]),
            aws: part(&value["aws"]),
            hosts: part(&value["hosts"]),
            vsphere: part(&value["vsphere"]),
            network: part(&value["network"]),
            image: defaulted(root, "image", value),
            images: defaulted(root, "images", value),
            servers: part(&value["nodes"]["servers"]),
            agents: pools.into_iter().flatten().map(|(name, pool)| (name.clone(), part(pool))).collect(),
            load_balancer: defaulted(root, "load_balancer", value),
            rke2: part(&value["rke2"]),
            deadlines: defaulted(root, "deadlines", value),
            audit: defaulted(root, "audit", value),
            state: defaulted(root, "state", value),
            hardening: defaulted(root, "hardening", value),
        }
    }

    /// Whether the file says anything at this path.
    pub fn says(&self, path: &str) -> bool {
        let mut node = Some(self.root);
        for key in path.split('.') {
            node = node.and_then(|node| node.entry(key)).map(|entry| &entry.value);
        }
        node.is_some_and(|node| !node.is_null())
    }

    /// Whether there is a list at this path, and nothing in it.
    pub fn has_empty_list(&self, path: &str) -> bool {
        let mut node = Some(self.root);
        for key in keys(path) {
            node = node.and_then(|node| node.below(key));
        }
        matches!(node.map(|node| &node.value), Some(Value::List(items)) if items.is_empty())
    }

    /// Tells what is wrong at a path such as `nodes.agents.general.taints[1]`.
    pub fn tell(&mut self, path: &str, reason: impl Into<String>) {
        self.problems.push(Problem::new(self.root.place_of(&keys(path)), path, reason));
    }

    /// Tells what is wrong at a key that may itself hold dots, such as a label.
    pub fn tell_key(&mut self, parent: &str, key: &str, reason: impl Into<String>) {
        let mut keys: Vec<&str> = parent.split('.').collect();
        keys.push(key);
        self.problems.push(Problem::new(self.root.place_of(&keys), format!("{parent}.{key}"), reason));
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

fn keys(path: &str) -> Vec<&str> {
    path.split(['.', '[']).map(|part| part.trim_end_matches(']')).collect()
}

fn part<T: DeserializeOwned>(value: &Json) -> Option<T> {
    serde_json::from_value(value.clone()).ok().filter(|_| !value.is_null())
}

/// A part that may be left out; one that stands there and was told to be wrong is missing, not its default.
fn defaulted<T: DeserializeOwned + Default>(root: &Node, key: &str, value: &Json) -> Option<T> {
    if root.entry(key).is_none() { Some(T::default()) } else { part(&value[key]) }
}
