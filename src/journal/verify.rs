//! Whether a journal is what was written: what `history verify` tells.

use serde::Serialize;
use uuid::Uuid;

use super::chain::{Chain, Damage, follow_all};
use super::store::Store;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// An entry that is known from elsewhere: nobody who can write here could have changed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anchor {
    pub number: u64,
    pub digest: Digest,
}

/// What came of verifying a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many entries are in order.
    pub entries: u64,
    /// The first damaged entry, and how.
    pub damage: Option<(u64, Damage)>,
    /// The last entry that an anchor vouches for, and with it all before.
    pub anchored: Option<u64>,
    /// The last entry that is in order.
    pub head: Option<Anchor>,
}

impl Verdict {
    /// The exit code; `None` stands for 0.
    ///
    /// Without an anchor a cut tail or a journal rewritten as a whole cannot be told from an intact one.
    pub fn exit(&self) -> Option<Exit> {
        match &self.damage {
            Some((_, damage)) => Some(damage.exit()),
            None if self.anchored.is_some() => None,
            None => Some(Exit::Unanchored),
        }
    }
}

/// Verifies every entry, and the anchors if there are any.
///
/// # Errors
/// The store could not be read; damage is not an error but the verdict.
pub async fn verify(store: &dyn Store, environment: Uuid, anchors: &[Anchor]) -> Result<Verdict, Failure> {
    let mut chain = Chain::new(environment);
    let mut damage = follow_all(store, &mut chain, |entry| {
        let differs = |anchor: &&Anchor| anchor.number == entry.number && anchor.digest != entry.digest;
        match anchors.iter().find(differs) {
            Some(_) => Err(Damage::Altered("it is in order, but not the one that is known from elsewhere".to_owned())),
            None => Ok(()),
        }
    })
    .await?;
    let last = chain.number;
    let furthest = anchors.iter().map(|anchor| anchor.number).max();
    if let (None, Some(known)) = (&damage, furthest.filter(|known| *known > last)) {
        let cut = format!("entry {known} is known from elsewhere, and the last one here is {last}");
        damage = Some((last + 1, Damage::Truncated(cut)));
    }
    let head = chain.head.map(|digest| Anchor { number: chain.number, digest });
    let anchored = if damage.is_none() { furthest } else { None };
    Ok(Verdict { entries: last, anchored, damage, head })
}
