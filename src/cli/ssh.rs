//! `sre-provision ssh`: a shell on a node, by the same pinned way that the program itself uses.

use std::ffi::OsString;

use super::Common;
use super::desk::{Desk, known, recorded_access};
use crate::environment::NodeName;
use crate::failure::{Exit, Failure};
use crate::node::JUMP;
use crate::process::attach;

#[derive(Debug, clap::Args)]
pub struct Ssh {
    /// The environment
    environment: String,
    /// The node, such as `server-1`, or `jump` for the jump machine
    node: String,
    /// A command to run there instead of a shell, or options of ssh such as `-N -D 127.0.0.1:1080`
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Ssh {
    pub async fn run(self, common: &Common) -> Result<(), Failure> {
        let desk = Desk::open(common, &self.environment).await?;
        let identity = desk.made_identity().await?;
        let journal = desk.journal(&identity).await?;
        let access = recorded_access(&known(journal.memory()), &self.environment)?;
        let node = NodeName(self.node);
        let is_jump = node.0 == JUMP && access.jump.is_some();
        if !is_jump && !access.nodes.contains_key(&node) {
            let names: Vec<&str> =
                access.nodes.keys().map(|name| name.0.as_str()).chain(access.jump.as_ref().map(|_| JUMP)).collect();
            return Err(Failure::new(Exit::Usage, format!("`{}` has no node `{node}`", self.environment))
                .hint(format!("the nodes are {}", names.join(", "))));
        }
        let connections = desk.connections(&desk.secrets(&identity)?, &identity)?;
        connections.write_config(&access).await?;
        let mut words = connections.ssh_command(&node);
        words.extend(self.command);
        Err(attach(&words))
    }
}
