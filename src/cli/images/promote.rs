//! `sre-provision images promote`: lets a channel lead to an image that is there, by its id and its digest.
//!
//! Nothing is built. Where other regions are named the image is copied to them first, and each copy is held against what
//! it was copied from; only when all are there the channel moves, in one step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::site::{Site, judging};
use super::survey::standing;
use crate::bundle::SigningKey;
use crate::cli::Common;
use crate::cli::desk::actor;
use crate::cloud::{Account, FoundImage, Tags};
use crate::environment::Aws;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::{TAG_COPY_OF, TAG_FINGERPRINT, TAG_IMAGE, TAG_STATE};
use crate::images::{Move, Shelf, Standing, TAG_STATEMENT, Target, check_channel, content, seal_copy};
use crate::report::Screen;
use crate::state::partition_of;
use crate::stop::{Level, Stop};

#[derive(Debug, clap::Args)]
pub struct Promote {
    /// The image by its id
    image: String,
    /// The channel
    #[arg(long, value_name = "CHANNEL")]
    to: String,
    /// What must stand for the image, as `images channel` and its statement tell
    #[arg(long, value_name = "SHA256")]
    digest: Option<String>,
    /// Copy it to this region, too; may be repeated
    #[arg(long, value_name = "REGION")]
    region: Vec<String>,
    /// The key that signs the statements about copies
    #[arg(long, value_name = "file:KEY")]
    sign: Option<String>,
    /// The public key of whoever signs, PEM; without it those of the environment files
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// Only where this environment leads
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Vec<String>,
}

impl Promote {
    pub async fn run(self, common: &Common, screen: Screen, stop: &Stop) -> Result<(), Failure> {
        check_channel(&self.to)?;
        let workspace = common.open()?;
        let sites = judging(common, &workspace, &self.environment, &self.trust).await?;
        let (site, image) = self.found(&sites).await?;
        let statement = self.admit(site, &image).await?;
        let shelf = site.shelves.first().ok_or_else(|| Failure::bug("a site without a shelf"))?;
        let seen = shelf.channel(&self.to).await?;
        let mut images = BTreeMap::from([target(&site.account, &image)]);
        for region in self.region.iter().filter(|region| **region != site.account.region) {
            let (account, copy) =
                self.copy(common, (site, shelf), (&image, &statement), region, (screen, stop)).await?;
            images.extend([target(&account, &copy)]);
        }
        let fingerprint = image.tags.get(TAG_FINGERPRINT).cloned().unwrap_or_default();
        let step = Move {
            version: 0,
            number: 0,
            at: Timestamp::now(),
            by: actor().to_string(),
            why: format!("promote {}", image.id),
            fingerprint,
            images: images.clone(),
        };
        shelf.move_channel(&seen, step).await?;
        let places: Vec<String> = images.iter().map(|(place, target)| format!("{} in {place}", target.id)).collect();
        let text = format!("{} leads to {}", self.to, places.join(", "));
        let number = seen.moves.len() + 1;
        screen.result(
            &text,
            &json!({ "event": "image-promoted", "channel": self.to, "number": number, "images": images }),
        );
        Ok(())
    }

    async fn found<'a>(&self, sites: &'a [Site]) -> Result<(&'a Site, FoundImage), Failure> {
        for site in sites {
            let found = site.cloud.image(&self.image).await?;
            if let Some(image) = found.filter(|image| image.tags.contains_key(TAG_IMAGE)) {
                return Ok((site, image));
            }
        }
        Err(Failure::new(Exit::Platform, format!("there is no image `{}` of ours", self.image))
            .hint("sre-provision images list   tells which there are"))
    }

    /// The statement of an image that may be promoted.
    ///
    /// # Errors
    /// Exit 1: it is not ready, nobody vouches for it, or it is another than the one that is meant.
    async fn admit(&self, site: &Site, image: &FoundImage) -> Result<Vec<u8>, Failure> {
        let refused = || Failure::new(Exit::NotDone, format!("image `{}` is not promoted", image.id));
        if image.tags.get(TAG_STATE).is_none_or(|state| state != "ready") || !image.usable {
            return Err(refused().because("it was not checked to its end"));
        }
        let digest = content(&site.account, image);
        if let Some(meant) = self.digest.as_ref().filter(|meant| Digest::parse(meant).as_ref() != Some(&digest)) {
            return Err(refused().because(format!("its digest is {digest}, not {meant}")));
        }
        let standing = standing(site, image, Timestamp::now()).await?;
        if !matches!(standing, Standing::Proven(_)) {
            return Err(standing.faults().into_iter().fold(refused(), Failure::because));
        }
        let named = image.tags.get(TAG_STATEMENT).cloned().unwrap_or_default();
        for shelf in &site.shelves {
            if let Some(bytes) = shelf.statement(&named).await? {
                return Ok(bytes);
            }
        }
        Err(Failure::bug("a statement that was read is gone"))
    }

    async fn copy(
        &self,
        common: &Common,
        (site, shelf): (&Site, &Shelf),
        (image, statement): (&FoundImage, &[u8]),
        region: &str,
        (screen, stop): (Screen, &Stop),
    ) -> Result<(Account, FoundImage), Failure> {
        let key = self.sign.as_ref().ok_or_else(|| {
            Failure::new(Exit::Usage, format!("nothing can be promoted to {region} without a key"))
                .because("a copy has an id of its own, and needs a statement of its own")
                .hint("name the key that signs it with `--sign file:KEY`")
        })?;
        let key = SigningKey::read(key, Path::new("."))?;
        let partition = partition_of(region);
        let aws =
            Aws { region: region.to_owned(), partition: partition.to_owned(), account: Some(site.account.id.clone()) };
        let cloud = common.platforms.aws(&aws).await.map_err(|failure| failure.of(region))?;
        let account = cloud.account().await.map_err(|failure| failure.of(region))?;
        screen.remark(&format!("copying {} to {region}", image.id));
        let mut tags = image.tags.clone();
        tags.remove(TAG_STATEMENT);
        tags.insert(TAG_COPY_OF.to_owned(), format!("{}/{}", site.account.region, image.id));
        let mut copy = tokio::select! {
            copy = cloud.copy_of(image, &site.account.region, &tags) => copy.map_err(|failure| failure.of(region))?,
            () = stop.reached(Level::Finish) => {
                return Err(Failure::cancelled(format!("images promote: stopped while {} was copied to {region}", image.id))
                    .because(format!("`{}` leads to where it led; the copy goes on, and the next promote takes it", self.to)));
            }
        };
        same(image, &copy).map_err(|failure| failure.of(region))?;
        let sealed = seal_copy(&key, statement, (&account, &copy))?;
        believed(site, &account, &copy, &sealed).map_err(|failure| failure.of(region))?;
        let digest = shelf.keep_statement(&sealed).await?;
        let named = Tags::from([(TAG_STATEMENT.to_owned(), digest.to_string())]);
        cloud.tag(std::slice::from_ref(&copy.id), &named).await?;
        copy.tags.extend(named);
        Ok((account, copy))
    }
}

/// # Errors
/// Exit 7: the copy is not what it was copied from.
fn same(image: &FoundImage, copy: &FoundImage) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    if copy.name != image.name {
        wrong.push(format!("it is called `{}`, not `{}`", copy.name, image.name));
    }
    if copy.snapshots.len() != image.snapshots.len() {
        wrong.push(format!("it has {} disks, not {}", copy.snapshots.len(), image.snapshots.len()));
    }
    if copy.owner != image.owner {
        wrong.push(format!("it is owned by `{}`, not `{}`", copy.owner, image.owner));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(Exit::Unhealthy, format!("image `{}` is no copy of `{}`", copy.id, image.id));
    Err(wrong.into_iter().fold(failure, Failure::because).hint("deregister it, then promote again"))
}

/// # Errors
/// Exit 1: the statement about a copy is none that those who take the image from the channel would believe.
fn believed(site: &Site, account: &Account, copy: &FoundImage, sealed: &[u8]) -> Result<(), Failure> {
    let digest = Digest::of(sealed);
    match site.policy.judge(account, copy, Some(digest.as_str()), Some(sealed), Timestamp::now()) {
        Standing::Proven(_) => Ok(()),
        standing => {
            let failure =
                Failure::new(Exit::NotDone, format!("the statement about the copy `{}` would not hold", copy.id));
            let failure = standing.faults().into_iter().fold(failure, Failure::because);
            Err(failure.hint("sign with a key that is trusted: `--sign file:KEY`"))
        }
    }
}

fn target(account: &Account, image: &FoundImage) -> (String, Target) {
    let statement = image.tags.get(TAG_STATEMENT).cloned();
    let target = Target { id: image.id.clone(), content: content(account, image), statement };
    (format!("{}/{}", account.id, account.region), target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, name: &str, disks: &[&str]) -> FoundImage {
        FoundImage {
            id: id.to_owned(),
            name: name.to_owned(),
            owner: "1".to_owned(),
            created: String::new(),
            usable: true,
            tags: Tags::new(),
            snapshots: disks.iter().map(|disk| (*disk).to_owned()).collect(),
        }
    }

    #[test]
    fn a_copy_has_the_name_and_as_many_disks_and_whatever_differs_is_told() {
        let original = image("ami-1", "sre-node-9c41", &["snap-1"]);

        assert!(same(&original, &image("ami-2", "sre-node-9c41", &["snap-2"])).is_ok());
        let failure = same(&original, &image("ami-2", "other", &[])).expect_err("refused");
        assert_eq!(failure.causes(), ["it is called `other`, not `sre-node-9c41`", "it has 0 disks, not 1"]);
    }
}
