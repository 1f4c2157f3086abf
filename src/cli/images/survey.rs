//! The images of some places, with who needs each: machines, journals, states of OpenTofu, channels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;

use jiff::Timestamp;

use super::site::Site;
use crate::artifact::{Artifact, Kind};
use crate::cli::homes;
use crate::cli::removal::words;
use crate::cloud::{FoundImage, Tags};
use crate::failure::{Exit, Failure};
use crate::identity::{Identity, TAG_NAME, TAG_NODE};
use crate::images::{Channel, Entry, Shelf, Standing, TAG_STATEMENT, Use, lineage};
use crate::journal::{Home, Memory, load_identity};
use crate::workspace::Workspace;

/// The stages that keep an OpenTofu state, and the files it may be in.
const ROOTS: [Kind; 3] = [Kind::Network, Kind::LoadBalancer, Kind::Nodes];
const STATES: [&str; 2] = ["terraform.tfstate", "pulled.tfstate"];

/// Who needs which image, by id.
type Uses = BTreeMap<String, Vec<Use>>;

/// An environment that was made, whatever became of its file.
pub struct Made {
    pub home: Home,
    pub identity: Identity,
}

/// Every environment that has a state which can be found from here; and those that cannot be read.
pub async fn made(workspace: &Workspace) -> Result<(Vec<Made>, Vec<Failure>), Failure> {
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    let files = workspace.environments()?;
    let left = workspace.remembered()?.into_iter().filter(|name| !files.contains(name));
    let ids = workspace.remembered_ids()?.into_iter().map(|id| id.to_string());
    for name in left.chain(ids) {
        let state = workspace.state(&name);
        match load_identity(&state) {
            Ok(Some(identity)) => all.push(Made { home: Home::local(state), identity }),
            Ok(None) => {}
            Err(failure) => unread.push(failure.of(&name)),
        }
    }
    for name in files {
        let found = async {
            let home = homes::named_for_certain(workspace, &name).await?;
            let identity = home.identity().await?;
            Ok::<_, Failure>(identity.map(|identity| Made { home, identity }))
        };
        match found.await {
            Ok(found) => all.extend(found),
            Err(failure) => unread.push(failure.of(&name)),
        }
    }
    Ok((all, unread))
}

/// The images of a place, newest first, and where they stand.
///
/// # Errors
/// The platform does not answer, or a statement cannot be read.
pub async fn images(site: &Site, channels: &[Channel], now: Timestamp) -> Result<Vec<Entry>, Failure> {
    let found = site.cloud.own_images(&Tags::new()).await?;
    let by_id: BTreeMap<&str, &FoundImage> = found.iter().map(|image| (image.id.as_str(), image)).collect();
    let mut uses = machines(site).await?;
    let mut entries = Vec::new();
    for image in &found {
        let Some(mut entry) = Entry::of(site.at(), image, lineage(image, &by_id)) else { continue };
        entry.standing = standing(site, image, now).await?;
        entry.uses.extend(uses.remove(&image.id).unwrap_or_default());
        for channel in channels {
            if channel.now().is_some_and(|now| now.images.values().any(|target| target.id == image.id)) {
                entry.channels.push(channel.name.clone());
            }
            if channel.needed().contains(&image.id.as_str()) {
                entry.uses.push(Use::Channel { channel: channel.name.clone() });
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// What every machine of the account runs, whoever made it.
async fn machines(site: &Site) -> Result<Uses, Failure> {
    let mut uses = Uses::new();
    for machine in site.cloud.machines(&Tags::new()).await? {
        let tag = |name: &str| machine.tags.get(name).cloned();
        let name = [tag(TAG_NAME), tag(TAG_NODE)].into_iter().flatten().collect::<Vec<_>>().join(" ");
        uses.entry(machine.image).or_default().push(Use::Machine { machine: machine.id, name });
    }
    Ok(uses)
}

/// The channels of all these places: one that is kept for an environment of one region leads to copies in others, too.
///
/// # Errors
/// One cannot be read.
pub async fn channels(sites: &[Site]) -> Result<Vec<Channel>, Failure> {
    let mut shelves: Vec<&Shelf> = Vec::new();
    for shelf in sites.iter().flat_map(|site| &site.shelves) {
        if shelves.iter().all(|known| known.place() != shelf.place()) {
            shelves.push(shelf);
        }
    }
    let mut all = Vec::new();
    for shelf in shelves {
        all.extend(shelf.channels().await?);
    }
    Ok(all)
}

/// Where an image stands by the statement that it names, wherever that is kept.
pub async fn standing(site: &Site, image: &FoundImage, now: Timestamp) -> Result<Standing, Failure> {
    let named = image.tags.get(TAG_STATEMENT).map(String::as_str);
    let mut kept = None;
    if let Some(digest) = named {
        for shelf in &site.shelves {
            kept = kept.or(shelf.statement(digest).await?);
        }
    }
    Ok(site.policy.judge(&site.account, image, named, kept.as_deref(), now))
}

/// Adds what environments need that are in this place.
///
/// # Errors
/// One cannot be read: its journal, or a state of OpenTofu.
pub async fn add_uses(entries: &mut [Entry], made: &Made) -> Result<(), Failure> {
    let identity = &made.identity;
    let journal = made.home.journal(identity).await?;
    let mut by_word: BTreeMap<Use, BTreeSet<String>> = recorded(journal.memory(), &identity.name);
    for kind in ROOTS {
        for file in STATES {
            let named = state(&made.home, kind, file)?;
            let (environment, root) = (identity.name.clone(), kind.name().to_owned());
            by_word.entry(Use::State { environment, root }).or_default().extend(named);
        }
    }
    let here = |entry: &&mut Entry| entry.at.account == identity.account && entry.at.region == identity.region;
    for entry in entries.iter_mut().filter(here) {
        let needs = by_word.iter().filter(|(_, named)| named.contains(&entry.id) || named.contains(&entry.name));
        entry.uses.extend(needs.map(|(need, _)| need.clone()));
    }
    Ok(())
}

/// What the journal names, stage by stage.
fn recorded(memory: &Memory, environment: &str) -> BTreeMap<Use, BTreeSet<String>> {
    let artifacts = memory.stages.values().filter_map(|stage| stage.made.as_ref()).map(|made| &made.artifact);
    let named = |artifact: &Artifact| {
        let mut found = BTreeSet::new();
        match artifact {
            // Its parent is in its lineage, and stays with it.
            Artifact::BaseImage(image) | Artifact::NodeImage(image) => drop(found.insert(image.id.clone())),
            other => words(&serde_json::to_value(other).unwrap_or_default(), &mut found),
        }
        let (environment, stage) = (environment.to_owned(), artifact.kind().name().to_owned());
        (Use::Journal { environment, stage }, found)
    };
    artifacts.map(named).collect()
}

/// Every word in a state of OpenTofu; none where there is no such file.
fn state(home: &Home, kind: Kind, file: &str) -> Result<BTreeSet<String>, Failure> {
    let path = home.state().tofu(kind).join(file);
    let refused = |cause: &dyn std::fmt::Display| {
        Failure::new(Exit::NotDone, format!("the state `{}` cannot be read", path.display())).because(cause.to_string())
    };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(refused(&error)),
    };
    let mut found = BTreeSet::new();
    words(&serde_json::from_slice(&bytes).map_err(|error| refused(&error))?, &mut found);
    Ok(found)
}
