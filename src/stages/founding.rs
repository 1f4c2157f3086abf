//! Who founds the cluster: chosen once, and journaled before anything starts.
//!
//! A second choice could make a second cluster, so there is one only where the first cannot have led to any: the machine
//! that was chosen has ended, no server ever joined, and none of those that are there holds a datastore.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifact::Access;
use crate::cloud::MachineState;
use crate::environment::{NodeName, Role};
use crate::event::Outcome;
use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2::{State, UnitActivity, foreign_store};
use crate::stages::{Context, halves, joining};

const FOUNDER: &str = "servers/founder";

/// Who founds, or founded, the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Founder {
    pub node: NodeName,
    pub machine: String,
}

/// `server-2` before `server-10`.
pub fn number(node: &NodeName) -> (usize, String) {
    (node.0.len(), node.0.clone())
}

/// Who founds the cluster: as recorded; else the one that has founded one already; else the first server that is `ready`.
///
/// # Errors
/// Two servers with clusters of their own, or a recorded founder whose machine is another now and that may have founded
/// a cluster: a person decides.
pub async fn founder(
    servers: &[NodeName],
    ready: &[NodeName],
    cluster: Option<&Digest>,
    access: &Access,
    cx: &Context<'_>,
) -> Result<Founder, Failure> {
    let recorded: Option<Founder> = cx.fact(FOUNDER)?;
    if let Some(founder) = &recorded {
        let is_there = access.nodes.get(&founder.node).is_some_and(|reach| reach.machine == founder.machine);
        if is_there || cluster.is_some() {
            return Ok(founder.clone());
        }
    }
    let states = states(servers, access, cx).await?;
    if let Some(founder) = &recorded {
        let machine = cx.cloud.machine(&founder.machine).await?.map_or(MachineState::Gone, |found| found.state);
        let joined = servers.iter().filter(|node| has_joined(node, cx)).cloned().collect();
        let stores = states.iter().filter(|(_, state)| state.has_store).map(|(node, _)| node.clone()).collect();
        Lost { founder, machine, joined, stores }
            .may_be_replaced()
            .map_err(|failure| failure.hint(start_over(&cx.env.name)))?;
        cx.progress(format!("{} of {} ended before it founded anything", founder.machine, founder.node));
    }
    let node = chosen(ready, clusters(states))?;
    let founder = Founder { machine: joining::machine(access, &node)?, node };
    cx.ledger.record_fact(FOUNDER, json!(founder)).await?;
    Ok(founder)
}

/// Forgets who founded the cluster, with the cluster.
pub async fn forget(cx: &Context<'_>) -> Result<(), Failure> {
    cx.ledger.record_fact(FOUNDER, Value::Null).await
}

/// What to type when nothing of a cluster is to be kept.
pub fn start_over(environment: &str) -> String {
    format!("sre-provision down {environment}   and up again, if nothing of the cluster is to be kept")
}

fn has_joined(node: &NodeName, cx: &Context<'_>) -> bool {
    cx.ledger.step(cx.stage, &node.0).is_some_and(|step| step.outcome == Outcome::Succeeded)
}

pub fn nodes(access: &Access) -> Vec<NodeName> {
    let servers = access.nodes.iter().filter(|(_, reach)| reach.role == Some(Role::Server));
    servers.map(|(name, _)| name.clone()).collect()
}

/// What every server says of itself; one that does not answer is a failure.
pub async fn states(
    servers: &[NodeName],
    access: &Access,
    cx: &Context<'_>,
) -> Result<Vec<(NodeName, State)>, Failure> {
    let asked = servers.iter().map(async |node| {
        let census = cx.connections.census(node, access).await?;
        Ok((node.clone(), State::read(&node.0, &census)?))
    });
    try_join_all(asked).await
}

/// Why no server joins: one of them does not answer, so nobody knows what the cluster is.
pub fn silent(access: &Access) -> Option<Failure> {
    let silent: Vec<&str> =
        access.unreached.iter().filter(|(_, role)| **role == Role::Server).map(|(name, _)| name.0.as_str()).collect();
    (!silent.is_empty()).then(|| {
        Failure::new(
            Exit::Platform,
            format!("servers: none joins while a server does not answer: {}", silent.join(", ")),
        )
        .because("it may be a member already: a cluster that is short of one is not changed")
    })
}

/// Which servers are members already.
pub struct Members {
    pub running: BTreeSet<NodeName>,
    /// They have a datastore, and RKE2 does not run.
    pub halted: BTreeSet<NodeName>,
}

/// The servers that are members now.
///
/// # Errors
/// Exit 7, a person decides: one of them runs as a member of another cluster than this.
pub async fn members(
    servers: &[NodeName],
    cluster: Option<&Digest>,
    access: &Access,
    cx: &Context<'_>,
) -> Result<Members, Failure> {
    let states = states(servers, access, cx).await?;
    if let Some((node, why)) = cluster.and_then(|ca| strays(&states, ca)) {
        return Err(halves::another_cluster(&node, &why));
    }
    let (running, others): (Vec<_>, Vec<_>) = states.into_iter().partition(|(_, state)| runs(state));
    let halted = others.into_iter().filter(|(_, state)| state.has_store);
    let names = |(node, _)| node;
    Ok(Members { running: running.into_iter().map(names).collect(), halted: halted.map(names).collect() })
}

/// Which server runs as a member of another cluster than this, and how that shows; `None` where none does.
pub async fn stray(cluster: &str, access: &Access, cx: &Context<'_>) -> Result<Option<String>, Failure> {
    let Some(ca) = Digest::parse(cluster) else { return Ok(None) };
    let stray = strays(&states(&nodes(access), access, cx).await?, &ca);
    Ok(stray.map(|(node, why)| format!("`{node}` belongs to another cluster: {why}; {}", halves::letting_go(&node))))
}

fn runs(state: &State) -> bool {
    state.has_store && state.server.activity == UnitActivity::Active
}

fn strays(states: &[(NodeName, State)], ca: &Digest) -> Option<(NodeName, String)> {
    let running = states.iter().filter(|(_, state)| runs(state));
    running.into_iter().find_map(|(node, state)| Some((node.clone(), foreign_store(state, ca)?)))
}

/// In which order servers get their turn: the founder first until there is a cluster. From then on members that were halted
/// come first, since without them there may be no quorum to join; then those that are no members; and those that run last,
/// so that a restart finds everybody else serving.
pub fn in_turn(servers: &[NodeName], founder: &NodeName, members: Option<&Members>) -> Vec<NodeName> {
    let mut order = servers.to_vec();
    let runs = |node: &NodeName| members.is_some_and(|members| members.running.contains(node));
    let halted = |node: &NodeName| members.is_some_and(|members| members.halted.contains(node));
    order.sort_by_key(|node| (runs(node), !halted(node), node != founder, number(node)));
    order
}

/// The servers that hold a datastore, by the CA of their cluster.
fn clusters(states: Vec<(NodeName, State)>) -> BTreeMap<Digest, Vec<NodeName>> {
    let mut clusters: BTreeMap<Digest, Vec<NodeName>> = BTreeMap::new();
    for (node, state) in states {
        if let Some(ca) = state.ca.filter(|_| state.has_store) {
            clusters.entry(ca).or_default().push(node);
        }
    }
    clusters
}

/// A recorded founder whose node is another machine now, while no cluster is recorded.
struct Lost<'a> {
    founder: &'a Founder,
    /// What the platform says of the machine that was chosen.
    machine: MachineState,
    /// Servers that were ever seen as members.
    joined: Vec<NodeName>,
    /// Servers that hold a datastore.
    stores: Vec<NodeName>,
}

impl Lost<'_> {
    /// # Errors
    /// There may be a cluster: what speaks for it.
    fn may_be_replaced(&self) -> Result<(), Failure> {
        let Founder { node, machine } = self.founder;
        let names = |nodes: &[NodeName]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut signs = Vec::new();
        if self.machine != MachineState::Gone {
            signs.push(format!("its machine {machine} is still there"));
        }
        if !self.joined.is_empty() {
            signs.push(format!("joined before: {}", names(&self.joined)));
        }
        if !self.stores.is_empty() {
            signs.push(format!("a datastore is on {}", names(&self.stores)));
        }
        if signs.is_empty() {
            return Ok(());
        }
        let what =
            format!("`{node}` was to found the cluster on {machine}, is another machine now, and may have founded it");
        Err(Failure::new(Exit::Unhealthy, what).class(Class::NeedsPerson).because(signs.join("; ")))
    }
}

/// A server that has a cluster already; else the first one.
fn chosen(ready: &[NodeName], clusters: BTreeMap<Digest, Vec<NodeName>>) -> Result<NodeName, Failure> {
    if clusters.len() > 1 {
        let described: Vec<String> = clusters
            .iter()
            .map(|(ca, nodes)| {
                let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                format!("{} (CA {})", names.join(", "), ca.short())
            })
            .collect();
        return Err(Failure::new(Exit::Unhealthy, "servers: the nodes belong to different clusters")
            .class(Class::NeedsPerson)
            .because(described.join("; "))
            .hint("decide which cluster stays, run rke2-killall.sh and remove server/db on the servers of the other"));
    }
    let members = clusters.into_values().flatten().min_by_key(number);
    members
        .or_else(|| ready.iter().min_by_key(|node| number(node)).cloned())
        .ok_or_else(|| Failure::bug("no server is ready to found a cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> Vec<NodeName> {
        names.map(|name| NodeName(name.to_owned())).to_vec()
    }

    #[test]
    fn until_there_is_a_cluster_its_founder_comes_first() {
        let servers = names(["server-1", "server-10", "server-2"]);

        let order = in_turn(&servers, &NodeName("server-2".to_owned()), None);

        assert_eq!(order, names(["server-2", "server-1", "server-10"]));
    }

    #[test]
    fn halted_members_have_their_turn_before_new_servers_and_running_ones_come_last() {
        let servers = names(["server-1", "server-2", "server-3", "server-4", "server-5"]);
        let members = Members {
            running: BTreeSet::from_iter(names(["server-1", "server-4"])),
            halted: BTreeSet::from_iter(names(["server-5"])),
        };

        let order = in_turn(&servers, &NodeName("server-1".to_owned()), Some(&members));

        assert_eq!(order, names(["server-5", "server-2", "server-3", "server-1", "server-4"]));
    }

    fn judged(machine: MachineState, joined: Vec<NodeName>, stores: Vec<NodeName>) -> Result<(), Failure> {
        let founder = Founder { node: NodeName("server-1".to_owned()), machine: "i-1".to_owned() };
        Lost { founder: &founder, machine, joined, stores }.may_be_replaced()
    }

    proptest::proptest! {
        // Safety 13
        #[test]
        fn where_there_may_be_a_cluster_nobody_founds_another(
            ready in proptest::collection::vec(1usize..6, 0..5),
            stores in proptest::collection::btree_map(1usize..6, 0u8..3, 0..5),
            joined in proptest::collection::vec(1usize..6, 0..2),
            is_gone: bool,
        ) {
            let name = |number: &usize| NodeName(format!("server-{number}"));
            let mut clusters: BTreeMap<Digest, Vec<NodeName>> = BTreeMap::new();
            for (number, ca) in &stores {
                clusters.entry(Digest::of(&[*ca])).or_default().push(name(number));
            }
            let machine = if is_gone { MachineState::Gone } else { MachineState::Stopped };
            let holders: Vec<NodeName> = stores.keys().map(name).collect();
            let may_be_replaced = judged(machine, joined.iter().map(name).collect(), holders.clone()).is_ok();

            let several = clusters.len() > 1;
            let chosen = chosen(&ready.iter().map(name).collect::<Vec<_>>(), clusters);

            match chosen {
                Ok(node) => proptest::prop_assert!(holders.is_empty() || (!several && holders.contains(&node))),
                Err(failure) => {
                    let nobody = ready.is_empty() && holders.is_empty();
                    proptest::prop_assert!(several || nobody, "{}", failure);
                }
            }
            proptest::prop_assert_eq!(may_be_replaced, is_gone && joined.is_empty() && holders.is_empty());
        }
    }

    #[test]
    fn a_founder_whose_machine_ended_before_anybody_joined_is_chosen_anew() {
        assert_eq!(judged(MachineState::Gone, vec![], vec![]).map_err(|failure| failure.to_string()), Ok(()));
    }

    #[test]
    fn a_founder_whose_machine_may_come_back_is_for_a_person() {
        for state in [MachineState::Starting, MachineState::Running, MachineState::Stopping, MachineState::Stopped] {
            let failure = judged(state, vec![], vec![]).expect_err("for a person");

            assert_eq!(
                failure.what(),
                "`server-1` was to found the cluster on i-1, is another machine now, and may have founded it"
            );
            assert_eq!(failure.causes(), ["its machine i-1 is still there"]);
            assert_eq!(failure.kind(), Class::NeedsPerson);
        }
    }

    #[test]
    fn any_sign_of_a_cluster_is_for_a_person_with_the_servers_that_show_it() {
        let failure =
            judged(MachineState::Gone, names(["server-1"]), names(["server-2", "server-3"])).expect_err("for a person");

        assert_eq!(failure.causes(), ["joined before: server-1; a datastore is on server-2, server-3"]);
    }

    #[test]
    fn the_server_with_the_lowest_number_founds_a_cluster_that_is_not_there() {
        let chosen = chosen(&names(["server-10", "server-2", "server-3"]), BTreeMap::new()).expect("one");

        assert_eq!(chosen.0, "server-2");
    }

    #[test]
    fn a_server_that_has_a_cluster_goes_before_the_first_one() {
        let clusters = BTreeMap::from([(Digest::of(b"ca"), names(["server-3", "server-2"]))]);

        let chosen = chosen(&names(["server-1", "server-2", "server-3"]), clusters).expect("one");

        assert_eq!(chosen.0, "server-2");
    }

    #[test]
    fn a_server_that_has_a_cluster_is_never_passed_over_for_one_that_is_ready() {
        let clusters = BTreeMap::from([(Digest::of(b"ca"), names(["server-1"]))]);

        let chosen = chosen(&names(["server-2", "server-3"]), clusters).expect("one");

        assert_eq!(chosen.0, "server-1");
    }

    #[test]
    fn two_clusters_are_for_a_person_who_is_told_which_server_has_which() {
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let clusters =
            BTreeMap::from([(one.clone(), names(["server-1"])), (other.clone(), names(["server-2", "server-3"]))]);

        let failure = chosen(&names(["server-1"]), clusters).expect_err("for a person");

        let cause = &failure.causes()[0];
        assert!(cause.contains(&format!("server-1 (CA {})", one.short())), "{cause}");
        assert!(cause.contains(&format!("server-2, server-3 (CA {})", other.short())), "{cause}");
        assert_eq!(failure.kind(), Class::NeedsPerson);
    }
}
