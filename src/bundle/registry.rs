//! Pushes what was loaded into a registry, and says to the nodes where it is.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use oci_client::{Client, Reference};

use crate::bundle::images::{MANIFESTS, Part, Parts, auth};
use crate::bundle::manifest::{ImageEntry, Manifest};
use crate::bundle::release::Tell;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::rke2_config::{Registries, RegistryAccess};
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
        let auth = auth(self.registry.user.as_ref(), self.password.as_ref());
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

/// Where nodes find the images, in the words of `rke2.config.registries`: every registry that an image names is mirrored by
/// ours. The login that pushes there is not for nodes: who has it could put another image in place for all of them.
pub fn registries(registry: &Registry, images: &[ImageEntry]) -> Registries {
    let scheme = if registry.plain_http { "http" } else { "https" };
    let endpoint = format!("{scheme}://{}", registry.host);
    let names = images.iter().map(|image| parts(&image.reference).0).chain(["docker.io"]);
    let mirrors = names.map(|name| (name.to_owned(), vec![endpoint.clone()])).collect();
    let ca = registry.ca.as_ref().and_then(|ca| ca.strip_prefix("file:")).map(PathBuf::from);
    let access = ca.map(|ca| (registry.host.clone(), RegistryAccess { ca: Some(ca), ..RegistryAccess::default() }));
    Registries { mirrors, access: access.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_registry_is_mirrored_and_the_login_that_pushes_is_not_for_nodes() {
        let registry = Registry {
            host: "registry.lan:5000".to_owned(),
            ca: Some("file:keys/ca.pem".to_owned()),
            user: Some("pusher".to_owned()),
            password: Some("file:keys/password".to_owned()),
            plain_http: false,
        };
        let reference = "quay.io/team/app:1.4".to_owned();
        let image = ImageEntry { reference, digest: Digest::of(b"x"), media_type: String::new(), size: 1 };

        let file = registries(&registry, &[image]);

        let endpoint = vec!["https://registry.lan:5000".to_owned()];
        let mirrors = ["docker.io", "quay.io"].map(|name| (name.to_owned(), endpoint.clone()));
        assert_eq!(file.mirrors, BTreeMap::from(mirrors));
        let access = &file.access["registry.lan:5000"];
        assert_eq!(access.ca.as_deref(), Some(Path::new("keys/ca.pem")));
        assert_eq!((access.username.as_deref(), access.password.as_deref()), (None, None), "it is for pushing");
    }

    #[test]
    fn a_registry_that_is_open_to_all_needs_no_access() {
        let registry = Registry { host: "r.lan".to_owned(), ca: None, user: None, password: None, plain_http: true };

        let file = registries(&registry, &[]);

        assert_eq!(file.mirrors, BTreeMap::from([("docker.io".to_owned(), vec!["http://r.lan".to_owned()])]));
        assert!(file.access.is_empty());
    }
}
