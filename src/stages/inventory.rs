//! The inventory that our plays and a person's own use: a directory, since two stages know their part of it.
//!
//! `nodes.json` tells the nodes and what the environment file wants of them, `cluster.json` the cluster's fixed address.
//! With both, `ansible-playbook -i inventories/dev site.yml` by hand does what the program would, and on nodes that
//! have joined it changes nothing. No secret is in it: a node that has joined keeps its tokens.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::artifact::Access;
use crate::environment::{Environment, HardeningProfile, Rke2Profile, Role};
use crate::failure::Failure;
use crate::rke2;
use crate::stages::{Context, configuring};
use crate::workspace::{RealDisk, make_dir, remove, remove_empty, sweep_unfinished, write_atomic};

const NODES: &str = "nodes.json";
const CLUSTER: &str = "cluster.json";

/// What the roles are told of RKE2 on every node.
pub fn settings(env: &Environment) -> Value {
    json!({
        "rke2_version": env.rke2.version,
        "rke2_cni": env.rke2.cni.name(),
        "rke2_image_sets": rke2::image_sets(&env.rke2),
        "rke2_profile": match env.rke2.profile { Rke2Profile::Cis => "cis", Rke2Profile::None => "none" },
        "rke2_disable_firewalld": env.hardening.profile != HardeningProfile::None,
    })
}

pub fn write_nodes(cx: &Context<'_>, access: &Access) -> Result<(), Failure> {
    write(cx, NODES, &nodes_of(cx, access))
}

pub fn is_nodes(cx: &Context<'_>, access: &Access) -> bool {
    holds(cx, NODES, &nodes_of(cx, access))
}

pub fn remove_nodes(cx: &Context<'_>) -> Result<(), Failure> {
    remove(&RealDisk, &file(cx, NODES))?;
    remove_empty(&cx.workspace.inventory(&cx.env.name))
}

/// `fixed` is the address by which the cluster is known outside.
pub fn write_cluster(cx: &Context<'_>, fixed: &str) -> Result<(), Failure> {
    write(cx, CLUSTER, &cluster(cx.env, fixed))
}

pub fn is_cluster(cx: &Context<'_>, fixed: &str) -> bool {
    holds(cx, CLUSTER, &cluster(cx.env, fixed))
}

pub fn remove_cluster(cx: &Context<'_>) -> Result<(), Failure> {
    remove(&RealDisk, &file(cx, CLUSTER))
}

fn nodes_of(cx: &Context<'_>, access: &Access) -> Value {
    nodes(cx.env, &cx.connections.ansible_ssh_args(), access)
}

fn nodes(env: &Environment, ssh_args: &str, access: &Access) -> Value {
    let group = |role: Role, vars: Value| {
        let of_role = access.nodes.iter().filter(|(_, reach)| reach.role == Some(role));
        let hosts: BTreeMap<&str, _> = of_role
            .map(|(name, reach)| {
                let pool = env.pool_of(name);
                let vars = json!({
                    "ansible_host": name.0,
                    "ansible_user": reach.user,
                    "rke2_node_ip": reach.address,
                    "rke2_node_labels": pool.map(|pool| &pool.labels),
                    "rke2_node_taints": pool.map(|pool| &pool.taints),
                });
                (name.0.as_str(), vars)
            })
            .collect();
        json!({ "hosts": hosts, "vars": vars })
    };
    let mut vars = settings(env);
    vars["ansible_ssh_common_args"] = json!(ssh_args);
    vars["ansible_python_interpreter"] = json!("/usr/bin/python3");
    vars["os_hardening_profile"] = json!(env.hardening.profile.name());
    // What cannot be rendered is told by the stage that plays it.
    let configured = |role, mut vars: Value| {
        let _ = configuring::tell(env, role, &mut vars);
        group(role, vars)
    };
    let servers = configured(Role::Server, json!({ "rke2_disable": env.rke2.disable }));
    let agents = configured(Role::Agent, json!({}));
    json!({ "all": { "vars": vars, "children": { "servers": servers, "agents": agents } } })
}

fn cluster(env: &Environment, fixed: &str) -> Value {
    let servers = json!({ "vars": { "rke2_tls_san": configuring::tls_san(env, fixed) } });
    let agents = json!({ "vars": { "rke2_join_address": fixed } });
    json!({ "all": { "children": { "servers": servers, "agents": agents } } })
}

fn file(cx: &Context<'_>, name: &str) -> PathBuf {
    cx.workspace.inventory(&cx.env.name).join(name)
}

fn write(cx: &Context<'_>, name: &str, inventory: &Value) -> Result<(), Failure> {
    let dir = cx.workspace.inventory(&cx.env.name);
    make_dir(&RealDisk, &dir, 0o755)?;
    // Nobody else writes here, and a play counts every file.
    sweep_unfinished(&RealDisk, &dir)?;
    write_atomic(&file(cx, name), format!("{inventory:#}\n").as_bytes(), 0o644)
}

fn holds(cx: &Context<'_>, name: &str, inventory: &Value) -> bool {
    std::fs::read_to_string(file(cx, name)).is_ok_and(|text| text == format!("{inventory:#}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::artifact::Reach;
    use crate::config;
    use crate::environment::NodeName;

    const DEV: &str = include_str!("../../environments/dev.yaml");

    fn reach(role: Option<Role>, address: &str) -> Reach {
        Reach {
            machine: format!("i-{address}"),
            role,
            address: address.to_owned(),
            port: 22,
            user: "rocky".to_owned(),
            host_keys: vec!["ecdsa-sha2-nistp256 AAAA".to_owned()],
            jump: None,
        }
    }

    fn written() -> Value {
        let reached = [
            ("server-1", reach(Some(Role::Server), "10.20.1.5")),
            ("general-1", reach(Some(Role::Agent), "10.20.1.6")),
            ("general-9", reach(Some(Role::Agent), "10.20.1.7")),
            ("gone-1", reach(Some(Role::Agent), "10.20.1.8")),
        ];
        let access = Access {
            unreached: BTreeMap::new(),
            nodes: reached.into_iter().map(|(name, reach)| (NodeName(name.to_owned()), reach)).collect(),
            jump: Some(reach(None, "203.0.113.1")),
        };
        let mut env = config::read("environments/dev.yaml", "dev", DEV).expect("valid");
        let pool = env.nodes.agents.get_mut("general").expect("a pool");
        pool.count = 1;
        pool.taints = vec!["gpu=yes:NoSchedule".to_owned()];
        nodes(&env, "-F /run/x/config", &access)
    }

    #[test]
    fn each_node_stands_in_the_group_of_its_role_and_the_jump_machine_in_none() {
        let groups = &written()["all"]["children"];

        let names =
            |group: &str| groups[group]["hosts"].as_object().expect("hosts").keys().cloned().collect::<Vec<_>>();
        assert_eq!(names("servers"), ["server-1"]);
        assert_eq!(names("agents"), ["general-1", "general-9", "gone-1"]);
    }

    #[test]
    fn a_node_is_reached_by_its_name_in_our_configuration_and_told_address_labels_and_taints() {
        let inventory = written();

        assert_eq!(inventory["all"]["vars"]["ansible_ssh_common_args"], "-F /run/x/config");
        assert_eq!(
            inventory["all"]["children"]["agents"]["hosts"]["general-1"],
            json!({
                "ansible_host": "general-1",
                "ansible_user": "rocky",
                "rke2_node_ip": "10.20.1.6",
                "rke2_node_labels": { "tier": "general" },
                "rke2_node_taints": ["gpu=yes:NoSchedule"],
            })
        );
    }

    #[test]
    fn an_agent_that_its_pool_no_longer_counts_keeps_the_labels_and_one_of_no_pool_has_none_of_ours() {
        let agents = &written()["all"]["children"]["agents"]["hosts"];

        assert_eq!(agents["general-9"]["rke2_node_labels"], json!({ "tier": "general" }));
        assert_eq!(
            (&agents["gone-1"]["rke2_node_ip"], &agents["gone-1"]["rke2_node_labels"]),
            (&json!("10.20.1.8"), &Value::Null)
        );
    }

    #[test]
    fn a_play_by_hand_is_told_what_the_file_wants_and_no_secret() {
        let all = &written()["all"];

        assert_eq!(
            ["rke2_version", "rke2_cni", "rke2_profile", "os_hardening_profile"].map(|name| &all["vars"][name]),
            ["v1.35.4+rke2r1", "canal", "cis", "stig"]
        );
        assert!(!all.to_string().contains("token"), "{all}");
    }

    #[test]
    fn servers_have_the_fixed_address_in_their_certificate_and_agents_join_by_it() {
        let groups = &cluster(&config::read("environments/dev.yaml", "dev", DEV).expect("valid"), "api.example.org")["all"]
            ["children"];

        assert_eq!(groups["servers"]["vars"], json!({ "rke2_tls_san": ["api.example.org"] }));
        assert_eq!(groups["agents"]["vars"], json!({ "rke2_join_address": "api.example.org" }));
    }
}
