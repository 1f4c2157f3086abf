//! Proves that the cluster serves, through the address that its users have, and leaves a kubeconfig.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;

use crate::artifact::{Access, Agents, Artifact, Health, Kind, LoadBalancer, Servers};
use crate::environment::{Environment, NodeName};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::node::{Forward, Wait};
use crate::rke2::{
    ADMIN_KUBECONFIG, API_PORT, Api, Expected, Kubeconfig, Route, State, Version, members_agree, serves, told_amiss,
};
use crate::stages::joining::{fixed_address, version};
use crate::stages::{Context, Given, Made, Presence, Stage};
use crate::workspace::{RealDisk, write_atomic};

pub struct HealthStage;

/// The sealed kubeconfig.
const KUBECONFIG: &str = "kubeconfig";
/// How long the load balancer may take to send traffic to servers that serve.
const SERVE: Duration = Duration::from_secs(8 * 60);
/// How long etcd may take to tell the same on every server, once all of them serve.
const AGREE: Duration = Duration::from_secs(60);

#[async_trait]
impl Stage for HealthStage {
    fn makes(&self) -> Kind {
        Kind::Health
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![Kind::Access, Kind::LoadBalancer, Kind::Servers, Kind::Agents]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        Inputs::new().value("rke2.version", &env.rke2.version)
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Health(health) = recorded else { return Ok(Presence::Gone) };
        let Some(sealed) = cx.secrets.get(KUBECONFIG)? else { return Ok(Presence::Gone) };
        if !cx.state.kubeconfig().exists() {
            return Ok(Presence::Altered("the kubeconfig is gone".to_owned()));
        }
        let access: Access = cx.known.get(Kind::Access)?;
        let kubeconfig = Kubeconfig::parse(sealed.expose_str().unwrap_or_default())?;
        let way = Way::open(&health.api, &access, cx).await?;
        let api = Api::new(&kubeconfig, &health.api, &way.route)?;
        let (servers, agents): (Servers, Agents) = (cx.known.get(Kind::Servers)?, cx.known.get(Kind::Agents)?);
        let expected = expected(&access, &servers, &agents, version(cx)?);
        let wait = Wait::within(Duration::from_secs(5), cx.stop, &|_| {});
        match serves(&api, &expected, &wait).await {
            Ok(_) => {}
            Err(failure) if failure.is_cancelled() => return Err(failure),
            Err(failure) => return Ok(Presence::Altered(failure.to_string())),
        }
        let lacking = etcd_lacks(&servers, &access, &expected, cx).await?;
        Ok(lacking.map_or(Presence::Standing, Presence::Altered))
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let access: Access = given.get(Kind::Access)?;
        let servers: Servers = given.get(Kind::Servers)?;
        let balancer: LoadBalancer = given.get(Kind::LoadBalancer)?;
        let server = format!("https://{}:{API_PORT}", fixed_address(cx, &balancer.address, &servers.join_address));
        let kubeconfig = fetch(&servers, &access, cx).await?;
        let way = Way::open(&server, &access, cx).await?;
        let api = Api::new(&kubeconfig, &server, &way.route)?;
        cx.progress(format!("asking {server}"));
        let tell = |text: &str| cx.progress(text);
        let expected = expected(&access, &servers, &given.get(Kind::Agents)?, version(cx)?);
        let proof = serves(&api, &expected, &cx.wait(SERVE, &tell)).await?;
        cx.progress("asking etcd on every server".to_owned());
        let reached = reached(&servers, &access).map(|server| cx.connections.get(server, &access));
        members_agree(&try_join_all(reached).await?, &expected, &cx.wait(AGREE, &tell)).await?;
        let written = kubeconfig.written(&cx.env.name, &server);
        cx.secrets.put(KUBECONFIG, &written)?;
        cx.note_secrets().await?;
        write_atomic(&cx.state.kubeconfig(), written.expose(), 0o600)?;
        let version = cx.env.rke2.version.clone();
        Ok(Artifact::Health(Health { api: server, servers: proof.servers, agents: proof.agents, version }).into())
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        crate::workspace::remove(&RealDisk, &cx.state.kubeconfig())
    }
}

/// Every node that joined; one that does not answer, or was kept out, may be there in any state.
fn expected(access: &Access, servers: &Servers, agents: &Agents, version: Version) -> Expected {
    let is_member = |node: &NodeName| servers.joined.contains_key(node) || agents.joined.contains_key(node);
    let roles = access.nodes.iter().filter_map(|(node, reach)| Some((node.clone(), reach.role?)));
    let (nodes, mut excused): (BTreeMap<_, _>, BTreeMap<_, _>) = roles.partition(|(node, _)| is_member(node));
    excused.extend(access.unreached.clone());
    Expected { nodes, excused, version }
}

fn reached<'a>(servers: &'a Servers, access: &'a Access) -> impl Iterator<Item = &'a NodeName> {
    servers.joined.keys().filter(|node| access.nodes.contains_key(*node))
}

/// Why etcd's members are not the servers, by what each server told in its census; `None` when they are.
async fn etcd_lacks(
    servers: &Servers,
    access: &Access,
    expected: &Expected,
    cx: &Context<'_>,
) -> Result<Option<String>, Failure> {
    for server in reached(servers, access) {
        let census = cx.connections.census(server, access).await?;
        let told = State::read(&server.0, &census)?.etcd;
        let amiss = told_amiss(&server.0, told.as_ref(), expected);
        if amiss.is_some() {
            return Ok(amiss);
        }
    }
    Ok(None)
}

/// The administrator's kubeconfig from a server.
async fn fetch(servers: &Servers, access: &Access, cx: &Context<'_>) -> Result<Kubeconfig, Failure> {
    let node = reached(servers, access).next();
    let node = node.ok_or_else(|| Failure::bug("a cluster without a server that can be reached"))?;
    let connection = cx.connections.get(node, access).await?;
    let output = connection.run(&format!("cat {ADMIN_KUBECONFIG}"), true).await?;
    if output.code != 0 {
        return Err(Failure::new(Exit::Unhealthy, format!("`{node}` has no kubeconfig")).because(output.stderr.trim()));
    }
    Kubeconfig::parse(&output.stdout)
}

/// The way to the API's address: straight, or through the jump machine as everything else.
struct Way {
    route: Route,
    /// The forward lives as long as the way is used.
    _forward: Option<Forward>,
}

impl Way {
    async fn open(server: &str, access: &Access, cx: &Context<'_>) -> Result<Self, Failure> {
        let own = || access.nodes.values().find_map(|reach| reach.jump.as_deref());
        let Some(jump) = access.jump.as_ref().or_else(own) else {
            return Ok(Self { route: Route::Direct, _forward: None });
        };
        let host = server.trim_start_matches("https://").rsplit_once(':').map_or(server, |(host, _)| host);
        let forward = cx.connections.open_jump(jump).await?.forward(host, API_PORT).await?;
        Ok(Self { route: Route::Socket(forward.socket().to_owned()), _forward: Some(forward) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Joined, Reach};
    use crate::environment::Role;

    #[test]
    fn a_node_that_was_kept_out_is_excused_and_every_other_one_must_be_ready() {
        let name = |name: &str| NodeName(name.to_owned());
        let reach = |role| Reach {
            machine: "i-1".to_owned(),
            role: Some(role),
            address: "10.0.0.1".to_owned(),
            port: 22,
            user: "rocky".to_owned(),
            host_keys: vec![],
            jump: None,
        };
        let joined = |node: &str| {
            let one = Joined { machine: "i-1".to_owned(), version: "v1.35.4+rke2r1".to_owned() };
            BTreeMap::from([(name(node), one)])
        };
        let roles = [("server-1", Role::Server), ("general-1", Role::Agent), ("general-2", Role::Agent)];
        let access = Access {
            nodes: roles.map(|(node, role)| (name(node), reach(role))).into(),
            unreached: BTreeMap::from([(name("general-3"), Role::Agent)]),
            jump: None,
        };
        let servers = Servers { ca: String::new(), join_address: String::new(), joined: joined("server-1") };
        let agents = Agents { joined: joined("general-1") };

        let expected = expected(&access, &servers, &agents, "v1.35.4+rke2r1".parse().expect("a version"));

        let wanted = [("server-1", Role::Server), ("general-1", Role::Agent)].map(|(node, role)| (name(node), role));
        assert_eq!(expected.nodes, BTreeMap::from(wanted));
        assert_eq!(expected.excused, ["general-2", "general-3"].map(|node| (name(node), Role::Agent)).into());
    }
}
