//! One image as an archive that a node's containerd imports: what its digest names for linux/amd64, in the layouts of OCI and
//! of `docker save` at once.
//!
//! Nothing of the time or of the machine is in it: the same image gives the same bytes.

use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::images::{MANIFESTS, Parts, plain, reference};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// The most that an image of one program has.
const LARGEST: u64 = 512 << 20;
const BLOCK: usize = 512;

/// The archive of an image whose blobs lie in a directory, each called by its digest. Blocks the thread.
///
/// # Errors
/// Exit 1: a blob is missing or is not what its digest says; there is nothing for linux/amd64.
pub fn image_archive(text: &str, blobs: &Path) -> Result<Vec<u8>, Failure> {
    let (reference, digest) = reference(text)?;
    let name = plain(&reference);
    let blobs = Blobs { dir: blobs, image: &name };
    let (digest, manifest) = blobs.for_amd64(digest)?;
    let mut archive = Vec::new();
    let (below, parts) = Parts::parse(&manifest)?.split();
    let digests: Vec<Digest> = parts.iter().filter_map(|part| part.sha256()).collect();
    let Some((config, layers)) = digests.split_first().filter(|_| below.is_empty()) else {
        return Err(blobs.refused("its manifest names no layers"));
    };
    let path = |digest: &Digest| format!("blobs/sha256/{digest}");
    let layers: Vec<String> = layers.iter().map(path).collect();
    let saved = json!([{ "Config": path(config), "RepoTags": [name], "Layers": layers }]);
    let entry = json!({ "mediaType": media_type(&manifest), "digest": format!("sha256:{digest}"), "size": manifest.len(),
        "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name } });
    let index = json!({ "schemaVersion": 2, "mediaType": MANIFESTS[0], "manifests": [entry] });
    file(&mut archive, "manifest.json", saved.to_string().as_bytes());
    file(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    file(&mut archive, "index.json", index.to_string().as_bytes());
    file(&mut archive, &path(&digest), &manifest);
    for digest in &digests {
        file(&mut archive, &path(digest), &blobs.read(digest)?);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

struct Blobs<'a> {
    dir: &'a Path,
    image: &'a str,
}

impl Blobs<'_> {
    /// The manifest for linux/amd64: the named one, or the one that a named index has.
    fn for_amd64(&self, digest: Digest) -> Result<(Digest, Vec<u8>), Failure> {
        let bytes = self.read(&digest)?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| self.refused(&error.to_string()))?;
        let Some(manifests) = value["manifests"].as_array() else { return Ok((digest, bytes)) };
        let platform = |entry: &&Value| {
            entry["platform"]["os"].as_str() == Some("linux")
                && entry["platform"]["architecture"].as_str() == Some("amd64")
        };
        let found = manifests.iter().find(platform).and_then(|entry| entry["digest"].as_str()?.strip_prefix("sha256:"));
        let found = found.and_then(Digest::parse).ok_or_else(|| self.refused("it has nothing for linux/amd64"))?;
        let bytes = self.read(&found)?;
        Ok((found, bytes))
    }

    fn read(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        let path = self.dir.join(digest.as_str());
        let size = path.metadata().map_err(|error| self.refused(&format!("{error}: blob {}", digest.short())))?.len();
        if size > LARGEST {
            return Err(self.refused("a blob is too large for an image of one program"));
        }
        let bytes = std::fs::read(&path).map_err(|error| self.refused(&error.to_string()))?;
        if Digest::of(&bytes) != *digest {
            return Err(self.refused(&format!("blob {} is not what its digest says", digest.short())));
        }
        Ok(bytes)
    }

    fn refused(&self, cause: &str) -> Failure {
        Failure::new(Exit::NotDone, format!("the image `{}` cannot be given to nodes", self.image)).because(cause)
    }
}

fn media_type(manifest: &[u8]) -> String {
    let value: Value = serde_json::from_slice(manifest).unwrap_or_default();
    value["mediaType"].as_str().unwrap_or(MANIFESTS[1]).to_owned()
}

/// Appends one file in the form of POSIX ustar, owned by root, from the beginning of time.
fn file(archive: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let mut head = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&head);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of two platforms, one of which is whole; gives the digests of the index and of what it has for us.
    fn image(dir: &Path) -> (Digest, Digest) {
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            std::fs::write(dir.join(digest.as_str()), bytes).expect("written");
            (digest, bytes.len())
        };
        let part = |(digest, size): (Digest, usize)| json!({ "mediaType": "x", "digest": format!("sha256:{digest}"), "size": size });
        let (config, layer) = (part(put(b"{}")), part(put(b"layer")));
        let manifest = json!({ "mediaType": MANIFESTS[1], "config": config, "layers": [layer] }).to_string();
        let (found, size) = put(manifest.as_bytes());
        let other = Digest::of(b"arm");
        let entry = |digest: &Digest, architecture: &str| {
            json!({ "mediaType": MANIFESTS[1], "digest": format!("sha256:{digest}"), "size": size,
                "platform": { "os": "linux", "architecture": architecture } })
        };
        let index = json!({ "mediaType": MANIFESTS[0], "manifests": [entry(&other, "arm64"), entry(&found, "amd64")] });
        (put(index.to_string().as_bytes()).0, found)
    }

    #[test]
    fn an_archive_holds_what_an_index_has_for_our_machines_and_tar_reads_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (index, manifest) = image(dir.path());

        let archive =
            image_archive(&format!("registry.example/team/app:1.4@sha256:{index}"), dir.path()).expect("made");

        let path = dir.path().join("app.tar");
        std::fs::write(&path, &archive).expect("written");
        let listed = std::process::Command::new("tar").arg("-tf").arg(&path).output().expect("tar");
        let names = String::from_utf8(listed.stdout).expect("text");
        assert_eq!(
            names.lines().take(4).collect::<Vec<_>>(),
            ["manifest.json", "oci-layout", "index.json", &format!("blobs/sha256/{manifest}")]
        );
        assert_eq!(names.lines().count(), 6);
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains(r#""RepoTags":["registry.example/team/app:1.4"]"#), "{text}");
    }

    #[test]
    fn a_blob_that_was_changed_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (index, manifest) = image(dir.path());
        std::fs::write(dir.path().join(manifest.as_str()), "{}").expect("written");

        let failure = image_archive(&format!("app:1.4@sha256:{index}"), dir.path()).expect_err("refused");

        assert_eq!(failure.what(), "the image `docker.io/library/app:1.4` cannot be given to nodes");
        assert_eq!(failure.causes(), [format!("blob {} is not what its digest says", manifest.short())]);
    }
}
