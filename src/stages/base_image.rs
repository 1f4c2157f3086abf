//! Builds the image everything stems from: FIPS, hardened, without Kubernetes.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::artifact::{Artifact, Image, Kind};
use crate::environment::{Environment, Platform};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::stages::image::{self, Recipe};
use crate::stages::{Context, Given, Made, Presence, Stage, age, promoted};
use crate::units::Span;

pub struct BaseImageStage;

/// Which image was found for `image.source`, and when.
const SOURCE: &str = "base-image/source";

#[async_trait]
impl Stage for BaseImageStage {
    fn makes(&self) -> Kind {
        Kind::BaseImage
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        if let Some(channel) = &env.images.channel {
            return Inputs::new().value("images.channel", channel);
        }
        Inputs::new()
            .value("image.source", &env.image.source)
            .value("image.fips", &env.image.fips)
            .value("hardening.profile", &env.hardening.profile)
            .tree("packer/base")
            .tree("packer/ansible.sh")
            .tree("ansible/base.yml")
            .tree("ansible/roles/os_hardening")
            .tree("ansible/roles/image_seal")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::BaseImage(image) = recorded else { return Ok(Presence::Gone) };
        if let Some(channel) = &cx.env.images.channel {
            return promoted::base_presence(cx, channel, &image.id).await;
        }
        match image::standing(cx, image).await? {
            Presence::Standing => Ok(newer_source(cx, image).await?.map_or(Presence::Standing, Presence::Outdated)),
            other => Ok(other),
        }
    }

    async fn make(&self, _: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        if let Some(channel) = &cx.env.images.channel {
            return Ok(Artifact::BaseImage(promoted::base(cx, channel).await?).into());
        }
        let source = source(cx).await?;
        let values = json!({ "lineage": [source] });
        let recipe = Recipe {
            which: "base",
            inputs: self.inputs(cx.env),
            parent: &source,
            lineage: vec![source.clone()],
            values,
            rke2: None,
            user: &cx.env.image.source.user,
        };
        Ok(Artifact::BaseImage(image::image(cx, &recipe).await?).into())
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        image::destroy(cx, "base").await
    }
}

/// That the source has a newer image than the one this stems from; only looked at where everything is looked up anew.
async fn newer_source(cx: &Context<'_>, image: &Image) -> Result<Option<String>, Failure> {
    if !cx.env.images.look_anew {
        return Ok(None);
    }
    let wanted = &cx.env.image.source;
    let newest = cx.cloud.source_image(&wanted.owner, &wanted.name).await?;
    let newer = newest.filter(|newest| newest.id != image.parent);
    Ok(newer.map(|newer| format!("source image: `{}` instead of `{}`", newer.id, image.parent)))
}

/// The id of the source image: the newest of its owner at the first look. One that is published later is taken when
/// `image.source` changes or the look is longer ago than `image.max_age`, so that an image that is made anew because of
/// its age starts from what is new.
async fn source(cx: &Context<'_>) -> Result<String, Failure> {
    let wanted = &cx.env.image.source;
    let asked = serde_json::to_value(wanted).unwrap_or(Value::Null);
    let now = Timestamp::now();
    let fact = cx.ledger.fact(SOURCE).filter(|_| !cx.env.images.look_anew);
    if let Some(id) = fact.and_then(|fact| remembered(&fact, &asked, cx.env.image.max_age, now)) {
        return Ok(id);
    }
    let found = cx.cloud.source_image(&wanted.owner, &wanted.name).await?.ok_or_else(|| {
        let failure =
            Failure::new(Exit::Platform, format!("base-image: {} has no image of that name", cx.identity.region));
        match cx.env.platform {
            Platform::Vsphere => failure.because(format!("no template is called `{}`", wanted.name)).hint(
                "set `image.source.name` to a template, by its name or by its path below the datacenter's folder",
            ),
            Platform::Aws | Platform::Hosts => failure
                .because(format!("owner `{}`, name `{}`", wanted.owner, wanted.name))
                .hint("set `image.source.owner` and `image.source.name`"),
        }
    })?;
    cx.ledger.record_fact(SOURCE, json!({ "asked": asked, "id": found.id, "name": found.name, "at": now })).await?;
    Ok(found.id)
}

/// What an earlier look found, if it asked the same and is not too long ago.
fn remembered(fact: &Value, asked: &Value, most: Span, now: Timestamp) -> Option<String> {
    let at: Timestamp = fact["at"].as_str()?.parse().ok()?;
    let holds = fact["asked"] == *asked && !age::is_past(at, most, now);
    fact["id"].as_str().filter(|_| holds).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(asked: &str, now: &str) -> Option<String> {
        let fact = json!({ "asked": "rocky-9", "id": "ami-1", "name": "Rocky-9.4", "at": "2026-10-21T14:02:00Z" });
        let month = Span(Duration::from_secs(30 * 86_400));
        remembered(&fact, &json!(asked), month, now.parse().expect("a time"))
    }

    #[test]
    fn the_source_image_stays_the_same_until_another_is_asked_for_or_the_look_is_too_long_ago() {
        assert_eq!(taken("rocky-9", "2026-11-20T14:02:00Z").as_deref(), Some("ami-1"));
        assert_eq!(taken("rocky-10", "2026-11-20T14:02:00Z"), None);
        assert_eq!(taken("rocky-9", "2026-11-20T14:02:01Z"), None);
    }
}
