//! `sre-provision plan`: what `up` would do, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::Common;
use super::desk::Desk;
use super::look::Layout;
use crate::artifact::Kind;
use crate::decision::Plan;
use crate::event::Events;
use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::report::{Screen, plan_text};
use crate::stages;
use crate::stop::Stop;

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// The environment
    environment: String,
    /// Exit with 10 when there is something to do
    #[arg(long)]
    detailed_exitcode: bool,
}

impl PlanArgs {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let mut desk = Desk::open(common, &self.environment).await?;
        let recorded = desk.recorded_identity().await?;
        let (cloud, account) = desk.cloud(recorded.as_ref()).await?;
        let identity = desk.identity(cloud.as_ref(), &account).await?;
        let journal = desk.journal(&identity).await?;
        desk.keep_release(journal.memory());
        let secrets = desk.secrets_known_to(&journal, &identity)?;
        let connections = desk.connections(&secrets, &identity)?;
        // Nobody follows the events of a look.
        let (events, _) = Events::channel();
        let layout = Layout {
            desk: &desk,
            identity: &identity,
            is_new: recorded.is_none(),
            cloud: cloud.as_ref(),
            secrets: &secrets,
            connections: &connections,
            events: &events,
            stop,
        };
        let looked = layout.look(&stages::all(desk.env.platform), &journal).await?;
        connections.close().await;
        let standstill = looked.standstill(&desk.env.name);
        let text = format!(
            "{}\n\n{}\n\n{}",
            heading(&desk, &identity),
            plan_text(&looked.plan, &looked.usual),
            next(&desk.env.name, &looked.plan, standstill.is_some())
        );
        let (id, usual) = (recorded.map(|it| it.id), seconds(&looked.usual));
        let plan = json!({ "environment": desk.env.name, "id": id, "plan": looked.plan, "usual": usual });
        screen.result(&text, &plan);
        if let Some(failure) = standstill {
            return Err(failure);
        }
        if self.detailed_exitcode && !looked.plan.is_noop() {
            return Err(Failure::new(Exit::Changes, format!("`{}` is not as described", desk.env.name)));
        }
        Ok(())
    }
}

/// The first line of a plan: what is planned, where.
pub fn heading(desk: &Desk, identity: &Identity) -> String {
    let env = &desk.env;
    format!(
        "{} · {} {} · account {} · RKE2 {}",
        env.name,
        env.platform,
        identity.region,
        grouped(&identity.account),
        env.rke2.version
    )
}

/// Stage → seconds, for programs.
fn seconds(usual: &BTreeMap<Kind, Duration>) -> BTreeMap<String, u64> {
    usual.iter().map(|(stage, time)| (stage.to_string(), time.as_secs())).collect()
}

/// `1234-5678-9012`, as AWS writes account ids for people; anything else as it is.
fn grouped(account: &str) -> String {
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return account.to_owned();
    }
    format!("{}-{}-{}", &account[..4], &account[4..8], &account[8..])
}

fn next(name: &str, plan: &Plan, is_standstill: bool) -> String {
    if is_standstill {
        format!("`sre-provision up {name}` would do nothing of it")
    } else if plan.is_noop() {
        format!("{name} is as described: `sre-provision up {name}` would do nothing")
    } else {
        format!("next: `sre-provision up {name}` does this and asks first")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_written_in_groups_and_anything_else_as_it_is() {
        assert_eq!(grouped("123456789012"), "1234-5678-9012");
        assert_eq!(grouped("vc-east"), "vc-east");
    }
}
