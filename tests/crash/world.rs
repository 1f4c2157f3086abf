//! The world that the program works on: a small platform, its machines, and the cluster on them.
//!
//! It remembers every effect and whether the journal held an intent for it when it came. Ids are made of what a thing is
//! for, so that two runs that did the same left the same; a second thing for the same purpose has a number behind it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::beside::Beside;
use crate::cluster::Cluster;
use crate::disturbance::Instead;
use crate::intents;
use crate::wire::text;

/// The address of the load balancer, behind which the API answers.
pub const API: &str = "127.1.0.1";

/// Something on the platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thing {
    pub kind: String,
    pub name: String,
    pub tags: BTreeMap<String, String>,
    pub part_of: Option<String>,
    /// What only its kind has.
    pub more: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    pub things: BTreeMap<String, Thing>,
    /// By target group, the machines behind it.
    pub targets: BTreeMap<String, BTreeSet<String>>,
    pub cluster: Cluster,
    /// Everything that was done to the world, in order.
    pub effects: Vec<String>,
    /// What should never have happened, as it was noticed.
    pub faults: Vec<String>,
    /// Public keys that the machines admit.
    pub keys: BTreeSet<String>,
    /// Ids of what somebody else took away: nothing ever has one of them again.
    pub taken: BTreeSet<String>,
    /// Addresses at which nobody answers.
    pub silent: BTreeSet<String>,
    /// Nodes on which a setting of the hardening profile was taken back.
    pub loosened: BTreeSet<String>,
    /// What is answered otherwise for now.
    pub instead: Vec<Instead>,
    /// An environment that is up beside the one that is worked at.
    pub beside: Option<Beside>,
    /// Points that tools passed, and the one at which a tool ends.
    #[serde(skip)]
    pub passed: Vec<String>,
    #[serde(skip)]
    pub deadly: Option<String>,
    #[serde(skip)]
    counts: BTreeMap<String, u32>,
}

type Answer = Result<Value, String>;

impl World {
    pub fn answer(&mut self, request: &Value) -> Answer {
        if let Some(instead) = self.instead.iter().find(|instead| instead.is_about(request)) {
            return instead.answer.clone();
        }
        match request["do"].as_str().unwrap_or_default() {
            "pass" => Ok(self.pass(&text(request, "point"))),
            "image" | "machine" => Ok(self.shown(&text(request, "id"))),
            "own-images" => Ok(self.tagged(request, &["image"])),
            "machines" => Ok(self.tagged(request, &["instance"])),
            "things" => Ok(self.things(request)),
            "tag" => self.tag(request),
            "build-network" => self.build_network(request),
            "start-machine" => self.start_machine(request),
            "console" => Ok(json!(self.console(&text(request, "id")))),
            "networks" | "exists" => Ok(json!(self.existing(request))),
            "register" => self.register(request),
            "deregister" => self.deregister(request),
            "targets" => Ok(json!(self.targets.get(&text(request, "group")))),
            "remove" => self.remove(request),
            "find" => Ok(json!(self.find(request))),
            "make" => self.make(request),
            "build-image" => self.build_image(request),
            "play" => self.play(request),
            "script" => self.script(&text(request, "address"), &text(request, "script")),
            other => Err(format!("nobody here does `{other}`")),
        }
    }

    fn pass(&mut self, point: &str) -> Value {
        let nth = self.counts.entry(point.to_owned()).or_default();
        *nth += 1;
        let point = format!("{point}:{nth}");
        self.passed.push(point.clone());
        if self.deadly.as_ref() == Some(&point) { json!("die") } else { json!("go on") }
    }

    /// Notes something that was done, and whether anybody had said before that it would be.
    pub fn effect(&mut self, what: String, intended: &intents::Wanted) {
        if !intents::is_there(intended) {
            self.faults.push(format!("`{what}` without an intent before it: {intended:?}"));
        }
        self.effects.push(what);
    }

    /// A new thing; its id says what it is for.
    fn add(&mut self, id: &str, thing: Thing) -> String {
        let ids = std::iter::once(id.to_owned()).chain((2..).map(|number| format!("{id}-{number}")));
        let is_free = |id: &String| !self.things.contains_key(id) && !self.taken.contains(id);
        let id = ids.into_iter().find(is_free).expect("there is no end of ids");
        self.things.insert(id.clone(), thing);
        id
    }

    fn shown(&self, id: &str) -> Value {
        self.things.get(id).map_or(Value::Null, |thing| json!({ "id": id, "thing": thing }))
    }

    fn matching(&self, request: &Value) -> Vec<(&String, &Thing)> {
        let wanted: BTreeMap<String, String> = serde_json::from_value(request["tags"].clone()).unwrap_or_default();
        let carries = |thing: &Thing| wanted.iter().all(|(name, value)| thing.tags.get(name) == Some(value));
        self.things.iter().filter(|(_, thing)| carries(thing)).collect()
    }

    fn tagged(&self, request: &Value, kinds: &[&str]) -> Value {
        let found = self.matching(request).into_iter().filter(|(_, thing)| kinds.contains(&thing.kind.as_str()));
        found.map(|(id, thing)| json!({ "id": id, "thing": thing })).collect()
    }

    /// What carries the tags, and the parts of it.
    fn things(&self, request: &Value) -> Value {
        let found: BTreeSet<&String> = self.matching(request).into_iter().map(|(id, _)| id).collect();
        let is_part = |thing: &Thing| thing.part_of.as_ref().is_some_and(|whole| found.contains(whole));
        let all = self.things.iter().filter(|(id, thing)| found.contains(id) || is_part(thing));
        all.map(|(id, thing)| json!({ "id": id, "thing": thing })).collect()
    }

    fn existing(&self, request: &Value) -> Vec<String> {
        let ids = request["ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
        ids.filter(|id| self.things.contains_key(*id)).map(str::to_owned).collect()
    }

    fn tag(&mut self, request: &Value) -> Answer {
        let tags: BTreeMap<String, String> = serde_json::from_value(request["tags"].clone()).unwrap_or_default();
        for id in request["ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some(thing) = self.things.get_mut(id) else { return Err(format!("there is no `{id}` to tag")) };
            thing.tags.extend(tags.clone());
            let stage = format!("{}-image", thing.tags.get("sre:image").cloned().unwrap_or_default());
            self.effect(format!("tag {id}"), &intents::Wanted::stage(&stage));
        }
        Ok(Value::Null)
    }

    fn build_network(&mut self, request: &Value) -> Answer {
        let tags: BTreeMap<String, String> = serde_json::from_value(request["tags"].clone()).unwrap_or_default();
        let which = tags.get("sre:build").cloned().unwrap_or_default();
        let mut ids = Vec::new();
        for (kind, short) in [("VPC", "vpc"), ("subnet", "subnet"), ("security group", "sg")] {
            let id = format!("{short}-build-{which}");
            if !self.things.contains_key(&id) {
                self.effect(format!("make {id}"), &intents::Wanted::stage(&format!("{which}-image")));
                let name = id.clone();
                let thing = Thing { kind: kind.to_owned(), name, tags: tags.clone(), part_of: None, more: Value::Null };
                self.add(&id, thing);
            }
            ids.push(id);
        }
        Ok(json!({ "vpc": ids[0], "subnet": ids[1], "security_group": ids[2], "public": false }))
    }

    /// A machine that checks an image, or that one is built on.
    fn start_machine(&mut self, request: &Value) -> Answer {
        let tags: BTreeMap<String, String> = serde_json::from_value(request["tags"].clone()).unwrap_or_default();
        let which = tags.get("sre:build").cloned().unwrap_or_default();
        let (purpose, image) = (text(request, "purpose"), text(request, "image"));
        self.effect(format!("start {purpose} {which}"), &intents::Wanted::stage(&format!("{which}-image")));
        self.admit(request["public_key"].as_str());
        let last = (if purpose == "check" { 200 } else { 220 }) + if which == "base" { 0 } else { 1 };
        let more =
            json!({ "state": "running", "address": format!("127.1.0.{last}"), "image": image, "zone": "", "size": "" });
        let name = format!("{purpose}-{which}");
        let id = format!("i-{name}");
        let id = self.add(&id, Thing { kind: "instance".to_owned(), name, tags, part_of: None, more });
        Ok(self.shown(&id))
    }

    fn admit(&mut self, key: Option<&str>) {
        if let Some(key) = key.filter(|key| self.keys.insert((*key).to_owned())) {
            crate::lane::admit(key);
        }
    }

    fn console(&self, id: &str) -> String {
        if !self.things.contains_key(id) {
            return String::new();
        }
        let key = crate::lane::host_key();
        format!("-----BEGIN SSH HOST KEY KEYS-----\n{key}\n-----END SSH HOST KEY KEYS-----\n")
    }

    fn register(&mut self, request: &Value) -> Answer {
        let (group, machine) = (text(request, "group"), text(request, "machine"));
        let stage = if group.ends_with("api") || group.ends_with("supervisor") { "servers" } else { "agents" };
        self.effect(format!("register {machine} {group}"), &intents::Wanted::stage(stage));
        self.targets.entry(group).or_default().insert(machine);
        Ok(Value::Null)
    }

    fn deregister(&mut self, request: &Value) -> Answer {
        let (group, machine) = (text(request, "group"), text(request, "machine"));
        self.effect(format!("deregister {machine} {group}"), &intents::Wanted::stage("servers"));
        self.targets.entry(group).or_default().remove(&machine);
        Ok(Value::Null)
    }

    /// Takes a thing and its parts away; what is gone already is gone.
    fn remove(&mut self, request: &Value) -> Answer {
        let id = text(request, "id");
        let Some(thing) = self.things.remove(&id) else { return Ok(Value::Null) };
        let wanted = match thing.tags.get("sre:build") {
            Some(which) => intents::Wanted::stage(&format!("{which}-image")),
            None => intents::Wanted::removal(),
        };
        self.effect(format!("remove {id}"), &wanted);
        self.things.retain(|_, part| part.part_of.as_ref() != Some(&id));
        self.targets.remove(&id);
        Ok(Value::Null)
    }

    /// What tofu made under this address for this environment.
    fn find(&self, request: &Value) -> Option<String> {
        let values = &request["values"];
        let is_it = |thing: &Thing| {
            thing.more["address_of_tofu"] == values["address"]
                && thing.tags.get("sre:environment").map(String::as_str) == values["environment"].as_str()
        };
        self.things.iter().find(|(_, thing)| is_it(thing)).map(|(id, _)| id.clone())
    }

    /// What tofu makes.
    fn make(&mut self, request: &Value) -> Answer {
        let (id, stage) = (text(request, "id"), text(request, "stage"));
        let mut thing: Thing = serde_json::from_value(request["thing"].clone()).map_err(|error| error.to_string())?;
        let is_named = |other: &Thing| other.kind == thing.kind && other.name == thing.name;
        if ["load balancer", "target group"].contains(&thing.kind.as_str()) && self.things.values().any(is_named) {
            return Err(format!("a {} `{}` already exists", thing.kind, thing.name));
        }
        self.effect(format!("make {id}"), &intents::Wanted::stage(&stage));
        self.admit(request["public_key"].as_str());
        if let Some(host) = thing.more["address"].as_str().and_then(|address| address.strip_prefix("127.1.0.")) {
            let mut addresses = (0..).map(|network| format!("127.1.{network}.{host}"));
            let is_free = |address: &String| !self.silent.contains(address) && self.at(address).is_none();
            thing.more["address"] = json!(addresses.find(is_free));
        }
        let is_group = thing.kind == "target group";
        let id = self.add(&id, thing);
        if is_group {
            self.targets.insert(id.clone(), BTreeSet::new());
        }
        Ok(json!(id))
    }

    /// What packer registers; an image's name exists once in an account.
    fn build_image(&mut self, request: &Value) -> Answer {
        let (which, name) = (text(request, "which"), text(request, "name"));
        if self.things.values().any(|thing| thing.kind == "image" && thing.name == name) {
            return Err(format!("InvalidAMIName.Duplicate: AMI name {name} is already in use"));
        }
        let tags: BTreeMap<String, String> = serde_json::from_value(request["tags"].clone()).unwrap_or_default();
        self.effect(format!("image {which}"), &intents::Wanted::step(&format!("{which}-image"), "build"));
        let image = Thing { kind: "image".to_owned(), name, tags: tags.clone(), part_of: None, more: json!({}) };
        let id = self.add(&format!("ami-{which}"), image);
        let name = format!("snap-{which}");
        let snapshot =
            Thing { kind: "snapshot".to_owned(), name: name.clone(), tags, part_of: Some(id.clone()), more: json!({}) };
        self.add(&name, snapshot);
        Ok(json!(id))
    }

    fn play(&mut self, request: &Value) -> Answer {
        let (stage, node) = (text(request, "stage"), text(request, "node"));
        let Some(machine) = self.node_machine(&node) else { return Err(format!("`{node}` does not answer")) };
        if stage == "hardening" {
            if self.loosened.remove(&node) {
                self.effect(format!("harden {node}"), &intents::Wanted::step(&stage, &node));
            }
            return Ok(Value::Null);
        }
        let mut cluster = std::mem::take(&mut self.cluster);
        let played = cluster.play(&stage, &node, &machine, request);
        self.cluster = cluster;
        let (effect, answer) = match played {
            Ok(effect) => (effect, Ok(Value::Null)),
            Err(why) => (None, Err(why)),
        };
        if let Some(effect) = effect {
            self.effect(effect, &intents::Wanted::step(&stage, &node));
        }
        self.faults.append(&mut self.cluster.faults);
        answer
    }

    /// A machine is given a script to carry out.
    fn script(&mut self, address: &str, script: &str) -> Answer {
        let is_beside = self.at(address).filter(|(_, thing)| self.is_beside(thing)).map(|(id, _)| id.clone());
        self.faults.extend(is_beside.map(|id| format!("{id}, which is of the other environment, was given a script")));
        crate::node::answer(self, address, script)
    }

    /// The machine that is a node.
    pub fn node_machine(&self, node: &str) -> Option<String> {
        let is_node =
            |thing: &Thing| thing.tags.get("sre:node").is_some_and(|name| name == node) && !self.is_beside(thing);
        self.things.iter().find(|(_, thing)| thing.kind == "instance" && is_node(thing)).map(|(id, _)| id.clone())
    }

    /// Who answers at an address: id and thing.
    pub fn at(&self, address: &str) -> Option<(&String, &Thing)> {
        self.things.iter().find(|(_, thing)| thing.kind == "instance" && thing.more["address"] == address)
    }
}

impl World {
    /// Whether a tool was told to end in this run.
    pub fn has_killed(&self) -> bool {
        self.deadly.as_ref().is_some_and(|point| self.passed.contains(point))
    }

    /// A run begins: its tools' points are counted anew, and one of them may end a tool.
    pub fn begin(&mut self, deadly: Option<String>) {
        self.passed.clear();
        self.counts.clear();
        self.deadly = deadly;
    }
}
