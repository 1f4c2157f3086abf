//! Pushes what was loaded into a registry, and says to the nodes where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::StreamExt;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::{Value, json};

use crate::bundle::images::{MANIFESTS, Part, Parts};
use crate::bundle::manifest::{ImageEntry, Manifest};
use crate::bundle::release::Tell;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::secret::Secret;
use crate::supply::Registry;

const PIECE: usize = 1 << 20;

/// A registry and the way to it.
pub struct Target<'a> {
    pub client: &'a Client,
    pub registry: &'a Registry,
    pub password: Option<Secret>,
    /// The blobs, each called by its digest.
    pub blobs: &'a Path,
    pub tell: Tell<'a>,
}

impl Target<'_> {
    /// Pushes every image of the manifest; what is there already is left. Gives how many.
    ///
    /// # Errors
    /// Exit 6: the registry refuses, or does not answer.
    pub async fn push(&self, manifest: &Manifest) -> Result<usize, Failure> {
        let auth = match (&self.registry.user, self.password.as_ref().and_then(Secret::expose_str)) {
            (Some(user), Some(password)) => RegistryAuth::Basic(user.clone(), password.to_owned()),
            (Some(_), None) | (None, _) => RegistryAuth::Anonymous,
        };
        self.client.store_auth_if_needed(&self.registry.host, &auth).await;
        for image in &manifest.images {
            (self.tell)(format!("pushing {}", image.reference));
            self.push_image(image).await?;
        }
        Ok(manifest.images.len())
    }

    async fn push_image(&self, image: &ImageEntry) -> Result<(), Failure> {
        let (_, repository, tag) = parts(&image.reference);
        // Blobs first, then manifests from the leaves: a registry refuses one whose parts it lacks.
        let mut order = vec![(image.digest.clone(), image.media_type.clone())];
        let mut at = 0;
        while let Some((digest, _)) = order.get(at).cloned() {
            let (manifests, blobs) = Parts::parse(&self.read(&digest)?)?.split();
            for blob in blobs {
                self.push_blob(repository, &blob).await?;
            }
            order.extend(manifests.into_iter().filter_map(|part| Some((part.sha256()?, part.media_type))));
            at += 1;
        }
        for (digest, media_type) in order.into_iter().rev() {
            let is_top = digest == image.digest;
            let name = if is_top { tag.map(str::to_owned) } else { None };
            let (host, repository) = (self.registry.host.clone(), repository.to_owned());
            let target = match name {
                Some(tag) => Reference::with_tag(host, repository, tag),
                None => Reference::with_digest(host, repository, format!("sha256:{digest}")),
            };
            let kind = media_type.parse().or_else(|_| MANIFESTS[1].parse());
            let kind = kind.map_err(|_| Failure::bug("a media type is no header"))?;
            let pushed = self.client.push_manifest_raw(&target, self.read(&digest)?, kind).await;
            pushed.map_err(|error| self.refused(&image.reference, &error))?;
        }
        Ok(())
    }

    fn read(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        let path = self.blobs.join(digest.as_str());
        std::fs::read(&path)
            .map_err(|error| Failure::new(Exit::NotDone, format!("cannot read `{}`", path.display())).because(error))
    }

    async fn push_blob(&self, repository: &str, blob: &Part) -> Result<(), Failure> {
        let target = Reference::with_digest(self.registry.host.clone(), repository.to_owned(), blob.digest.clone());
        let refused = |error: &dyn std::fmt::Display| self.refused(repository, error);
        if self.client.blob_exists(&target, &blob.digest).await.map_err(|error| refused(&error))? {
            return Ok(());
        }
        let Some(digest) = blob.sha256() else { return Err(Failure::bug("a blob has no SHA-256 digest")) };
        let file = tokio::fs::File::open(self.blobs.join(digest.as_str())).await.map_err(|error| refused(&error))?;
        let pieces = futures_util::stream::unfold(file, |mut file| async move {
            use tokio::io::AsyncReadExt;
            let mut piece = Vec::with_capacity(PIECE);
            match file.read_buf(&mut piece).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(piece.into()), file)),
                Err(error) => Some((Err(error.into()), file)),
            }
        });
        let pushed = self.client.push_blob_stream(&target, pieces.boxed(), &blob.digest, Some(blob.size)).await;
        pushed.map(drop).map_err(|error| refused(&error))
    }

    fn refused(&self, what: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(Exit::Platform, format!("cannot push `{what}` to `{}`", self.registry.host))
            .because(error)
            .hint("check `bundle.registry` in the environment file; the same command goes on where it was")
    }
}

/// Registry, repository and tag of a plain reference.
fn parts(reference: &str) -> (&str, &str, Option<&str>) {
    let (registry, rest) = reference.split_once('/').unwrap_or(("", reference));
    match rest.rsplit_once(':') {
        Some((repository, tag)) => (registry, repository, Some(tag)),
        None => (registry, rest, None),
    }
}

/// `registries.yaml` for the nodes: every registry that an image names is mirrored by ours. The password is named and not
/// written: whoever renders the node's file puts it in. JSON is YAML.
pub fn registries(registry: &Registry, images: &[ImageEntry]) -> Value {
    let scheme = if registry.plain_http { "http" } else { "https" };
    let endpoint = format!("{scheme}://{}", registry.host);
    let names: BTreeSet<&str> = images.iter().map(|image| parts(&image.reference).0).chain(["docker.io"]).collect();
    let mirrors: BTreeMap<&str, Value> =
        names.into_iter().map(|name| (name, json!({ "endpoint": [endpoint] }))).collect();
    let mut config = json!({});
    if let Some(ca) = &registry.ca {
        config["tls"] = json!({ "ca_file": "/etc/rancher/rke2/registry-ca.pem" });
        config["x-ca"] = json!(ca);
    }
    if let (Some(user), Some(password)) = (&registry.user, &registry.password) {
        config["auth"] = json!({ "username": user });
        config["x-password"] = json!(password);
    }
    json!({ "mirrors": mirrors, "configs": { registry.host.clone(): config } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_is_mirrored_and_the_password_stays_a_reference() {
        let registry = Registry {
            host: "registry.lan:5000".to_owned(),
            ca: Some("file:keys/ca.pem".to_owned()),
            user: Some("puller".to_owned()),
            password: Some("file:keys/password".to_owned()),
            plain_http: false,
        };
        let reference = "quay.io/team/app:1.4".to_owned();
        let image = ImageEntry { reference, digest: Digest::of(b"x"), media_type: String::new(), size: 1 };

        let file = registries(&registry, &[image]);

        let endpoint = json!({ "endpoint": ["https://registry.lan:5000"] });
        assert_eq!(file["mirrors"], json!({ "docker.io": endpoint, "quay.io": endpoint }));
        let config = &file["configs"]["registry.lan:5000"];
        assert_eq!(config["auth"], json!({ "username": "puller" }));
        assert_eq!(config["x-password"], json!("file:keys/password"));
        assert_eq!(config["tls"]["ca_file"], json!("/etc/rancher/rke2/registry-ca.pem"));
    }
}
