//! Holding the lease of shared state: a heartbeat every quarter of its time, and what may still be done without one.
//!
//! A holder that has not been confirmed begins nothing new when a quarter of the time is left, and is fenced at its end:
//! it counts from before it sent the heartbeat that was confirmed, and whoever waits for the lease counts from after it
//! saw that heartbeat, so the holder stops first, whatever any wall clock says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::deed::{Deed, LEASE};
use super::vantage::Vantage;
use super::{Holder, Record};
use crate::failure::{Class, Exit, Failure};
use crate::objects::{Objects, Tag};

/// How long a lease is believed without a heartbeat.
pub const TTL: Duration = Duration::from_secs(60);
/// Heartbeats in that time.
const BEATS: u32 = 4;

/// Whether the lease is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Sure,
    /// Not confirmed for so long that nothing new may begin.
    Fading,
    /// Another has it, or may have.
    Lost,
}

/// A lease that is held.
#[derive(Debug)]
pub struct Tenure {
    objects: Arc<dyn Objects>,
    vantage: Arc<dyn Vantage>,
    ttl: Duration,
    kept: Mutex<Kept>,
    /// One heartbeat at a time.
    turn: tokio::sync::Mutex<()>,
    lost: watch::Sender<bool>,
}

#[derive(Debug)]
struct Kept {
    deed: Deed,
    tag: Tag,
    /// Before the last heartbeat that was confirmed was sent.
    confirmed: Duration,
    is_lost: bool,
}

impl Tenure {
    /// `sent` is a moment before the deed was sent.
    pub(super) fn begin(
        objects: Arc<dyn Objects>,
        vantage: Arc<dyn Vantage>,
        (deed, tag): (Deed, Tag),
        sent: Duration,
    ) -> Self {
        let ttl = deed.ttl();
        let kept = Mutex::new(Kept { deed, tag, confirmed: sent, is_lost: false });
        Self { objects, vantage, ttl, kept, turn: tokio::sync::Mutex::default(), lost: watch::Sender::new(false) }
    }

    /// Where the lease lies, and what is kept beside it.
    pub(super) fn objects(&self) -> &dyn Objects {
        &*self.objects
    }

    pub fn standing(&self) -> Standing {
        let kept = self.kept();
        let age = self.vantage.now().saturating_sub(kept.confirmed);
        if kept.is_lost || age >= self.ttl {
            Standing::Lost
        } else if age >= self.ttl - self.ttl / BEATS {
            Standing::Fading
        } else {
            Standing::Sure
        }
    }

    /// # Errors
    /// Exit 8: the lease is lost, or so long unconfirmed that this must not begin.
    pub(super) fn ensure(&self, environment: &str) -> Result<(), Failure> {
        self.sure(environment, true)
    }

    /// # Errors
    /// As with [`ensure`](Self::ensure), unless the record only tells of what has begun before.
    pub(super) fn allows(&self, environment: &str, record: &Record) -> Result<(), Failure> {
        self.sure(environment, begins(record))
    }

    fn sure(&self, environment: &str, begins: bool) -> Result<(), Failure> {
        let refused = |what: String| {
            Failure::new(Exit::Held, what)
                .class(Class::Conflict)
                .hint(format!("sre-provision unlock {environment}   shows who holds it now"))
        };
        let age = self.vantage.now().saturating_sub(self.kept().confirmed).as_secs();
        match self.standing() {
            Standing::Sure => Ok(()),
            Standing::Fading if !begins => Ok(()),
            Standing::Fading => Err(refused(format!("the lease of `{environment}` is not confirmed"))
                .because(format!("the last heartbeat was {age} s ago: nothing new is begun"))),
            Standing::Lost => Err(refused(format!("the lease of `{environment}` was lost")).because(format!(
                "its last confirmed heartbeat was {age} s ago, and it lasts {} s",
                self.ttl.as_secs()
            ))),
        }
    }

    /// Sends heartbeats until the lease is lost.
    pub async fn keep(&self) {
        loop {
            // Sooner where the last one was not confirmed.
            let every = self.ttl / BEATS;
            let age = self.vantage.now().saturating_sub(self.kept().confirmed);
            self.vantage.sleep(if age < every { every - age } else { every / BEATS }).await;
            // What failed is tried again; what matters is when the last one was confirmed, and that nobody waits for an
            // answer beyond the lease's end.
            let left = self.ttl.saturating_sub(self.vantage.now().saturating_sub(self.kept().confirmed));
            tokio::select! {
                beaten = self.beat() => drop(beaten),
                () = self.vantage.sleep(left) => {}
            }
            if self.standing() == Standing::Lost {
                self.lose();
                return;
            }
        }
    }

    /// Waits until the lease is lost.
    pub async fn lost(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        drop(self.lost.subscribe().wait_for(|lost| *lost).await);
    }

    /// Tells who holds it and for what, and sends that with a heartbeat.
    pub(super) async fn tell(&self, holder: &Holder) -> Result<(), Failure> {
        if let Some(held) = &mut self.kept().deed.held {
            held.holder = holder.clone();
        }
        self.beat().await
    }

    /// One heartbeat.
    ///
    /// # Errors
    /// Nobody knows whether it arrived; one that shows that the lease is another's is no error here.
    pub async fn beat(&self) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        if let Some((deed, tag, sent)) = self.put(Deed::beaten).await? {
            let mut kept = self.kept();
            (kept.deed, kept.tag, kept.confirmed) = (deed, tag, sent);
        }
        Ok(())
    }

    /// Puts in the place of our deed what follows from it; tells when it was sent. Nothing is put where the lease is lost,
    /// and it is where another's deed lies there.
    async fn put(&self, next: impl Fn(&Deed) -> Deed) -> Result<Option<(Deed, Tag, Duration)>, Failure> {
        for _ in 0..3 {
            let (next, tag) = {
                let kept = self.kept();
                if kept.is_lost {
                    return Ok(None);
                }
                (next(&kept.deed), kept.tag.clone())
            };
            let sent = self.vantage.now();
            if let Some(tag) = self.objects.replace(LEASE, &next.encode()?, &tag).await? {
                return Ok(Some((next, tag, sent)));
            }
            if !self.adopt().await? {
                self.lose();
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Takes up what lies there, where it is ours: the answer to an earlier heartbeat was lost. It confirms nothing by
    /// itself, because nobody knows when it arrived.
    async fn adopt(&self) -> Result<bool, Failure> {
        let there = Deed::read(&*self.objects).await?;
        let mut kept = self.kept();
        let ours = kept.deed.held.as_ref().map(|held| held.nonce);
        let there = there.filter(|(deed, _)| ours.is_some_and(|ours| deed.is_of(ours)));
        let Some((deed, tag)) = there else { return Ok(false) };
        (kept.deed.counter, kept.tag) = (deed.counter, tag);
        Ok(true)
    }

    /// Gives the lease back; one that was lost is another's, and stays as it is.
    ///
    /// # Errors
    /// Nobody knows whether it arrived. If it did not, the lease ends by itself.
    pub(super) async fn give_back(&self) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        self.put(Deed::free).await?;
        self.lose();
        Ok(())
    }

    /// From now on nothing is written under it.
    pub(super) fn lose(&self) {
        self.kept().is_lost = true;
        self.lost.send_replace(true);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a record tells of something that begins with it.
fn begins(record: &Record) -> bool {
    match record {
        Record::Intent(_) | Record::ChildStarted { .. } | Record::Approval { .. } | Record::RunStarted { .. } => true,
        Record::Outcome(_)
        | Record::Fact { .. }
        | Record::Lease(_)
        | Record::ChildEnded { .. }
        | Record::RunEnded { .. }
        | Record::Unrecognised => false,
    }
}
