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
use crate::bundle::reference::referred;
use crate::bundle::release::{Tell, told};
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::secret::Secret;
use crate::supply::{Login, Supply};
use crate::workspace::{Incoming, RealDisk, large_file_digest, make_dir, write_atomic};

/// What a digest may name.
pub const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// The part of a chart that is its archive.
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
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

/// A client of registries; proxies are those of the environment. Of these hosts HTTP is spoken.
pub fn client(plain_http: Vec<String>, ca: Option<Vec<u8>>) -> Client {
    let certificate =
        |data| oci_client::client::Certificate { encoding: oci_client::client::CertificateEncoding::Pem, data };
    let extra_root_certificates = ca.map(certificate).into_iter().collect();
    let protocol = ClientProtocol::HttpsExcept(plain_http);
    Client::new(ClientConfig { protocol, extra_root_certificates, ..ClientConfig::default() })
}

/// How registries are logged in to, by host.
///
/// # Errors
/// Exit 3: a password is no reference, or cannot be read.
fn logins(known: &BTreeMap<String, Login>, root: &Path) -> Result<BTreeMap<String, RegistryAuth>, Failure> {
    let mut logins = BTreeMap::new();
    for (host, login) in known {
        let password = referred(root, login.password.as_ref())?.map(|bytes| Secret::new(bytes.trim_ascii_end()));
        logins.insert(host.clone(), auth(login.user.as_ref(), password.as_ref()));
    }
    Ok(logins)
}

pub fn auth(user: Option<&String>, password: Option<&Secret>) -> RegistryAuth {
    match (user, password.and_then(Secret::expose_str)) {
        (Some(user), Some(password)) => RegistryAuth::Basic(user.clone(), password.to_owned()),
        (Some(_), None) | (None, _) => RegistryAuth::Anonymous,
    }
}

/// Pulls images into a directory of blobs; what is there and right is not pulled again.
pub struct Pull<'a> {
    client: Client,
    /// The blobs, each called by its digest.
    blobs: &'a Path,
    logins: BTreeMap<String, RegistryAuth>,
    tell: Tell<'a>,
}

/// An image whose manifests are here.
pub struct Looked {
    pub image: ImageEntry,
    /// The chart, where it is one: what it is called as a file.
    pub chart: Option<(Name, Digest)>,
    reference: Reference,
    manifests: BTreeSet<Digest>,
    blobs: BTreeMap<Digest, Part>,
}

impl<'a> Pull<'a> {
    /// As the environment file says how registries are trusted and logged in to.
    ///
    /// # Errors
    /// Exit 3: a CA or password is no reference, or cannot be read.
    pub fn new(supply: &Supply, root: &Path, blobs: &'a Path, tell: Tell<'a>) -> Result<Self, Failure> {
        let plain = supply.logins.iter().filter(|(_, login)| login.plain_http).map(|(host, _)| host.clone());
        let client = client(plain.collect(), referred(root, supply.ca.as_ref())?);
        Ok(Self { client, blobs, logins: logins(&supply.logins, root)?, tell })
    }

    /// Reads the manifests of an image, and so learns what else it has.
    ///
    /// # Errors
    /// Exit 3: it is not named by digest. Exit 1: the registry refuses or does not answer.
    pub async fn look(&self, text: &str) -> Result<Looked, Failure> {
        make_dir(&RealDisk, self.blobs, 0o755)?;
        let (reference, digest) = reference(text)?;
        let auth = self.log_in(&reference).await;
        let (mut manifests, mut blobs) = (BTreeSet::new(), BTreeMap::new());
        let mut image =
            ImageEntry { reference: plain(&reference), digest: digest.clone(), media_type: String::new(), size: 0 };
        let mut open = vec![digest.clone()];
        while let Some(manifest) = open.pop() {
            if !manifests.insert(manifest.clone()) {
                continue;
            }
            let bytes = self.manifest(&reference, &manifest, auth).await?;
            let parts = Parts::parse(&bytes)?;
            if manifest == digest {
                image.media_type = parts.media_type.clone().unwrap_or_else(|| MANIFESTS[1].to_owned());
                image.size = bytes.len() as u64;
            }
            let (below, content) = parts.split();
            open.extend(below.iter().filter_map(Part::sha256));
            blobs.extend(content.into_iter().filter_map(|part| Some((part.sha256()?, part))));
        }
        let chart = blobs.iter().find(|(_, part)| part.media_type == CHART);
        let chart = chart.and_then(|(digest, _)| Some((chart_name(&reference)?, digest.clone())));
        Ok(Looked { image, chart, reference, manifests, blobs })
    }

    /// How many bytes of it are not here yet.
    pub fn size(&self, looked: &Looked) -> u64 {
        let lacking = looked.blobs.iter().filter(|(digest, _)| !self.blobs.join(digest.as_str()).exists());
        lacking.map(|(_, part)| part.size).sum()
    }

    /// Brings all its parts here.
    pub async fn fetch(&self, looked: &Looked) -> Result<BTreeMap<Digest, Item>, Failure> {
        (self.tell)(format!("pulling {}", looked.image.reference));
        // Who looked may have been another one.
        self.log_in(&looked.reference).await;
        for (digest, part) in &looked.blobs {
            self.blob(&looked.reference, part, digest).await?;
        }
        let all = looked.manifests.iter().chain(looked.blobs.keys());
        all.map(|digest| Ok((digest.clone(), self.item(digest.clone())?))).collect()
    }

    /// Has the client know the login of an image's registry, for blobs too.
    async fn log_in(&self, reference: &Reference) -> &RegistryAuth {
        let auth = self.logins.get(reference.registry()).unwrap_or(&RegistryAuth::Anonymous);
        self.client.store_auth_if_needed(reference.resolve_registry(), auth).await;
        auth
    }

    /// The file of a chart that was pulled.
    pub fn chart(&self, name: &Name, digest: &Digest) -> Item {
        let from = self.blobs.join(digest.as_str());
        Item { kind: FileKind::Chart, name: name.clone(), from, sha256: Some(digest.clone()) }
    }

    fn item(&self, digest: Digest) -> Result<Item, Failure> {
        let name = Name::parse(digest.as_str()).ok_or_else(|| Failure::bug("a digest is no name"))?;
        Ok(Item { kind: FileKind::Blob, name, from: self.blobs.join(digest.as_str()), sha256: Some(digest) })
    }

    async fn is_there(&self, digest: &Digest) -> bool {
        let path = self.blobs.join(digest.as_str());
        path.is_file() && large_file_digest(&path).await.is_ok_and(|found| found == *digest)
    }

    async fn manifest(&self, image: &Reference, digest: &Digest, auth: &RegistryAuth) -> Result<Vec<u8>, Failure> {
        let path = self.blobs.join(digest.as_str());
        if self.is_there(digest).await {
            return std::fs::read(&path).map_err(|error| unpulled(image, &error));
        }
        let at = Reference::with_digest(
            image.registry().to_owned(),
            image.repository().to_owned(),
            format!("sha256:{digest}"),
        );
        let pulled = self.client.pull_manifest_raw(&at, auth, &MANIFESTS).await;
        let (bytes, _) = pulled.map_err(|error| unpulled(image, &told(&error)))?;
        if bytes.len() as u64 > LONGEST || Digest::of(&bytes) != *digest {
            return Err(unpulled(image, &"the registry gave another manifest than the digest names"));
        }
        write_atomic(&path, &bytes, 0o644)?;
        Ok(bytes.to_vec())
    }

    async fn blob(&self, image: &Reference, blob: &Part, digest: &Digest) -> Result<(), Failure> {
        if self.is_there(digest).await {
            return Ok(());
        }
        let mut incoming = Incoming::start(&self.blobs.join(digest.as_str()))?;
        let pulled = self.client.pull_blob_stream(image, blob.digest.as_str()).await;
        let mut pieces = pulled.map_err(|error| unpulled(image, &told(&error)))?.stream;
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

/// `app-1.4.0.tgz`, as `helm pull` calls it.
fn chart_name(reference: &Reference) -> Option<Name> {
    let name = reference.repository().rsplit('/').next()?;
    // A tag has no plus: Helm writes an underscore for it.
    Name::parse(&format!("{name}-{}.tgz", reference.tag()?.replace('_', "+")))
}

fn unpulled(image: &Reference, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::NotDone, format!("cannot pull `{}`", plain(image))).because(error).hint(
        "check the name and the digest, and that the registry is in reach (`bundle.ca`, `bundle.logins`; proxies: \
         HTTPS_PROXY)",
    )
}

/// What is missing of the images in a manifest, as lines for people; `read` gives the content of a small file.
pub fn lacking(
    manifest: &Manifest,
    read: impl Fn(&Digest) -> Result<Vec<u8>, Failure>,
) -> Result<Vec<String>, Failure> {
    let mut lacking = Vec::new();
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
