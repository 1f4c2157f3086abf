//! Why we stopped: what we were doing, what went wrong, and what to type next.
//!
//! A failure is built where the knowledge is and passed up unchanged; `report/` prints it once. Its text follows one
//! form: lower case, no full stop, values in back-ticks.

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a failure means for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// May pass by itself: retried with backoff, counted, bounded by the deadline.
    Transient,
    /// Will fail again until something is changed.
    Permanent,
    /// Only a person can go on: quota, ambiguity, a failed undo.
    NeedsPerson,
    /// Somebody else changed what we were changing.
    Conflict,
    /// Stopped because it was told to.
    Cancelled,
}

/// The program's exit codes; `docs/exit-codes.md` tells what each asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    NotDone = 1,
    Usage = 2,
    Environment = 3,
    Missing = 4,
    Tool = 5,
    Platform = 6,
    Unhealthy = 7,
    Held = 8,
    Approval = 9,
    Changes = 10,
    Altered = 20,
    EntryMissing = 21,
    Truncated = 22,
    Unanchored = 23,
    Bug = 70,
    Interrupted = 130,
    Terminated = 143,
}

/// Why we stopped. Boxed, so that a `Result` that carries it stays small.
#[derive(Clone, Debug)]
pub struct Failure(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    class: Class,
    exit: Exit,
    what: String,
    causes: Vec<String>,
    log: Option<PathBuf>,
    hints: Vec<String>,
    not_before: Option<Duration>,
}

impl Failure {
    /// A permanent failure. `what` says what we were doing, on what, and what went wrong.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        let class = match exit {
            Exit::Interrupted | Exit::Terminated => Class::Cancelled,
            Exit::Held => Class::Conflict,
            Exit::NotDone
            | Exit::Usage
            | Exit::Environment
            | Exit::Missing
            | Exit::Tool
            | Exit::Platform
            | Exit::Unhealthy
            | Exit::Approval
            | Exit::Changes
            | Exit::Altered
            | Exit::EntryMissing
            | Exit::Truncated
            | Exit::Unanchored
            | Exit::Bug => Class::Permanent,
        };
        Self(Box::new(Parts {
            class,
            exit,
            what: what.into(),
            causes: vec![],
            log: None,
            hints: vec![],
            not_before: None,
        }))
    }

    /// Work that ended because it was told to stop.
    pub fn cancelled(what: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, what)
    }

    /// A defect of this program.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(Exit::Bug, what).hint("this is a defect of sre-provision: report it with the log of the run")
    }

    pub fn class(mut self, class: Class) -> Self {
        self.0.class = class;
        self
    }

    pub fn transient(self) -> Self {
        self.class(Class::Transient)
    }

    /// Adds the next deeper layer; may be given more than once, outermost first.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        let cause = cause.to_string();
        if !cause.is_empty() {
            self.0.causes.push(cause);
        }
        self
    }

    pub fn log(mut self, path: impl AsRef<Path>) -> Self {
        self.0.log = Some(path.as_ref().to_owned());
        self
    }

    /// As [`log`](Self::log), unless a log is named already.
    pub fn log_if_none(self, path: impl AsRef<Path>) -> Self {
        if self.0.log.is_some() { self } else { self.log(path) }
    }

    /// Something to type or change; several are shown in order.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Whoever refused said how long to wait before the next try.
    pub fn not_before(mut self, wait: Option<Duration>) -> Self {
        self.0.not_before = wait.or(self.0.not_before);
        self
    }

    /// Puts `subject: ` before the text, as a stage does for what its tools report.
    pub fn of(mut self, subject: impl fmt::Display) -> Self {
        self.0.what = format!("{subject}: {}", self.0.what);
        self
    }

    pub fn what(&self) -> &str {
        &self.0.what
    }

    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }

    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    pub fn log_path(&self) -> Option<&Path> {
        self.0.log.as_deref()
    }

    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    pub fn kind(&self) -> Class {
        self.0.class
    }

    /// How long to wait before the next try, if somebody said so.
    pub fn wait(&self) -> Option<Duration> {
        self.0.not_before
    }

    pub fn is_transient(&self) -> bool {
        self.0.class == Class::Transient
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.class == Class::Cancelled
    }
}

/// One line, for logs and journal entries; `report/` prints the whole.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        self.0.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Failure {}

/// What the innermost error of a request says: the outer ones only repeat the URL.
pub fn deepest(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text = next.to_string();
        source = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_in_one_line_names_what_and_every_cause() {
        let failure = Failure::new(Exit::Platform, "no machine for `server-1`")
            .because("RunInstances was refused")
            .because("InsufficientInstanceCapacity")
            .of("nodes");

        assert_eq!(
            failure.to_string(),
            "nodes: no machine for `server-1`: RunInstances was refused: InsufficientInstanceCapacity"
        );
    }

    #[test]
    fn an_interrupt_is_cancelled_and_not_retried() {
        let failure = Failure::cancelled("stopped at `nodes`");

        assert!(failure.is_cancelled());
        assert!(!failure.is_transient());
        assert_eq!(failure.exit() as u8, 130);
    }
}
