//! `sre-provision token`: new tokens for a cluster, and which node holds which.

use serde_json::json;

use super::Common;
use super::desk::Desk;
use super::operation::{Confirm, inspect, left_out, nothing_open, operate, ready, without_these};
use crate::failure::{Exit, Failure};
use crate::report::{Screen, table};
use crate::stages::Context;
use crate::stop::Stop;
use crate::upkeep::{Fleet, Held, check_tokens, rotate_tokens};

#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Show by fingerprint which tokens and which CA each node holds; ends with 7 where they differ
    Check {
        /// The environment
        environment: String,
    },
    /// Make new tokens for servers and agents; every node is restarted, one at a time behind the gate
    Rotate {
        /// The environment
        environment: String,
        /// Go on without this node, which does not answer; may be given several times
        #[arg(long, value_name = "NODE")]
        leave_out: Vec<String>,
        /// Do not ask for the environment's name
        #[arg(long, short)]
        yes: bool,
    },
}

impl TokenArgs {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        match self.deed {
            Deed::Check { environment } => {
                let work = async |cx: &Context<'_>| check_tokens(&Fleet::of(cx)?).await;
                let all = inspect(common, &environment, screen, stop, work).await?;
                screen.result(&text(&all), &all);
                differing(&environment, &all).map_or(Ok(()), Err)
            }
            Deed::Rotate { environment, leave_out, yes } => {
                let command = format!("token rotate {environment}");
                let ready = ready(Desk::open(common, &environment).await?).await?;
                nothing_open(&ready.journal, Some(&command))?;
                let (nodes, without) = left_out(&leave_out);
                let what = format!(
                    "gives the cluster new tokens and restarts RKE2 on every node, one at a time.\n\
                     A snapshot that was taken before is opened with the token of then, which is kept.{without}"
                );
                Confirm { yes, what: &what, command: &command }.ask(&environment, screen, stop).await?;
                let work = async |cx: &Context<'_>| {
                    let mut fleet = Fleet::of(cx)?;
                    fleet.leave_out(&nodes, &command).await?;
                    rotate_tokens(&fleet, &command).await.map(|()| fleet.left_out)
                };
                let without = operate(ready, &command, screen, stop, work).await.map_err(|failure| {
                    failure.hint(format!("sre-provision {command}   goes on where it was stopped"))
                })?;
                let data = json!({ "event": "tokens-rotated", "environment": environment, "left_out": without });
                let holders = without_these("every node holds them", &without);
                screen.result(&format!("{environment} has new tokens, and {holders}"), &data);
                Ok(())
            }
        }
    }
}

fn text(all: &[Held]) -> String {
    let mut rows = vec![["NODE", "TOKEN", "AGENT TOKEN", "CA", "AMISS"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|held| {
        let agent = held.agent_token.clone().unwrap_or_else(|| "–".to_owned());
        vec![held.node.clone(), held.token.clone(), agent, held.ca.clone(), held.amiss.join("; ")]
    }));
    table(&rows)
}

fn differing(environment: &str, all: &[Held]) -> Option<Failure> {
    let differing: Vec<&Held> = all.iter().filter(|held| !held.amiss.is_empty()).collect();
    let names: Vec<&str> = differing.iter().map(|held| held.node.as_str()).collect();
    let what = format!("{} of {} nodes do not hold what they should: {}", names.len(), all.len(), names.join(", "));
    let failure = differing.iter().fold(Failure::new(Exit::Unhealthy, what), |failure, held| {
        failure.because(format!("{}: {}", held.node, held.amiss.join("; ")))
    });
    let hint =
        format!("sre-provision token rotate {environment}   goes on with one that was stopped, or makes new ones");
    (!differing.is_empty()).then(|| failure.hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_differ_are_named_with_what_differs() {
        let held = |node: &str, amiss: &[&str]| Held {
            node: node.to_owned(),
            amiss: amiss.iter().map(|what| (*what).to_owned()).collect(),
            ..Held::default()
        };

        let failure =
            differing("dev", &[held("server-1", &[]), held("server-2", &["its token is not the sealed one"])]);

        let failure = failure.expect("one differs");
        assert_eq!(failure.what(), "1 of 2 nodes do not hold what they should: server-2");
        assert_eq!(failure.causes(), ["server-2: its token is not the sealed one"]);
        assert_eq!(failure.exit(), Exit::Unhealthy);
        assert!(differing("dev", &[held("server-1", &[])]).is_none());
    }
}
