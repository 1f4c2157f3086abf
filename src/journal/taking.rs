//! Taking the lease of shared state: when it is free, when its holder is proven dead, or when it has stood still for its
//! whole time on the clock of who watches it, and nothing is open.

use std::sync::Arc;
use std::time::Duration;

use super::deed::{Deed, Held, LEASE};
use super::obstacle::Obstacles;
use super::tenure::{TTL, Tenure};
use super::vantage::{Here, Vantage};
use super::{Actor, Holder, Journal, Record, SharedStore, shared_identity};
use crate::failure::{Class, Exit, Failure};
use crate::objects::{Objects, Tag, probe};
use crate::workspace::StateDir;

/// How often a lease that another holds is looked at.
const LOOKS: u32 = 30;
/// How often others may be quicker before we give up.
const ROUNDS: u32 = 20;

/// State that several machines share, and where this one looks at it from.
#[derive(Clone, Debug)]
pub struct Shared {
    pub objects: Arc<dyn Objects>,
    pub vantage: Arc<dyn Vantage>,
    /// Of leases taken here.
    pub ttl: Duration,
}

impl Shared {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects, vantage: Arc::new(Here), ttl: TTL }
    }

    /// The journal there; `None` where the environment has no identity yet.
    pub(super) async fn journal(&self) -> Result<Option<Journal>, Failure> {
        let Some(identity) = shared_identity(&*self.objects).await? else { return Ok(None) };
        Journal::open(Box::new(SharedStore::new(Arc::clone(&self.objects), identity.id)), &identity).await.map(Some)
    }

    /// The lease as it lies there.
    pub async fn deed(&self) -> Result<Option<Deed>, Failure> {
        Ok(Deed::read(&*self.objects).await?.map(|(deed, _)| deed))
    }
}

/// Whether a person has said that the holder and all that it began are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    None,
    /// Typed, as `--take-over`.
    Given,
}

/// A wish for the lease.
pub(super) struct Wish<'a> {
    pub shared: &'a Shared,
    pub state: &'a StateDir,
    pub held: Held,
    pub word: Word,
}

/// The lease, and how it was got.
pub(super) struct Taken {
    pub tenure: Tenure,
    pub how: How,
}

/// How a lease was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    Free,
    /// From a holder that this machine knows to be dead.
    Dead(String, Actor),
    /// From one that was not heard of for the whole time of its lease.
    Expired(String),
}

impl How {
    pub fn is_takeover(&self) -> bool {
        *self != Self::Free
    }

    /// As the journal tells it.
    pub fn text(&self, word: Word) -> String {
        match (self, word) {
            (Self::Free, _) => "free".to_owned(),
            (Self::Dead(why, _), _) => why.clone(),
            (Self::Expired(why), Word::None) => why.clone(),
            (Self::Expired(why), Word::Given) => format!("{why}; taken over by `--take-over`"),
        }
    }
}

/// A lease that another holds, as long as it was watched.
struct Watched {
    first: u64,
    since: Duration,
}

impl Wish<'_> {
    /// # Errors
    /// Exit 8: somebody holds it and lives, or something is open of which nobody knows whether it has ended.
    pub async fn take(&self) -> Result<Taken, Failure> {
        let Shared { objects, vantage, .. } = self.shared;
        let mut watched: Option<Watched> = None;
        let (mut rounds, mut tried) = (0, How::Free);
        loop {
            let sent = vantage.now();
            let (deed, seen, how) = match Deed::read(&**objects).await? {
                None => {
                    probe(&**objects).await?;
                    (None, None, How::Free)
                }
                // The answer to our own call was lost: it was sent before it was read, but nobody knows when it arrived.
                Some((deed, tag)) if deed.is_of(self.held.nonce) => {
                    let tenure = self.tenure((deed, tag), sent.saturating_sub(self.shared.ttl));
                    tenure.beat().await?;
                    return Ok(Taken { tenure, how: tried });
                }
                Some((deed, tag)) => match self.judge(&deed, &mut watched)? {
                    Some(how) => (Some(deed), Some(tag), how),
                    None => {
                        vantage.sleep(deed.ttl() / LOOKS).await;
                        continue;
                    }
                },
            };
            self.check(&how).await?;
            tried = how.clone();
            let sent = vantage.now();
            let next = Deed::after(deed.as_ref(), self.shared.ttl, self.held.clone());
            if let Some(tenure) = self.put(next, seen.as_ref(), sent).await? {
                return Ok(Taken { tenure, how });
            }
            rounds += 1;
            if rounds == ROUNDS {
                return Err(Failure::new(Exit::Held, format!("`{}` is taken again and again", self.state.name()))
                    .hint("try again"));
            }
        }
    }

    /// Whether a lease may be taken, by what can be seen of it; `None` while that is not known.
    fn judge(&self, deed: &Deed, watched: &mut Option<Watched>) -> Result<Option<How>, Failure> {
        let Some(held) = &deed.held else { return Ok(Some(How::Free)) };
        let vantage = &self.shared.vantage;
        if held.space == vantage.space() && vantage.has_ended(&held.holder.actor) {
            let Holder { actor, .. } = &held.holder;
            let ended = format!("process {} of {actor} has ended", actor.pid);
            return Ok(Some(How::Dead(ended, actor.clone())));
        }
        let now = vantage.now();
        let Watched { first, since } = watched.get_or_insert(Watched { first: deed.counter, since: now });
        if *first != deed.counter {
            return Err(held_by(self.state.name(), &held.holder));
        }
        let age = now.saturating_sub(*since);
        let expired = format!("{} was not heard of for {} s", held.holder.actor, age.as_secs());
        Ok((age >= deed.ttl()).then_some(How::Expired(expired)))
    }

    /// Whether something stands in the way that the lease says nothing of.
    ///
    /// # Errors
    /// Exit 8, naming it.
    async fn check(&self, how: &How) -> Result<(), Failure> {
        match self.shared.journal().await? {
            Some(journal) => self.check_in(&journal, how),
            None => Ok(()),
        }
    }

    /// As [`check`](Self::check), by a journal that was read.
    pub fn check_in(&self, journal: &Journal, how: &How) -> Result<(), Failure> {
        let obstacles = Obstacles::of(journal, self.state, &*self.shared.vantage);
        let is_unsure = match how {
            How::Free => false,
            How::Expired(_) => true,
            // It may have died before its own taking over was done: what is open is then another's.
            How::Dead(_, dead) => last_to_begin(journal).is_some_and(|actor| actor != dead),
        };
        obstacles.refuse(self.state.name(), is_unsure, self.word)
    }

    /// Writes the deed of our taking where nobody was quicker.
    async fn put(&self, next: Deed, seen: Option<&Tag>, sent: Duration) -> Result<Option<Tenure>, Failure> {
        let (objects, bytes) = (&self.shared.objects, next.encode()?);
        let put = match seen {
            None => objects.create(LEASE, &bytes).await,
            Some(seen) => objects.replace(LEASE, &bytes, seen).await,
        };
        if let Ok(Some(tag)) = put {
            return Ok(Some(self.tenure((next, tag), sent)));
        }
        // Refused or unknown, and perhaps done by our own call whose answer was lost: then we read our own name.
        let there = Deed::read(&**objects).await;
        let there = there.map_err(|failure| put.err().unwrap_or(failure))?;
        Ok(there.filter(|(deed, _)| deed.is_of(self.held.nonce)).map(|there| self.tenure(there, sent)))
    }

    fn tenure(&self, deed: (Deed, Tag), sent: Duration) -> Tenure {
        Tenure::begin(Arc::clone(&self.shared.objects), Arc::clone(&self.shared.vantage), deed, sent)
    }
}

/// Who wrote the last intent.
fn last_to_begin(journal: &Journal) -> Option<&Actor> {
    let intents = journal.entries().iter().rev().find(|entry| matches!(entry.record, Record::Intent(_)));
    intents.map(|entry| &entry.actor)
}

pub(super) fn held_by(name: &str, holder: &Holder) -> Failure {
    Failure::new(Exit::Held, format!("`{name}` is held by {}", holder.actor))
        .class(Class::Conflict)
        .because(holder.doing())
        .hint(format!("sre-provision status {name}   shows how far it is; wait until it ends"))
}
