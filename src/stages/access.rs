//! Opens the way to every node: host keys pinned from the console before the first connection, strict ever after.
//!
//! A pin belongs to a machine, not to an address: a new machine of the same name is pinned anew, the same machine with
//! another key is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::artifact::{Access, Artifact, Kind, Node, Nodes, Reach};
use crate::cloud::MachineState;
use crate::environment::{Environment, NodeName, Role, Via};
use crate::event::NodeState;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Inputs;
use crate::node::{JUMP, Look};
use crate::stages::console::{pinned_keys, with_last_words};
use crate::stages::several::several;
use crate::stages::{Context, Given, Made, Presence, Stage, Step, inventory, named_jump};

pub struct AccessStage;

/// How long a machine may take from its start to a login.
const LOGIN: Duration = Duration::from_secs(10 * 60);

#[async_trait]
impl Stage for AccessStage {
    fn makes(&self) -> Kind {
        Kind::Access
    }

    fn needs(&self, env: &Environment) -> Vec<Kind> {
        if env.network.is_some() { vec![Kind::Network, Kind::Nodes] } else { vec![Kind::Nodes] }
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
            [] if inventory::is_nodes(cx, access) => Presence::Standing,
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
        inventory::write_nodes(cx, &access)?;
        Ok(Made { artifact: Artifact::Access(access), short })
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        cx.connections.close().await;
        inventory::remove_nodes(cx)
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
        port: 22,
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
            port: node.port,
            user: node.user.clone(),
            host_keys,
            jump: None,
        })
    };
    let result = async {
        running(name, node, cx).await?;
        let pinned = cx.step(step, async |_: &Reach| Ok(true), pin).await?;
        let named = cx.env.hosts.as_ref().and_then(|hosts| hosts.reach(name, node.role));
        let reach = Reach { jump: named.and_then(|named| named.jump), ..pinned };
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
    wait.until(&what, Exit::Platform, Duration::from_secs(1), || async {
        Ok(match cx.cloud.machine(&node.machine).await?.map(|machine| machine.state) {
            Some(MachineState::Running) => Look::Done(()),
            Some(MachineState::Gone) | None => {
                return Err(Failure::new(Exit::Platform, format!("{what}: the platform ended it")));
            }
            // It does not start by itself, and what is in it is not ours to end.
            Some(MachineState::Stopped) => {
                return Err(Failure::new(Exit::Platform, format!("{what}: it is stopped"))
                    .class(Class::NeedsPerson)
                    .hint(format!(
                        "start machine `{}` on its platform, then run the same command again",
                        node.machine
                    )));
            }
            Some(MachineState::Stopping) => Look::NotYet("stopping".to_owned()),
            Some(MachineState::Starting) => Look::NotYet("starting".to_owned()),
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
            "done" | "disabled" => Look::Done(()),
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

/// A machine that was there before may have no cloud-init, or none that does anything.
const FIRST_BOOT: &str = r"
command -v cloud-init >/dev/null || { echo done; exit; }
cloud-init status --wait >/dev/null 2>&1
cloud-init status | sed -n 's/^status: //p'
";
