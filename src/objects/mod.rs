//! Small things kept under keys, which can be created once, replaced where nobody else did, read, listed and removed.
//!
//! It is what the shared state of an environment is made of: entries of its journal, its identity, its lease, its sealed
//! secrets. An answer may be lost on its way, and then nobody knows whether the deed was done: so what is created or
//! replaced says who wrote it, and whoever is refused reads it and may find that it is its own.
//!
//! # Why
//! Five verbs and no more, because they are what a directory, a map and S3 promise alike, and one suite of tests holds all
//! three to it. Creating and replacing are conditional always: there is no verb with which a writer that lost its lease
//! could overwrite the work of another. (2026-11-30)

mod credentials;
mod errors;
mod local;
mod memory;
mod retention;
mod s3;

use std::fmt::Debug;

use async_trait::async_trait;
use uuid::Uuid;

use crate::failure::{Exit, Failure};

pub use local::LocalObjects;
pub use memory::MemoryObjects;
pub use retention::Retained;
pub use s3::{Bucket, S3Objects};

/// Which content of an object was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub(crate) String);

/// An object as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub tag: Tag,
}

/// A place for objects. Keys are paths with `/`, of lower-case letters, digits, dashes and dots.
#[async_trait]
pub trait Objects: Debug + Send + Sync {
    /// Creates an object, durably, if its key is free; `None` where it is not. The one that is there may be ours: an
    /// answer was lost and the call repeated.
    ///
    /// # Errors
    /// Whether the object is there is then unknown.
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Option<Tag>, Failure>;

    /// Replaces an object, durably, if it is still the one that was seen; `None` where it is another or gone. The other may
    /// be ours, as with [`create`](Self::create).
    ///
    /// # Errors
    /// Whether it was replaced is then unknown.
    async fn replace(&self, key: &str, bytes: &[u8], seen: &Tag) -> Result<Option<Tag>, Failure>;

    /// An object; `None` where there is none.
    async fn get(&self, key: &str) -> Result<Option<Object>, Failure>;

    /// The keys that begin with `prefix`, which ends with `/` or is empty; sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure>;

    /// Removes an object; one that is not there is removed already.
    async fn delete(&self, key: &str) -> Result<(), Failure>;

    /// Where an object is, for people.
    fn place(&self, key: &str) -> String;
}

/// Finds out whether a store keeps the two promises that everything rests on, with an object of its own. What came of each
/// call is read from the object: an answer may have been lost.
///
/// # Errors
/// Exit 1: it created what was there, or replaced what was not seen. Some stores take these conditions and ignore them.
pub async fn probe(objects: &dyn Objects) -> Result<(), Failure> {
    let key = format!("probe/{}", Uuid::new_v4());
    let ignored = ignored(objects, &key).await;
    objects.delete(&key).await?;
    let Some(condition) = ignored? else { return Ok(()) };
    Err(Failure::new(Exit::NotDone, "this store cannot keep shared state")
        .because(format!(
            "`{}` does not hold to `{condition}`: two writers would not see each other",
            objects.place("")
        ))
        .hint("use a bucket of S3, or of a store that knows conditional writes; or keep the state locally"))
}

/// The condition that a store does not hold to.
async fn ignored(objects: &dyn Objects, key: &str) -> Result<Option<&'static str>, Failure> {
    let there = async || objects.get(key).await;
    objects.create(key, b"first").await?;
    objects.create(key, b"second").await?;
    let Some(first) = there().await?.filter(|it| it.bytes == b"first") else { return Ok(Some("If-None-Match")) };
    objects.replace(key, b"third", &first.tag).await?;
    objects.replace(key, b"fourth", &first.tag).await?;
    let is_third = there().await?.is_some_and(|it| it.bytes == b"third");
    Ok((!is_third).then_some("If-Match"))
}

/// Does to a place what blocks, on a thread where it may; it is done even when this future is dropped.
pub async fn blocking<P: Clone + Send + 'static, T: Send + 'static>(
    place: &P,
    what: &str,
    work: impl FnOnce(&P) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let place = place.clone();
    let done = tokio::task::spawn_blocking(move || work(&place)).await;
    done.unwrap_or_else(|error| Err(Failure::bug(format!("writing {what} ended early")).because(error)))
}

/// Waits for a store where no future can be awaited; for what happens a few times in the life of an environment. Only on
/// a thread of the runtime of many threads.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
}
