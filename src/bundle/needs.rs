//! Whether a bundle alone is enough for an environment: each need of its stages is looked up in the manifest.

use std::collections::BTreeMap;

use crate::bundle::closure::{Provided, shown};
use crate::bundle::images;
use crate::bundle::manifest::{FileEntry, Manifest};
use crate::bundle::name::FileKind;
use crate::bundle::open::Opened;
use crate::bundle::packages::BASE;
use crate::bundle::rpm::{self, Capability, Package, Read};
use crate::environment::{Environment, Platform};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2::{Checksums, checksum_file, release_files};

/// The largest list of checksums, and the largest manifest of an image, that is read.
const LIST: u64 = 1 << 20;
const IMAGE_MANIFEST: u64 = 4 << 20;
/// All that a base image provides: files and capabilities, about 100 bytes each.
const BASE_LIST: u64 = 256 << 20;

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
    lacking.extend(images::lacking(manifest, &env.pulled(), read)?);
    if let Some(wanted) = &env.bundle.rpms {
        lacking.extend(packages(opened, &wanted.packages)?);
    }
    Ok(lacking)
}

/// The release that is wanted, where a manifest is of another one.
pub fn other_release(manifest: &Manifest, env: &Environment) -> Option<String> {
    let (held, wanted) = (&manifest.rke2.version, &env.rke2.version);
    (held != wanted).then(|| format!("RKE2 {wanted} (it holds {held})"))
}

/// The files of the release, each as the release's own list has it.
fn release(opened: &Opened, env: &Environment) -> Result<Vec<String>, Failure> {
    let manifest = &opened.manifest;
    if let Some(other) = other_release(manifest, env) {
        return Ok(vec![other]);
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

/// The packages that are wanted, and what those of the bundle require and nobody there or in the base image provides.
fn packages(opened: &Opened, wanted: &[String]) -> Result<Vec<String>, Failure> {
    let manifest = &opened.manifest;
    let mut provided = Provided::default();
    match manifest.file(FileKind::RpmMetadata, BASE) {
        Some(base) => provided.add_base(&String::from_utf8_lossy(&opened.content(base, BASE_LIST)?)),
        None => return Ok(vec![format!("rpm metadata `{BASE}`")]),
    }
    let mut packages = Vec::new();
    for file in manifest.of_kind(FileKind::Rpm) {
        let mut beginning = Vec::new();
        let found = (0..file.chunks.len()).find_map(|index| match opened.extend(&mut beginning, file, index) {
            Ok(()) => Some(rpm::read(&beginning)).filter(|read| *read != Read::More).map(Ok),
            Err(failure) => Some(Err(failure)),
        });
        let Some(Read::Whole(package)) = found.transpose()? else {
            return Err(Failure::new(Exit::NotDone, format!("`{}` of the bundle is no RPM", file.name)));
        };
        provided.add_package(&package);
        packages.push((file, package));
    }
    let mut lacking = Vec::new();
    for name in wanted {
        let wanted = Capability { name: name.clone(), sense: 0, version: String::new() };
        // As dnf takes it: a name, a name with its version, or what something provides.
        let is_named = |(_, package): &(&FileEntry, Package)| {
            name.starts_with(&package.name)
                && format!("{}-{}", package.name, package.version).starts_with(name.as_str())
        };
        if !provided.meets(&wanted) && !packages.iter().any(is_named) {
            lacking.push(format!("rpm `{name}`"));
        }
    }
    for (file, package) in &packages {
        for wanted in package.requires.iter().filter(|wanted| !provided.meets(wanted)) {
            lacking.push(format!("`{}`, which rpm `{}` requires", shown(wanted), file.name));
        }
    }
    if !packages.is_empty() && manifest.file(FileKind::RpmMetadata, "repomd.xml").is_none() {
        lacking.push("rpm metadata `repomd.xml`".to_owned());
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
