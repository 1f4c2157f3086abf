//! Images: whose, which, and what they are made of.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{Filter, Image, ImageState, ResourceType};
use aws_sdk_elasticloadbalancingv2::types::Tag;

use super::{Aws, errors, tagged};
use crate::cloud::{FoundImage, Tags};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::TAG_COPY_OF;

/// How many things one call takes: CreateTags of EC2, and AddTags of Elastic Load Balancing.
const TAGGED_AT_ONCE: usize = 500;
const BALANCERS_TAGGED_AT_ONCE: usize = 20;
/// How long a copy between regions may take, and how often it is asked for.
const COPY_LIMIT: Duration = Duration::from_hours(2);
/// How long a copy may be unknown after it was asked for.
const SEEN_LIMIT: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_secs(5);

impl Aws {
    pub(super) async fn newest_image(&self, owner: &str, name: &str) -> Result<Option<FoundImage>, Failure> {
        let filters = vec![tagged::filter("name", name), tagged::filter("state", "available")];
        let images = self.images(owner, filters, &format!("looking for images `{name}` of `{owner}`")).await?;
        Ok(images.into_iter().next())
    }

    pub(super) async fn images_with(&self, tags: &Tags) -> Result<Vec<FoundImage>, Failure> {
        self.images("self", tagged::filters(tags), "looking for images of this account").await
    }

    /// Newest first.
    async fn images(&self, owner: &str, filters: Vec<Filter>, doing: &str) -> Result<Vec<FoundImage>, Failure> {
        let pages = self.ec2.describe_images().owners(owner).set_filters(Some(filters)).into_paginator().items().send();
        let found: Vec<Image> = pages.try_collect().await.map_err(|error| errors::failure(doing, error))?;
        // One that failed stays listed until somebody deregisters it, and nothing comes of it.
        let mut images: Vec<FoundImage> =
            found.iter().filter(|image| image.state != Some(ImageState::Failed)).map(read).collect();
        images.sort_by(|one, other| (&other.created, &other.id).cmp(&(&one.created, &one.id)));
        Ok(images)
    }

    pub(super) async fn image_by_id(&self, id: &str) -> Result<Option<FoundImage>, Failure> {
        match self.raw_image(id).await? {
            Some(image) if image.state != Some(ImageState::Deregistered) => Ok(Some(read(&image))),
            Some(_) | None => Ok(None),
        }
    }

    pub(super) async fn raw_image(&self, id: &str) -> Result<Option<Image>, Failure> {
        match self.ec2.describe_images().image_ids(id).send().await {
            Ok(answer) => Ok(answer.images.unwrap_or_default().into_iter().next()),
            Err(error) if errors::is_gone(&error) => Ok(None),
            Err(error) => Err(errors::failure(format!("looking for image `{id}`"), error)),
        }
    }

    /// Copies an image of another region to here, unless its copy is here already: names are unique in a region, and the
    /// tags of a copy say of what.
    pub(super) async fn copied(&self, image: &FoundImage, region: &str, tags: &Tags) -> Result<FoundImage, Failure> {
        let doing = format!("copying image `{}` from {region}", image.id);
        let named = vec![tagged::filter("name", &image.name)];
        let id = match self.images("self", named, &doing).await?.into_iter().next() {
            Some(there) => {
                refuse_other(&there, image, region, tags).map_err(|failure| failure.of(&self.wanted.region))?;
                there.id
            }
            None => {
                let call = self.ec2.copy_image().source_region(region).source_image_id(&image.id).name(&image.name);
                let kinds = [ResourceType::Image, ResourceType::Snapshot];
                let marks = kinds.map(|kind| tagged::specification(kind, tags)).to_vec();
                let call = call.set_tag_specifications(Some(marks));
                let token = Digest::of_value(&(&image.id, region, &self.wanted.region));
                let answer = call.client_token(token.as_str()).send().await;
                answer.map_err(|error| errors::failure(&doing, error))?.image_id.unwrap_or_default()
            }
        };
        let begun = Instant::now();
        loop {
            match self.raw_image(&id).await? {
                Some(copy) if copy.state == Some(ImageState::Available) => {
                    let copy = read(&copy);
                    self.add_tags(&[vec![id], copy.snapshots.clone()].concat(), tags).await?;
                    return Ok(FoundImage { tags: tags.clone(), ..copy });
                }
                Some(copy) if copy.state == Some(ImageState::Pending) && begun.elapsed() < COPY_LIMIT => {}
                // What was just made is not told everywhere at once.
                None if begun.elapsed() < SEEN_LIMIT => {}
                _ => {
                    let what = format!("{doing}: `{id}` came to nothing");
                    return Err(Failure::new(Exit::Platform, what).hint("deregister it, then promote again"));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn add_tags(&self, ids: &[String], tags: &Tags) -> Result<(), Failure> {
        if ids.is_empty() || tags.is_empty() {
            return Ok(());
        }
        let (balancers, others): (Vec<_>, Vec<_>) =
            ids.iter().cloned().partition(|id| id.starts_with("arn:") && id.contains(":elasticloadbalancing:"));
        let doing = |ids: &[String]| format!("tagging `{}`", ids.join("`, `"));
        for some in others.chunks(TAGGED_AT_ONCE) {
            let call = self.ec2.create_tags().set_resources(Some(some.to_vec())).set_tags(Some(tagged::write(tags)));
            call.send().await.map_err(|error| errors::failure(doing(some), error))?;
        }
        for some in balancers.chunks(BALANCERS_TAGGED_AT_ONCE) {
            let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
            let call = self.elb.add_tags().set_resource_arns(Some(some.to_vec())).set_tags(Some(tags.collect()));
            call.send().await.map_err(|error| errors::failure(doing(some), error))?;
        }
        Ok(())
    }
}

/// # Errors
/// Exit 6: the image that has the name is not the copy that these tags are of.
fn refuse_other(there: &FoundImage, image: &FoundImage, region: &str, tags: &Tags) -> Result<(), Failure> {
    let (is, must) = (there.tags.get(TAG_COPY_OF), tags.get(TAG_COPY_OF));
    if is.is_some() && is == must {
        return Ok(());
    }
    let what = format!("image `{}` of {region} is not copied: `{}` has its name `{}`", image.id, there.id, image.name);
    let told = is.map_or("it is no copy by its tags".to_owned(), |of| format!("it is a copy of `{of}` by its tags"));
    Err(Failure::new(Exit::Platform, what).because(told).hint("deregister it if nothing needs it, then promote again"))
}

fn read(image: &Image) -> FoundImage {
    let disks = image.block_device_mappings().iter().filter_map(|mapping| mapping.ebs());
    FoundImage {
        id: image.image_id.clone().unwrap_or_default(),
        name: image.name.clone().unwrap_or_default(),
        owner: image.owner_id.clone().unwrap_or_default(),
        created: image.creation_date.clone().unwrap_or_default(),
        usable: image.state == Some(ImageState::Available),
        tags: tagged::read(image.tags()),
        snapshots: disks.filter_map(|disk| disk.snapshot_id.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, copy_of: Option<&str>) -> FoundImage {
        FoundImage {
            id: id.to_owned(),
            name: "sre-node-9c41".to_owned(),
            owner: "1".to_owned(),
            created: String::new(),
            usable: true,
            tags: copy_of.map(|of| (TAG_COPY_OF.to_owned(), of.to_owned())).into_iter().collect(),
            snapshots: vec![],
        }
    }

    #[test]
    fn an_image_of_the_same_name_is_taken_for_the_copy_only_if_it_says_of_what() {
        let tags = Tags::from([(TAG_COPY_OF.to_owned(), "us-east-1/ami-1".to_owned())]);
        let judged = |of| refuse_other(&image("ami-2", of), &image("ami-1", None), "us-east-1", &tags);

        assert!(judged(Some("us-east-1/ami-1")).is_ok());
        let failure = judged(None).expect_err("refused");
        assert_eq!(failure.exit(), Exit::Platform);
        assert_eq!(failure.what(), "image `ami-1` of us-east-1 is not copied: `ami-2` has its name `sre-node-9c41`");
        assert_eq!(failure.causes(), ["it is no copy by its tags"]);
        let other = judged(Some("us-east-1/ami-3")).expect_err("refused");
        assert_eq!(other.causes(), ["it is a copy of `us-east-1/ami-3` by its tags"]);
    }
}
