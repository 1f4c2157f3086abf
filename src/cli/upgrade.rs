//! `sre-provision upgrade`: brings a cluster to another RKE2 release, in place, node by node.
//!
//! It goes the way of `up` with the new release: the bundle is fetched, the image for later nodes is built, and the stages
//! `servers` and `agents` bring each member to it. What each of them runs is measured before anything begins.

use serde_json::json;

use super::Common;
use super::desk::Desk;
use super::operation::{left_out, nothing_open, operate, ready, without_these};
use super::up::{Ready, Road};
use crate::failure::{Exit, Failure};
use crate::report::Screen;
use crate::rke2::Version;
use crate::stages::Context;
use crate::stop::Stop;
use crate::upkeep::{Fleet, begin_upgrade, end_upgrade};

#[derive(Debug, clap::Args)]
pub struct Upgrade {
    /// The environment
    environment: String,
    /// The release to bring it to, such as `v1.35.4+rke2r1`
    #[arg(long, value_name = "RELEASE")]
    to: String,
    /// Go on without this agent, which does not answer; may be given several times
    #[arg(long, value_name = "NODE")]
    leave_out: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Upgrade {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let to: Version = self.to.parse().map_err(|why: String| Failure::new(Exit::Usage, why))?;
        let name = &self.environment;
        let command = format!("upgrade {name} --to {to}");
        let again = |failure: Failure| failure.hint(format!("sre-provision {command}   goes on where it was stopped"));
        let first = self.ready(common, &command).await?;
        let (nodes, without) = left_out(&self.leave_out);
        let work = async |cx: &Context<'_>| {
            let mut fleet = Fleet::of(cx)?;
            fleet.leave_out(&nodes, &command).await?;
            only_agents(&fleet)?;
            begin_upgrade(&fleet, to, &command).await
        };
        let measured = operate(first, &command, screen, stop, work).await?;
        screen.remark(&format!("{measured}{without}"));
        let mut second = self.ready(common, &command).await?;
        second.desk.env.rke2.version = to.to_string();
        let road = Road { command: "upgrade", yes: self.yes };
        // With a node that does not answer the road ends in a failure; what counts is what the others run.
        match road.go(second, screen, stop).await {
            Err(failure) if self.leave_out.is_empty() || failure.is_cancelled() => return Err(again(failure)),
            Err(failure) => screen.remark(&format!("without what was left out: {failure}")),
            Ok(()) => {}
        }
        let last = self.ready(common, &command).await?;
        let work = async |cx: &Context<'_>| {
            let mut fleet = Fleet::of(cx)?;
            fleet.leave_out(&nodes, &command).await?;
            end_upgrade(&fleet, to).await.map(|()| fleet.left_out)
        };
        let without = operate(last, &command, screen, stop, work).await.map_err(again)?;
        let file = format!("environments/{name}.yaml");
        let runs = without_these(&format!("{name} runs {to}"), &without);
        let text = format!("{runs}\n  `rke2.version` in {file} should name it, too");
        let data = json!({ "event": "upgraded", "environment": name, "version": self.to, "left_out": without });
        screen.result(&text, &data);
        Ok(())
    }

    async fn ready(&self, common: &Common, command: &str) -> Result<Ready, Failure> {
        let ready = ready(Desk::open(common, &self.environment).await?).await?;
        nothing_open(&ready.journal, Some(command))?;
        Ok(ready)
    }
}

/// A server that does not answer is one less for etcd's quorum while each of the others is restarted.
fn only_agents(fleet: &Fleet<'_>) -> Result<(), Failure> {
    match fleet.left_out.iter().find(|node| fleet.servers.contains_key(*node)) {
        Some(server) => {
            Err(Failure::new(Exit::Usage, format!("the server `{server}` cannot be left out of an upgrade"))
                .because("one more that is down would cost etcd its quorum")
                .hint(format!(
                    "sre-provision up {}   makes its machine anew, once the old one is gone",
                    fleet.cx.env.name
                )))
        }
        None => Ok(()),
    }
}
