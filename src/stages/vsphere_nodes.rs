//! Makes the machines on vSphere, each a resource of its own with a static address.
//!
//! An address is given once: a node that is made anew gets the one it had. What a node is told at its first boot holds
//! nothing secret, and is never told again. A machine that exists keeps its template and size.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::artifact::{Artifact, Image, Kind, Network, Node, Nodes};
use crate::cloud::vsphere::{TAG_MADE_OF, metadata};
use crate::cloud::{FoundMachine, Tags, ThingKind, Whose};
use crate::environment::{Environment, NodeName, Role, Vsphere};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::identity::TAG_NODE;
use crate::stages::node_machines::{amiss, existing, node_image};
use crate::stages::{Context, Given, Made, Presence, Stage, answering, infrastructure};
use crate::vsphere::Size;

pub struct VsphereNodesStage;

/// Who has an address at which somebody answers that the vCenter does not know.
const UNKNOWN: &str = "something that the vCenter does not know";

/// Node → address; a node keeps the one it was given first.
const ADDRESSES: &str = "nodes/addresses";

#[async_trait]
impl Stage for VsphereNodesStage {
    fn makes(&self) -> Kind {
        Kind::Nodes
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::NodeImage, Kind::Network]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new()
            .value("class", &env.class)
            .value("nodes.servers", &env.nodes.servers)
            .value("nodes.agents", &env.nodes.agents)
            .value("vsphere", &env.vsphere)
            .tree("tofu/modules/vsphere/compute")
            .tree("tofu/roots/vsphere/nodes")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Nodes(nodes) = recorded else { return Ok(Presence::Gone) };
        let machines = cx.cloud.machines(&infrastructure::own(cx)).await?;
        let amiss: Vec<String> =
            nodes.nodes.iter().filter_map(|(name, node)| amiss(&name.0, &node.machine, &machines)).collect();
        Ok(match amiss[..] {
            [] => Presence::Standing,
            _ => Presence::Altered(amiss.join(", ")),
        })
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let (image, network) = (node_image(given)?, given.get::<Network>(Kind::Network)?);
        let place = cx.env.own_vsphere()?;
        let existing = existing(cx).await?;
        let wanted = wanted(cx, &existing, &image)?;
        let addresses = addresses(cx, place, wanted.keys()).await?;
        let user_data = metadata::user_data(place, &image.user, &cx.secrets.ssh_key()?.public);
        let nodes: BTreeMap<&String, Value> = wanted
            .iter()
            .map(|(name, node)| (name, configured(cx, place, name, node, &addresses[name], &user_data)))
            .collect();
        let pool = place.resource_pool.as_ref().map(|pool| format!("{}/Resources/{pool}", place.cluster));
        let values = json!({
            "datacenter": place.datacenter,
            "cluster": place.cluster,
            "resource_pool": pool,
            "datastore": place.datastore,
            "storage_policy": place.storage_policy,
            "secure_boot": place.secure_boot.then_some(true),
            "hardware_version": place.hardware_version,
            "tagged": place.tags,
            "network": place.network,
            "folder": network.id,
            "nodes": nodes,
            "guest_net_timeout": guest_net_timeout(cx.env.deadlines.of(Kind::Nodes)),
        });
        let outputs = infrastructure::apply(cx, values).await?;
        let made: BTreeMap<NodeName, MadeNode> = outputs.get("nodes")?;
        let nodes = made.into_iter().map(|(name, node)| {
            let disk = wanted.get(&name.0).map_or(0, |node| node.disk_gib);
            (name, node.into_node(&image.user, disk, &place.cluster))
        });
        Ok(Artifact::Nodes(Nodes { nodes: nodes.collect(), jump: None }).into())
    }

    /// What is in no state goes, too: a clone that was broken off would keep the folder from going.
    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        infrastructure::take_away(cx).await?;
        let things = cx.cloud.things(&infrastructure::own(cx)).await?.into_iter();
        for left in things.filter(|thing| thing.kind == ThingKind::Machine && thing.whose == Whose::Unmarked) {
            cx.cloud.remove(&left).await?;
        }
        Ok(())
    }
}

/// The minutes that a new machine has to tell its address: a third of the stage's time and ten at most, so that who waits
/// for it says so before the stage is ended.
fn guest_net_timeout(deadline: Duration) -> u64 {
    (deadline.as_secs() / 180).clamp(1, 10)
}

/// A machine as it is to be.
struct Wanted {
    role: Role,
    /// The template's name in `vsphere.folder`.
    image: String,
    size: Size,
    disk_gib: u64,
}

/// The machines that the file names, and those that are there though it no longer does.
fn wanted(
    cx: &Context<'_>,
    existing: &BTreeMap<String, FoundMachine>,
    image: &Image,
) -> Result<BTreeMap<String, Wanted>, Failure> {
    let recorded = |machine: &FoundMachine| match cx.known.artifact(Kind::Nodes) {
        Some(Artifact::Nodes(nodes)) => nodes.nodes.values().find(|node| node.machine == machine.id).cloned(),
        Some(_) | None => None,
    };
    let kept = |machine: &FoundMachine, role: Role, disk_gib: u64| {
        let recorded = recorded(machine);
        Wanted {
            role: recorded.as_ref().map_or(role, |node| node.role),
            image: machine.image.clone(),
            size: Size::read(&machine.size).unwrap_or(Size::FOR_IMAGES),
            disk_gib: recorded.as_ref().map_or(disk_gib, |node| node.disk_gib),
        }
    };
    let mut wanted = BTreeMap::new();
    for node in cx.env.wanted_nodes() {
        let size = Size::read(&node.size)
            .ok_or_else(|| Failure::bug(format!("`{}` is no size, and was not refused with its file", node.size)))?;
        let new = Wanted { role: node.role, image: image.id.clone(), size, disk_gib: node.disk.gib() };
        let there = existing.get(&node.name.0).map(|machine| kept(machine, node.role, node.disk.gib()));
        wanted.insert(node.name.0, there.unwrap_or(new));
    }
    for (name, machine) in existing.iter().filter(|(name, _)| !wanted.contains_key(*name)).collect::<Vec<_>>() {
        let guessed = if name.starts_with("server-") { Role::Server } else { Role::Agent };
        wanted.insert(name.clone(), kept(machine, guessed, 100));
    }
    Ok(wanted)
}

fn configured(cx: &Context<'_>, place: &Vsphere, name: &str, node: &Wanted, address: &str, user_data: &str) -> Value {
    let mut attributes: Tags = cx.identity.tags();
    attributes.insert(TAG_NODE.to_owned(), name.to_owned());
    attributes.insert(TAG_MADE_OF.to_owned(), node.image.clone());
    json!({
        "role": node.role,
        "template": format!("{}/{}", place.folder, node.image),
        "cpus": node.size.cpus,
        "memory_gib": node.size.memory_gib,
        "disk_gib": node.disk_gib,
        "address": address,
        "metadata": metadata::of(place, &format!("{}-{name}", cx.identity.short()), name, address),
        "user_data": user_data,
        "attributes": attributes,
    })
}

/// An address for each node, recorded before it is used.
async fn addresses<'n>(
    cx: &Context<'_>,
    place: &Vsphere,
    names: impl Iterator<Item = &'n String> + Send,
) -> Result<BTreeMap<String, String>, Failure> {
    let names: Vec<&String> = names.collect();
    let given: BTreeMap<String, String> = cx.fact(ADDRESSES)?.unwrap_or_default();
    // Those that were broken off before they got an attribute are ours, too.
    let mut own = cx.cloud.things(&infrastructure::own(cx)).await?;
    own.retain(|thing| thing.kind == ThingKind::Machine && matches!(thing.whose, Whose::Ours | Whose::Unmarked));
    let is_own = |id: &str| own.iter().any(|thing| thing.id == id);
    let others = cx.cloud.machines(&Tags::new()).await?.into_iter().filter(|machine| !is_own(&machine.id));
    let new: Vec<&String> = names.iter().copied().filter(|name| own.iter().all(|thing| thing.name != **name)).collect();
    let mut taken: BTreeMap<String, String> =
        others.filter_map(|machine| Some((machine.private_address?, machine.id))).collect();
    let pool = place.addresses.for_nodes();
    let mut silent: BTreeSet<String> = BTreeSet::new();
    let chosen = loop {
        let chosen = choose(&given, names.iter().copied(), &pool, &taken)?;
        let asked: BTreeSet<String> =
            new.iter().filter_map(|name| chosen.get(*name)).filter(|one| !silent.contains(*one)).cloned().collect();
        let answering = answering::answering(&asked, cx).await?;
        if answering.is_empty() {
            break chosen;
        }
        for address in &answering {
            cx.progress(format!("{address} answers, and no machine of the vCenter has it: it is left alone"));
            taken.insert(address.clone(), UNKNOWN.to_owned());
        }
        silent.extend(asked.into_iter().filter(|one| !answering.contains(one)));
    };
    if chosen != given {
        cx.ledger.record_fact(ADDRESSES, json!(chosen)).await?;
    }
    Ok(chosen)
}

/// Gives each node without an address the first one that nobody has; addresses of nodes that are gone stay theirs.
fn choose<'a>(
    given: &BTreeMap<String, String>,
    names: impl Iterator<Item = &'a String>,
    pool: &[Ipv4Addr],
    taken: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut chosen = given.clone();
    for name in names {
        if let Some(address) = chosen.get(name) {
            if let Some(other) = taken.get(address) {
                return Err(Failure::new(
                    Exit::Platform,
                    format!("nodes: `{address}` of `{name}` is in use by `{other}`"),
                )
                .class(crate::failure::Class::NeedsPerson)
                .hint(format!("give `{other}` another address: it is not of this environment")));
            }
            continue;
        }
        let used: BTreeSet<&String> = chosen.values().collect();
        let free = pool
            .iter()
            .map(Ipv4Addr::to_string)
            .find(|address| !used.contains(address) && !taken.contains_key(address));
        let Some(free) = free else {
            let in_use =
                taken.iter().filter(|(address, _)| pool.iter().any(|one| one.to_string() == **address)).count();
            return Err(Failure::new(Exit::Environment, format!("nodes: no address is left for `{name}`"))
                .because(format!(
                    "of {} addresses, {} are given and {in_use} are in use by others",
                    pool.len(),
                    chosen.len()
                ))
                .hint("widen `vsphere.addresses.first` to `vsphere.addresses.last`"));
        };
        chosen.insert(name.clone(), free);
    }
    Ok(chosen)
}

/// One node of the root's output.
#[derive(Deserialize)]
struct MadeNode {
    id: String,
    address: String,
    role: Role,
    template: String,
    cpus: u32,
    memory_gib: u32,
}

impl MadeNode {
    fn into_node(self, user: &str, disk_gib: u64, cluster: &str) -> Node {
        Node {
            machine: self.id,
            role: self.role,
            address: self.address,
            image: self.template.rsplit('/').next().unwrap_or(&self.template).to_owned(),
            size: Size { cpus: self.cpus, memory_gib: self.memory_gib }.to_string(),
            disk_gib,
            zone: cluster.to_owned(),
            user: user.to_owned(),
            port: 22,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn choice(
        given: &[(&str, &str)],
        names: &[&str],
        taken: &[(&str, &str)],
    ) -> Result<BTreeMap<String, String>, Failure> {
        let pool: Vec<Ipv4Addr> = (11..14).map(|last| Ipv4Addr::new(10, 98, 1, last)).collect();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        choose(&map(given), names.iter(), &pool, &map(taken))
    }

    #[test]
    fn a_machine_has_a_third_of_the_stages_time_to_tell_its_address() {
        let minutes = [1, 6, 30, 120].map(|minutes| guest_net_timeout(Duration::from_secs(minutes * 60)));

        assert_eq!(minutes, [1, 2, 10, 10]);
    }

    #[test]
    fn a_node_keeps_its_address_and_a_new_one_gets_the_first_that_nobody_has() {
        let chosen = choice(&[("server-1", "10.98.1.12")], &["general-1", "server-1"], &[("10.98.1.11", "vm-9")]);

        assert_eq!(chosen.expect("chosen"), map(&[("server-1", "10.98.1.12"), ("general-1", "10.98.1.13")]));
    }

    #[test]
    fn an_address_that_another_machine_has_is_told_with_that_machine() {
        let failure =
            choice(&[("server-1", "10.98.1.12")], &["server-1"], &[("10.98.1.12", "vm-9")]).expect_err("refused");

        assert_eq!(failure.what(), "nodes: `10.98.1.12` of `server-1` is in use by `vm-9`");
    }

    #[test]
    fn where_no_address_is_left_it_is_told_who_has_them() {
        let taken = [("10.98.1.11", "vm-9"), ("10.98.1.200", "vm-8")];
        let failure =
            choice(&[("a-1", "10.98.1.12"), ("a-2", "10.98.1.13")], &["server-1"], &taken).expect_err("refused");

        assert_eq!(
            failure.to_string(),
            "nodes: no address is left for `server-1`: of 3 addresses, 2 are given and 1 are in use by others"
        );
    }
}
