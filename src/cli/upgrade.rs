//! `sre-provision upgrade`: brings a cluster to another RKE2 release, in place, node by node.
//!
//! It goes the way of `up` with the new release: the bundle is fetched, the image for later nodes is built, and the stages
//! `servers` and `agents` bring each member to it. What each of them runs is measured before anything begins.

use serde_json::json;

use super::Common;
use super::desk::Desk;
use super::operation::{nothing_open, operate, ready};
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
        let work = async |cx: &Context<'_>| begin_upgrade(&Fleet::of(cx)?, to, &command).await;
        let measured = operate(first, &command, screen, stop, work).await?;
        screen.remark(&measured);
        let mut second = self.ready(common, &command).await?;
        second.desk.env.rke2.version = to.to_string();
        let road = Road { command: "upgrade", yes: self.yes };
        road.go(second, screen, stop).await.map_err(again)?;
        let last = self.ready(common, &command).await?;
        let work = async |cx: &Context<'_>| end_upgrade(&Fleet::of(cx)?, to).await;
        operate(last, &command, screen, stop, work).await.map_err(again)?;
        let file = format!("environments/{name}.yaml");
        let text = format!("{name} runs {to}\n  `rke2.version` in {file} should name it, too");
        screen.result(&text, &json!({ "event": "upgraded", "environment": name, "version": self.to }));
        Ok(())
    }

    async fn ready(&self, common: &Common, command: &str) -> Result<Ready, Failure> {
        let ready = ready(Desk::open(common, &self.environment).await?).await?;
        nothing_open(&ready.journal, Some(command))?;
        Ok(ready)
    }
}
