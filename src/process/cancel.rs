//! What a stop does to a running child: once per level, and one SIGINT over all runs.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::event::Events;
use crate::failure::{Exit, Failure};
use crate::process::Cancel;
use crate::process::launch::at;
use crate::process::record::{Child, Record};
use crate::stop::Level;

/// Raises a child to a level of stopping and says what that means.
pub(super) fn raise(level: Level, record: &Record, child: &Child, events: &Events) -> Result<(), Failure> {
    let slot = &child.slot;
    match (level, &child.cancel) {
        (Level::Go, _) | (Level::Interrupt, Cancel::Group) => Ok(()),
        (Level::Finish, Cancel::Group) => {
            events.notice(format!("{slot}: cancelled; waiting for it to clean up"));
            interrupt(record, Target::Group)
        }
        (Level::Finish, Cancel::StopFile(path)) => {
            events.notice(format!("{slot}: ends before its next task"));
            make_stop_file(&at(path.as_os_str(), &child.here))
        }
        (Level::Finish, Cancel::Finish) => {
            events.notice(format!("{slot}: finishes first; a further stop interrupts it and what it has in flight is then replaced next time"));
            Ok(())
        }
        (Level::Interrupt, Cancel::StopFile(_) | Cancel::Finish) => {
            events.notice(format!("{slot}: interrupted"));
            interrupt(record, Target::Process)
        }
        (Level::Kill, _) => {
            events.notice(format!("{slot}: killed; what it was making may be left behind and is looked for next time"));
            send(record, Target::Group, Signal::KILL)
        }
    }
}

#[derive(Clone, Copy)]
enum Target {
    Process,
    Group,
}

fn interrupt(record: &Record, target: Target) -> Result<(), Failure> {
    if record.claim_interrupt()? {
        send(record, target, Signal::INT)?;
    }
    Ok(())
}

/// Sends a signal if the child is still the process that was started; one that has ended needs none.
fn send(record: &Record, target: Target, signal: Signal) -> Result<(), Failure> {
    let Some(started) = record.started()? else { return Ok(()) };
    let Some(pid) = Pid::from_raw(started.pid) else { return Ok(()) };
    // Opened before the check: from then on the handle means this process and no later one of the same id.
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    if !started.is_same() {
        return Ok(());
    }
    let sent = match target {
        Target::Process => pidfd_send_signal(&handle, signal),
        Target::Group => kill_process_group(pid, signal),
    };
    match sent {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => {
            Err(Failure::new(Exit::Tool, format!("process {} cannot be signalled", started.pid)).because(error))
        }
    }
}

fn make_stop_file(path: &std::ffi::OsStr) -> Result<(), Failure> {
    let path = Path::new(path);
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map(drop).map_err(|error| {
        Failure::new(Exit::NotDone, format!("stop file `{}` cannot be made", path.display())).because(error)
    })
}
