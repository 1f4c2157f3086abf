//! The journal of a run, shared by everything in it that writes.
//!
//! Stages run side by side and each appends; the writer puts them in order, one at a time, and lets others look at the
//! memory meanwhile.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Mutex;
use uuid::Uuid;

use super::{Anchor, Entry, Journal, Lease, Memory, Record, fenced};
use crate::event::Outcome;
use crate::failure::Failure;
use crate::fingerprint::Digest;

/// A run's right and means to write.
pub struct Writer {
    lease: Arc<Lease>,
    run: u32,
    journal: Arc<RwLock<Journal>>,
    /// Held while an entry is on its way.
    turn: Arc<Mutex<()>>,
}

impl Writer {
    /// Starts the next run: records its lease and its beginning, and notes it for whoever is refused meanwhile.
    pub async fn begin(
        mut journal: Journal,
        mut lease: Lease,
        command: &str,
        plan: Option<Digest>,
    ) -> Result<Self, Failure> {
        let run = journal.memory().next_run();
        lease.note_run(run, command).await?;
        let program = env!("CARGO_PKG_VERSION").to_owned();
        journal.append(&lease, run, Record::RunStarted { command: command.to_owned(), program, plan }).await?;
        Ok(Self { lease: Arc::new(lease), run, journal: Arc::new(RwLock::new(journal)), turn: Arc::default() })
    }

    pub fn run(&self) -> u32 {
        self.run
    }

    /// The environment that is written about.
    pub(super) fn environment(&self) -> Uuid {
        self.journal().environment.id
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Makes a record durable; fails as [`Journal::append`] does. A write that was begun is finished even when this
    /// future is dropped.
    pub async fn append(&self, record: Record) -> Result<Entry, Failure> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let draft = {
            let journal = self.journal();
            journal.draft(&self.lease, self.run, journal.chain.epoch, record)?
        };
        let (journal, lease) = (Arc::clone(&self.journal), Arc::clone(&self.lease));
        let written = tokio::spawn(async move {
            let entry = draft.entry.clone();
            let written = draft.write().await;
            let settled = journal.write().unwrap_or_else(PoisonError::into_inner).settle(draft, written);
            drop((turn, lease));
            settled.map(|()| entry)
        });
        written.await.unwrap_or_else(|error| Err(Failure::bug("writing the journal ended early").because(error)))
    }

    /// Sees that this run may still write, now and not only when it wrote last: its lease is confirmed once more, and nobody
    /// has written after it.
    ///
    /// # Errors
    /// Exit 8: another has the lease, or may have.
    pub async fn confirm(&self) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        self.lease.confirm().await?;
        let (store, name, next) = {
            let journal = self.journal();
            (Arc::clone(&journal.store), journal.environment.name.clone(), journal.chain.number + 1)
        };
        match store.read(next..=next).await?.pop().flatten() {
            None => Ok(()),
            Some(there) => Err(fenced(&name, next, Some(&there))),
        }
    }

    /// Records that the run has ended, and gives the lease back; tells the last entry for whoever vouches for it.
    pub async fn end(self, outcome: Outcome, why: Option<String>) -> Result<Anchor, Failure> {
        let last = self.append(Record::RunEnded { outcome, why }).await?;
        if let Ok(lease) = Arc::try_unwrap(self.lease) {
            // One that was not heard to come back ends by itself; the run is done.
            drop(lease.give_back().await);
        }
        Ok(Anchor { number: last.number, digest: last.digest })
    }

    /// Looks at what is remembered at this moment.
    pub fn look<T>(&self, look: impl FnOnce(&Memory) -> T) -> T {
        look(self.journal().memory())
    }

    fn journal(&self) -> RwLockReadGuard<'_, Journal> {
        self.journal.read().unwrap_or_else(PoisonError::into_inner)
    }
}
