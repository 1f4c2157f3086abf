//! Disk faults: what a test makes of a disk operation of this process. Compiled in with the crash points, in no release.
//!
//! `SRE_DISK_FAULT=<kind>:<nth>` names an operation of the program by its number, and `<kind>:<nth>@<slot>` one of the
//! supervisor of the child in that slot, which counts for itself. A fault that struck is recorded as the crash point
//! `disk.fault`.

use std::ffi::OsString;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use crate::crash_point;

pub const VARIABLE: &str = "SRE_DISK_FAULT";

/// A fault, and at which operation.
type Told = Option<(Kind, usize)>;

/// The value of [`VARIABLE`], and what of it is for this process.
static ARMED: OnceLock<(Option<OsString>, Told)> = OnceLock::new();
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

/// Takes the value of [`VARIABLE`], once in the life of a process; a supervisor says which child is its.
pub fn arm(value: Option<OsString>, child: Option<&str>) {
    let told = value.as_ref().and_then(|value| read(value.to_str()?, child));
    let _ = ARMED.set((value, told));
}

/// What a supervisor is given in its environment, so that a fault of its own reaches it.
pub fn passed_on() -> Option<(&'static str, OsString)> {
    Some((VARIABLE, ARMED.get()?.0.clone()?))
}

/// What strikes the program, or the supervisor of this child.
fn read(text: &str, child: Option<&str>) -> Told {
    let (text, slot) = text.split_once('@').map_or((text, None), |(text, slot)| (text, Some(slot)));
    let is_ours = match (child, slot) {
        (None, None) => true,
        (Some(child), Some(slot)) => child.rsplit_once('-').is_some_and(|(named, _)| named == slot),
        (None, Some(_)) | (Some(_), None) => false,
    };
    let (kind, nth) = text.split_once(':').filter(|_| is_ours)?;
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
    let Some(&(_, Some((kind, nth)))) = ARMED.get() else { return Ok(()) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_the_program_or_the_supervisor_of_one_slot() {
        let child = Some("network-apply-1f2e3d4c");

        assert_eq!(read("once:3", None), Some((Kind::Once, 3)));
        assert_eq!(read("full:1@network-apply", child), Some((Kind::Full, 1)));
        assert_eq!(read("once:3", child), None);
        assert_eq!(read("once:3@network-apply", None), None);
        assert_eq!(read("once:3@network", child), None);
    }
}
