//! `sre-provision nodes`: the machines of an environment, as recorded and as they answer now.

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;

use super::Common;
use super::desk::{Desk, known, recorded_access};
use crate::artifact::{Kind, Nodes};
use crate::environment::Role;
use crate::failure::Failure;
use crate::report::{Screen, table};
use crate::rke2::State;
use crate::upkeep::days_left;

#[derive(Debug, clap::Args)]
pub struct NodesArgs {
    /// The environment
    environment: String,
}

#[derive(Debug, Serialize)]
struct Line {
    node: String,
    role: Role,
    state: String,
    version: String,
    /// What its etcd member is, on a server where it answers.
    etcd: Option<&'static str>,
    /// Until the first of its certificates ends.
    certificate_days: Option<i64>,
    address: String,
    zone: String,
    size: String,
    image: String,
    machine: String,
}

impl NodesArgs {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let desk = Desk::open(common, &self.environment).await?;
        let identity = desk.made_identity().await?;
        let journal = desk.journal(&identity).await?;
        let known = known(journal.memory());
        let access = recorded_access(&known, &self.environment)?;
        let nodes: Nodes = known.get(Kind::Nodes)?;
        let connections = desk.connections(&desk.secrets(&identity)?, &identity)?;
        let asked = nodes.nodes.iter().map(async |(name, node)| {
            let census = connections.census(name, &access).await;
            let state = census.and_then(|census| State::read(&name.0, &census));
            let etcd = state.as_ref().ok().and_then(|state| Some(state.voice.as_ref()?.role.name()));
            let end = state.as_ref().ok().and_then(State::first_end);
            let certificate_days = end.map(|end| days_left(end, Timestamp::now()));
            let (state, version) = match state {
                Ok(state) => (state.unit(node.role).activity.name().to_owned(), state.running.unwrap_or_default()),
                Err(failure) => (failure.to_string(), String::new()),
            };
            Line {
                node: name.to_string(),
                role: node.role,
                state,
                version,
                etcd,
                certificate_days,
                address: node.address.clone(),
                zone: node.zone.clone(),
                size: node.size.clone(),
                image: node.image.clone(),
                machine: node.machine.clone(),
            }
        });
        let lines: Vec<Line> = join_all(asked).await;
        connections.close().await;
        let head = ["NODE", "ROLE", "RKE2", "VERSION", "ETCD", "CERTS", "ADDRESS", "ZONE", "SIZE", "IMAGE", "MACHINE"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(lines.iter().map(|line| {
            let role = line.role.to_string();
            let etcd = line.etcd.unwrap_or("–").to_owned();
            let days = line.certificate_days.map_or_else(|| "–".to_owned(), |days| format!("{days}d"));
            [
                &line.node,
                &role,
                &line.state,
                &line.version,
                &etcd,
                &days,
                &line.address,
                &line.zone,
                &line.size,
                &line.image,
                &line.machine,
            ]
            .map(Clone::clone)
            .to_vec()
        }));
        screen.result(&table(&rows), &lines);
        Ok(())
    }
}
