//! `sre-provision nodes`: the machines of an environment, as recorded and as they answer now.

use futures_util::future::join_all;
use serde::Serialize;

use super::Common;
use super::desk::{Desk, known, recorded_access};
use crate::artifact::{Kind, Nodes};
use crate::environment::Role;
use crate::failure::Failure;
use crate::report::{Screen, table};
use crate::rke2::State;

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
            let (state, version) = match state {
                Ok(state) => (state.unit(node.role).activity.name().to_owned(), state.running.unwrap_or_default()),
                Err(failure) => (failure.to_string(), String::new()),
            };
            Line {
                node: name.to_string(),
                role: node.role,
                state,
                version,
                address: node.address.clone(),
                zone: node.zone.clone(),
                size: node.size.clone(),
                image: node.image.clone(),
                machine: node.machine.clone(),
            }
        });
        let lines: Vec<Line> = join_all(asked).await;
        connections.close().await;
        let head = ["NODE", "ROLE", "RKE2", "VERSION", "ADDRESS", "ZONE", "SIZE", "IMAGE", "MACHINE"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(lines.iter().map(|line| {
            let role = line.role.to_string();
            [
                &line.node,
                &role,
                &line.state,
                &line.version,
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
