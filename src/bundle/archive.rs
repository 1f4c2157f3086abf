//! One image as an archive that a node's containerd imports: what its digest names for linux/amd64, in the layouts of OCI and
//! of `docker save` at once.
//!
//! Nothing of the time or of the machine is in it: the same image gives the same bytes. Layers pass through in pieces.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Value, json};

use crate::artifact::BundleFile;
use crate::bundle::images::{MANIFESTS, Parts, plain, reference};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::{Growing, RealDisk, file_digest, put_in_place, remove};

/// The most that a manifest has.
const LONGEST: u64 = 4 << 20;
/// The most that is held of a layer at once.
const PIECE: usize = 1 << 20;
const BLOCK: usize = 512;

/// Writes the archive of an image whose blobs lie in a directory, each called by its digest, into another one, under the
/// name that `name` makes of the archive's own digest; gives that name. Blocks the thread.
///
/// # Errors
/// Exit 1: a blob is missing or is not what its digest says; there is nothing for linux/amd64.
pub fn image_archive(
    text: &str,
    blobs: &Path,
    dir: &Path,
    name: impl FnOnce(&Digest) -> String,
) -> Result<(String, BundleFile), Failure> {
    let (reference, digest) = reference(text)?;
    // What a stopped try has left is no beginning: it is short work.
    let partial = dir.join(format!("image-{}.partial", digest.short()));
    remove(&RealDisk, &partial)?;
    let mut archive = Archive { file: Growing::open(&RealDisk, &partial, 0, 0o644)? };
    write(&mut archive, &plain(&reference), digest, blobs)?;
    let size = archive.file.length();
    archive.file.finish(&RealDisk)?;
    let file = BundleFile { sha256: file_digest(&partial)?, size };
    let name = name(&file.sha256);
    put_in_place(&RealDisk, &partial, &dir.join(&name))?;
    Ok((name, file))
}

fn write(archive: &mut Archive, name: &str, digest: Digest, blobs: &Path) -> Result<(), Failure> {
    let blobs = Blobs { dir: blobs, image: name };
    let (digest, manifest) = blobs.for_amd64(digest)?;
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
    archive.add("manifest.json", saved.to_string().as_bytes())?;
    archive.add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.add("index.json", index.to_string().as_bytes())?;
    archive.add(&path(&digest), &manifest)?;
    for digest in &digests {
        blobs.copy(digest, &path(digest), archive)?;
    }
    archive.put(&[0; 2 * BLOCK])
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

    /// A manifest as a whole.
    fn read(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        let (file, size) = self.open(digest)?;
        if size > LONGEST {
            return Err(
                self.refused(&format!("manifest {} has {size} bytes, at most {LONGEST} are read", digest.short()))
            );
        }
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map_err(|error| self.refused(&error.to_string()))?;
        self.compare(digest, &Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Adds a blob piece by piece. An archive with one that is wrong gets no name.
    fn copy(&self, digest: &Digest, name: &str, archive: &mut Archive) -> Result<(), Failure> {
        let (mut file, size) = self.open(digest)?;
        archive.head(name, size)?;
        let (mut left, mut sum, mut piece) = (size, Context::new(&SHA256), vec![0; PIECE]);
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(PIECE));
            let count = file.read(&mut piece[..most]).map_err(|error| self.refused(&error.to_string()))?;
            if count == 0 {
                return Err(self.refused(&format!("blob {} became shorter while it was read", digest.short())));
            }
            sum.update(&piece[..count]);
            archive.put(&piece[..count])?;
            left -= count as u64;
        }
        self.compare(digest, &Digest::from_sum(sum))?;
        archive.fill()
    }

    fn open(&self, digest: &Digest) -> Result<(File, u64), Failure> {
        let refused = |error: std::io::Error| self.refused(&format!("{error}: blob {}", digest.short()));
        let file = File::open(self.dir.join(digest.as_str())).map_err(refused)?;
        let size = file.metadata().map_err(refused)?.len();
        Ok((file, size))
    }

    fn compare(&self, wanted: &Digest, found: &Digest) -> Result<(), Failure> {
        if wanted == found {
            return Ok(());
        }
        Err(self.refused(&format!("blob {} is not what its digest says", wanted.short())))
    }

    fn refused(&self, cause: &str) -> Failure {
        Failure::new(Exit::NotDone, format!("the image `{}` cannot be given to nodes", self.image)).because(cause)
    }
}

fn media_type(manifest: &[u8]) -> String {
    let value: Value = serde_json::from_slice(manifest).unwrap_or_default();
    value["mediaType"].as_str().unwrap_or(MANIFESTS[1]).to_owned()
}

/// An archive that is being written, in the form of POSIX ustar: its files owned by root, from the beginning of time.
struct Archive {
    file: Growing,
}

impl Archive {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.append(&RealDisk, bytes)
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.head(name, bytes.len() as u64)?;
        self.put(bytes)?;
        self.fill()
    }

    fn head(&mut self, name: &str, size: u64) -> Result<(), Failure> {
        let mut head = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{size:011o}\0"));
        put(136, "00000000000\0");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.put(&head)
    }

    /// Fills the last block.
    fn fill(&mut self) -> Result<(), Failure> {
        let past = self.file.length() % BLOCK as u64;
        let rest = usize::try_from((BLOCK as u64 - past) % BLOCK as u64).unwrap_or_default();
        self.put(&[0; BLOCK][..rest])
    }
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

        let text = format!("registry.example/team/app:1.4@sha256:{index}");
        let name = |digest: &Digest| format!("app-{}.tar", digest.short());
        let (name, told) = image_archive(&text, dir.path(), dir.path(), name).expect("made");

        let path = dir.path().join(&name);
        let archive = std::fs::read(&path).expect("there");
        assert_eq!((Digest::of(&archive), archive.len() as u64), (told.sha256.clone(), told.size));
        assert_eq!(name, format!("app-{}.tar", told.sha256.short()));
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

        let refused = |name| {
            let text = format!("app:1.4@sha256:{index}");
            image_archive(&text, dir.path(), dir.path(), |_| name).expect_err("refused")
        };
        let failure = refused("app.tar".to_owned());

        assert_eq!(failure.what(), "the image `docker.io/library/app:1.4` cannot be given to nodes");
        assert_eq!(failure.causes(), [format!("blob {} is not what its digest says", manifest.short())]);
    }

    #[test]
    fn a_manifest_that_is_too_long_is_told_by_its_length() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = vec![b' '; usize::try_from(LONGEST).expect("fits") + 1];
        let digest = Digest::of(&long);
        std::fs::write(dir.path().join(digest.as_str()), long).expect("written");

        let text = format!("app:1.4@sha256:{digest}");
        let failure = image_archive(&text, dir.path(), dir.path(), |_| "app.tar".to_owned()).expect_err("refused");

        let told = format!("manifest {} has 4194305 bytes, at most 4194304 are read", digest.short());
        assert_eq!(failure.causes(), [told]);
    }

    #[test]
    fn a_layer_larger_than_a_piece_arrives_whole_and_one_that_was_changed_gets_no_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            std::fs::write(dir.path().join(digest.as_str()), bytes).expect("written");
            digest
        };
        let layer: Vec<u8> = (0..PIECE * 2 + 77).map(|at| (at % 251) as u8).collect();
        let (config, digest) = (put(b"{}"), put(&layer));
        let part = |digest: &Digest| json!({ "mediaType": "x", "digest": format!("sha256:{digest}"), "size": 1 });
        let manifest = json!({ "mediaType": MANIFESTS[1], "config": part(&config), "layers": [part(&digest)] });
        let text = format!("app:1.4@sha256:{}", put(manifest.to_string().as_bytes()));
        let into = dir.path().join("into");
        std::fs::create_dir(&into).expect("made");
        let make = |name: &str| image_archive(&text, dir.path(), &into, |_| name.to_owned());

        make("app.tar").expect("made");
        let read = ["-xOf", "app.tar", &format!("blobs/sha256/{digest}")];
        let read = std::process::Command::new("tar").args(read).current_dir(&into).output().expect("tar");
        std::fs::write(dir.path().join(digest.as_str()), &layer[1..]).expect("written");
        let failure = make("other.tar").expect_err("refused");

        assert!(read.stdout == layer, "{}", String::from_utf8_lossy(&read.stderr));
        assert_eq!(failure.causes(), [format!("blob {} is not what its digest says", digest.short())]);
        assert!(!into.join("other.tar").exists());
    }
}
