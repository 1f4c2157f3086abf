//! `sre-provision images channel` and `rollback`: where a channel leads and led, and back to there.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::site::{Site, meant, sites};
use crate::cli::Common;
use crate::cli::desk::actor;
use crate::failure::{Exit, Failure};
use crate::images::{Channel, Move, Shelf, content};
use crate::report::{Screen, moment, table};

#[derive(Debug, clap::Args)]
pub struct Show {
    /// The channel
    channel: String,
    /// Only where this environment leads
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// The channel
    channel: String,
    /// The step to go back to; without it the last that led elsewhere
    #[arg(long, value_name = "NUMBER")]
    step: Option<u32>,
    /// Only where this environment leads
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Vec<String>,
}

/// The places, and the channel on the first shelf of theirs that has it.
async fn found(common: &Common, environments: &[String], name: &str) -> Result<(Vec<Site>, Shelf, Channel), Failure> {
    let workspace = common.open()?;
    let (sites, unread) = sites(common, &workspace, &meant(&workspace, environments)?).await;
    if let Some(failure) = unread.into_iter().next() {
        return Err(failure);
    }
    for shelf in sites.iter().flat_map(|site| &site.shelves) {
        let channel = shelf.channel(name).await?;
        if channel.now().is_some() {
            let shelf = shelf.clone();
            return Ok((sites, shelf, channel));
        }
    }
    Err(Failure::new(Exit::NotDone, format!("there is no channel `{name}`"))
        .hint(format!("sre-provision images promote IMAGE --to {name}   makes it")))
}

impl Show {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let (_, _, channel) = found(common, &self.environment, &self.channel).await?;
        let head = ["STEP", "WHEN", "BY", "WHY", "IMAGES"].map(str::to_owned).to_vec();
        let rows = channel.moves.iter().rev().map(|one| {
            let images: Vec<String> = one.images.iter().map(|(at, target)| format!("{} in {at}", target.id)).collect();
            vec![
                one.number.to_string(),
                moment(one.at, &TimeZone::UTC),
                one.by.clone(),
                one.why.clone(),
                images.join(", "),
            ]
        });
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        screen.result(
            &table(&rows),
            &json!({ "event": "image-channel", "channel": channel.name, "moves": channel.moves }),
        );
        Ok(())
    }
}

impl Rollback {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let (sites, shelf, seen) = found(common, &self.environment, &self.channel).await?;
        let back = match self.step {
            Some(number) => seen.moves.iter().find(|one| one.number == number),
            None => seen.before(),
        };
        let back = back.ok_or_else(|| {
            Failure::new(Exit::NotDone, format!("`{}` has no such step to go back to", self.channel))
                .hint(format!("sre-provision images channel {}   tells where it led", self.channel))
        })?;
        refuse_changed(&sites, back).await?;
        let why = format!("rollback to step {}", back.number);
        let (at, by) = (Timestamp::now(), actor().to_string());
        shelf.move_channel(&seen, Move { at, by, why, ..back.clone() }).await?;
        let ids: Vec<&str> = back.images.values().map(|target| target.id.as_str()).collect();
        screen.result(
            &format!("{} leads to {} again, as in step {}", self.channel, ids.join(", "), back.number),
            &json!({ "event": "image-rolled-back", "channel": self.channel, "to": back.number,
                "number": seen.moves.len() + 1, "images": back.images }),
        );
        Ok(())
    }
}

/// # Errors
/// Exit 1: an image that the channel led to is gone, or is another by now.
async fn refuse_changed(sites: &[Site], back: &Move) -> Result<(), Failure> {
    for site in sites {
        let place = format!("{}/{}", site.account.id, site.account.region);
        let Some(target) = back.images.get(&place) else { continue };
        let refused = |why: &str| {
            Failure::new(Exit::NotDone, format!("step {} cannot be gone back to", back.number))
                .because(format!("image `{}` {why}", target.id))
        };
        match site.cloud.image(&target.id).await? {
            None => return Err(refused("is gone")),
            Some(image) if content(&site.account, &image) != target.content => {
                return Err(refused("is not what it was"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
