//! Builds the image every node boots from: the base image with one RKE2 release staged for a start without a network.

use async_trait::async_trait;
use serde_json::json;

use crate::artifact::{Artifact, Bundle, Image, Kind};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::fingerprint::{Digest, Inputs};
use crate::rke2;
use crate::stages::image::{self, Recipe};
use crate::stages::{Context, Given, Made, Presence, Stage, promoted};

pub struct NodeImageStage;

#[async_trait]
impl Stage for NodeImageStage {
    fn makes(&self) -> Kind {
        Kind::NodeImage
    }

    fn needs(&self, env: &Environment) -> Vec<Kind> {
        if env.images.channel.is_some() { vec![] } else { vec![Kind::BaseImage, Kind::Bundle] }
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        if let Some(channel) = &env.images.channel {
            return Inputs::new().value("images.channel", channel);
        }
        Inputs::new()
            .value("image.fips", &env.image.fips)
            .tree("packer/node")
            .tree("packer/ansible.sh")
            .tree("ansible/node-image.yml")
            .tree("ansible/roles/rke2_common")
            .tree("ansible/roles/image_seal")
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::NodeImage(image) = recorded else { return Ok(Presence::Gone) };
        match &cx.env.images.channel {
            Some(channel) => promoted::presence(cx, channel, &image.id).await,
            None => image::standing(cx, image).await,
        }
    }

    async fn make(&self, given: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        if let Some(channel) = &cx.env.images.channel {
            return Ok(Artifact::NodeImage(promoted::image(cx, channel).await?).into());
        }
        let base = match given.artifact(Kind::BaseImage) {
            Some(Artifact::BaseImage(base)) => base.clone(),
            Some(_) | None => return Err(Failure::bug("node-image was not given a base image")),
        };
        let bundle: Bundle = given.get(Kind::Bundle)?;
        Ok(Artifact::NodeImage(build(&self.inputs(cx.env), &base, &bundle, cx).await?).into())
    }

    async fn destroy(&self, _: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        image::destroy(cx, "node").await
    }
}

async fn build(inputs: &Inputs, base: &Image, bundle: &Bundle, cx: &Context<'_>) -> Result<Image, Failure> {
    let lineage = vec![base.parent.clone(), base.id.clone()];
    let digests: std::collections::BTreeMap<&str, &Digest> =
        bundle.files.iter().map(|(name, file)| (name.as_str(), &file.sha256)).collect();
    let values = json!({
        "lineage": lineage,
        "digests": digests,
        "rke2_version": bundle.version,
        "rke2_release_dir": cx.workspace.release(&bundle.version),
        "rke2_image_sets": rke2::image_sets(&cx.env.rke2),
    });
    let recipe = Recipe {
        which: "node",
        inputs: inputs.clone().value("bundle", bundle),
        parent: &base.id,
        lineage,
        values,
        rke2: Some(&bundle.version),
        user: &base.user,
    };
    image::image(cx, &recipe).await
}
