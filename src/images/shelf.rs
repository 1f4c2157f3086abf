//! Where statements, bills and the memory of removals are kept: beside the workspace's bundles, or in a bucket.
//!
//! A statement and a bill lie under their own digest, so that what is read can be held against what names it.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::objects::{LocalObjects, Objects};

/// An image that is being removed: written before, taken away after. AWS keeps an image's snapshots when it goes, and then
/// nothing leads from one to the other any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removing {
    pub account: String,
    pub region: String,
    pub image: String,
    pub name: String,
    pub snapshots: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Shelf(Arc<dyn Objects>);

impl Shelf {
    pub fn local(dir: &Path) -> Self {
        Self(Arc::new(LocalObjects::new(dir.to_owned())))
    }

    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Self(objects)
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        self.0.place("")
    }

    pub(super) fn objects(&self) -> &dyn Objects {
        &*self.0
    }

    /// Keeps a statement, and gives the digest that leads to it.
    pub async fn keep_statement(&self, bytes: &[u8]) -> Result<Digest, Failure> {
        self.keep("statements", bytes).await
    }

    /// Keeps a bill of packages, and gives the digest that leads to it.
    pub async fn keep_bill(&self, bytes: &[u8]) -> Result<Digest, Failure> {
        self.keep("packages", bytes).await
    }

    async fn keep(&self, kind: &str, bytes: &[u8]) -> Result<Digest, Failure> {
        let digest = Digest::of(bytes);
        // One that is there already has the same bytes.
        self.0.create(&format!("{kind}/{digest}.json"), bytes).await?;
        Ok(digest)
    }

    /// A statement by its digest; `None` where it is not kept here, or what is named is no digest.
    pub async fn statement(&self, digest: &str) -> Result<Option<Vec<u8>>, Failure> {
        let Some(digest) = Digest::parse(digest) else { return Ok(None) };
        Ok(self.0.get(&format!("statements/{digest}.json")).await?.map(|object| object.bytes))
    }

    /// Writes down that an image is about to go.
    pub async fn begin_removing(&self, removing: &Removing) -> Result<(), Failure> {
        let bytes = serde_json::to_vec_pretty(removing).map_err(|error| Failure::bug("no JSON").because(error))?;
        self.0.create(&key(removing), &bytes).await.map(drop)
    }

    pub async fn end_removing(&self, removing: &Removing) -> Result<(), Failure> {
        self.0.delete(&key(removing)).await
    }

    /// What an earlier run began to remove and did not end.
    pub async fn removing(&self) -> Result<Vec<Removing>, Failure> {
        let mut begun = Vec::new();
        for key in self.0.list("removing/").await? {
            if let Some(object) = self.0.get(&key).await? {
                let place = self.0.place(&key);
                begun.push(serde_json::from_slice(&object.bytes).map_err(|error| {
                    Failure::bug(format!("`{place}` does not say what was being removed")).because(error)
                })?);
            }
        }
        Ok(begun)
    }
}

/// A template's name may hold what a key may not.
fn key(removing: &Removing) -> String {
    format!("removing/{}.json", Digest::of_value(&(&removing.account, &removing.region, &removing.image)))
}
