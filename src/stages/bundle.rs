//! Brings the files of one RKE2 release into the local store, each verified against the release's checksums.
//!
//! They come from where `rke2.release` says; where it says nothing, from what `bundle load` has taken in, and else from the
//! release page itself.

use std::path::Path;

use async_trait::async_trait;

use crate::artifact::{Artifact, Bundle, Kind};
use crate::bundle::{Source, Wanted};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::fingerprint::Inputs;
use crate::rke2;
use crate::stages::{Context, Given, Made, Presence, Stage};

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
        Inputs::new().value("rke2.version", &env.rke2.version).value("rke2.cni", &env.rke2.cni)
    }

    async fn probe(&self, recorded: &Artifact, cx: &Context<'_>) -> Result<Presence, Failure> {
        let Artifact::Bundle(bundle) = recorded else { return Ok(Presence::Gone) };
        let dir = cx.workspace.release(&bundle.version);
        let missing = bundle.files.iter().find(|(name, file)| !has_size(&dir.join(name), file.size));
        Ok(match missing {
            None => Presence::Standing,
            Some((name, _)) => Presence::Altered(format!("`{name}` is not in the store as it was verified")),
        })
    }

    async fn make(&self, _: &Given, cx: &Context<'_>) -> Result<Made, Failure> {
        let version = &cx.env.rke2.version;
        let tell = |text: String| cx.progress(text);
        let wanted = Wanted {
            version,
            files: rke2::release_files(cx.env.rke2.cni),
            dir: &cx.workspace.release(version),
            ca: crate::bundle::referred(cx.workspace.root(), cx.env.bundle.ca.as_ref())?,
            stop: cx.stop,
            tell: &tell,
        };
        let files = wanted.fetch(&source(cx)).await?;
        Ok(Artifact::Bundle(Bundle { version: version.clone(), files }).into())
    }

    /// The store is shared by all environments and holds nothing that costs: it stays.
    async fn destroy(&self, _: Option<&Artifact>, _: &Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn source(cx: &Context<'_>) -> Source {
    let loaded = cx.state.loaded_releases();
    match cx.env.rke2.release.as_deref() {
        None if loaded.join(&cx.env.rke2.version).is_dir() => Source::Directory(loaded),
        release => Source::of(release, cx.workspace.root()),
    }
}

fn has_size(path: &Path, size: u64) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == size)
}
