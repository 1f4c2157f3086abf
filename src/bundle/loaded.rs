//! Whether what was loaded last is enough for an environment as its file is now: it may have changed since.

use std::path::Path;

use crate::bundle::images::{reference, unnamed};
use crate::bundle::load::loaded_manifest;
use crate::bundle::name::FileKind;
use crate::bundle::needs::other_release;
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::rke2::release_files;

/// What the nodes need and the bundle that was loaded did not bring, each as a line for people; nothing where none was
/// loaded. By name and digest: contents were held against theirs when they were loaded.
fn unloaded(dir: &Path, env: &Environment) -> Result<Vec<String>, Failure> {
    let Some(manifest) = loaded_manifest(dir) else { return Ok(vec![]) };
    if let Some(other) = other_release(&manifest, env) {
        return Ok(vec![other]);
    }
    let files = release_files(env.rke2.cni).into_iter();
    let files = files.filter(|name| manifest.file(FileKind::Release, name).is_none());
    let mut lacking: Vec<String> = files.map(|name| format!("release file `{name}`")).collect();
    lacking.extend(unnamed(&manifest, &env.pulled())?);
    Ok(lacking)
}

/// Whether the bundle that was loaded has this image.
pub fn is_image_loaded(dir: &Path, text: &str) -> Result<bool, Failure> {
    let (_, digest) = reference(text)?;
    Ok(loaded_manifest(dir).is_some_and(|manifest| manifest.images.iter().any(|image| image.digest == digest)))
}

/// # Errors
/// Exit 1: what was loaded lacks something, which is named.
pub fn refuse_unloaded(dir: &Path, env: &Environment) -> Result<(), Failure> {
    let lacking = unloaded(dir, env)?;
    if lacking.is_empty() {
        return Ok(());
    }
    let name = &env.name;
    let failure = Failure::new(Exit::NotDone, format!("the bundle that was loaded is not enough for `{name}`"));
    let failure = lacking.iter().fold(failure, |failure, line| failure.because(format!("it lacks {line}")));
    Err(failure
        .hint(format!("sre-provision bundle create {name}   where there is internet, with the same environment file"))
        .hint(format!("sre-provision bundle load {name} DIR   here, with what that made")))
}
