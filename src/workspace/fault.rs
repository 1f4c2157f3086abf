//! Disk faults: what a test makes of a disk operation of this process. Compiled in with the crash points, in no release.
//!
//! `SRE_DISK_FAULT=<kind>:<nth>` names the operation by its number; `supervisor:<kind>:<nth>` is meant for each supervisor
//! instead of the program. A fault that struck is recorded as the crash point `disk.fault`.

use std::ffi::OsString;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use crate::crash_point;

pub const VARIABLE: &str = "SRE_DISK_FAULT";
const SUPERVISORS: &str = "supervisor:";

static ARMED: OnceLock<Fault> = OnceLock::new();
static PASSED: AtomicUsize = AtomicUsize::new(0);

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creates, renames, removes.
    Change,
    Write,
    Sync,
}

#[derive(Debug, Default)]
struct Fault {
    /// What and at which operation, for this process.
    own: Option<(Kind, usize)>,
    /// What its supervisors are told.
    below: Option<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// This operation alone fails.
    Once,
    /// From here on there is no room; what is written last is written by half.
    Full,
    /// From here on nothing can be changed.
    ReadOnly,
    /// Of the operations that make something durable, this one fails.
    Sync,
}

/// Takes the value of [`VARIABLE`], once in the life of a process.
pub fn arm(value: Option<OsString>) {
    let text = value.unwrap_or_default().to_string_lossy().into_owned();
    let fault = match text.strip_prefix(SUPERVISORS) {
        Some(below) => Fault { own: None, below: Some(below.into()) },
        None => Fault { own: read(&text), below: None },
    };
    drop(ARMED.set(fault));
}

/// What a supervisor is given in its environment.
pub fn passed_on() -> Option<(&'static str, OsString)> {
    Some((VARIABLE, ARMED.get()?.below.clone()?))
}

fn read(text: &str) -> Option<(Kind, usize)> {
    let (kind, nth) = text.split_once(':')?;
    let kind = match kind {
        "once" => Kind::Once,
        "full" => Kind::Full,
        "read-only" => Kind::ReadOnly,
        "sync" => Kind::Sync,
        _ => return None,
    };
    Some((kind, nth.parse().ok()?))
}

/// To be called before each operation.
///
/// # Errors
/// What the system would say if the disk were as the test wants it.
pub fn pass(operation: Operation) -> io::Result<()> {
    let Some((kind, nth)) = ARMED.get().and_then(|fault| fault.own) else { return Ok(()) };
    if kind == Kind::Sync && operation != Operation::Sync {
        return Ok(());
    }
    let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    let strikes = match kind {
        Kind::Once | Kind::Sync => number == nth,
        Kind::Full | Kind::ReadOnly => number >= nth,
    };
    if !strikes {
        return Ok(());
    }
    crash_point!("disk.fault");
    let error = match kind {
        Kind::Once | Kind::Sync => Errno::IO,
        Kind::Full => Errno::NOSPC,
        Kind::ReadOnly => Errno::ROFS,
    };
    Err(error.into())
}
