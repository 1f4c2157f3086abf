//! Whether one name of an image means one image in a bundle: a node imports every archive, and which of two would then bear
//! the name is up to the order in which they are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::bundle::create::Item;
use crate::bundle::manifest::ImageEntry;
use crate::bundle::name::FileKind;
use crate::failure::{Exit, Failure};

/// The header of an entry of a tar file, and the most that is read of the list in it.
const BLOCK: usize = 512;
const LIST: u64 = 4 << 20;
/// What `docker save` calls its list; in archives of RKE2 it comes first.
const NAME: &[u8] = b"manifest.json";

/// An image of an archive as `docker save` lists it.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

/// # Errors
/// Exit 1: two archives of the release, or two of the images that were pulled, have the same name with different digests.
pub fn refuse_ambiguous(items: &[Item], images: &[ImageEntry]) -> Result<(), Failure> {
    let mut known: BTreeMap<String, (String, String)> = BTreeMap::new();
    let archives = items.iter().filter(|item| item.kind == FileKind::Release && item.name.as_str().contains("-images"));
    for item in archives {
        for saved in listed(&item.from) {
            for tag in saved.repo_tags.unwrap_or_default() {
                take(&mut known, tag, digest(&saved.config), item.name.as_str())?;
            }
        }
    }
    // Of an archive the digest of the configuration is known, of one that was pulled that of the manifest.
    known.clear();
    images.iter().try_for_each(|image| {
        let place = format!("{}@sha256:{}", image.reference, image.digest);
        take(&mut known, image.reference.clone(), image.digest.as_str(), &place)
    })
}

fn take(known: &mut BTreeMap<String, (String, String)>, tag: String, digest: &str, place: &str) -> Result<(), Failure> {
    match known.get(&tag) {
        Some((other, there)) if other != digest => {
            let short = |digest: &str| digest.chars().take(12).collect::<String>();
            Err(Failure::new(
                Exit::NotDone,
                format!("the image `{tag}` would be in the bundle twice, and not as the same"),
            )
            .because(format!("`{there}` has it with digest {}", short(other)))
            .because(format!("`{place}` has it with digest {}", short(digest)))
            .hint("take both from one release, or name one of the images under another tag"))
        }
        Some(_) => Ok(()),
        None => {
            known.insert(tag, (digest.to_owned(), place.to_owned()));
            Ok(())
        }
    }
}

/// `abc….json`, `blobs/sha256/abc…`: the digest in it.
fn digest(config: &str) -> &str {
    let name = config.rsplit('/').next().unwrap_or(config);
    name.strip_suffix(".json").unwrap_or(name)
}

/// What an archive lists; nothing where it is of another form. Its bytes are those that its release published.
fn listed(path: &Path) -> Vec<Saved> {
    let Ok(file) = File::open(path) else { return vec![] };
    let Ok(mut tar) = zstd::stream::read::Decoder::new(file) else { return vec![] };
    first(&mut tar).and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default()
}

/// The content of the first entry, where that is the list.
fn first(tar: &mut impl Read) -> Option<Vec<u8>> {
    let mut header = [0; BLOCK];
    tar.read_exact(&mut header).ok()?;
    let name = header.get(..100)?.split(|byte| *byte == 0).next()?;
    let octal = std::str::from_utf8(header.get(124..135)?).ok()?;
    let size = u64::from_str_radix(octal.trim_matches(['\0', ' ']), 8).ok()?;
    if name.strip_prefix(b"./").unwrap_or(name) != NAME || size > LIST {
        return None;
    }
    let mut list = Vec::new();
    tar.take(size).read_to_end(&mut list).ok()?;
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::name::Name;
    use crate::fingerprint::Digest;

    /// An archive as RKE2 publishes it, with one image.
    fn archive(dir: &Path, name: &str, tag: &str, config: &str) -> Item {
        let list = format!(r#"[{{"Config":"{config}.json","RepoTags":["{tag}"],"Layers":["x/layer.tar"]}}]"#);
        let mut tar = vec![0; BLOCK];
        tar[..NAME.len()].copy_from_slice(NAME);
        tar[124..136].copy_from_slice(format!("{:011o}\0", list.len()).as_bytes());
        tar.extend_from_slice(list.as_bytes());
        tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
        let from = dir.join(name);
        std::fs::write(&from, zstd::encode_all(&tar[..], 3).expect("packed")).expect("written");
        Item { kind: FileKind::Release, name: Name::parse(name).expect("a name"), from, sha256: None }
    }

    fn image(reference: &str, content: &[u8]) -> ImageEntry {
        let (reference, digest) = (reference.to_owned(), Digest::of(content));
        ImageEntry { reference, digest, media_type: String::new(), size: 1 }
    }

    #[test]
    fn a_name_that_two_archives_have_for_different_images_is_refused_with_both() {
        let dir = tempfile::tempdir().expect("a directory");
        let core = archive(dir.path(), "rke2-images-core.linux-amd64.tar.zst", "rancher/pause:3", &"a".repeat(64));
        let same = archive(dir.path(), "rke2-images-canal.linux-amd64.tar.zst", "rancher/pause:3", &"a".repeat(64));
        let other = archive(dir.path(), "rke2-images-traefik.linux-amd64.tar.zst", "rancher/pause:3", &"b".repeat(64));

        assert!(refuse_ambiguous(&[core.clone(), same], &[]).is_ok());
        let failure = refuse_ambiguous(&[core, other], &[]).expect_err("refused");
        assert_eq!(failure.what(), "the image `rancher/pause:3` would be in the bundle twice, and not as the same");
        assert_eq!(
            failure.causes(),
            [
                "`rke2-images-core.linux-amd64.tar.zst` has it with digest aaaaaaaaaaaa",
                "`rke2-images-traefik.linux-amd64.tar.zst` has it with digest bbbbbbbbbbbb"
            ]
        );
        assert!(failure.hints()[0].starts_with("take both from one release"), "{failure}");
    }

    #[test]
    fn two_images_that_were_pulled_under_one_name_are_refused() {
        let one = image("registry.example/app:1", b"one");

        assert!(refuse_ambiguous(&[], &[one.clone(), one.clone(), image("registry.example/app:2", b"two")]).is_ok());
        let failure = refuse_ambiguous(&[], &[one, image("registry.example/app:1", b"two")]).expect_err("refused");
        assert!(failure.what().starts_with("the image `registry.example/app:1` would be"), "{failure}");
    }

    #[test]
    fn an_archive_of_another_form_says_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("rke2-images-core.linux-amd64.tar.zst");
        std::fs::write(&path, "garbage").expect("written");

        assert_eq!(listed(&path), []);
        assert_eq!(listed(&dir.path().join("none")), []);
    }
}
