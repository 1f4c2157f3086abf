//! The only place that starts a program: supervision, output, signals.
//!
//! A child runs under a supervisor in a session of its own (`sre-provision __supervise`), writes to regular files and
//! outlives us: our death neither kills it nor breaks its output, and the next run follows it to its end. Whether a
//! child lives is asked of a lock that the child itself holds, never of a process id alone.
//!
//! ```text
//!  children/<id>/   child.json  started.json  exit.json  lock      what is known of a child, on disk
//!  <spool>/<id>/    stdout  stderr  events                         raw output, on tmpfs, 0600
//!  runs/0007/…log                                                  redacted output, for people
//! ```
//!
//! # Why
//!
//! Regular files instead of pipes, because a child that prints to a pipe dies with its reader (2026-11). A lock that
//! the child holds instead of a recorded process id, because ids are used again and a lock dies with its last holder.

#![expect(clippy::disallowed_methods, reason = "this room starts programs and streams what they say into files")]

mod attach;
mod cancel;
mod children;
mod encodings;
mod follow;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod launch;
mod lines;
mod quick;
mod record;
mod redact;
mod spool;
mod starved;
mod supervise;
mod wind_down;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::artifact::Kind;
use crate::failure::Failure;
use crate::fingerprint::Digest;
use crate::secret::Secret;

pub use attach::attach;
pub use children::Children;
pub use quick::{Output, quick};
pub use record::{has_records, running};
pub use redact::Redactor;
pub use supervise::supervise;

/// At the start of an argument, of a variable's value or of the stop file's path: the child's own directory on tmpfs,
/// which nobody knows before the child exists. A file `events` in it is followed as [`Stream::Events`].
pub const HERE: &str = "@here@";

/// A program ready to start.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Such as `network-apply`: one child at a time runs in a slot, over all runs.
    pub slot: String,
    /// Of everything that decides what the child does; an ended child of the same fingerprint is not started again.
    pub fingerprint: Digest,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub cwd: PathBuf,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, OsString>,
    /// Gets the redacted output, appended.
    pub log: PathBuf,
    pub redact: Vec<Secret>,
    pub cancel: Cancel,
}

impl Invocation {
    /// Program and arguments as the child gets them, in one line; may hold secrets.
    fn command_line(&self, here: &Path) -> String {
        let args = self.args.iter().map(|arg| launch::at(arg, here).to_string_lossy().into_owned());
        std::iter::once(self.program.display().to_string()).chain(args).collect::<Vec<_>>().join(" ")
    }
}

/// What each level of [`crate::stop::Level`] does to a child. The third kills its process group in every case.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cancel {
    /// The first stop sends one SIGINT to its process group (packer cleans up after itself).
    Group,
    /// The first stop makes this file, which the child looks for; the second sends one SIGINT to the child.
    StopFile(PathBuf),
    /// The first stop waits for the child; the second sends one SIGINT to it (tofu taints what it has in flight).
    Finish,
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
    /// The file `events` in the child's own directory.
    Events,
}

/// A child that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: String,
    /// `None` when a signal ended it, or when nobody was left to see its end.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Whose memory was used up, where the kernel killed for that while it ran and it did not end well.
    pub starved: Option<String>,
    pub took: Duration,
    /// It was started by an earlier run.
    pub adopted: bool,
    /// Raw output: may hold secrets; goes with [`Children::discard`].
    pub stdout: PathBuf,
    pub stderr: PathBuf,
    /// The child's own directory, [`HERE`] in its arguments.
    pub here: PathBuf,
    pub log: PathBuf,
}

impl Ended {
    /// How it ended, as a sentence goes on after the program's name: `stopped after 12 s with exit code 1`.
    pub fn how(&self) -> String {
        let took = jiff::SignedDuration::from_secs(i64::try_from(self.took.as_secs()).unwrap_or(i64::MAX));
        let end = match (self.code, self.signal) {
            (Some(0), _) => return format!("ended after {took:#}"),
            (Some(code), _) => format!("with exit code {code}"),
            (None, Some(signal)) => format!("by signal {signal}"),
            (None, None) => "without a witness: its supervisor was killed too".to_owned(),
        };
        let why = self.starved.as_ref().map(|whose| format!(": the kernel killed for want of memory, {whose}"));
        format!("stopped after {took:#} {end}{}", why.unwrap_or_default())
    }

    /// What to do before it is tried again.
    pub fn hint(&self) -> Option<&'static str> {
        let hint = "give it more memory: `free -m`, or the limit of the control group or job that this runs in";
        self.starved.is_some().then_some(hint)
    }
}

/// Who is told of children, before and after; `execute/` writes it to the journal.
#[async_trait]
pub trait Witness: Send + Sync {
    /// Called before the child is started, so that it is never unknown; a failure prevents the start.
    async fn started(&self, id: &str, slot: &str, lock: &Path) -> Result<(), Failure>;

    /// The child has ended; without a code when a signal ended it or nobody saw its end, without a time in the latter case.
    async fn ended(&self, id: &str, code: Option<i32>, took: Option<Duration>) -> Result<(), Failure>;

    /// Nobody here knows anything of a child, so that it was never started, or not from here.
    async fn vanished(&self, id: &str) -> Result<(), Failure>;

    /// The ids of all children that were started and of whose end nobody told yet.
    fn open(&self) -> Vec<String>;

    /// A tool's own state file was copied and made durable under this digest.
    async fn state_kept(&self, slot: &str, copy: &Path, digest: &Digest) -> Result<(), Failure>;

    /// The child in this slot works under the lock of a stage's state, which it shares with other machines: notes which one
    /// that is. Whether there was one.
    async fn state_locked(&self, stage: Kind, slot: &str) -> Result<bool, Failure>;

    /// The id of the lock that lies on a stage's shared state, if a child of ours held it whose end is proven.
    async fn lock_left(&self, stage: Kind) -> Result<Option<String>, Failure>;
}
