//! The sole right to write about an environment.
//!
//! The right is an advisory lock on the file `writer`, which the kernel takes back when its holder ends, however it
//! ends. Who holds it is written beside it, for people only. Children never inherit the lock.

#![expect(clippy::disallowed_methods, reason = "a lock is on an open file, which is never replaced")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Actor, now};
use crate::crash_point;
use crate::failure::{Exit, Failure};
use crate::workspace::{RealDisk, StateDir, sweep_unfinished_below, write_atomic};

/// The lease of one environment; given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    /// Holds the lock.
    _file: File,
    nonce: Uuid,
    holder: Holder,
    state: StateDir,
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
        let lease = Self { _file: file, nonce: Uuid::new_v4(), holder, state: state.clone() };
        // What writers before us left unfinished may be plaintext.
        sweep_unfinished_below(&RealDisk, state.path())?;
        lease.write_note()?;
        crash_point!("lease.taken");
        Ok(lease)
    }

    /// Lets others see which run this is.
    pub fn note_run(&mut self, run: u32, command: &str) -> Result<(), Failure> {
        self.holder.run = Some(run);
        self.holder.command = Some(command.to_owned());
        self.write_note()
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

    /// How the lease was got: the kernel gives a lock only when nobody holds it.
    pub(super) fn how(&self) -> &'static str {
        "free"
    }

    fn write_note(&self) -> Result<(), Failure> {
        let note = serde_json::to_vec(&self.holder).map_err(|error| Failure::bug("no JSON").because(error))?;
        write_atomic(&self.state.holder(), &note, 0o600)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The lock goes with the file; a note that stays names a process that has ended, which readers notice.
        crash_point!("lease.before-return");
        drop(std::fs::remove_file(self.state.holder()));
        crash_point!("lease.before-unlock");
    }
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
    let run = match (holder.run, &holder.command) {
        (Some(run), Some(command)) => format!("run {run:04} (`{command}`)"),
        (Some(run), None) => format!("run {run:04}"),
        (None, _) => "a run about to start".to_owned(),
    };
    let since = holder.since.strftime("%Y-%m-%d %H:%M:%S UTC");
    Failure::new(Exit::Held, format!("`{name}` is held by {}", holder.actor))
        .because(format!("{run} since {since}, process {}", holder.actor.pid))
        .hint(hint)
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

    #[test]
    fn the_second_is_told_who_holds_it_with_what_and_since_when() {
        let (_dir, state) = world();
        let actor = Actor { user: "ann".to_owned(), login: None, host: Actor::here().host, ..Actor::here() };
        let mut lease = Lease::take(&state, actor.clone()).expect("free");
        lease.note_run(7, "up dev").expect("noted");

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
