//! The lease of shared state as an object: `lease.json`.
//!
//! One that was given back stays, without a holder, so that epochs never begin anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Holder;
use crate::failure::{Exit, Failure};
use crate::objects::{Object, Objects, Tag};

/// Where the lease lies.
pub(super) const LEASE: &str = "lease.json";
const VERSION: u32 = 1;

/// Who may write, and the number that rises as long as that one lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    version: u32,
    /// How often the lease was taken.
    pub epoch: u64,
    /// Rises with each heartbeat.
    pub counter: u64,
    /// In milliseconds: for how long a counter that stands still is believed.
    ttl: u64,
    /// Absent when the lease is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// A taking of the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Names this taking, and no other.
    pub nonce: Uuid,
    /// Boot and process namespace in which the holder's process number counts.
    pub space: String,
    pub holder: Holder,
}

impl Deed {
    /// The deed of the first or the next taking.
    pub(super) fn after(before: Option<&Self>, ttl: Duration, held: Held) -> Self {
        let (epoch, counter) = before.map_or((0, 0), |before| (before.epoch, before.counter));
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self { version: VERSION, epoch: epoch + 1, counter: counter + 1, ttl, held: Some(held) }
    }

    /// The same taking, a heartbeat later.
    pub(super) fn beaten(&self) -> Self {
        Self { counter: self.counter + 1, ..self.clone() }
    }

    /// The lease given back.
    pub(super) fn free(&self) -> Self {
        Self { counter: self.counter + 1, held: None, ..self.clone() }
    }

    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl)
    }

    pub(super) fn is_of(&self, nonce: Uuid) -> bool {
        self.held.as_ref().is_some_and(|held| held.nonce == nonce)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec_pretty(self).map_err(|error| Failure::bug("a lease has no JSON").because(error))
    }

    /// # Errors
    /// It cannot be read, is no lease, or a newer program wrote it: then nobody can tell whether it is free.
    pub(super) async fn read(objects: &dyn Objects) -> Result<Option<(Self, Tag)>, Failure> {
        let Some(Object { bytes, tag }) = objects.get(LEASE).await? else { return Ok(None) };
        let refused = |cause: String| {
            Failure::new(Exit::NotDone, format!("cannot understand the lease `{}`", objects.place(LEASE)))
                .because(cause)
        };
        let deed: Self = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        if deed.version > VERSION {
            return Err(refused(format!("it has version {}", deed.version))
                .hint("use that version of sre-provision, or a newer one"));
        }
        Ok(Some((deed, tag)))
    }
}
