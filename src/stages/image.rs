//! What the two image stages share: an image is found before it is built, and trusted only once a machine booted from it.
//!
//! An image is named and tagged by its fingerprint, so a second environment, or a second `up`, finds it. While it is
//! built its state tag says `building`; it says `ready` after a machine of it was looked at over a pinned connection.
//! One that is older than `image.max_age` is as if it were not there.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::artifact::Image;
use crate::cloud::{BuildNetwork, FoundImage, Tags};
use crate::failure::Failure;
use crate::fingerprint::{Digest, Inputs, Reading};
use crate::identity::{
    TAG_BUILD, TAG_ENVIRONMENT, TAG_FINGERPRINT, TAG_IMAGE, TAG_NAME, TAG_PARENT, TAG_RKE2, TAG_STATE,
};
use crate::stages::infrastructure::{own, tool_cx};
use crate::stages::neighbour::{self, Wanted};
use crate::stages::{Context, Presence, Step, age, build_place, image_check, image_proof, jump};
use crate::tools::packer;

pub const READY: &str = "ready";
const BUILDING: &str = "building";

/// How one of the images is made.
pub struct Recipe<'a> {
    /// `base` or `node`: the template's directory below `packer/` and the image's tag.
    pub which: &'static str,
    /// Everything the image is made of, but its parent.
    pub inputs: Inputs,
    /// The image it starts from.
    pub parent: &'a str,
    /// The images it stems from, oldest first.
    pub lineage: Vec<String>,
    /// The template's own variables.
    pub values: Value,
    pub rke2: Option<&'a str>,
    pub user: &'a str,
}

/// Whether a recorded image is still there and may be used.
pub async fn standing(cx: &Context<'_>, image: &Image) -> Result<Presence, Failure> {
    Ok(match cx.cloud.image(&image.id).await? {
        None => Presence::Gone,
        Some(found) if found.tags.get(TAG_FINGERPRINT) != Some(&image.fingerprint.to_string()) => {
            Presence::Foreign(format!("image `{}` does not carry the fingerprint it was built for", image.id))
        }
        Some(found) if !found.usable => Presence::Gone,
        Some(found) => match age::outdated(&found, cx.env.image.max_age, Timestamp::now()) {
            Some(why) => Presence::Outdated(why),
            None => image_proof::presence(cx, &found).await?,
        },
    })
}

/// Finds or builds an image, and checks a new one.
pub async fn image(cx: &Context<'_>, recipe: &Recipe<'_>) -> Result<Image, Failure> {
    let mut reading = cx.reader.read(&recipe.inputs)?;
    reading.insert("parent", Digest::of(recipe.parent.as_bytes()));
    let fingerprint = reading.fingerprint(recipe.which);
    let found = find(cx, recipe, &fingerprint).await?;
    let (old, young): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|image| age::outdated(image, cx.env.image.max_age, Timestamp::now()).is_some());
    let ready = young.iter().find(|image| image.tags.get(TAG_STATE).is_some_and(|state| state == READY));
    let unproven = match ready {
        Some(ready) => image_proof::must_be_looked_at(cx, ready).await?,
        None => false,
    };
    if let Some(ready) = ready.filter(|_| !unproven) {
        cx.progress(format!("found {}", ready.id));
        cx.found_done(&["build", "check"], &ready.id).await?;
        // A run that was killed after it had called the image ready could not sweep any more.
        if !cx.is_new {
            sweep(cx, recipe).await?;
        }
        return Ok(artifact(ready.id.clone(), ready.name.clone(), fingerprint, recipe));
    }
    let there = ready.or(young.first());
    let name = there.map_or_else(|| name(recipe, &fingerprint, old.first()), |image| image.name.clone());
    image_proof::refuse_unsigned(cx.env, &name)?;
    let result = build_and_check(cx, recipe, &name, (&fingerprint, &reading), there).await;
    // What was temporary goes away whatever came of it; what could not be removed now is found by its tag later.
    let swept = sweep(cx, recipe).await;
    let id = result?;
    swept?;
    Ok(artifact(id, name, fingerprint, recipe))
}

/// Removes what builds of this environment left behind. The image stays: other environments may use it.
pub async fn destroy(cx: &Context<'_>, which: &'static str) -> Result<(), Failure> {
    let tags = Tags::from([
        (TAG_ENVIRONMENT.to_owned(), cx.identity.id.to_string()),
        (TAG_BUILD.to_owned(), which.to_owned()),
    ]);
    remove_all(cx, &tags).await
}

fn artifact(id: String, name: String, fingerprint: Digest, recipe: &Recipe<'_>) -> Image {
    Image {
        id,
        name,
        fingerprint,
        parent: recipe.parent.to_owned(),
        rke2: recipe.rke2.map(str::to_owned),
        user: recipe.user.to_owned(),
    }
}

/// The name of a new image, which nothing else in the account may have: it tells which one it comes after, where an
/// older one was made of the same. A build that is gone on with finds the same older one, and so the same name.
fn name(recipe: &Recipe<'_>, fingerprint: &Digest, old: Option<&FoundImage>) -> String {
    let name = format!("sre-{}-{}", recipe.which, fingerprint.short());
    old.map_or(name.clone(), |old| format!("{name}-after-{}", old.id.trim_start_matches("ami-")))
}

/// Newest first.
async fn find(cx: &Context<'_>, recipe: &Recipe<'_>, fingerprint: &Digest) -> Result<Vec<FoundImage>, Failure> {
    let tags = Tags::from([
        (TAG_IMAGE.to_owned(), recipe.which.to_owned()),
        (TAG_FINGERPRINT.to_owned(), fingerprint.to_string()),
    ]);
    let images = cx.cloud.own_images(&tags).await?;
    Ok(images.into_iter().filter(|image| image.usable).collect())
}

async fn build_and_check(
    cx: &Context<'_>,
    recipe: &Recipe<'_>,
    name: &str,
    (fingerprint, reading): (&Digest, &Reading),
    unchecked: Option<&FoundImage>,
) -> Result<String, Failure> {
    let begun = cx.children.running()?.contains(&slot(recipe));
    if !begun {
        sweep_machines(cx, recipe).await?;
    }
    let network = network(cx, recipe).await?;
    let made_of = Inputs::new().value("fingerprint", fingerprint).value("name", &name);
    let id = match unchecked {
        Some(image) => {
            cx.found_done(&["build"], &image.id).await?;
            image.id.clone()
        }
        None => {
            let step = Step::new("build", made_of.clone(), name);
            let there = async |id: &String| Ok(cx.cloud.image(id).await?.is_some_and(|image| image.usable));
            let act = async || {
                // The machine of a build that goes on has the address.
                if !begun {
                    build_place::is_free(cx).await?;
                }
                let build = async || build(cx, recipe, name, fingerprint, &network).await;
                neighbour::build_or_take(cx, &Wanted { which: recipe.which, name, fingerprint, begun }, build).await
            };
            cx.step(step, there, act).await?
        }
    };
    let step = Step::new("check", made_of.value("image", &id), format!("{TAG_BUILD}={}", recipe.which));
    let look = async || image_check::check(cx, recipe, (fingerprint, reading), &id, &network).await;
    cx.step(step, async |_: &String| Ok(false), look).await
}

fn slot(recipe: &Recipe<'_>) -> String {
    format!("{}-image-build", recipe.which)
}

/// The tags of what a build makes for a while.
pub fn build_tags(cx: &Context<'_>, recipe: &Recipe<'_>) -> Tags {
    let mut tags = cx.identity.tags();
    tags.insert(TAG_BUILD.to_owned(), recipe.which.to_owned());
    tags
}

/// What finds it again.
fn build_filter(cx: &Context<'_>, recipe: &Recipe<'_>) -> Tags {
    let mut tags = own(cx);
    tags.insert(TAG_BUILD.to_owned(), recipe.which.to_owned());
    tags
}

/// Where the image is built: where the user says, else in a network of its own.
async fn network(cx: &Context<'_>, recipe: &Recipe<'_>) -> Result<BuildNetwork, Failure> {
    cx.progress("preparing the build network");
    let admit: Vec<String> = cx.env.access.from.iter().map(ToString::to_string).collect();
    let tags = build_tags(cx, recipe);
    match (&cx.env.image.build.vpc, &cx.env.image.build.subnet) {
        (Some(vpc), Some(subnet)) => {
            let security_group = cx.cloud.build_group(vpc, &tags, &admit).await?;
            Ok(BuildNetwork { vpc: vpc.clone(), subnet: subnet.clone(), security_group, public: false })
        }
        _ => cx.cloud.build_network(&tags, &admit).await,
    }
}

async fn build(
    cx: &Context<'_>,
    recipe: &Recipe<'_>,
    name: &str,
    fingerprint: &Digest,
    network: &BuildNetwork,
) -> Result<String, Failure> {
    let key = cx.secrets.ssh_key()?;
    let key_file = cx.secrets.for_child("ssh-key")?;
    let bastion = jump::bastion(cx, network).await?;
    let mut run_tags = build_tags(cx, recipe);
    run_tags.insert(TAG_FINGERPRINT.to_owned(), fingerprint.to_string());
    let mut tags = own(cx);
    tags.extend([
        (TAG_NAME.to_owned(), cx.identity.name.clone()),
        (TAG_IMAGE.to_owned(), recipe.which.to_owned()),
        (TAG_FINGERPRINT.to_owned(), fingerprint.to_string()),
        (TAG_PARENT.to_owned(), recipe.parent.to_owned()),
        (TAG_STATE.to_owned(), BUILDING.to_owned()),
    ]);
    tags.extend(recipe.rke2.map(|version| (TAG_RKE2.to_owned(), version.to_owned())));
    let mut values = json!({
        "image_name": name,
        "fingerprint": fingerprint,
        "lineage": recipe.lineage,
        "tags": tags,
        "run_tags": run_tags,
        "ssh_username": recipe.user,
        "ssh_private_key_file": key_file.path(),
        "ssh_public_key": key.public,
        "ssh_bastion": bastion,
        "fips": cx.env.image.fips,
    });
    let place = build_place::values(cx, recipe.which, recipe.parent, network)?;
    for more in [&place, &recipe.values] {
        if let (Value::Object(all), Value::Object(more)) = (&mut values, more) {
            all.extend(more.clone());
        }
    }
    let build = packer::Build {
        template: cx.workspace.asset(std::path::Path::new("packer")).join(recipe.which),
        only: packer::source(cx.env.platform).to_owned(),
        variables: values,
        fingerprint: fingerprint.clone(),
    };
    Ok(packer::build(&tool_cx(cx), &build).await?.image_id)
}

/// Removes everything temporary of this recipe's builds.
async fn sweep(cx: &Context<'_>, recipe: &Recipe<'_>) -> Result<(), Failure> {
    remove_all(cx, &build_filter(cx, recipe)).await
}

/// Removes the machines that an earlier build or check left; its network may serve again.
async fn sweep_machines(cx: &Context<'_>, recipe: &Recipe<'_>) -> Result<(), Failure> {
    use crate::cloud::ThingKind;
    for thing in cx.cloud.things(&build_filter(cx, recipe)).await? {
        if matches!(thing.kind, ThingKind::Machine | ThingKind::KeyPair | ThingKind::Volume) {
            cx.progress(format!("removing {} {} of an earlier build", thing.kind.name(), thing.id));
            cx.cloud.remove(&thing).await?;
        }
    }
    Ok(())
}

async fn remove_all(cx: &Context<'_>, tags: &Tags) -> Result<(), Failure> {
    use crate::cloud::ThingKind;
    let mut things = cx.cloud.things(tags).await?;
    things.retain(|thing| !matches!(thing.kind, ThingKind::Image | ThingKind::Snapshot));
    things.sort();
    for thing in things {
        cx.progress(format!("removing {} {}", thing.kind.name(), thing.id));
        cx.cloud.remove(&thing).await?;
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A node image's, without inputs.
    pub fn recipe() -> Recipe<'static> {
        Recipe {
            which: "node",
            inputs: Inputs::new(),
            parent: "ami-base",
            lineage: vec![],
            values: Value::Null,
            rke2: Some("v1.35.4+rke2r1"),
            user: "rocky",
        }
    }

    #[test]
    fn an_image_that_follows_an_old_one_of_the_same_fingerprint_has_a_name_of_its_own() {
        let print = Digest::of(b"image");
        let old = FoundImage {
            id: "ami-300e55ab2b6caa82a".to_owned(),
            name: format!("sre-node-{}", print.short()),
            owner: "123456789012".to_owned(),
            created: "2026-10-21T14:02:00.000Z".to_owned(),
            usable: true,
            tags: Tags::new(),
            snapshots: vec![],
        };

        assert_eq!(name(&recipe(), &print, None), format!("sre-node-{}", print.short()));
        assert_eq!(name(&recipe(), &print, Some(&old)), format!("sre-node-{}-after-300e55ab2b6caa82a", print.short()));
    }
}
