//! Opens the way to every node: host keys pinned from the console before the first connection, strict ever after.
//!
//! A pin belongs to a machine, not to an address: a new machine of the same name is pinned anew, the same machine with
//! another key is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::json;

use crate::artifact::{Access, Artifact, Kind, Node, Nodes, Reach};
use crate::cloud::MachineState;
use crate::environment::{Environment, NodeName, Role, Via, WantedNode};
use crate::event::NodeState;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Inputs;
use crate::node::{JUMP, Look};
use crate::stages::console::{pinned_keys, with_last_words};
use crate::stages::several::several;
use crate::stages::{Context, Given, Made, Presence, Stage, Step, named_jump};
use crate::workspace::{RealDisk, make_dir, write_atomic};

pub struct AccessStage;

/// How long a machine may take from its start to a login.
const LOGIN: Duration = Duration::from_secs(10 * 60);

#[async_trait]
impl Stage for AccessStage {
    fn makes(&self) -> Kind {
        Kind::Access
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::Network, Kind::Nodes]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new().value("access", &env.access)
    }

    /// One census a node, side by side; the later stages' probes read the same answers.
    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Access(access) = recorded else { return Ok(Presence::Gone) };
        let looks = access.nodes.keys().map(|node| cx.connections.census(node, access));
        let silent: Vec<String> = join_all(looks)
            .await
            .into_iter()
            .filter_map(|look| look.err().map(|failure| failure.to_string()))
            .collect();
        Ok(match silent[..] {
            [] if inventory_is(cx, access) => Presence::Standing,
            [] => Presence::Altered("the inventory is not as written".to_owned()),
            // Whether a machine that does not answer is gone is for `nodes` to see; here it is looked at again.
            _ => Presence::Altered(silent.join("; ")),
        })
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let nodes: Nodes = given.get(Kind::Nodes)?;
        let jump = jump(&nodes, cx).await?;
        let opened = nodes.nodes.iter().map(|(name, node)| open(name, node, jump.as_ref(), cx));
        let (mut reached, mut failures) = (BTreeMap::new(), Vec::new());
        for (name, result) in nodes.nodes.keys().zip(join_all(opened).await) {
            match result {
                Ok(reach) => drop(reached.insert(name.clone(), reach)),
                Err(failure) if failure.is_cancelled() => return Err(failure),
                Err(failure) => failures.push((name.clone(), failure)),
            }
        }
        let is_short = !failures.is_empty();
        let short = is_short.then(|| several(&failures, nodes.nodes.len(), "are not reached").of(cx.stage));
        if let Some(failure) = short.clone().filter(|_| reached.is_empty()) {
            return Err(failure);
        }
        let unreached = failures.iter().filter_map(|(name, _)| Some((name.clone(), nodes.nodes.get(name)?.role)));
        let access = Access { nodes: reached, unreached: unreached.collect(), jump };
        cx.connections.write_config(&access).await?;
        let file = cx.workspace.inventory_file(&cx.env.name);
        make_dir(&RealDisk, file.parent().unwrap_or(cx.workspace.root()), 0o755)?;
        write_atomic(&file, own_inventory(cx, &access).as_bytes(), 0o644)?;
        Ok(Made { artifact: Artifact::Access(access), short })
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        cx.connections.close().await;
        crate::workspace::remove(&RealDisk, &cx.workspace.inventory_file(&cx.env.name))
    }
}

/// The jump machine: one that the file names with its key, or the environment's own.
async fn jump(nodes: &Nodes, cx: &Context<'_>) -> Result<Option<Reach>, Failure> {
    if cx.env.access.via == Via::Direct {
        return Ok(None);
    }
    if let Some(reach) = cx.env.access.jump.as_ref().and_then(named_jump) {
        return Ok(Some(reach));
    }
    let Some(machine) = &nodes.jump else {
        return Err(Failure::bug("access goes through a jump machine and `nodes` made none"));
    };
    let node = Node {
        machine: machine.machine.clone(),
        role: Role::Agent,
        address: machine.public_address.clone(),
        image: String::new(),
        size: String::new(),
        disk_gib: 0,
        zone: String::new(),
        user: machine.user.clone(),
    };
    let reach = open(&NodeName(JUMP.to_owned()), &node, None, cx).await?;
    Ok(Some(Reach { role: None, ..reach }))
}

/// Pins one machine's keys, once in its life, and logs in.
async fn open(name: &NodeName, node: &Node, jump: Option<&Reach>, cx: &Context<'_>) -> Result<Reach, Failure> {
    cx.node(name, NodeState::Working, "booting");
    let inputs = Inputs::new().value("machine", &node.machine).value("address", &node.address);
    let step = Step::new(name.0.clone(), inputs, format!("host keys of {}", node.machine));
    let pin = async || {
        let host_keys = pinned_keys(cx, &node.machine).await?;
        Ok(Reach {
            machine: node.machine.clone(),
            role: Some(node.role),
            address: node.address.clone(),
            port: 22,
            user: node.user.clone(),
            host_keys,
        })
    };
    let result = async {
        running(name, node, cx).await?;
        let reach = cx.step(step, async |_: &Reach| Ok(true), pin).await?;
        login(name, &reach, jump, cx).await?;
        Ok(reach)
    };
    let result: Result<Reach, Failure> = result.await;
    match &result {
        Ok(_) => cx.node(name, NodeState::Done, "reached"),
        Err(failure) => cx.node(name, NodeState::Failed, failure.what()),
    }
    result.map_err(|failure| match (failure.exit(), failure.kind()) {
        (Exit::Platform, Class::Permanent) => failure.hint(format!(
            "look at the console of `{}`; if it never joined, terminate it there and `up` makes another",
            node.machine
        )),
        _ => failure,
    })
}

async fn running(name: &NodeName, node: &Node, cx: &Context<'_>) -> Result<(), Failure> {
    let tell = |text: &str| cx.node(name, NodeState::Working, text);
    let what = format!("`{name}` ({}) does not run", node.machine);
    let wait = cx.wait(LOGIN, &tell);
    wait.until(&what, Exit::Platform, Duration::from_secs(2), || async {
        Ok(match cx.cloud.machine(&node.machine).await?.map(|machine| machine.state) {
            Some(MachineState::Running) => Look::Done(()),
            Some(MachineState::Gone) | None => {
                return Err(Failure::new(Exit::Platform, format!("{what}: the platform ended it")));
            }
            Some(MachineState::Starting | MachineState::Stopping | MachineState::Stopped) => {
                Look::NotYet("starting".to_owned())
            }
        })
    })
    .await
}

/// Logs in and waits until the machine is done with its first boot.
async fn login(name: &NodeName, reach: &Reach, jump: Option<&Reach>, cx: &Context<'_>) -> Result<(), Failure> {
    let tell = |text: &str| cx.node(name, NodeState::Working, text);
    let wait = cx.wait(LOGIN, &tell);
    let what = format!("no login on `{name}`");
    let done = wait.until(&what, Exit::Platform, Duration::from_secs(1), || async {
        let connection = cx.connections.open(&name.0, reach, jump).await?;
        let output = connection.run(FIRST_BOOT, true).await?;
        Ok(match output.stdout.trim() {
            "done" => Look::Done(()),
            "error" => {
                return Err(Failure::new(Exit::Platform, format!("cloud-init failed on `{name}`"))
                    .because(output.stderr.trim())
                    .hint(format!("`sudo cloud-init status --long` on `{name}` says what failed")));
            }
            state => Look::NotYet(format!("first boot: {state}")),
        })
    });
    match done.await {
        Ok(()) => Ok(()),
        Err(failure) => Err(with_last_words(cx, &reach.machine, failure).await),
    }
}

const FIRST_BOOT: &str = r"
cloud-init status --wait >/dev/null 2>&1
cloud-init status | sed -n 's/^status: //p'
";

fn own_inventory(cx: &Context<'_>, access: &Access) -> String {
    inventory(&cx.env.wanted_nodes(), access, &cx.connections.ansible_ssh_args())
}

/// The inventory that our plays and a person's own use.
fn inventory(wanted: &[WantedNode], access: &Access, ssh_args: &str) -> String {
    let group = |role: Role| {
        let hosts: BTreeMap<&str, _> = access
            .nodes
            .iter()
            .filter(|(_, reach)| reach.role == Some(role))
            .map(|(name, reach)| {
                let want = wanted.iter().find(|want| want.name == *name);
                let vars = json!({
                    "ansible_host": name.0,
                    "ansible_user": reach.user,
                    "rke2_node_ip": reach.address,
                    "rke2_node_labels": want.map(|want| &want.labels),
                    "rke2_node_taints": want.map(|want| &want.taints),
                });
                (name.0.as_str(), vars)
            })
            .collect();
        json!({ "hosts": hosts })
    };
    let vars = json!({
        "ansible_ssh_common_args": ssh_args,
        "ansible_python_interpreter": "/usr/bin/python3",
    });
    let all = json!({ "all": { "vars": vars, "children": { "servers": group(Role::Server), "agents": group(Role::Agent) } } });
    format!("{all:#}\n")
}

fn inventory_is(cx: &Context<'_>, access: &Access) -> bool {
    let path = cx.workspace.inventory_file(&cx.env.name);
    std::fs::read_to_string(path).is_ok_and(|text| text == own_inventory(cx, access))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::units::ByteSize;

    fn want(name: &str, role: Role) -> WantedNode {
        WantedNode {
            name: NodeName(name.to_owned()),
            role,
            size: "m6i.large".to_owned(),
            disk: ByteSize(ByteSize::GIB),
            zone: 0,
            labels: BTreeMap::from([("tier".to_owned(), "general".to_owned())]),
            taints: vec!["gpu=yes:NoSchedule".to_owned()],
        }
    }

    fn reach(role: Option<Role>, address: &str) -> Reach {
        Reach {
            machine: format!("i-{address}"),
            role,
            address: address.to_owned(),
            port: 22,
            user: "rocky".to_owned(),
            host_keys: vec!["ecdsa-sha2-nistp256 AAAA".to_owned()],
        }
    }

    fn written() -> Value {
        let nodes = [
            ("server-1", reach(Some(Role::Server), "10.20.1.5")),
            ("general-1", reach(Some(Role::Agent), "10.20.1.6")),
            ("general-9", reach(Some(Role::Agent), "10.20.1.7")),
        ];
        let access = Access {
            unreached: BTreeMap::new(),
            nodes: nodes.into_iter().map(|(name, reach)| (NodeName(name.to_owned()), reach)).collect(),
            jump: Some(reach(None, "203.0.113.1")),
        };
        let wanted = [want("server-1", Role::Server), want("general-1", Role::Agent)];
        serde_json::from_str(&inventory(&wanted, &access, "-F /run/x/config")).expect("JSON")
    }

    #[test]
    fn each_node_stands_in_the_group_of_its_role_and_the_jump_machine_in_none() {
        let groups = &written()["all"]["children"];

        let names =
            |group: &str| groups[group]["hosts"].as_object().expect("hosts").keys().cloned().collect::<Vec<_>>();
        assert_eq!(names("servers"), ["server-1"]);
        assert_eq!(names("agents"), ["general-1", "general-9"]);
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
    fn a_node_that_the_file_no_longer_names_has_no_labels_of_ours() {
        let node = &written()["all"]["children"]["agents"]["hosts"]["general-9"];

        assert_eq!((&node["rke2_node_ip"], &node["rke2_node_labels"]), (&json!("10.20.1.7"), &Value::Null));
    }
}
