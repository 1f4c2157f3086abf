//! Says whether a journal is what was written: what a later command, `history verify`, will tell. No command asks yet.

use uuid::Uuid;

use super::chain::{Chain, Damage, follow_all};
use super::store::Store;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;

/// An entry that is known from elsewhere: nobody who can write here could have changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub number: u64,
    pub digest: Digest,
}

/// What there is to say of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many entries are in order.
    pub entries: u64,
    /// The first damaged entry, and how.
    pub damage: Option<(u64, Damage)>,
    /// Whether an anchor vouches for what was read.
    pub anchored: bool,
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
            None if self.anchored => None,
            None => Some(Exit::Unanchored),
        }
    }
}

/// Verifies every entry, and the anchor if there is one.
///
/// # Errors
/// The store could not be read; damage is not an error but the verdict.
pub async fn verify(store: &dyn Store, environment: Uuid, anchor: Option<&Anchor>) -> Result<Verdict, Failure> {
    let mut chain = Chain::new(environment);
    let mut damage = follow_all(store, &mut chain, |entry| match anchor {
        Some(anchor) if anchor.number == entry.number && anchor.digest != entry.digest => {
            Err(Damage::Altered("it is in order, but not the one that is known from elsewhere".to_owned()))
        }
        _ => Ok(()),
    })
    .await?;
    let last = chain.number;
    if let (None, Some(anchor)) = (&damage, anchor.filter(|anchor| anchor.number > last)) {
        let cut = format!("entry {} is known from elsewhere, and the last one here is {last}", anchor.number);
        damage = Some((last + 1, Damage::Truncated(cut)));
    }
    let head = chain.head.map(|digest| Anchor { number: chain.number, digest });
    Ok(Verdict { entries: last, anchored: anchor.is_some() && damage.is_none(), damage, head })
}
