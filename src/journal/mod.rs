//! What was intended and what came of it: the one truth between runs.
//!
//! Numbered, create-only entries, each holding the digest of the one before. An intent is durable before its effect, an
//! outcome after it; an intent without an outcome is indeterminate, and the world is looked at before anything else is
//! done. Writing demands a [`Lease`]. What the entries add up to is the [`Memory`].
//!
//! # Why
//! One file per entry instead of one growing file, because "create this number if it is free" is the one thing that a
//! file system and an object store both promise, and it fences a writer that has lost its lease. (2026-11-21)

mod actor;
mod anchor;
mod anchor_s3;
mod chain;
mod deed;
mod entry;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod history;
mod home;
mod identity;
mod lease;
mod memory;
mod moving;
mod obstacle;
mod shared_identity;
mod shared_store;
mod store;
mod taking;
mod tenure;
mod tofu_lock;
mod vantage;
mod verify;
mod writer;

use std::sync::Arc;

use jiff::Timestamp;

use crate::failure::{Class, Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::Identity;
use crate::workspace::Published;

pub use actor::Actor;
pub use anchor::{SYSLOG, tell_file, tell_syslog, told};
pub use anchor_s3::{tell_s3, told_s3};
pub use chain::Damage;
pub use deed::{Deed as LeaseDeed, Held};
pub use entry::{Claim, Deed, Entry, Intent, Record, Settled};
pub use format::Format;
pub use history::{PastRun, PastStage, history, line, usual};
pub use home::Home;
pub use identity::{load_identity, save_identity};
pub use lease::{Holder, Lease};
pub use memory::{Approved, Made, Memory, OpenChild, RunMemory, StageMemory, StepMemory};
pub use moving::{Moved, Site, copy, hold_against, leave, settle};
pub use obstacle::Obstacles;
pub use shared_identity::{share_identity, shared_identity};
pub use shared_store::SharedStore;
pub use store::{LocalStore, MemoryStore, Store};
pub use taking::{Shared, Word};
pub use tenure::{Standing, TTL, Tenure};
pub use tofu_lock::TofuLock;
pub use vantage::{Here, Vantage};
pub use verify::{Anchor, Verdict, verify};
pub use writer::Writer;

use chain::Chain;

/// The verified journal of one environment.
pub struct Journal {
    store: Arc<dyn Store>,
    environment: Identity,
    entries: Vec<Entry>,
    memory: Memory,
    chain: Chain,
    /// Why nothing more may be written, once a write has failed.
    broken: Option<Failure>,
}

impl Journal {
    /// Reads and verifies every entry.
    ///
    /// # Errors
    /// The first entry that is damaged, and how; nothing can be decided on a journal in doubt.
    pub async fn open(store: Box<dyn Store>, environment: &Identity) -> Result<Self, Failure> {
        let store: Arc<dyn Store> = Arc::from(store);
        let mut chain = Chain::new(environment.id);
        let mut entries = Vec::new();
        let damage = chain::follow_all(&*store, &mut chain, |entry| {
            entries.push(entry);
            Ok(())
        });
        if let Some((number, damage)) = damage.await? {
            return Err(damage.failure(&environment.name, number, &store.place(number)));
        }
        let memory = Memory::of(&entries);
        Ok(Self { store, environment: environment.clone(), entries, memory, chain, broken: None })
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The number and digest of the last entry: what an anchor kept elsewhere would hold.
    pub fn head(&self) -> Option<Anchor> {
        Some(Anchor { number: self.chain.number, digest: self.chain.head.clone()? })
    }

    /// Makes a record durable; the first one under a lease is preceded by the record of the lease.
    ///
    /// # Errors
    /// Somebody else wrote this number (exit 8): the lease was lost. After any error the journal takes no more records,
    /// because what lies in the store is unknown; the next run reads it.
    pub async fn append(&mut self, lease: &Lease, run: u32, record: Record) -> Result<&Entry, Failure> {
        if !self.is_claimed_by(lease) {
            self.claim(lease, run).await?;
        }
        let draft = self.draft(lease, run, self.chain.epoch, record)?;
        self.write(draft).await
    }

    fn is_claimed_by(&self, lease: &Lease) -> bool {
        self.memory.claim.as_ref().is_some_and(|claim| claim.nonce == lease.nonce())
    }

    /// Records that a lease was taken over, before anything else is done under it. Every intent that is open here has an
    /// unknown outcome.
    async fn take_over(&mut self, lease: &Lease) -> Result<(), Failure> {
        self.claim(lease, self.memory.next_run()).await
    }

    /// Records that the lease changed hands: the epoch rises.
    async fn claim(&mut self, lease: &Lease, run: u32) -> Result<(), Failure> {
        self.store.sweep().await?;
        let claim = Claim { nonce: lease.nonce(), how: lease.how().to_owned() };
        let draft = self.draft(lease, run, self.chain.epoch + 1, Record::Lease(claim))?;
        self.write(draft).await.map(drop)
    }

    async fn write(&mut self, draft: Draft) -> Result<&Entry, Failure> {
        // Until the answer is here, what lies in the store is unknown: so it stays if this future is dropped.
        self.broken = Some(Failure::bug("a journal entry was abandoned on its way"));
        let written = draft.write().await;
        self.settle(draft, written)?;
        self.entries.last().ok_or_else(|| Failure::bug("an entry that was written is not there"))
    }

    /// The next entry, sealed and not yet written.
    fn draft(&self, lease: &Lease, run: u32, epoch: u64, record: Record) -> Result<Draft, Failure> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        lease.allows(&record)?;
        if lease.environment() != self.environment.name {
            let (held, wanted) = (lease.environment(), &self.environment.name);
            return Err(Failure::bug(format!("the lease of `{held}` was used to write about `{wanted}`")));
        }
        if let Some(newer) = self.chain.newer {
            return Err(Failure::new(
                Exit::NotDone,
                format!("the journal of `{}` is read-only", self.environment.name),
            )
            .because(format!("a newer program wrote to it, in format {newer}; this one knows {}", format::CURRENT))
            .hint("use that version of sre-provision, or a newer one"));
        }
        let mut entry = Entry {
            version: format::CURRENT,
            environment: self.environment.id,
            number: self.chain.number + 1,
            run,
            epoch,
            previous: self.chain.head.clone(),
            time: now(),
            actor: lease.actor().clone(),
            record,
            digest: Digest::of(b""),
        };
        let bytes = entry.seal()?;
        Ok(Draft { store: Arc::clone(&self.store), environment: self.environment.name.clone(), entry, bytes })
    }

    /// Takes what came of writing a draft.
    fn settle(&mut self, draft: Draft, written: Result<(), Failure>) -> Result<(), Failure> {
        if let Err(failure) = written {
            self.broken = Some(failure.clone());
            return Err(failure);
        }
        self.broken = None;
        self.chain.advance(&draft.entry, draft.entry.digest.clone());
        self.memory.admit(&draft.entry);
        self.entries.push(draft.entry);
        Ok(())
    }
}

/// An entry about to be written.
struct Draft {
    store: Arc<dyn Store>,
    environment: String,
    entry: Entry,
    bytes: Vec<u8>,
}

impl Draft {
    async fn write(&self) -> Result<(), Failure> {
        let number = self.entry.number;
        match self.store.create(number, &self.bytes).await? {
            Published::Created => Ok(()),
            Published::Existed => {
                let there = self.store.read(number..=number).await?.pop().flatten();
                // An answer that was lost and a call that was repeated: the entry is ours.
                if there.as_ref() == Some(&self.bytes) {
                    return Ok(());
                }
                Err(fenced(&self.environment, number, there.as_deref()))
            }
        }
    }
}

fn fenced(environment: &str, number: u64, there: Option<&[u8]>) -> Failure {
    let other = there.and_then(|bytes| serde_json::from_slice::<Entry>(bytes).ok());
    let by = other.map_or_else(String::new, |other| format!(" by {} in run {:04}", other.actor, other.run));
    Failure::new(Exit::Held, format!("the lease of `{environment}` was lost"))
        .class(Class::Conflict)
        .because(format!("entry {number} of its journal was written{by}"))
        .hint(format!("sre-provision status {environment}   shows who goes on"))
}

/// The time in whole milliseconds: more would only make entries longer.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
