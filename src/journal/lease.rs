//! The sole right to write about an environment.
//!
//! The right is an advisory lock on the file `writer`, which the kernel takes back when its holder ends, however it
//! ends. Who holds it is written beside it, for people only. Children never inherit the lock. Where several machines share
//! the state, the object `lease.json` is held besides, with a heartbeat.

#![expect(clippy::disallowed_methods, reason = "a lock is on an open file, which is never replaced")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::deed::Held;
use super::taking::{Shared, Taken, Wish, Word, held_by};
use super::tenure::Tenure;
use super::{Actor, Record, now};
use crate::crash_point;
use crate::failure::{Exit, Failure};
use crate::objects::wait;
use crate::workspace::{RealDisk, StateDir, sweep_unfinished_below, write_atomic};

/// How long whoever drops a lease waits until it is given back.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The lease of one environment; given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    /// Holds the lock.
    file: File,
    nonce: Uuid,
    holder: Holder,
    state: StateDir,
    /// How it was got.
    how: String,
    tenure: Option<Arc<Tenure>>,
    /// Sends the heartbeats.
    keeper: Option<tokio::task::JoinHandle<()>>,
}

/// Who holds a lease, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub actor: Actor,
    pub since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// As typed, such as `up dev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Lease {
    /// Takes the lease, or says at once who holds it.
    ///
    /// # Errors
    /// Exit 8, naming the holder, its run and since when.
    pub fn take(state: &StateDir, actor: Actor) -> Result<Self, Failure> {
        state.create()?;
        crash_point!("lease.before-lock");
        let Some(file) = lock(&state.writer())? else { return Err(held(state)) };
        crash_point!("lease.locked");
        let holder = Holder { actor, since: now(), run: None, command: None };
        // The kernel gives a lock only when nobody holds it.
        let (how, state) = ("free".to_owned(), state.clone());
        let lease = Self { file, nonce: Uuid::new_v4(), holder, state, how, tenure: None, keeper: None };
        // What writers before us left unfinished may be plaintext.
        sweep_unfinished_below(&RealDisk, lease.state.path())?;
        lease.write_note()?;
        crash_point!("lease.taken");
        Ok(lease)
    }

    /// Takes the lease of shared state, after that of this directory, and keeps it with heartbeats on this runtime. A
    /// takeover is in the journal when this returns.
    ///
    /// # Errors
    /// Exit 8: somebody holds it and lives, or something may still change the environment.
    pub async fn take_shared(state: &StateDir, shared: &Shared, actor: Actor, word: Word) -> Result<Self, Failure> {
        Ok(Self::take_unkept(state, shared, actor, word).await?.kept())
    }

    /// Takes the lease of another place with the same environment, for as long as both are held.
    pub async fn take_beside(lease: &Self, shared: &Shared) -> Result<Self, Failure> {
        let file = lease.file.try_clone().map_err(|error| Failure::bug("a lock cannot be shared").because(error))?;
        let (holder, state, how) = (lease.holder.clone(), lease.state.clone(), lease.how.clone());
        let beside = Self { file, nonce: Uuid::new_v4(), holder, state, how, tenure: None, keeper: None };
        Ok(beside.share(shared, Word::None).await?.kept())
    }

    fn kept(mut self) -> Self {
        if let Some(tenure) = self.tenure.clone() {
            self.keeper = Some(tokio::spawn(async move { tenure.keep().await }));
        }
        self
    }

    /// As [`take_shared`](Self::take_shared), without heartbeats: the caller sees to them.
    pub(super) async fn take_unkept(
        state: &StateDir,
        shared: &Shared,
        actor: Actor,
        word: Word,
    ) -> Result<Self, Failure> {
        Self::take(state, actor)?.share(shared, word).await
    }

    /// Takes the shared lease too.
    async fn share(mut self, shared: &Shared, word: Word) -> Result<Self, Failure> {
        let (nonce, space, holder, state) =
            (self.nonce, shared.vantage.space(), self.holder.clone(), self.state.clone());
        let wish = Wish { shared, state: &state, held: Held { nonce, space, holder }, word };
        crash_point!("lease.before-sharing");
        let Taken { tenure, how } = wish.take().await?;
        crash_point!("lease.shared");
        self.how = how.text(word);
        self.tenure = Some(Arc::new(tenure));
        if how.is_takeover()
            && let Some(mut journal) = shared.journal().await?
        {
            // Once more, on the very entries that the claim follows: one that comes late makes the claim collide.
            let taken = match wish.check_in(&journal, &how) {
                Ok(()) => journal.take_over(&self).await,
                Err(failure) => Err(failure),
            };
            if let (Err(_), Some(tenure)) = (&taken, &self.tenure) {
                // Not given back: a free lease would say that nothing is open.
                tenure.lose();
            }
            taken?;
        }
        Ok(self)
    }

    /// Lets others see which run this is.
    pub async fn note_run(&mut self, run: u32, command: &str) -> Result<(), Failure> {
        self.holder.run = Some(run);
        self.holder.command = Some(command.to_owned());
        self.write_note()?;
        match &self.tenure {
            Some(tenure) => tenure.tell(&self.holder).await,
            None => Ok(()),
        }
    }

    /// Gives the lease back and waits until that is done; one that is only dropped is given back as well as that can be.
    pub async fn give_back(mut self) -> Result<(), Failure> {
        self.keeper.take().iter().for_each(tokio::task::JoinHandle::abort);
        match self.tenure.take() {
            Some(tenure) => tenure.give_back().await,
            None => Ok(()),
        }
    }

    /// What keeps the lease, where several machines share the state.
    pub fn tenure(&self) -> Option<&Arc<Tenure>> {
        self.tenure.as_ref()
    }

    /// # Errors
    /// Exit 8: the lease is lost, or so long unconfirmed that this must not begin.
    pub(super) fn allows(&self, record: &Record) -> Result<(), Failure> {
        self.tenure.as_ref().map_or(Ok(()), |tenure| tenure.allows(self.environment(), record))
    }

    /// # Errors
    /// Exit 8: the lease is lost, or so long unconfirmed that nothing may begin.
    pub fn ensure(&self) -> Result<(), Failure> {
        self.tenure.as_ref().map_or(Ok(()), |tenure| tenure.ensure(self.environment()))
    }

    /// As [`ensure`](Self::ensure), after a heartbeat that asks.
    pub(super) async fn confirm(&self) -> Result<(), Failure> {
        if let Some(tenure) = &self.tenure {
            tenure.beat().await?;
        }
        self.ensure()
    }

    /// Who holds the lease now, as far as can be seen without trying to take it. A holder on another machine is
    /// believed; one on this machine is looked for.
    pub fn holder(state: &StateDir) -> Option<Holder> {
        let note = std::fs::read(state.holder()).ok()?;
        let holder: Holder = serde_json::from_slice(&note).ok()?;
        Some(holder).filter(|holder| holder.actor.is_alive() != Some(false))
    }

    pub fn actor(&self) -> &Actor {
        &self.holder.actor
    }

    /// The name of the environment that may be written about.
    pub fn environment(&self) -> &str {
        self.state.name()
    }

    /// Names this taking of the lease, and no other.
    pub(super) fn nonce(&self) -> Uuid {
        self.nonce
    }

    /// How the lease was got.
    pub fn how(&self) -> &str {
        &self.how
    }

    fn write_note(&self) -> Result<(), Failure> {
        let note = serde_json::to_vec(&self.holder).map_err(|error| Failure::bug("no JSON").because(error))?;
        write_atomic(&self.state.holder(), &note, 0o600)
    }
}

impl Holder {
    /// What is done under the lease, for people: `run 0007 (`up dev`) since …, process 4711`.
    pub fn doing(&self) -> String {
        let run = match (self.run, &self.command) {
            (Some(run), Some(command)) => format!("run {run:04} (`{command}`)"),
            (Some(run), None) => format!("run {run:04}"),
            (None, _) => "a run about to start".to_owned(),
        };
        let since = self.since.strftime("%Y-%m-%d %H:%M:%S UTC");
        format!("{run} since {since}, process {}", self.actor.pid)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.take().iter().for_each(tokio::task::JoinHandle::abort);
        if let Some(tenure) = self.tenure.take() {
            give_back_now(&tenure);
        }
        // The lock goes with the file; a note that stays names a process that has ended, which readers notice.
        crash_point!("lease.before-return");
        drop(std::fs::remove_file(self.state.holder()));
        crash_point!("lease.before-unlock");
    }
}

/// Gives a lease back where nobody awaits it; one that cannot be given back ends by itself.
fn give_back_now(tenure: &Tenure) {
    let runtime = tokio::runtime::Handle::try_current();
    let has_threads = runtime.is_ok_and(|it| it.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
    if has_threads {
        drop(wait(tokio::time::timeout(PATIENCE, tenure.give_back())));
    }
    tenure.lose();
}

/// Locks the file at this path; `None` when somebody else has.
fn lock(path: &Path) -> Result<Option<File>, Failure> {
    let failed = |cause: &dyn std::fmt::Display| {
        Failure::new(Exit::NotDone, format!("cannot lock `{}`", path.display())).because(cause)
    };
    loop {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(|error| failed(&error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        }
        // The file may have been removed with its directory after it was opened: then the lock is on nothing.
        let ours = file.metadata().map_err(|error| failed(&error))?;
        if path.metadata().is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(Some(file));
        }
    }
}

fn held(state: &StateDir) -> Failure {
    let name = state.name();
    let hint = format!("sre-provision status {name}   shows how far it is; wait until it ends");
    let Some(holder) = Lease::holder(state) else {
        return Failure::new(Exit::Held, format!("`{name}` is held by somebody who has not said who"))
            .because(format!("`{}` is locked", state.writer().display()))
            .hint(hint);
    };
    held_by(name, &holder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Kind;
    use crate::workspace::Workspace;

    fn world() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let state = Workspace::open(dir.path()).expect("a workspace").state("dev");
        (dir, state)
    }

    #[tokio::test]
    async fn the_second_is_told_who_holds_it_with_what_and_since_when() {
        let (_dir, state) = world();
        let actor = Actor { user: "ann".to_owned(), login: None, host: Actor::here().host, ..Actor::here() };
        let mut lease = Lease::take(&state, actor.clone()).expect("free");
        lease.note_run(7, "up dev").await.expect("noted");

        let failure = Lease::take(&state, Actor::here()).expect_err("held");

        assert_eq!(failure.exit(), Exit::Held);
        assert_eq!(failure.what(), format!("`dev` is held by ann on {}", actor.host));
        let since = lease.holder.since.strftime("%Y-%m-%d %H:%M:%S UTC");
        assert_eq!(failure.causes(), [format!("run 0007 (`up dev`) since {since}, process {}", actor.pid)]);
        assert_eq!(failure.hints(), ["sre-provision status dev   shows how far it is; wait until it ends"]);
    }

    #[test]
    fn a_lease_that_was_given_back_is_free_and_has_no_holder() {
        let (_dir, state) = world();
        drop(Lease::take(&state, Actor::here()).expect("free"));

        let holder = Lease::holder(&state);
        let again = Lease::take(&state, Actor::here()).expect("free again");

        assert_eq!(holder, None);
        assert_eq!(Lease::holder(&state).map(|holder| holder.actor), Some(again.actor().clone()));
    }

    #[test]
    fn a_note_left_by_a_killed_program_names_nobody() {
        let (_dir, state) = world();
        state.create().expect("created");
        let dead = Actor { start: 1, ..Actor::here() };
        let note = Holder { actor: dead, since: now(), run: None, command: None };
        std::fs::write(state.holder(), serde_json::to_vec(&note).expect("json")).expect("written");

        assert_eq!(Lease::holder(&state), None);
    }

    #[test]
    fn what_a_killed_writer_left_unfinished_is_swept() {
        let (_dir, state) = world();
        state.create().expect("created");
        std::fs::create_dir(state.secrets()).expect("made");
        std::fs::create_dir_all(state.tofu(Kind::Network)).expect("made");
        let left =
            [state.path().join(".new-1"), state.secrets().join(".new-2"), state.tofu(Kind::Network).join(".new-3")];
        left.iter().for_each(|path| std::fs::write(path, "plaintext").expect("written"));

        drop(Lease::take(&state, Actor::here()).expect("free"));

        assert!(left.iter().all(|path| !path.exists()));
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_not_taken_for_the_lease() {
        let (_dir, state) = world();
        let first = Lease::take(&state, Actor::here()).expect("free");
        std::fs::remove_dir_all(state.path()).expect("removed");

        let second = Lease::take(&state, Actor::here()).expect("a new file");

        assert!(state.writer().exists());
        drop((first, second));
    }
}
