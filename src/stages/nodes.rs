//! Makes the machines, each a resource of its own.
//!
//! A machine that exists keeps its image and size whatever the file says now: what is outdated is shown by the plan and
//! replaced by nobody here. A machine that the file no longer names is kept too.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::artifact::{Artifact, Image, JumpMachine, Kind, Network, Node, Nodes};
use crate::cloud::{FoundMachine, Tags};
use crate::environment::{Environment, LoadBalancerKind, Nat, NodeName, Role, Via, WantedNode};
use crate::failure::Failure;
use crate::fingerprint::Inputs;
use crate::identity::TAG_NODE;
use crate::node::JUMP;
use crate::rke2::API_PORT;
use crate::stages::node_machines::{amiss, existing, node_image};
use crate::stages::{Context, Given, Made, Presence, Stage, infrastructure};

pub struct NodesStage;

#[async_trait]
impl Stage for NodesStage {
    fn makes(&self) -> Kind {
        Kind::Nodes
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::NodeImage, Kind::Network]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            // Everything carries it as a tag: what is protected is so without any state.
            .value("class", &env.class)
            .value("nodes.servers", &env.nodes.servers)
            .value("nodes.agents", &env.nodes.agents)
            .value("access", &env.access)
            .value("rke2.cni", &env.rke2.cni)
            .value("network.nat", &env.network.as_ref().map(|network| network.nat))
            .value("load_balancer.kind", &env.load_balancer.kind)
            .tree("tofu/modules/aws/compute")
            .tree("tofu/roots/aws/nodes")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Nodes(nodes) = recorded else { return Ok(Presence::Gone) };
        let machines = cx.cloud.machines(&infrastructure::own(cx)).await?;
        let jump = nodes.jump.iter().map(|jump| (JUMP.to_owned(), jump.machine.clone()));
        let expected = nodes.nodes.iter().map(|(name, node)| (name.0.clone(), node.machine.clone())).chain(jump);
        let amiss: Vec<String> = expected.filter_map(|(name, id)| amiss(&name, &id, &machines)).collect();
        Ok(match amiss[..] {
            [] => Presence::Standing,
            _ => Presence::Altered(amiss.join(", ")),
        })
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let image = node_image(given)?;
        let network: Network = given.get(Kind::Network)?;
        let existing = existing(cx).await?;
        let key = cx.secrets.ssh_key()?.public;
        let user_data = user_data(&image.user, &key);
        let wanted = cx.env.wanted_nodes();
        let mut nodes: BTreeMap<String, Value> = BTreeMap::new();
        for node in &wanted {
            let there = existing.get(&node.name.0).map(|machine| There::of(machine, &network, cx));
            nodes.insert(node.name.0.clone(), configured(node, there.as_ref(), &image, &user_data));
        }
        for (name, machine) in unwanted(&existing, &wanted) {
            nodes.insert(name.clone(), kept(name, &There::of(machine, &network, cx), &user_data));
        }
        let disks: BTreeMap<String, u64> =
            nodes.iter().map(|(name, node)| (name.clone(), node["disk_gib"].as_u64().unwrap_or_default())).collect();
        let outputs = infrastructure::apply(cx, values(cx, &network, &image, nodes, &existing, &key)).await?;
        let made: BTreeMap<NodeName, MadeNode> = outputs.get("nodes")?;
        // An output that is null is in no state.
        let jump: Option<MadeJump> = outputs.0.contains_key("jump").then(|| outputs.get("jump")).transpose()?;
        Ok(Artifact::Nodes(Nodes {
            nodes: made
                .into_iter()
                .map(|(name, node)| {
                    let disk = disks.get(&name.0).copied().unwrap_or_default();
                    (name, node.into_node(&image.user, disk))
                })
                .collect(),
            jump: jump.map(|jump| JumpMachine {
                machine: jump.id,
                public_address: jump.public_ip,
                private_address: jump.private_ip,
                user: image.user.clone(),
            }),
        })
        .into())
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        infrastructure::take_away(cx).await
    }
}

fn unwanted<'a>(
    existing: &'a BTreeMap<String, FoundMachine>,
    wanted: &'a [WantedNode],
) -> impl Iterator<Item = (&'a String, &'a FoundMachine)> {
    existing.iter().filter(|(name, _)| *name != JUMP && !wanted.iter().any(|node| node.name.0 == **name))
}

/// A machine that is there, with what the platform does not tell of it.
struct There<'a> {
    machine: &'a FoundMachine,
    recorded: Option<&'a Node>,
    /// Index of the subnet it is in: a machine cannot move.
    subnet: Option<usize>,
}

impl<'a> There<'a> {
    fn of(machine: &'a FoundMachine, network: &Network, cx: &Context<'a>) -> Self {
        let recorded = match cx.known.artifact(Kind::Nodes) {
            Some(Artifact::Nodes(nodes)) => nodes.nodes.values().find(|node| node.machine == machine.id),
            Some(_) | None => None,
        };
        Self { machine, recorded, subnet: network.zones.iter().position(|zone| *zone == machine.zone) }
    }
}

/// A node of the file as the module takes it; an existing machine keeps its image, size, disk and place.
fn configured(node: &WantedNode, there: Option<&There<'_>>, image: &Image, user_data: &str) -> Value {
    json!({
        "role": node.role,
        "image_id": there.map_or(&image.id, |there| &there.machine.image),
        "instance_type": there.map_or(&node.size, |there| &there.machine.size),
        "disk_gib": there.and_then(|there| there.recorded).map_or(node.disk.gib(), |node| node.disk_gib),
        "subnet": there.and_then(|there| there.subnet).unwrap_or(usize::from(node.zone)),
        "user_data": user_data,
        "tags": Tags::from([(TAG_NODE.to_owned(), node.name.0.clone())]),
    })
}

/// A machine that the file no longer names, as it is.
fn kept(name: &str, there: &There<'_>, user_data: &str) -> Value {
    let guessed = if name.starts_with("server-") { Role::Server } else { Role::Agent };
    json!({
        "role": there.recorded.map_or(guessed, |node| node.role),
        "image_id": there.machine.image,
        "instance_type": there.machine.size,
        "disk_gib": there.recorded.map_or(100, |node| node.disk_gib),
        "subnet": there.subnet.unwrap_or(0),
        "user_data": user_data,
        "tags": Tags::from([(TAG_NODE.to_owned(), name.to_owned())]),
    })
}

/// With the tag by which the cluster's own controllers know their machines.
fn of_cluster(mut nodes: BTreeMap<String, Value>, tag: &str) -> BTreeMap<String, Value> {
    nodes.values_mut().for_each(|node| node["tags"][tag] = json!("owned"));
    nodes
}

fn values(
    cx: &Context<'_>,
    network: &Network,
    image: &Image,
    nodes: BTreeMap<String, Value>,
    existing: &BTreeMap<String, FoundMachine>,
    key: &str,
) -> Value {
    let nodes = of_cluster(nodes, &cx.identity.cluster_tag());
    let from: Vec<String> = cx.env.access.from.iter().map(ToString::to_string).collect();
    let own_jump = cx.env.access.via == Via::Jump && cx.env.access.jump.as_ref().is_none_or(|jump| jump.host.is_none());
    let balancer: BTreeMap<String, Value> = match cx.env.load_balancer.kind {
        LoadBalancerKind::Nlb => {
            let ranges = network.zones.iter().zip(&network.balancer_ranges);
            ranges.map(|(zone, range)| (zone.clone(), json!({ "cidr": range }))).collect()
        }
        LoadBalancerKind::KubeVip | LoadBalancerKind::External | LoadBalancerKind::None => BTreeMap::new(),
    };
    let api: &[String] = if balancer.is_empty() { &from } else { &[] };
    let jump_image = existing.get(JUMP).map_or(&image.id, |machine| &machine.image);
    json!({
        "vpc_id": network.id,
        "subnet_ids": network.private_subnets,
        "nodes": nodes,
        "cni": cx.env.rke2.cni,
        "ssh_cidrs": if own_jump { &[] } else { &from[..] },
        "api_cidrs": api,
        "egress": egress(cx.env.network.as_ref().map_or(Nat::None, |network| network.nat)),
        "ingress_roles": if cx.env.nodes.agents.values().any(|pool| pool.count > 0) { ["agent"] } else { ["server"] },
        "load_balancer": balancer,
        "jump": own_jump.then(|| json!({
            "image_id": jump_image,
            "subnet_id": network.public_subnets.first(),
            "ssh_cidrs": from,
            "user_data": jump_user_data(&image.user, key),
        })),
    })
}

/// Where there is a way out, nodes may use it for HTTPS; an air gap has none.
fn egress(nat: Nat) -> Value {
    match nat {
        Nat::Single | Nat::PerZone => json!({ "https": { "from_port": 443, "to_port": 443, "cidr": "0.0.0.0/0" } }),
        Nat::None => json!({}),
    }
}

/// The environment's public key for the image's user; nothing in it is a secret. Written as JSON, which is YAML too.
fn user_data(user: &str, key: &str) -> String {
    cloud_config(&first_boot(user, key))
}

/// As [`user_data`], and the one thing that a node refuses: forwarding, to SSH of nodes and to the API and nowhere else.
///
/// The image's own sshd settings say `no`; sshd takes the first value it meets, and this file's name sorts before theirs.
/// cloud-init writes it before sshd starts for the first time.
fn jump_user_data(user: &str, key: &str) -> String {
    let mut config = first_boot(user, key);
    config["write_files"] = json!([{
        "path": "/etc/ssh/sshd_config.d/00-jump.conf",
        "owner": "root:root",
        "permissions": "0600",
        "content": format!("AllowTcpForwarding local\nPermitOpen *:22 *:{API_PORT}\n"),
    }]);
    cloud_config(&config)
}

fn first_boot(user: &str, key: &str) -> Value {
    json!({ "users": [{ "name": user, "ssh_authorized_keys": [key] }], "preserve_hostname": false })
}

fn cloud_config(config: &Value) -> String {
    format!("#cloud-config\n{config}\n")
}

/// One node of the root's output.
#[derive(Deserialize)]
struct MadeNode {
    id: String,
    private_ip: String,
    role: Role,
    image: String,
    instance_type: String,
    zone: String,
}

impl MadeNode {
    fn into_node(self, user: &str, disk_gib: u64) -> Node {
        Node {
            machine: self.id,
            role: self.role,
            address: self.private_ip,
            image: self.image,
            size: self.instance_type,
            disk_gib,
            zone: self.zone,
            user: user.to_owned(),
            port: 22,
        }
    }
}

#[derive(Deserialize)]
struct MadeJump {
    id: String,
    public_ip: String,
    private_ip: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::MachineState;
    use crate::units::ByteSize;

    fn want() -> WantedNode {
        WantedNode {
            name: NodeName("server-2".to_owned()),
            role: Role::Server,
            size: "m6i.2xlarge".to_owned(),
            disk: ByteSize(200 * ByteSize::GIB),
            zone: 1,
        }
    }

    fn image() -> Image {
        Image {
            id: "ami-new".to_owned(),
            name: "sre-node-1".to_owned(),
            fingerprint: crate::fingerprint::Digest::of(b"new"),
            parent: "ami-base".to_owned(),
            rke2: None,
            user: "rocky".to_owned(),
        }
    }

    fn machine() -> FoundMachine {
        FoundMachine {
            id: "i-2".to_owned(),
            state: MachineState::Running,
            private_address: None,
            public_address: None,
            image: "ami-old".to_owned(),
            size: "m6i.xlarge".to_owned(),
            zone: "eu-1c".to_owned(),
            tags: Tags::new(),
        }
    }

    fn recorded() -> Node {
        Node {
            machine: "i-2".to_owned(),
            role: Role::Server,
            address: "10.0.2.7".to_owned(),
            image: "ami-old".to_owned(),
            size: "m6i.xlarge".to_owned(),
            disk_gib: 100,
            zone: "eu-1c".to_owned(),
            user: "rocky".to_owned(),
            port: 22,
        }
    }

    #[test]
    fn a_node_that_is_missing_gets_what_the_file_says_and_the_newest_image() {
        let node = configured(&want(), None, &image(), "#cloud-config");

        assert_eq!(
            node,
            json!({
                "role": "server", "image_id": "ami-new", "instance_type": "m6i.2xlarge", "disk_gib": 200, "subnet": 1,
                "user_data": "#cloud-config", "tags": { "sre:node": "server-2" },
            })
        );
    }

    #[test]
    fn every_machine_says_which_cluster_it_is_of() {
        let node = configured(&want(), None, &image(), "");

        let nodes = of_cluster(BTreeMap::from([("server-2".to_owned(), node)]), "kubernetes.io/cluster/5b1e77aa");

        let tags = json!({ "sre:node": "server-2", "kubernetes.io/cluster/5b1e77aa": "owned" });
        assert_eq!(nodes["server-2"]["tags"], tags);
    }

    #[test]
    fn a_node_that_exists_keeps_image_size_disk_and_place_whatever_the_file_says() {
        let (machine, recorded) = (machine(), recorded());
        let there = There { machine: &machine, recorded: Some(&recorded), subnet: Some(2) };

        let node = configured(&want(), Some(&there), &image(), "");

        let told = [&node["image_id"], &node["instance_type"], &node["disk_gib"], &node["subnet"]];
        assert_eq!(told, [&json!("ami-old"), &json!("m6i.xlarge"), &json!(100), &json!(2)]);
    }

    #[test]
    fn a_machine_that_the_file_no_longer_names_stays_what_it_was() {
        let machine = machine();
        let there = There { machine: &machine, recorded: None, subnet: Some(2) };

        let node = kept("server-4", &there, "");

        assert_eq!((&node["role"], &node["image_id"]), (&json!("server"), &json!("ami-old")));
        assert_eq!(kept("general-1", &there, "")["role"], json!("agent"));
    }

    #[test]
    fn another_kind_of_load_balancer_changes_who_may_reach_the_nodes_and_so_the_nodes() {
        let read = |kind| {
            let text = include_str!("../../environments/dev.yaml");
            let mut env = crate::config::read("environments/dev.yaml", "dev", text).expect("valid");
            env.load_balancer.kind = kind;
            let inputs = NodesStage.inputs(&env);
            inputs.iter().map(|(name, input)| format!("{name} {input:?}")).collect::<Vec<_>>()
        };

        assert_ne!(read(LoadBalancerKind::Nlb), read(LoadBalancerKind::None));
    }

    #[test]
    fn an_air_gap_has_no_way_out() {
        assert_eq!(egress(Nat::None), json!({}));
        assert_eq!(egress(Nat::Single)["https"]["to_port"], json!(443));
    }

    fn parsed(user_data: &str) -> Value {
        serde_json::from_str(user_data.strip_prefix("#cloud-config\n").expect("a cloud-config")).expect("JSON")
    }

    #[test]
    fn a_jump_machine_forwards_to_ssh_and_the_api_before_the_hardening_says_no() {
        let config = parsed(&jump_user_data("rocky", "ssh-rsa AAAA"));

        let file = &config["write_files"][0];
        assert_eq!(file["content"], "AllowTcpForwarding local\nPermitOpen *:22 *:6443\n");
        assert_eq!(file["permissions"], "0600");
        let path = file["path"].as_str().expect("a path");
        // The names that the role os_hardening uses.
        for hardening in ["00-os-hardening.conf", "00-os-hardening-algorithms.conf"] {
            assert!(path < format!("/etc/ssh/sshd_config.d/{hardening}").as_str(), "{path} comes after {hardening}");
        }
        assert_eq!(config["users"][0]["name"], "rocky");
    }

    #[test]
    fn a_node_is_told_its_user_and_key_and_nothing_of_forwarding() {
        let config = parsed(&user_data("rocky", "ssh-rsa AAAA"));

        assert_eq!(
            config,
            json!({
                "users": [{ "name": "rocky", "ssh_authorized_keys": ["ssh-rsa AAAA"] }],
                "preserve_hostname": false,
            })
        );
    }
}
