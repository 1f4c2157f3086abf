//! Builds the image everything stems from: FIPS, hardened, without Kubernetes.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::artifact::{Artifact, Kind};
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Inputs;
use crate::stages::image::{self, Recipe};
use crate::stages::{Context, Given, Presence, Stage};

pub struct BaseImageStage;

/// The source image, resolved once: an image that its owner publishes later is taken when `image.source` changes or the
/// fact is older than `image.max_age`.
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
        image::standing(cx, image).await
    }

    async fn make(&self, _: &Given, cx: &Context<'_>) -> Result<Artifact, Failure> {
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
        Ok(Artifact::BaseImage(image::image(cx, &recipe).await?))
    }

    async fn destroy(&self, left: Option<&Artifact>, cx: &Context<'_>) -> Result<(), Failure> {
        let image = match left {
            Some(Artifact::BaseImage(image)) => Some(image),
            Some(_) | None => None,
        };
        image::destroy(cx, image, "base").await
    }
}

/// The id of the source image: the newest of the owner the first time, the same one ever after.
async fn source(cx: &Context<'_>) -> Result<String, Failure> {
    let wanted = &cx.env.image.source;
    let asked = serde_json::to_value(wanted).unwrap_or(Value::Null);
    if let Some(fact) = cx.ledger.fact(SOURCE).filter(|fact| fact["asked"] == asked)
        && let Some(id) = fact["id"].as_str()
    {
        return Ok(id.to_owned());
    }
    let found = cx.cloud.source_image(&wanted.owner, &wanted.name).await?.ok_or_else(|| {
        Failure::new(Exit::Platform, format!("base-image: {} has no image of that name", cx.identity.region))
            .because(format!("owner `{}`, name `{}`", wanted.owner, wanted.name))
            .hint("set `image.source.owner` and `image.source.name`")
    })?;
    cx.ledger.record_fact(SOURCE, json!({ "asked": asked, "id": found.id, "name": found.name })).await?;
    Ok(found.id)
}
