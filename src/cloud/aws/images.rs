//! Images: whose, which, and what they are made of.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{Filter, Image, ImageState, ResourceType};
use aws_sdk_elasticloadbalancingv2::types::Tag;

use super::{Aws, errors, tagged};
use crate::cloud::{FoundImage, Tags};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// How many things one call takes: CreateTags of EC2, and AddTags of Elastic Load Balancing.
const TAGGED_AT_ONCE: usize = 500;
const BALANCERS_TAGGED_AT_ONCE: usize = 20;
/// How long a copy between regions may take, and how often it is asked for.
const COPY_LIMIT: Duration = Duration::from_hours(2);
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

    /// Copies an image of another region to here, unless one of its name is here already: names are unique in a region.
    pub(super) async fn copied(&self, image: &FoundImage, region: &str, tags: &Tags) -> Result<FoundImage, Failure> {
        let doing = format!("copying image `{}` from {region}", image.id);
        let named = vec![tagged::filter("name", &image.name)];
        let id = match self.images("self", named, &doing).await?.into_iter().next() {
            Some(there) => there.id,
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
        let until = Instant::now() + COPY_LIMIT;
        loop {
            match self.raw_image(&id).await? {
                Some(copy) if copy.state == Some(ImageState::Available) => {
                    let copy = read(&copy);
                    self.add_tags(&[vec![id], copy.snapshots.clone()].concat(), tags).await?;
                    return Ok(FoundImage { tags: tags.clone(), ..copy });
                }
                Some(copy) if copy.state != Some(ImageState::Failed) && Instant::now() < until => {}
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
