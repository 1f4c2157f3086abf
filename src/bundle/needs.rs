//! Whether a bundle alone is enough for an environment: each need of its stages is looked up in the manifest.

use std::collections::BTreeMap;

use crate::bundle::images;
use crate::bundle::manifest::Manifest;
use crate::bundle::name::FileKind;
use crate::bundle::open::Opened;
use crate::environment::{Environment, Platform};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2::{Checksums, checksum_file, release_files};

/// The largest list of checksums, and the largest manifest of an image, that is read.
const LIST: u64 = 1 << 20;
const IMAGE_MANIFEST: u64 = 4 << 20;

/// What the environment needs and the bundle lacks, each as a line for people.
///
/// # Errors
/// The release's list of checksums cannot be read from the bundle.
pub fn lacking(opened: &Opened, env: &Environment) -> Result<Vec<String>, Failure> {
    let manifest = &opened.manifest;
    let mut lacking = release(opened, env)?;
    for program in programs(env, manifest) {
        if manifest.file(FileKind::Program, program).is_none() {
            lacking.push(format!("program `{program}`"));
        }
    }
    let given = [
        (FileKind::Plugin, env.bundle.plugins.is_some() && !manifest.without.contains("packer")),
        (FileKind::Provider, env.bundle.providers.is_some()),
        (FileKind::Wheel, env.bundle.wheels.is_some()),
        (FileKind::Rpm, env.bundle.rpms.is_some()),
        (FileKind::Chart, env.bundle.charts.is_some()),
        (FileKind::Iso, env.bundle.iso.is_some()),
    ];
    for (kind, _) in
        given.into_iter().filter(|(kind, is_wanted)| *is_wanted && manifest.of_kind(*kind).next().is_none())
    {
        lacking.push(format!("any {kind}"));
    }
    let read = |digest: &Digest| match manifest.file(FileKind::Blob, digest.as_str()) {
        Some(blob) => opened.content(blob, IMAGE_MANIFEST),
        None => Err(Failure::bug("a blob that is there is not")),
    };
    lacking.extend(images::lacking(manifest, &env.images(), read)?);
    Ok(lacking)
}

/// The files of the release, each as the release's own list has it.
fn release(opened: &Opened, env: &Environment) -> Result<Vec<String>, Failure> {
    let (manifest, wanted) = (&opened.manifest, &env.rke2.version);
    if manifest.rke2.version != *wanted {
        return Ok(vec![format!("RKE2 {wanted} (it holds {})", manifest.rke2.version)]);
    }
    let Some(list) = manifest.file(FileKind::Release, &checksum_file()) else {
        return Ok(vec![format!("release file `{}`", checksum_file())]);
    };
    let sums = Checksums::parse(&String::from_utf8_lossy(&opened.content(list, LIST)?))?;
    let here: BTreeMap<&str, &Digest> =
        manifest.of_kind(FileKind::Release).map(|file| (file.name.as_str(), &file.sha256)).collect();
    let mut lacking = Vec::new();
    for name in release_files(env.rke2.cni) {
        match here.get(name.as_str()) {
            None => lacking.push(format!("release file `{name}`")),
            Some(found) if *found != sums.of(&name)? => {
                return Err(Failure::new(Exit::NotDone, format!("`{name}` of the bundle has a wrong checksum"))
                    .because(format!("its SHA-256 is {found}, and the release's list says another")));
            }
            Some(_) => {}
        }
    }
    Ok(lacking)
}

/// The programs that the stages of this platform start.
pub fn programs(env: &Environment, manifest: &Manifest) -> Vec<&'static str> {
    let mut wanted = vec!["sre-provision"];
    wanted.extend(platform_programs(env.platform));
    wanted.retain(|program| !manifest.without.contains(*program));
    wanted
}

/// What a platform needs beside our own program; machines that exist need neither images nor OpenTofu.
pub fn platform_programs(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Aws | Platform::Vsphere => &["tofu", "packer"],
        Platform::Hosts => &[],
    }
}
