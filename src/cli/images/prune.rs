//! `sre-provision images prune`: removes the images that nothing needs, with their snapshots.
//!
//! What is removed is decided on everything that could need an image: machines of the account, journals and states of
//! every environment, channels. Where one of them cannot be read, nothing is removed. Meanwhile every environment is held,
//! so that no run begins to use an image that is about to go.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::list::data;
use super::site::{Site, sites};
use super::survey::{Made, add_uses, channels, images, made};
use crate::cli::Common;
use crate::cli::ask::ask;
use crate::cli::desk::actor;
use crate::cloud::{Thing, ThingKind, Whose};
use crate::failure::{Exit, Failure};
use crate::identity::tag_of;
use crate::images::{Entry, Fate, Keep, Removing, fates};
use crate::journal::Lease;
use crate::report::{Screen, table};
use crate::stop::Stop;
use crate::units::Span;

#[derive(Debug, clap::Args)]
pub struct Prune {
    /// How old an image must be
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = span)]
    min_age: Span,
    /// How many of the newest stay, of each kind and environment
    #[arg(long, value_name = "N", default_value_t = 2)]
    keep: usize,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn span(text: &str) -> Result<Span, String> {
    text.parse()
}

/// An image with what becomes of it.
struct Line<'a> {
    site: &'a Site,
    entry: Entry,
    fate: Fate,
}

impl Prune {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let workspace = common.open()?;
        let (sites, unread) = sites(common, &workspace, &workspace.environments()?).await;
        let (environments, more) = made(&workspace).await?;
        refuse_incomplete(unread.into_iter().chain(more).collect())?;
        refuse_incomplete(strangers(&sites, &environments).await?)?;
        let leases = hold(&environments).await?;
        let result = self.prune(&sites, &environments, screen, stop).await;
        result.and(give_back(leases).await)
    }

    async fn prune(&self, sites: &[Site], made: &[Made], screen: Screen, stop: &Stop) -> Result<(), Failure> {
        let now = Timestamp::now();
        let lines = self.decide(sites, made, now).await?;
        let begun = begun(sites, self.dry_run).await?;
        let going: Vec<&Line<'_>> = lines.iter().filter(|line| line.fate == Fate::Goes).collect();
        screen.remark(&shown(&lines));
        for (_, one) in &begun {
            screen.remark(&format!("goes on with {}, which an earlier prune began to remove", one.image));
        }
        if self.dry_run || (going.is_empty() && begun.is_empty()) {
            let text = if going.is_empty() { "nothing to remove" } else { "nothing was removed: a dry run" };
            screen.result(text, &told(&lines, 0, now));
            return Ok(());
        }
        self.approve(going.len() + begun.len(), screen, stop).await?;
        for (site, one) in &begun {
            finish(site, one).await?;
        }
        let mut removed = 0;
        for line in &going {
            if stop.is_asked() {
                return Err(Failure::cancelled("images prune: stopped between two images"));
            }
            let again = self.decide(sites, made, now).await?;
            if let Some(why) = stays(&again, line) {
                screen.remark(&format!("{} stays after all: {why}", line.entry.id));
                continue;
            }
            screen.remark(&format!("removing {}", line.entry.id));
            remove(line).await?;
            removed += 1;
        }
        let text = format!("{removed} images removed, {} stay", lines.len() - removed);
        screen.result(&text, &told(&lines, removed, now));
        Ok(())
    }

    /// # Errors
    /// Something that could need an image cannot be read.
    async fn decide<'a>(&self, sites: &'a [Site], made: &[Made], now: Timestamp) -> Result<Vec<Line<'a>>, Failure> {
        let mut lines = Vec::new();
        let channels = channels(sites).await.map_err(incomplete)?;
        for site in sites {
            let mut entries = images(site, &channels, now).await.map_err(incomplete)?;
            for one in made {
                one.home.bring_roots(one.identity.id).await.map_err(incomplete)?;
                add_uses(&mut entries, one).await.map_err(incomplete)?;
            }
            let keep = Keep { min_age: self.min_age, newest: self.keep };
            let fates = fates(&entries, keep, now);
            lines.extend(entries.into_iter().zip(fates).map(|(entry, fate)| Line { site, entry, fate }));
        }
        // What was built from another goes before it.
        lines.sort_by_key(|line| std::cmp::Reverse(line.entry.lineage.len()));
        Ok(lines)
    }

    async fn approve(&self, count: usize, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        match ask(screen, format!("type the number of images to go on: {count} >"), stop).await? {
            Some(answer) if answer == count.to_string() => Ok(()),
            Some(_) => Err(Failure::new(Exit::Approval, "images prune: nothing was removed")),
            None => Err(Failure::new(Exit::Approval, "images prune: nobody can answer whether to go on")
                .because("standard input is no terminal")
                .hint("sre-provision images prune --yes")),
        }
    }
}

/// Holds every environment: a run that works on one ends this here.
async fn hold(environments: &[Made]) -> Result<Vec<Lease>, Failure> {
    let mut leases = Vec::new();
    for one in environments {
        match one.home.lease(actor()).await {
            Ok(lease) => leases.push(lease),
            Err(failure) => {
                // What holds us up is told, whatever becomes of the others.
                drop(give_back(leases).await);
                return Err(failure.because("nothing was removed: a run may be about to use any image"));
            }
        }
    }
    Ok(leases)
}

/// Gives all of them back, also where one cannot be.
async fn give_back(leases: Vec<Lease>) -> Result<(), Failure> {
    let mut result = Ok(());
    for lease in leases {
        result = result.and(lease.give_back().await);
    }
    result
}

/// Why an image that was to go stays, by what was decided on it later: something needs it since, or it is gone.
fn stays(again: &[Line<'_>], line: &Line<'_>) -> Option<String> {
    match again.iter().find(|other| other.entry.at == line.entry.at && other.entry.id == line.entry.id) {
        None => Some("somebody else has removed it".to_owned()),
        Some(other) => match &other.fate {
            Fate::Goes => None,
            Fate::Stays { why } => Some(why.join(", ")),
        },
    }
}

/// Environments that the platform knows and this workspace does not: what they need cannot be read. One of which nothing
/// is left but images needs none.
async fn strangers(sites: &[Site], known: &[Made]) -> Result<Vec<Failure>, Failure> {
    let mut unread = Vec::new();
    for site in sites {
        for one in site.cloud.candidates(None).await.map_err(incomplete)? {
            if known.iter().any(|made| made.identity.id.to_string() == one.id) {
                continue;
            }
            let things = site.cloud.things(&tag_of(&one.id)).await.map_err(incomplete)?;
            let is_image = |thing: &Thing| matches!(thing.kind, ThingKind::Image | ThingKind::Snapshot);
            if !things.iter().all(is_image) {
                let what = format!("`{}` ({}) has no state here", one.name, one.id);
                unread.push(Failure::new(Exit::NotDone, what));
            }
        }
    }
    Ok(unread)
}

fn refuse_incomplete(unread: Vec<Failure>) -> Result<(), Failure> {
    let Some(first) = unread.first() else { return Ok(()) };
    let failure =
        Failure::new(first.exit(), "images prune: nothing was removed, because not everything could be looked at");
    let failure = unread.iter().fold(failure, |failure, one| failure.because(one.to_string()));
    Err(failure.hint("what cannot be read may need any image; mend it, or run this in the workspace that has it"))
}

fn incomplete(failure: Failure) -> Failure {
    refuse_incomplete(vec![failure.clone()]).err().unwrap_or(failure)
}

/// What earlier prunes began and did not end, where that is: their images are gone, their snapshots may be left. An image
/// that is still there, or there again, is judged anew like any other.
async fn begun(sites: &[Site], dry_run: bool) -> Result<Vec<(&Site, Removing)>, Failure> {
    let mut all: Vec<(&Site, Removing)> = Vec::new();
    for site in sites {
        for shelf in &site.shelves {
            for one in shelf.removing().await? {
                let is_here = one.account == site.account.id && one.region == site.account.region;
                if !is_here || all.iter().any(|(_, known)| *known == one) {
                    continue;
                }
                match site.cloud.image(&one.image).await? {
                    None => all.push((site, one)),
                    Some(_) if dry_run => {}
                    Some(_) => shelf.end_removing(&one).await?,
                }
            }
        }
    }
    Ok(all)
}

async fn remove(line: &Line<'_>) -> Result<(), Failure> {
    let removing = Removing {
        account: line.entry.at.account.clone(),
        region: line.entry.at.region.clone(),
        image: line.entry.id.clone(),
        name: line.entry.name.clone(),
        snapshots: line.entry.snapshots.clone(),
    };
    if let Some(shelf) = line.site.shelves.first() {
        shelf.begin_removing(&removing).await?;
    }
    finish(line.site, &removing).await
}

/// Removes the image, then its snapshots: what is gone already is passed over.
async fn finish(site: &Site, removing: &Removing) -> Result<(), Failure> {
    let thing = |kind, id: &String, part_of: Option<&String>| Thing {
        kind,
        id: id.clone(),
        name: removing.name.clone(),
        part_of: part_of.cloned(),
        whose: Whose::Ours,
    };
    site.cloud.remove(&thing(ThingKind::Image, &removing.image, None)).await?;
    for snapshot in &removing.snapshots {
        site.cloud.remove(&thing(ThingKind::Snapshot, snapshot, Some(&removing.image))).await?;
    }
    for shelf in &site.shelves {
        shelf.end_removing(removing).await?;
    }
    Ok(())
}

fn shown(lines: &[Line<'_>]) -> String {
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let (word, why) = match &line.fate {
                Fate::Goes => ("goes", format!("nothing needs it; with {} snapshots", line.entry.snapshots.len())),
                Fate::Stays { why } => ("stays", why.join(", ")),
            };
            vec![format!("  {word}"), line.entry.id.clone(), line.entry.which.clone(), why]
        })
        .collect();
    table(&rows).trim_end().to_owned()
}

fn told(lines: &[Line<'_>], removed: usize, now: Timestamp) -> Value {
    let images: Vec<Value> = lines
        .iter()
        .map(|line| {
            let mut value = data(&line.entry, now);
            if let (Value::Object(all), Value::Object(fate)) = (&mut value, json!(line.fate)) {
                all.extend(fate);
            }
            value
        })
        .collect();
    json!({ "event": "images-pruned", "removed": removed, "images": images })
}
