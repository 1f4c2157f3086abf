//! Whether what was loaded last is enough for an environment as its file is now: it may have changed since.

use std::path::Path;

use crate::bundle::images::reference;
use crate::bundle::load::loaded_manifest;
use crate::bundle::needs::{Lack, by_name};
use crate::bundle::required::{Required, Thing, required};
use crate::environment::Environment;
use crate::failure::{Exit, Failure};

/// What the nodes need of release and images, and the bundle that was loaded did not bring; nothing where none was loaded.
/// By name and digest: contents were held against theirs when they were loaded. Tools are looked for where they are
/// started, packages on each machine.
fn unloaded(dir: &Path, env: &Environment) -> Result<Vec<Lack>, Failure> {
    let Some(manifest) = loaded_manifest(dir) else { return Ok(vec![]) };
    let is_for_nodes = |one: &Required| matches!(one.thing, Thing::Release(_) | Thing::Image(_));
    let required: Vec<Required> = required(env, |_| false).into_iter().filter(is_for_nodes).collect();
    by_name(&manifest, &required, env)
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
    let failure = lacking.iter().fold(failure, |failure, line| failure.because(format!("it lacks {}", line.what)));
    Err(failure
        .hint(format!("sre-provision bundle create {name}   where there is internet, with the same environment file"))
        .hint(format!("sre-provision bundle load {name} DIR   here, with what that made")))
}
