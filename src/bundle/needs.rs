//! Whether a bundle alone is enough for an environment: each need of its stages is looked up in the manifest.

use std::collections::BTreeMap;

use crate::bundle::closure::Provided;
use crate::bundle::images;
use crate::bundle::manifest::Manifest;
use crate::bundle::name::FileKind;
use crate::bundle::open::Opened;
use crate::bundle::packages::BASE;
use crate::bundle::required::{Required, Thing, required};
use crate::bundle::rpms::Rpms;
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2::{Checksums, checksum_file};

/// The largest list of checksums, and the largest manifest of an image, that is read.
const LIST: u64 = 1 << 20;
const IMAGE_MANIFEST: u64 = 4 << 20;
/// All that a base image provides: files and capabilities, about 100 bytes each.
const BASE_LIST: u64 = 256 << 20;

/// Something that the environment needs and a bundle has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The thing, and the stage that wants it.
    pub what: String,
    /// What brings it into the next bundle, where the same environment file alone does not.
    pub hint: Option<String>,
}

impl Lack {
    fn of(one: &Required, env: &Environment) -> Self {
        Self { what: one.to_string(), hint: one.thing.hint(&env.name) }
    }

    fn plain(what: String) -> Self {
        Self { what, hint: None }
    }
}

/// What the stages of the environment want and the bundle alone has not.
///
/// # Errors
/// The release's list of checksums, or a manifest of an image, cannot be read from the bundle; a file of the release has
/// another digest there.
pub fn lacking(opened: &Opened, env: &Environment) -> Result<Vec<Lack>, Failure> {
    let manifest = &opened.manifest;
    let required = required(env, |program| manifest.without.contains(program));
    let mut lacking = by_name(manifest, &required, env)?;
    checksums(opened, &required)?;
    let read = |digest: &Digest| match manifest.file(FileKind::Blob, digest.as_str()) {
        Some(blob) => opened.content(blob, IMAGE_MANIFEST),
        None => Err(Failure::bug("a blob that is there is not")),
    };
    lacking.extend(images::lacking(manifest, read)?.into_iter().map(Lack::plain));
    lacking.extend(packages(opened, &required, env)?);
    Ok(lacking)
}

/// What of it a manifest does not name. Of another release it has no file, and that is said once.
pub fn by_name(manifest: &Manifest, required: &[Required], env: &Environment) -> Result<Vec<Lack>, Failure> {
    let other = other_release(manifest, env);
    let mut lacking = Vec::new();
    for one in required {
        let is_other = other.is_some() && matches!(one.thing, Thing::Release(_));
        if !is_other && !one.thing.is_in(manifest)? {
            lacking.push(Lack::of(one, env));
        }
    }
    Ok(other.map(Lack::plain).into_iter().chain(lacking).collect())
}

/// The release that is wanted, where a manifest is of another one.
pub fn other_release(manifest: &Manifest, env: &Environment) -> Option<String> {
    let (held, wanted) = (&manifest.rke2.version, &env.rke2.version);
    (held != wanted).then(|| format!("RKE2 {wanted} (it holds {held})"))
}

/// The files of the release that are there, each held against the release's own list.
fn checksums(opened: &Opened, required: &[Required]) -> Result<(), Failure> {
    let manifest = &opened.manifest;
    let Some(list) = manifest.file(FileKind::Release, &checksum_file()) else { return Ok(()) };
    let sums = Checksums::parse(&String::from_utf8_lossy(&opened.content(list, LIST)?))?;
    let here: BTreeMap<&str, &Digest> =
        manifest.of_kind(FileKind::Release).map(|file| (file.name.as_str(), &file.sha256)).collect();
    for one in required {
        let Thing::Release(name) = &one.thing else { continue };
        let found = here.get(name.as_str()).filter(|_| *name != checksum_file());
        if let Some(found) = found
            && *found != sums.of(name)?
        {
            return Err(Failure::new(Exit::NotDone, format!("`{name}` of the bundle has a wrong checksum"))
                .because(format!("its SHA-256 is {found}, and the release's list says another")));
        }
    }
    Ok(())
}

/// The packages that are wanted, and what those of the bundle require and nobody there or in the base image provides.
fn packages(opened: &Opened, required: &[Required], env: &Environment) -> Result<Vec<Lack>, Failure> {
    let manifest = &opened.manifest;
    let wanted: BTreeMap<String, (&str, &Required)> = required
        .iter()
        .filter_map(|one| match &one.thing {
            Thing::Rpm(word) => Some((one.thing.to_string(), (word.as_str(), one))),
            _ => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let mut provided = Provided::default();
    match manifest.file(FileKind::RpmMetadata, BASE) {
        Some(base) => provided.add_base(&String::from_utf8_lossy(&opened.content(base, BASE_LIST)?)),
        None if manifest.of_kind(FileKind::Rpm).next().is_none() => {
            return Ok(wanted.values().map(|(_, one)| Lack::of(one, env)).collect());
        }
        None => return Ok(vec![Lack::plain(format!("rpm metadata `{BASE}`"))]),
    }
    let rpms = Rpms::read(manifest.of_kind(FileKind::Rpm), |file, index, content| {
        opened.extend(content, file, index)?;
        Ok(index + 1 < file.chunks.len())
    })?;
    let words: Vec<&str> = wanted.values().map(|(word, _)| *word).collect();
    let lacking = rpms.lacking(&words, provided, |_| true).into_iter();
    let mut lacking: Vec<Lack> = lacking
        .map(|line| match wanted.get(&line) {
            Some((_, one)) => Lack::of(one, env),
            None => Lack::plain(line),
        })
        .collect();
    if !rpms.is_empty() && manifest.file(FileKind::RpmMetadata, "repomd.xml").is_none() {
        lacking.push(Lack::plain("rpm metadata `repomd.xml`".to_owned()));
    }
    Ok(lacking)
}
