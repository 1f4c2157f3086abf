//! Moves what is kept of an environment from one place to another, and knows by digest that all of it arrived.
//!
//! Everything is created at the other place first, held against the original as it is read back, and only then the
//! identity, which is what makes a place an environment's home. Stopped anywhere, it is done again and finds what is there;
//! nothing is removed from where it was before the other place is whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::shared_identity::{IDENTITY, share_identity};
use crate::artifact::Kind;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::Identity;
use crate::objects::{LocalObjects, Objects};
use crate::workspace::StateDir;

const AT_ONCE: usize = 16;

/// A place that state is moved from or to.
#[derive(Clone, Debug)]
pub struct Site {
    objects: Arc<dyn Objects>,
    layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// A state directory.
    Local,
    /// Below the environment's id, so that what is gone stays apart.
    Shared,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub parts: usize,
    /// Over the names and digests of all parts: the same at both places.
    pub digest: Digest,
}

/// A part, by the name that it has wherever it lies, and its key here.
type Parts = BTreeMap<String, String>;

impl Site {
    pub fn local(state: &StateDir) -> Self {
        Self { objects: Arc::new(LocalObjects::new(state.path().to_owned())), layout: Layout::Local }
    }

    pub fn shared(objects: Arc<dyn Objects>) -> Self {
        Self { objects, layout: Layout::Shared }
    }

    pub fn place(&self) -> String {
        self.objects.place("")
    }

    pub async fn identity(&self) -> Result<Option<Identity>, Failure> {
        super::shared_identity(&*self.objects).await
    }

    fn key(&self, id: Uuid, name: &str) -> String {
        match (self.layout, name.strip_prefix("tofu/").and_then(|file| file.split_once('.'))) {
            (Layout::Shared, _) => format!("{id}/{name}"),
            (Layout::Local, Some((stage, end))) => format!("tofu/{stage}/terraform.{end}"),
            (Layout::Local, None) => name.to_owned(),
        }
    }

    /// All that is kept, but the identity.
    async fn parts(&self, id: Uuid) -> Result<Parts, Failure> {
        let mut parts = Parts::new();
        for dir in ["journal/", "secrets/"] {
            let above = self.key(id, dir);
            for key in self.objects.list(&above).await? {
                if let Some(file) = key.strip_prefix(&above).filter(|file| file.ends_with(".json")) {
                    parts.insert(format!("{dir}{file}"), key.clone());
                }
            }
        }
        for stage in Kind::ALL {
            for end in ["tfstate", "tfvars.json"] {
                let name = format!("tofu/{stage}.{end}");
                let key = self.key(id, &name);
                if self.objects.get(&key).await?.is_some() {
                    parts.insert(name, key);
                }
            }
        }
        Ok(parts)
    }

    /// The digest of each of these parts.
    async fn digests(&self, parts: &Parts) -> Result<Digests, Failure> {
        let read = stream::iter(parts).map(async |(name, key)| {
            let object = self.objects.get(key).await?;
            let bytes = object.map(|object| object.bytes).ok_or_else(|| vanished(&self.objects.place(key)))?;
            Ok::<_, Failure>((name.clone(), Digest::of(&bytes)))
        });
        read.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Puts a part here; what never changes must be the same if it is there.
    async fn put(&self, id: Uuid, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let key = self.key(id, name);
        for _ in 0..3 {
            if self.objects.create(&key, bytes).await?.is_some() {
                return Ok(());
            }
            let Some(there) = self.objects.get(&key).await? else { continue };
            if there.bytes == bytes {
                return Ok(());
            }
            if !name.starts_with("tofu/") {
                return Err(Failure::new(
                    Exit::NotDone,
                    format!("`{}` is another one than here", self.objects.place(&key)),
                )
                .because("journal entries and secrets never change, so two places have gone different ways")
                .hint("look at `history` of both; nothing was moved"));
            }
            if self.objects.replace(&key, bytes, &there.tag).await?.is_some() {
                return Ok(());
            }
        }
        Err(vanished(&self.objects.place(&key)))
    }
}

fn vanished(place: &str) -> Failure {
    Failure::new(Exit::Held, format!("`{place}` was changed by somebody else"))
}

/// Copies all parts, and holds both places against each other.
///
/// # Errors
/// They differ in something that never changes; or one of them cannot be read or written.
pub async fn copy(from: &Site, to: &Site, id: Uuid) -> Result<Moved, Failure> {
    let parts = from.parts(id).await?;
    let copied = stream::iter(&parts).map(async |(name, key)| {
        let object = from.objects.get(key).await?.ok_or_else(|| vanished(&from.objects.place(key)))?;
        to.put(id, name, &object.bytes).await
    });
    copied.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let (ours, theirs) = (from.digests(&parts).await?, to.digests(&to.parts(id).await?).await?);
    arrived(to, &ours, &theirs)?;
    if let Some((more, _)) = theirs.iter().find(|(name, _)| !ours.contains_key(*name)) {
        return Err(Failure::new(Exit::NotDone, format!("`{}` has `{more}`, which is not here", to.place()))
            .because("the other place went on after this one"));
    }
    Ok(Moved { parts: ours.len(), digest: Digest::of_value(&ours) })
}

/// Holds what never changes against a place that may have gone on since it was copied there.
///
/// # Errors
/// Something of it is not there, or is another.
pub async fn hold_against(from: &Site, to: &Site, id: Uuid) -> Result<Moved, Failure> {
    let mut ours = from.digests(&from.parts(id).await?).await?;
    ours.retain(|name, _| !name.starts_with("tofu/"));
    let theirs = to.digests(&to.parts(id).await?).await?;
    arrived(to, &ours, &theirs)?;
    Ok(Moved { parts: ours.len(), digest: Digest::of_value(&ours) })
}

type Digests = BTreeMap<String, Digest>;

fn arrived(to: &Site, ours: &Digests, theirs: &Digests) -> Result<(), Failure> {
    let Some((name, _)) = ours.iter().find(|(name, digest)| theirs.get(*name) != Some(digest)) else { return Ok(()) };
    Err(Failure::new(Exit::NotDone, format!("`{name}` did not arrive as it is here"))
        .because(format!("read back from `{}` it has another digest, or is not there", to.place())))
}

/// Makes a place the environment's home: from now on it is where the environment is.
pub async fn settle(to: &Site, identity: &Identity) -> Result<(), Failure> {
    share_identity(&*to.objects, identity).await
}

/// Makes a place nobody's home; what was kept there stays.
pub async fn leave(from: &Site) -> Result<(), Failure> {
    from.objects.delete(IDENTITY).await
}
