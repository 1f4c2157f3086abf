//! `sre-provision certs`: when the certificates of the cluster's services end, and making them anew.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::Common;
use super::desk::Desk;
use super::operation::{Confirm, inspect, left_out, nothing_open, operate, ready, without_these};
use crate::failure::Failure;
use crate::report::{Screen, moment, table};
use crate::stages::Context;
use crate::stop::Stop;
use crate::upkeep::{Expiring, Fleet, expiring, rotate_certificates};

#[derive(Debug, clap::Args)]
pub struct Certs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Show every certificate, the first to end first; warns at 60, 30 and 14 days
    List {
        /// The environment
        environment: String,
    },
    /// Make them anew: servers one at a time behind the gate, then agents one at a time
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

impl Certs {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        match self.deed {
            Deed::List { environment } => {
                let work = async |cx: &Context<'_>| expiring(&Fleet::of(cx)?, Timestamp::now()).await;
                let all = inspect(common, &environment, screen, stop, work).await?;
                screen.result(&text(&all), &all);
                warnings(&environment, &all).iter().for_each(|line| screen.remark(line));
                Ok(())
            }
            Deed::Rotate { environment, leave_out, yes } => {
                let command = format!("certs rotate {environment}");
                let ready = ready(Desk::open(common, &environment).await?).await?;
                nothing_open(&ready.journal, Some(&command))?;
                let (nodes, without) = left_out(&leave_out);
                let what = format!("stops, renews and starts RKE2 on every node, one at a time{without}");
                Confirm { yes, what: &what, command: &command }.ask(&environment, screen, stop).await?;
                let work = async |cx: &Context<'_>| {
                    let mut fleet = Fleet::of(cx)?;
                    fleet.leave_out(&nodes, &command).await?;
                    rotate_certificates(&fleet, &command).await?;
                    Ok((expiring(&fleet, Timestamp::now()).await?, fleet.left_out))
                };
                let (all, without) = operate(ready, &command, screen, stop, work).await.map_err(|failure| {
                    failure.hint(format!("sre-provision {command}   goes on where it was stopped"))
                })?;
                let first =
                    all.first().map_or_else(String::new, |one| format!(" · the first ends in {} days", one.days));
                let data = json!({
                    "event": "certificates-rotated", "environment": environment, "certificates": all, "left_out": without,
                });
                let told = without_these("has new certificates", &without);
                screen.result(&format!("{environment} {told}{first}"), &data);
                Ok(())
            }
        }
    }
}

fn text(all: &[Expiring]) -> String {
    let mut rows = vec![["NODE", "CERTIFICATE", "ENDS", "DAYS"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|one| {
        vec![one.node.to_string(), one.file.clone(), moment(one.not_after, &TimeZone::UTC), one.days.to_string()]
    }));
    table(&rows)
}

/// One line for each limit that certificates are within.
fn warnings(environment: &str, all: &[Expiring]) -> Vec<String> {
    let line = |limit: i64| {
        let count = all.iter().filter(|one| one.within == Some(limit)).count();
        (count > 0).then(|| {
            format!("warning: {count} certificates end within {limit} days: `sre-provision certs rotate {environment}`")
        })
    };
    [14, 30, 60].into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::NodeName;

    #[test]
    fn a_warning_counts_the_certificates_of_its_limit() {
        let one = |within| Expiring {
            node: NodeName("server-1".to_owned()),
            file: "x.crt".to_owned(),
            not_after: Timestamp::UNIX_EPOCH,
            days: 1,
            within,
        };

        assert_eq!(
            warnings("dev", &[one(Some(14)), one(Some(60)), one(Some(60)), one(None)]),
            [
                "warning: 1 certificates end within 14 days: `sre-provision certs rotate dev`",
                "warning: 2 certificates end within 60 days: `sre-provision certs rotate dev`"
            ]
        );
    }
}
