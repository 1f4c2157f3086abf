//! Container images: pulled by digest from their registries, kept as an OCI layout, and looked up by digest.
//!
//! Only what a digest names is taken: a manifest, or an index with all its manifests, and the blobs of each. A reference
//! without a digest could be another image tomorrow, and is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::StreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bundle::create::Item;
use crate::bundle::manifest::{ImageEntry, Manifest};
use crate::bundle::name::{FileKind, Name};
use crate::bundle::release::Tell;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::workspace::{Incoming, RealDisk, file_digest, make_dir, write_atomic};

/// What a digest may name.
pub const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// The most that a manifest has.
const LONGEST: u64 = 4 << 20;

/// The parts of a manifest or an index that lead further.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parts {
    #[serde(default)]
    pub media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Part>,
    #[serde(default)]
    config: Option<Part>,
    #[serde(default)]
    layers: Vec<Part>,
}

/// A descriptor.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
}

impl Part {
    /// `None` where it is no SHA-256.
    pub fn sha256(&self) -> Option<Digest> {
        Digest::parse(self.digest.strip_prefix("sha256:")?)
    }
}

impl Parts {
    /// # Errors
    /// It is neither manifest nor index.
    pub fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let refused =
            |cause: String| Failure::new(Exit::NotDone, "a manifest of an image cannot be read").because(cause);
        let parts: Self = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        let all = parts.manifests.iter().chain(&parts.config).chain(&parts.layers);
        match all.map(Part::sha256).collect::<Option<Vec<_>>>() {
            Some(found) if !found.is_empty() => Ok(parts),
            Some(_) => Err(refused("it names no parts".to_owned())),
            None => Err(refused("a part has no SHA-256 digest".to_owned())),
        }
    }

    /// Manifests below it, and blobs.
    pub fn split(self) -> (Vec<Part>, Vec<Part>) {
        (self.manifests, self.config.into_iter().chain(self.layers).collect())
    }
}

/// Reads a reference that names a digest.
///
/// # Errors
/// Exit 3: it is none.
pub fn reference(text: &str) -> Result<(Reference, Digest), Failure> {
    let refused = |cause: &str| {
        Failure::new(Exit::Environment, format!("`{text}` is no image that can be taken"))
            .because(cause)
            .hint("name it with its digest in `bundle.images`: `registry.example/team/app:1.4@sha256:…`")
    };
    let parsed: Reference = text.parse().map_err(|_| refused("it is no reference of an image"))?;
    let digest = parsed.digest().and_then(|digest| Digest::parse(digest.strip_prefix("sha256:")?));
    let digest = digest.ok_or_else(|| refused("it has no SHA-256 digest, so it could be another image tomorrow"))?;
    Ok((parsed, digest))
}

/// `registry/repository:tag`, without the digest.
pub fn plain(reference: &Reference) -> String {
    let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{}/{}{tag}", reference.registry(), reference.repository())
}

/// A client of registries; proxies are those of the environment.
pub fn client(plain_http: bool, ca: Option<Vec<u8>>) -> Client {
    let protocol = if plain_http { ClientProtocol::Http } else { ClientProtocol::Https };
    let certificate =
        |data| oci_client::client::Certificate { encoding: oci_client::client::CertificateEncoding::Pem, data };
    let extra_root_certificates = ca.map(certificate).into_iter().collect();
    Client::new(ClientConfig { protocol, extra_root_certificates, ..ClientConfig::default() })
}

/// Pulls images into a directory of blobs; what is there and right is not pulled again.
pub struct Pull<'a> {
    pub client: &'a Client,
    /// The blobs, each called by its digest.
    pub blobs: &'a Path,
    pub tell: Tell<'a>,
}

impl Pull<'_> {
    /// One image with all its parts.
    pub async fn image(&self, text: &str) -> Result<(ImageEntry, BTreeMap<Digest, Item>), Failure> {
        make_dir(&RealDisk, self.blobs, 0o755)?;
        let (reference, digest) = reference(text)?;
        (self.tell)(format!("pulling {}", plain(&reference)));
        let mut items = BTreeMap::new();
        let mut open = vec![digest.clone()];
        let mut entry = None;
        while let Some(manifest) = open.pop() {
            if items.contains_key(&manifest) {
                continue;
            }
            let bytes = self.manifest(&reference, &manifest).await?;
            let parts = Parts::parse(&bytes)?;
            if manifest == digest {
                let media_type = parts.media_type.clone().unwrap_or_else(|| MANIFESTS[1].to_owned());
                let (digest, size) = (digest.clone(), bytes.len() as u64);
                entry = Some(ImageEntry { reference: plain(&reference), digest, media_type, size });
            }
            items.insert(manifest.clone(), self.item(manifest)?);
            let (manifests, blobs) = parts.split();
            open.extend(manifests.iter().filter_map(Part::sha256));
            for blob in blobs {
                let Some(sha256) = blob.sha256() else { continue };
                self.blob(&reference, &blob, &sha256).await?;
                items.insert(sha256.clone(), self.item(sha256)?);
            }
        }
        let entry = entry.ok_or_else(|| Failure::bug("an image has no manifest"))?;
        Ok((entry, items))
    }

    fn item(&self, digest: Digest) -> Result<Item, Failure> {
        let name = Name::parse(digest.as_str()).ok_or_else(|| Failure::bug("a digest is no name"))?;
        Ok(Item { kind: FileKind::Blob, name, from: self.blobs.join(digest.as_str()), sha256: Some(digest) })
    }

    fn is_there(&self, digest: &Digest) -> bool {
        let path = self.blobs.join(digest.as_str());
        path.is_file() && file_digest(&path).is_ok_and(|found| found == *digest)
    }

    async fn manifest(&self, image: &Reference, digest: &Digest) -> Result<Vec<u8>, Failure> {
        let path = self.blobs.join(digest.as_str());
        if self.is_there(digest) {
            return std::fs::read(&path).map_err(|error| unpulled(image, &error));
        }
        let at = Reference::with_digest(
            image.registry().to_owned(),
            image.repository().to_owned(),
            format!("sha256:{digest}"),
        );
        let pulled = self.client.pull_manifest_raw(&at, &RegistryAuth::Anonymous, &MANIFESTS).await;
        let (bytes, _) = pulled.map_err(|error| unpulled(image, &error))?;
        if bytes.len() as u64 > LONGEST || Digest::of(&bytes) != *digest {
            return Err(unpulled(image, &"the registry gave another manifest than the digest names"));
        }
        write_atomic(&path, &bytes, 0o644)?;
        Ok(bytes.to_vec())
    }

    async fn blob(&self, image: &Reference, blob: &Part, digest: &Digest) -> Result<(), Failure> {
        if self.is_there(digest) {
            return Ok(());
        }
        let mut incoming = Incoming::start(&self.blobs.join(digest.as_str()))?;
        let pulled = self.client.pull_blob_stream(image, blob.digest.as_str()).await;
        let mut pieces = pulled.map_err(|error| unpulled(image, &error))?.stream;
        let mut size = 0;
        while let Some(piece) = pieces.next().await {
            let piece: Vec<u8> = piece.map_err(|error| unpulled(image, &error))?.into();
            size += piece.len() as u64;
            if size > blob.size {
                return Err(unpulled(image, &"a blob is larger than its manifest says"));
            }
            incoming.write(piece).await?;
        }
        incoming.accept(digest).await.map(drop)
    }
}

fn unpulled(image: &Reference, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot pull `{}`", plain(image)))
        .because(error)
        .hint("check the name and the digest, and that the registry is in reach (proxies: HTTPS_PROXY)")
}

/// What is missing of the images in a manifest, as lines for people; `read` gives the content of a small file.
pub fn lacking(
    manifest: &Manifest,
    wanted: &[String],
    read: impl Fn(&Digest) -> Result<Vec<u8>, Failure>,
) -> Result<Vec<String>, Failure> {
    let mut lacking = Vec::new();
    for text in wanted {
        let (reference, digest) = reference(text)?;
        let name = plain(&reference);
        if !manifest.images.iter().any(|image| image.digest == digest && image.reference == name) {
            lacking.push(format!("image `{text}`"));
        }
    }
    for image in &manifest.images {
        let mut open = vec![image.digest.clone()];
        let mut seen = BTreeSet::new();
        while let Some(digest) = open.pop().filter(|digest| seen.insert(digest.clone())) {
            let (manifests, blobs) = Parts::parse(&read(&digest)?)?.split();
            for part in manifests.iter().chain(&blobs).filter_map(Part::sha256) {
                if manifest.file(FileKind::Blob, part.as_str()).is_none() {
                    lacking.push(format!("blob {} of image `{}`", part.short(), image.reference));
                }
            }
            let there = manifests.iter().filter_map(Part::sha256);
            open.extend(there.filter(|part| manifest.file(FileKind::Blob, part.as_str()).is_some()));
        }
    }
    Ok(lacking)
}

/// The `index.json` of an OCI layout with these images.
pub fn index(images: &[ImageEntry]) -> Value {
    let entry = |image: &ImageEntry| {
        json!({ "mediaType": image.media_type, "digest": format!("sha256:{}", image.digest), "size": image.size,
            "annotations": { "org.opencontainers.image.ref.name": image.reference } })
    };
    let manifests: Vec<Value> = images.iter().map(entry).collect();
    json!({ "schemaVersion": 2, "mediaType": MANIFESTS[0], "manifests": manifests })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_digest_is_refused() {
        let digest = "a".repeat(64);

        let (good, found) = reference(&format!("registry.example/team/app:1.4@sha256:{digest}")).expect("taken");
        let bad = reference("registry.example/team/app:1.4").expect_err("refused");

        assert_eq!((plain(&good).as_str(), found.as_str()), ("registry.example/team/app:1.4", digest.as_str()));
        assert_eq!(bad.exit(), Exit::Environment);
        assert_eq!(bad.causes(), ["it has no SHA-256 digest, so it could be another image tomorrow"]);
    }

    #[test]
    fn a_manifest_without_parts_or_with_another_digest_is_none() {
        let part = json!({ "mediaType": "x", "digest": "md5:1", "size": 1 });
        let refused = |value: Value| Parts::parse(value.to_string().as_bytes()).expect_err("refused").causes().concat();

        assert_eq!(refused(json!({})), "it names no parts");
        assert_eq!(refused(json!({ "layers": [part] })), "a part has no SHA-256 digest");
    }
}
