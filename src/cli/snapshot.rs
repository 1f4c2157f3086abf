//! `sre-provision snapshot`: takes, lists and prunes snapshots of etcd.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde_json::json;

use super::Common;
use super::desk::Desk;
use super::operation::{inspect, nothing_open, operate, ready};
use super::up::Ready;
use crate::failure::Failure;
use crate::report::{Screen, moment, table};
use crate::stages::Context;
use crate::stop::Stop;
use crate::upkeep::{Fleet, Snapshot, list_snapshots, prune_snapshots, save_snapshot};

#[derive(Debug, clap::Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Take one on a server that runs
    Save {
        /// The environment
        environment: String,
        /// What its name begins with
        #[arg(long, default_value = "on-demand", value_name = "NAME")]
        name: String,
        /// Also copy it into this directory, for its owner alone, with its digest
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Show those on every server that answers
    List {
        /// The environment
        environment: String,
    },
    /// Remove all but the newest of each server
    Prune {
        /// The environment
        environment: String,
        /// How many stay on each server
        #[arg(long, value_name = "NUMBER")]
        keep: usize,
        /// Only those whose name begins so; those that RKE2 takes by itself begin with `etcd-snapshot`
        #[arg(long, default_value = "on-demand", value_name = "NAME")]
        name: String,
        /// Show which would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
}

impl SnapshotArgs {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        match &self.deed {
            Deed::Save { environment, name, to } => {
                let to = to.as_ref().map(|to| super::whole(to)).transpose()?;
                let command = format!("snapshot save {environment}");
                let ready = free(common, environment).await?;
                let work = async |cx: &Context<'_>| save_snapshot(&Fleet::of(cx)?, name, to.as_deref()).await;
                let saved = operate(ready, &command, screen, stop, work).await?;
                let mut text = format!("{} on {} · {}", saved.name, saved.place, size(saved.size));
                if let Some(copy) = &saved.copy {
                    text.push_str(&format!("\n  copy  {}", copy.display()));
                }
                screen.result(&text, &saved);
            }
            Deed::List { environment } => {
                let work = async |cx: &Context<'_>| list_snapshots(&Fleet::of(cx)?).await;
                let all = inspect(common, environment, screen, stop, work).await?;
                screen.result(&text(&all), &all);
            }
            Deed::Prune { environment, keep, name, dry_run } => {
                let command = format!("snapshot prune {environment}");
                let work = async |cx: &Context<'_>| prune_snapshots(&Fleet::of(cx)?, name, *keep, *dry_run).await;
                let gone = match dry_run {
                    true => inspect(common, environment, screen, stop, work).await?,
                    false => operate(free(common, environment).await?, &command, screen, stop, work).await?,
                };
                let done = if *dry_run { "would go" } else { "removed" };
                screen.result(
                    &format!("{} {done}\n{}", gone.len(), text(&gone)),
                    &json!({ "dry-run": dry_run, "gone": gone }),
                );
            }
        }
        Ok(())
    }
}

/// An environment in whose cluster nothing else is going on.
async fn free(common: &Common, environment: &str) -> Result<Ready, Failure> {
    let ready = ready(Desk::open(common, environment).await?).await?;
    nothing_open(&ready.journal, None)?;
    Ok(ready)
}

fn text(all: &[Snapshot]) -> String {
    let mut rows = vec![["SNAPSHOT", "PLACE", "SIZE", "TAKEN"].map(str::to_owned).to_vec()];
    rows.extend(
        all.iter().map(|one| {
            vec![one.name.clone(), one.place.to_string(), size(one.size), moment(one.created, &TimeZone::UTC)]
        }),
    );
    table(&rows)
}

fn size(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_in_mebibytes() {
        assert_eq!([2_211_872, 0, 3 << 20].map(size), ["2.1 MiB", "0.0 MiB", "3.0 MiB"]);
    }
}
