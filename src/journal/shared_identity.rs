//! The identity as an object: `identity.json`, which names the environment for every machine.

use super::identity::{encode, read};
use crate::failure::{Exit, Failure};
use crate::identity::Identity;
use crate::objects::Objects;

pub(super) const IDENTITY: &str = "identity.json";

/// The identity, if the environment ever had one there.
///
/// # Errors
/// It is damaged or a newer program wrote it, or nobody knows whether there is one.
pub async fn shared_identity(objects: &dyn Objects) -> Result<Option<Identity>, Failure> {
    let Some(object) = objects.get(IDENTITY).await? else { return Ok(None) };
    read(&object.bytes, &objects.place(IDENTITY)).map(Some)
}

/// Keeps the identity, by whoever holds the lease.
///
/// # Errors
/// Another environment's identity is there already; it is never overwritten.
pub async fn share_identity(objects: &dyn Objects, identity: &Identity) -> Result<(), Failure> {
    let bytes = encode(identity)?;
    for _ in 0..3 {
        let Some(object) = objects.get(IDENTITY).await? else {
            if objects.create(IDENTITY, &bytes).await?.is_some() {
                return Ok(());
            }
            continue;
        };
        if object.bytes == bytes {
            return Ok(());
        }
        let there = read(&object.bytes, &objects.place(IDENTITY))?;
        if there.id != identity.id {
            return Err(super::identity::other(&there, identity, &objects.place(IDENTITY)));
        }
        if objects.replace(IDENTITY, &bytes, &object.tag).await?.is_some() {
            return Ok(());
        }
    }
    Err(Failure::new(Exit::Held, format!("the identity of `{}` was changed by somebody else", identity.name)))
}
