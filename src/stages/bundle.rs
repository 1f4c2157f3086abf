//! Brings the files of one RKE2 release into the local store, each verified against the release's checksums.
//!
//! They come from where `rke2.release` says; where it says nothing, from what `bundle load` has taken in, and else from the
//! release page itself. Machines that exist get nothing from anywhere else once a bundle was loaded: what it lacks is told
//! before any of them is touched. Beside the release lie the archives of images that are in none.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;

use crate::artifact::{Artifact, Bundle, BundleFile, Kind};
use crate::bundle::{Pull, Source, Wanted, image_archive, is_image_loaded, referred, refuse_unloaded};
use crate::environment::{Environment, Platform};
use crate::failure::Failure;
use crate::fingerprint::{Digest, Inputs};
use crate::rke2;
use crate::stages::{Context, Given, Made, Presence, Stage, packages};

pub struct BundleStage;

#[async_trait]
impl Stage for BundleStage {
    fn makes(&self) -> Kind {
        Kind::Bundle
    }

    fn needs(&self, _: &Environment) -> Vec<Kind> {
        vec![]
    }

    fn inputs(&self, env: &Environment) -> Inputs {
        let inputs = Inputs::new().value("rke2.version", &env.rke2.version).value("rke2.cni", &env.rke2.cni);
        // Only what is beyond core and CNI, so that what was made before stays valid.
        let inputs = match rke2::image_sets(&env.rke2).get(2..) {
            None | Some([]) => inputs,
            Some(more) => inputs.value("image sets", &more),
        };
        match &env.load_balancer.image {
            Some(image) => inputs.value("load_balancer.image", image),
            None => inputs,
        }
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Bundle(bundle) = recorded else { return Ok(Presence::Gone) };
        let dir = cx.workspace.release(&bundle.version);
        let missing =
            bundle.files.iter().chain(&bundle.images).find(|(name, file)| !has_size(&dir.join(name), file.size));
        Ok(match missing {
            None if bundle.rpms != packages::digest(cx)? => {
                Presence::Altered("other packages were loaded, or other keys are named for them".to_owned())
            }
            None => Presence::Standing,
            Some((name, _)) => Presence::Altered(format!("`{name}` is not in the store as it was verified")),
        })
    }

    async fn make(&self, _: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let version = &cx.env.rke2.version;
        if is_from_loaded(cx) {
            refuse_unloaded(&cx.state.loaded(), cx.env).map_err(|failure| failure.of(cx.stage))?;
        }
        let tell = |text: String| cx.progress(text);
        let source = source(cx);
        let ca = match source {
            Source::Directory(_) => None,
            _ => referred(cx.workspace.root(), cx.env.bundle.ca.as_ref())?,
        };
        let wanted = Wanted {
            version,
            files: rke2::release_files(&cx.env.rke2),
            dir: &cx.workspace.release(version),
            ca,
            stop: cx.stop,
            tell: &tell,
        };
        let files = wanted.fetch(&source).await?;
        let images = archives(cx).await.map_err(|failure| failure.of(cx.stage))?;
        Ok(Artifact::Bundle(Bundle { version: version.clone(), files, images, rpms: packages::digest(cx)? }).into())
    }

    /// The store is shared by all environments and holds nothing that costs: it stays.
    async fn destroy(&self, _: Option<&Artifact>, _: &Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn source(cx: &Context<'_>) -> Source {
    match cx.env.rke2.release.as_deref() {
        None if is_from_loaded(cx) => Source::Directory(cx.state.loaded_releases()),
        release => Source::of(release, cx.workspace.root()),
    }
}

/// Whether the release is that which `bundle load` has taken in; machines that exist may have no other way to one.
fn is_from_loaded(cx: &Context<'_>) -> bool {
    let is_there = || cx.state.loaded_releases().join(&cx.env.rke2.version).is_dir();
    let is_all = || cx.env.platform == Platform::Hosts && cx.state.loaded_releases().is_dir();
    cx.env.rke2.release.is_none() && (is_there() || is_all())
}

/// Archives of the images that nodes need and no release has, in the store: out of what was loaded, or pulled.
async fn archives(cx: &Context<'_>) -> Result<BTreeMap<String, BundleFile>, Failure> {
    let Some(image) = &cx.env.load_balancer.image else { return Ok(BTreeMap::new()) };
    let blobs = if is_image_loaded(&cx.state.loaded(), image)? {
        cx.state.loaded().join("images/blobs/sha256")
    } else {
        let blobs = cx.workspace.blobs();
        let tell = |text: String| cx.progress(text);
        let pull = Pull::new(&cx.env.bundle, cx.workspace.root(), &blobs, &tell)?;
        pull.fetch(&pull.look(image).await?).await?;
        blobs
    };
    let (image, dir) = (image.clone(), cx.workspace.release(&cx.env.rke2.version));
    let name = |digest: &Digest| format!("kube-vip-{}.tar", digest.short());
    // Hundreds of megabytes, perhaps: not on a thread that others wait for.
    let made = tokio::task::spawn_blocking(move || image_archive(&image, &blobs, &dir, name)).await;
    Ok(BTreeMap::from([made.map_err(|error| Failure::bug("an image could not be packed").because(error))??]))
}

fn has_size(path: &Path, size: u64) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == size)
}
