//! `sre-provision validate`: every problem of an environment file at once, without asking anybody.

use serde_json::json;

use super::Common;
use crate::config;
use crate::failure::Failure;
use crate::report::Screen;
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub struct Validate {
    /// The environment; all of the workspace without it
    environment: Option<String>,
}

impl Validate {
    pub fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let workspace = common.open()?;
        let names = match self.environment {
            Some(name) => vec![name],
            None => workspace.environments()?,
        };
        let mut refused = None;
        for name in names {
            match check(&workspace, &name) {
                Ok(text) => screen.result(&text, &json!({ "environment": name, "valid": true })),
                // The last one is what the program ends with; the others are said here.
                Err(failure) => refused.replace(failure).iter().for_each(|earlier| screen.failure(earlier)),
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

fn check(workspace: &Workspace, name: &str) -> Result<String, Failure> {
    let env = config::load(workspace, name)?;
    let wanted = env.wanted_nodes();
    let agents = wanted.len() - usize::from(env.nodes.servers.count);
    Ok(format!(
        "environments/{name}.yaml is valid: {} servers, {agents} agents on {}, RKE2 {}",
        env.nodes.servers.count, env.platform, env.rke2.version
    ))
}
