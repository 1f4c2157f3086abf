//! Disk faults: what a test makes of a disk operation of this process. Compiled in with the crash points, in no release.
//!
//! `SRE_DISK_FAULT=<kind>:<nth>` names the operation by its number. A fault that struck is recorded as the crash point
//! `disk.fault`. Supervisors get none: the records of children, which both sides write, are not written through a disk.

use std::ffi::OsString;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use crate::crash_point;

pub const VARIABLE: &str = "SRE_DISK_FAULT";

/// What and at which operation.
static ARMED: OnceLock<Option<(Kind, usize)>> = OnceLock::new();
static PASSED: AtomicUsize = AtomicUsize::new(0);

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creates, writes, renames, removes.
    Change,
    Sync,
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
    let _ = ARMED.set(value.and_then(|value| read(value.to_str()?)));
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
    let Some(&Some((kind, nth))) = ARMED.get() else { return Ok(()) };
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
