//! The nodes of the cluster that an operation works on: which answer, and the gates between two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;

use crate::artifact::{Access, Joined, Kind, LoadBalancer, Servers};
use crate::environment::{NodeName, Role};
use crate::event::NodeState;
use crate::failure::{Exit, Failure};
use crate::node::Connection;
use crate::rke2::{self, State, UnitActivity, Version};
use crate::stages::{Context, Step, members, register, step_aside};

/// How long the others may take to serve before a server is touched.
const STEADY: Duration = Duration::from_secs(2 * 60);
/// How long a node may take from a restart of its service to its membership.
const RETURN: Duration = Duration::from_secs(15 * 60);
/// The target groups that servers serve.
const REGISTERED: [&str; 2] = ["api", "supervisor"];

/// What to do about an environment in which nothing serves yet.
pub fn no_cluster(environment: &str) -> Failure {
    Failure::new(Exit::NotDone, format!("`{environment}` has no cluster yet"))
        .hint(format!("sre-provision up {environment}"))
}

/// The recorded members of the cluster, and the way to them.
pub struct Fleet<'a> {
    pub cx: &'a Context<'a>,
    pub access: Access,
    pub servers: BTreeMap<NodeName, Joined>,
    pub agents: BTreeMap<NodeName, Joined>,
    /// Those of them that the operation goes on without.
    pub left_out: BTreeSet<NodeName>,
    balancer: LoadBalancer,
}

impl<'a> Fleet<'a> {
    /// # Errors
    /// Exit 1 where no cluster was made yet.
    pub fn of(cx: &'a Context<'a>) -> Result<Self, Failure> {
        let none = |_| no_cluster(&cx.env.name);
        let access: Access = cx.known.get(Kind::Access).map_err(none)?;
        cx.known.get::<Servers>(Kind::Servers).map_err(none)?;
        Ok(Self {
            cx,
            servers: members(cx, Role::Server, &access),
            agents: members(cx, Role::Agent, &access),
            access,
            left_out: BTreeSet::new(),
            balancer: cx.known.get(Kind::LoadBalancer).map_err(none)?,
        })
    }

    /// Takes each member that answers for what is installed on it: an upgrade may have been halted between its restart and
    /// the journal.
    pub async fn as_installed(mut self) -> Self {
        let told = self.ask(self.servers.keys().chain(self.agents.keys())).await;
        for (node, joined) in self.servers.iter_mut().chain(&mut self.agents) {
            if let Some(Ok(State { installed: Some(installed), .. })) = told.get(node) {
                joined.version.clone_from(installed);
            }
        }
        self
    }

    pub async fn connection(&self, node: &NodeName) -> Result<Connection, Failure> {
        self.cx.connections.get(node, &self.access).await
    }

    pub fn address(&self, node: &NodeName) -> Result<&str, Failure> {
        Ok(&self.access.reach(node)?.address)
    }

    /// The release that a member joined with.
    pub fn version(&self, node: &NodeName) -> Result<Version, Failure> {
        let joined = self.servers.get(node).or_else(|| self.agents.get(node));
        let version = joined.map_or(&self.cx.env.rke2.version, |joined| &joined.version);
        version.parse().map_err(|why: String| Failure::new(Exit::Environment, why))
    }

    /// What each of these nodes tells of itself, or why it does not.
    pub async fn ask(&self, nodes: impl Iterator<Item = &NodeName>) -> BTreeMap<NodeName, Result<State, Failure>> {
        let asked = nodes.map(async |node| {
            self.cx.connections.forget_census(node).await;
            let census = self.cx.connections.census(node, &self.access).await;
            (node.clone(), census.and_then(|census| State::read(&node.0, &census)))
        });
        join_all(asked).await.into_iter().collect()
    }

    /// A server that runs, with its connection: the first by name.
    ///
    /// # Errors
    /// Exit 7 when none does, with what each of them says.
    pub async fn a_server(&self) -> Result<(NodeName, Connection), Failure> {
        let mut failure = Failure::new(Exit::Unhealthy, format!("no server of `{}` runs", self.cx.env.name));
        for (node, state) in self.ask(self.servers.keys()).await {
            match state {
                Ok(state) if state.server.activity == UnitActivity::Active && state.etcd.is_some() => {
                    let connection = self.connection(&node).await?;
                    return Ok((node, connection));
                }
                Ok(state) if state.server.activity == UnitActivity::Active => {
                    failure = failure.because(format!("{node}: its etcd member has no quorum"));
                }
                Ok(state) => {
                    failure = failure.because(format!("{node}: rke2-server is {}", state.server.activity.name()))
                }
                Err(why) => failure = failure.because(format!("{node}: {why}")),
            }
        }
        Err(failure.hint("with a snapshot the cluster can be brought back: `sre-provision restore`"))
    }

    /// Waits until all other servers serve: a restart while one of them does not could cost etcd its quorum.
    ///
    /// # Errors
    /// Exit 7, before anything was touched, with what the other one lacks.
    pub async fn others_serve(&self, node: &NodeName) -> Result<(), Failure> {
        for other in self.servers.keys().filter(|other| *other != node && !self.left_out.contains(*other)) {
            let tell = |text: &str| self.cx.node(node, NodeState::Waiting, format!("{other}: {text}"));
            let serving = async {
                let connection = self.connection(other).await?;
                rke2::serving(&connection, other, self.version(other)?, &self.cx.wait(STEADY, &tell)).await
            };
            serving.await.map_err(|failure| match failure.is_cancelled() {
                true => failure,
                false => Self::or_left_out(failure, other).of(format!("`{node}` is not restarted")),
            })?;
        }
        Ok(())
    }

    /// Waits until a node that was restarted is a member as before.
    pub async fn returns(&self, node: &NodeName) -> Result<(), Failure> {
        let role = if self.servers.contains_key(node) { Role::Server } else { Role::Agent };
        let tell = |text: &str| self.cx.node(node, NodeState::Working, text);
        let connection = self.connection(node).await?;
        let wait = self.cx.wait(RETURN, &tell);
        rke2::joined(&connection, node, role, self.version(node)?, &wait).await.map(drop)
    }

    /// Works on every server one at a time behind the gates, then on every agent one at a time; each in a step of its
    /// own, whose name begins with `name`. What was done before a stop is not done again.
    pub async fn one_by_one(
        &self,
        name: &str,
        doing: &str,
        work: impl AsyncFn(&NodeName, &Connection) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for (node, joined) in self.servers.iter().chain(&self.agents) {
            if self.left_out.contains(node) {
                self.cx.events.notice(format!("{node} does not answer and is left out"));
                continue;
            }
            self.on_one(name, doing, (node, joined), &work).await?;
        }
        Ok(())
    }

    /// Works on one node as [`one_by_one`](Self::one_by_one) does.
    pub async fn on_one(
        &self,
        name: &str,
        doing: &str,
        (node, joined): (&NodeName, &Joined),
        work: &impl AsyncFn(&NodeName, &Connection) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let is_server = self.servers.contains_key(node);
        let stage = if is_server { Kind::Servers } else { Kind::Agents };
        let cx = Context { stage, ..*self.cx };
        let inputs = crate::fingerprint::Inputs::new().value("machine", &joined.machine);
        let step = Step::new(format!("{name}/{node}"), inputs, format!("{node} on {}", joined.machine));
        let still = async |_: &String| Ok(true);
        if cx.kept_step(&step, still).await?.is_some() {
            return Ok(());
        }
        if is_server {
            self.others_serve(node).await?;
        }
        cx.begin(&step).await?;
        cx.node(node, NodeState::Working, doing);
        let result = self.touch(node, joined, work).await.map(|()| joined.machine.clone());
        cx.finish(&step, &result).await?;
        match &result {
            Ok(_) => cx.node(node, NodeState::Done, format!("{doing}: done")),
            Err(failure) => cx.node(node, NodeState::Failed, failure.what()),
        }
        result.map(drop)
    }

    async fn touch(
        &self,
        node: &NodeName,
        joined: &Joined,
        work: &impl AsyncFn(&NodeName, &Connection) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let is_server = self.servers.contains_key(node);
        let connection = self.connection(node).await.map_err(|failure| Self::or_left_out(failure, node))?;
        if is_server {
            step_aside(&REGISTERED, &joined.machine, &self.balancer, self.cx).await?;
        }
        work(node, &connection).await?;
        self.cx.connections.forget_census(node).await;
        self.returns(node).await?;
        if is_server {
            register(&REGISTERED, node, joined, &self.balancer, self.cx).await?;
        }
        Ok(())
    }
}
