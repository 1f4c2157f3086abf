//! Scripted OpenTofu: the calls that the program makes, for the three roots, with a state file of its own.
//!
//! It makes what is planned in order and writes the state in place when all is made, in two pieces: one that is killed
//! leaves resources that are in no state, or half a state.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::wire::{ask, pass, text};
use crate::world::{API, Thing};

const STATE: &str = "terraform.tfstate";

/// What a root describes: address, kind, short id, and what only this one has.
struct Resource {
    address: String,
    kind: &'static str,
    id: String,
    more: Value,
}

pub fn main(args: &[String]) -> u8 {
    let has = |word: &str| args.iter().any(|arg| arg == word);
    match args.first().map(String::as_str) {
        Some("version") => println!("{}", json!({ "terraform_version": "1.12.6" })),
        Some(chdir) if chdir.starts_with("-chdir=") => {
            let dir = chdir.trim_start_matches("-chdir=");
            std::env::set_current_dir(dir).expect("the root");
            show();
        }
        Some("init") => std::fs::create_dir_all(".terraform").expect("a directory"),
        Some("plan") => plan(has("-destroy"), &events(args)),
        Some("apply") => return apply(&events(args)),
        other => panic!("nobody scripted `tofu {other:?}`"),
    }
    0
}

fn events(args: &[String]) -> String {
    args.iter().find_map(|arg| arg.strip_prefix("-json-into=")).expect("-json-into").to_owned()
}

fn tell(file: &str, line: &Value) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("the events");
    writeln!(file, "{line}").expect("told");
}

fn read(file: &str) -> Value {
    std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or(Value::Null)
}

/// The stage: the name of the root's directory.
fn stage() -> String {
    let dir = std::env::current_dir().expect("a directory");
    dir.file_name().expect("a name").to_string_lossy().into_owned()
}

fn resources(stage: &str, values: &Value) -> Vec<Resource> {
    let one =
        |address: &str, kind, id: &str, more| Resource { address: address.to_owned(), kind, id: id.to_owned(), more };
    let balancers = ["api", "supervisor", "http", "https"];
    match stage {
        "network" => vec![
            one("aws_vpc.this", "VPC", "vpc-1", json!({})),
            one("aws_subnet.private", "subnet", "subnet-private", json!({})),
            one("aws_subnet.balancer", "subnet", "subnet-balancer", json!({})),
        ],
        "load-balancer" => {
            let group = |name: &&str| {
                one(&format!("aws_lb_target_group.this[\"{name}\"]"), "target group", &format!("tg-{name}"), json!({}))
            };
            let listener = |name: &&str| {
                one(&format!("aws_lb_listener.this[\"{name}\"]"), "listener", &format!("listener-{name}"), json!({}))
            };
            let mut all = vec![one("aws_lb.this", "load balancer", "lb-1", json!({}))];
            all.extend(balancers.iter().map(group));
            all.extend(balancers.iter().map(listener));
            all
        }
        "nodes" => {
            let nodes = values["nodes"].as_object().cloned().unwrap_or_default();
            let each = |(name, node): (String, Value)| {
                let more = json!({
                    "state": "running", "address": address(&name), "image": node["image_id"],
                    "size": node["instance_type"], "zone": "eu-central-1a", "role": node["role"], "name": name,
                });
                one(&format!("aws_instance.node[\"{name}\"]"), "instance", &format!("i-{name}"), more)
            };
            nodes.into_iter().map(each).collect()
        }
        other => panic!("nobody scripted the root `{other}`"),
    }
}

/// The first address of a node, whoever else there is: of `server-2` 127.1.0.22.
fn address(node: &str) -> String {
    let (pool, number) = node.rsplit_once('-').expect("a number");
    let first = if pool == "server" { 20 } else { 10 };
    format!("127.1.0.{}", first + number.parse::<u8>().expect("a number"))
}

/// The state's resources by address.
fn recorded() -> serde_json::Map<String, Value> {
    read(STATE)["resources"].as_object().cloned().unwrap_or_default()
}

fn plan(destroy: bool, events: &str) {
    pass(&format!("tofu.plan {}", stage()));
    let values = read("terraform.tfvars.json");
    let mut state = recorded();
    let ids: Vec<Value> = state.values().map(|entry| entry["id"].clone()).collect();
    let there = ask(&json!({ "do": "exists", "ids": ids })).expect("an answer");
    state.retain(|_, entry| there.as_array().is_some_and(|there| there.contains(&entry["id"])));
    let imports = read("imports.tf.json");
    let imported = |address: &str| {
        let blocks = imports["import"].as_array().into_iter().flatten();
        blocks.into_iter().find(|block| block["to"] == address).map(|block| block["id"].clone())
    };
    let (mut create, mut import, mut remove) = (vec![], serde_json::Map::new(), vec![]);
    if destroy {
        remove = state.keys().cloned().collect();
    } else {
        for resource in resources(&stage(), &values) {
            match (state.get(&resource.address), imported(&resource.address)) {
                (Some(_), _) => {}
                (None, Some(id)) => drop(import.insert(resource.address.clone(), id)),
                (None, None) => create.push(resource.address.clone()),
            }
        }
    }
    let change = |address: &str, action: &str, importing: &Value| {
        let (kind, name) = address.split_once('.').expect("an address");
        let name = name.split('[').next().unwrap_or_default();
        let resource = json!({ "addr": address, "resource_type": kind, "resource_name": name });
        let mut change = json!({ "resource": resource, "action": action });
        if !importing.is_null() {
            change["importing"] = json!({ "id": importing });
        }
        json!({ "type": "planned_change", "change": change })
    };
    create.iter().for_each(|address| tell(events, &change(address, "create", &Value::Null)));
    import.iter().for_each(|(address, id)| tell(events, &change(address, "noop", id)));
    remove.iter().for_each(|address| tell(events, &change(address, "delete", &Value::Null)));
    let (add, gone) = (create.len(), remove.len());
    tell(
        events,
        &json!({ "type": "change_summary", "changes": { "add": add, "change": 0, "remove": gone, "operation": "plan" } }),
    );
    let saved = json!({ "create": create, "import": import, "remove": remove, "keep": state });
    std::fs::write("plan.bin", saved.to_string()).expect("a plan");
}

fn show() {
    let (saved, values) = (read("plan.bin"), read("terraform.tfvars.json"));
    let change = |address: &str, importing: Option<&Value>| {
        let (kind, _) = address.split_once('.').expect("an address");
        let after = json!({ "address": address, "environment": values["environment_id"] });
        let mut change = json!({ "actions": ["create"], "before": null, "after": after });
        if let Some(id) = importing {
            change["importing"] = json!({ "id": id });
        }
        json!({ "address": address, "type": kind, "change": change })
    };
    let created =
        saved["create"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|address| change(address, None));
    let imported = saved["import"].as_object().into_iter().flatten().map(|(address, id)| change(address, Some(id)));
    println!("{}", json!({ "resource_changes": created.chain(imported).collect::<Vec<_>>() }));
}

fn apply(events: &str) -> u8 {
    let (saved, values, stage) = (read("plan.bin"), read("terraform.tfvars.json"), stage());
    pass(&format!("tofu.apply {stage}"));
    let mut state = saved["keep"].as_object().cloned().unwrap_or_default();
    for address in saved["remove"].as_array().into_iter().flatten().filter_map(Value::as_str).rev() {
        let id = state.get(address).map(|entry| entry["id"].clone());
        ask(&json!({ "do": "remove", "id": id })).expect("removed");
        pass(&format!("tofu.removed {address}"));
        state.remove(address);
    }
    let all = resources(&stage, &values);
    for resource in &all {
        if state.contains_key(&resource.address) {
            continue;
        }
        let id = match saved["import"].get(&resource.address) {
            Some(id) => id.clone(),
            None if saved["create"].as_array().is_some_and(|new| new.contains(&json!(resource.address))) => {
                match make(resource, &stage, &values) {
                    Ok(id) => id,
                    Err(why) => {
                        tell(
                            events,
                            &json!({ "type": "diagnostic", "diagnostic": { "severity": "error", "summary": why } }),
                        );
                        return 1;
                    }
                }
            }
            None => continue,
        };
        pass(&format!("tofu.made {}", resource.address));
        let (addr, id_of) = (&resource.address, &id);
        tell(
            events,
            &json!({ "type": "apply_complete", "hook": { "resource": { "addr": addr }, "action": "create" } }),
        );
        // Where a machine came to be is for the platform to say.
        let there = ask(&json!({ "do": "machine", "id": id_of })).expect("told");
        let attributes = json!({ "id": id_of, "more": there["thing"]["more"] });
        state.insert(resource.address.clone(), attributes);
    }
    write_state(&stage, &values, &state);
    tell(
        events,
        &json!({ "type": "change_summary", "changes": { "add": 0, "change": 0, "remove": 0, "operation": "apply" } }),
    );
    pass(&format!("tofu.applied {stage}"));
    0
}

fn make(resource: &Resource, stage: &str, values: &Value) -> Result<Value, String> {
    let mut tags: std::collections::BTreeMap<String, String> =
        serde_json::from_value(values["default_tags"].clone()).expect("tags");
    let mut public_key = Value::Null;
    if let Some(name) = resource.more["name"].as_str() {
        tags.insert("sre:node".to_owned(), name.to_owned());
        let user_data = text(&values["nodes"][name], "user_data");
        let config: Value = serde_json::from_str(user_data.split_once('\n').expect("a cloud-config").1).expect("JSON");
        public_key = config["users"][0]["ssh_authorized_keys"][0].clone();
    }
    let mut more = resource.more.clone();
    more["address_of_tofu"] = json!(resource.address);
    let (kind, name) = (resource.kind.to_owned(), format!("{}-{}", text(values, "name"), resource.id));
    let thing = Thing { kind, name, tags, part_of: None, more };
    ask(&json!({ "do": "make", "id": resource.id, "stage": stage, "thing": thing, "public_key": public_key }))
}

/// In place and not at once, as OpenTofu does it.
fn write_state(stage: &str, values: &Value, state: &serde_json::Map<String, Value>) {
    let serial = read(STATE)["serial"].as_u64().unwrap_or_default() + 1;
    let outputs: serde_json::Map<String, Value> = if state.is_empty() {
        serde_json::Map::new()
    } else {
        outputs(stage, values, state)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!({ "value": value })))
            .collect()
    };
    let text =
        json!({ "version": 4, "serial": serial, "lineage": "one", "outputs": outputs, "resources": state }).to_string();
    pass(&format!("tofu.before-state {stage}"));
    let (first, second) = text.split_at(text.len() / 2);
    std::fs::write(Path::new(STATE), first).expect("written");
    pass(&format!("tofu.half-state {stage}"));
    std::fs::write(Path::new(STATE), format!("{first}{second}")).expect("written");
}

fn outputs(stage: &str, values: &Value, state: &serde_json::Map<String, Value>) -> Vec<(&'static str, Value)> {
    let id = |address: &str| state.get(address).map_or(Value::Null, |entry| entry["id"].clone());
    match stage {
        "network" => vec![
            ("vpc_id", id("aws_vpc.this")),
            ("vpc_cidr", values["cidr"].clone()),
            ("zones", values["zones"].clone()),
            ("private_subnet_ids", json!([id("aws_subnet.private")])),
            ("private_subnet_cidrs", json!(["10.20.1.0/24"])),
            ("balancer_subnet_ids", json!([id("aws_subnet.balancer")])),
            ("balancer_subnet_cidrs", json!(["10.20.2.0/24"])),
            ("public_subnet_ids", json!([])),
            ("public_subnet_cidrs", json!([])),
            ("nat_gateway_ids", json!({})),
        ],
        "load-balancer" => {
            let group = |name: &str| (name.to_owned(), id(&format!("aws_lb_target_group.this[\"{name}\"]")));
            let groups: serde_json::Map<String, Value> =
                ["api", "supervisor", "http", "https"].map(group).into_iter().collect();
            vec![
                ("arn", id("aws_lb.this")),
                ("dns_name", json!(API)),
                ("security_group_id", json!("sg-lb")),
                ("target_group_arns", json!(groups)),
            ]
        }
        _ => {
            let node = |(_, entry): (&String, &Value)| {
                let more = &entry["more"];
                let told = json!({
                    "id": entry["id"], "private_ip": more["address"], "role": more["role"], "image": more["image"],
                    "instance_type": more["size"], "zone": more["zone"],
                });
                (text(more, "name"), told)
            };
            vec![("nodes", json!(state.iter().map(node).collect::<serde_json::Map<_, _>>()))]
        }
    }
}
