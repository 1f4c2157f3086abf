//! Traps signals, calls `cli`, turns a failure into an exit code.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use sre_provision::cli;
use sre_provision::failure::Exit;
use sre_provision::stop::{Ear, Stop, Told};

fn main() -> ExitCode {
    withhold_memory();
    guarded(|| cli::supervisor().unwrap_or_else(work))
}

/// Nothing of what is in memory goes to the disk when the program, or a tool that it becomes, is ended by a signal; and no
/// other process of the same user may read the memory or the environment of this one (`PR_SET_DUMPABLE`), where it is not
/// root. A program that is started from here is as it was, but for the cores.
fn withhold_memory() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // Where that is not allowed the limit is lower already.
    rustix::process::setrlimit(rustix::process::Resource::Core, none).ok();
    // It fails for a wrong argument only.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).ok();
}

/// Gives a bug its own exit code; what it says and where stands on standard error by then.
fn guarded(work: impl FnOnce() -> ExitCode) -> ExitCode {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(ExitCode::from(Exit::Bug as u8))
}

fn work() -> ExitCode {
    let stop = Stop::default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return ExitCode::from(Exit::Bug as u8),
    };
    let code = runtime.block_on(async {
        let Ok(ear) = trap(&stop) else { return ExitCode::from(Exit::Bug as u8) };
        let code = cli::run(std::env::args_os(), &stop).await;
        let is_terminated = ear.lock().is_ok_and(|ear| ear.first() == Some(Told::Terminate));
        if code == Exit::Interrupted as u8 && is_terminated {
            return ExitCode::from(Exit::Terminated as u8);
        }
        ExitCode::from(code)
    });
    // A thread that only reads holds nobody up.
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}

/// Hears Ctrl-C, SIGTERM and a lost terminal. Whoever started us with SIGHUP ignored (`nohup`) wants us to outlive the
/// terminal.
fn trap(stop: &Stop) -> std::io::Result<Arc<Mutex<Ear>>> {
    let ear = Arc::new(Mutex::new(Ear::of(stop)));
    let kinds = [
        (SignalKind::interrupt(), Told::Interrupt),
        (SignalKind::terminate(), Told::Terminate),
        (SignalKind::hangup(), Told::Hangup),
    ];
    for (kind, told) in kinds {
        if told == Told::Hangup && is_ignored(kind) {
            continue;
        }
        let mut signals = signal(kind)?;
        let ear = ear.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if let Ok(mut ear) = ear.lock() {
                    ear.hear(told, Instant::now());
                }
            }
        });
    }
    Ok(ear)
}

/// As `SigIgn` in `/proc/self/status` says: a mask in hex, whose lowest bit is signal 1.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_ends_with_a_code_of_its_own() {
        let code = guarded(|| panic!("a bug"));

        assert_eq!(code, ExitCode::from(70));
        assert_eq!(guarded(|| ExitCode::from(3)), ExitCode::from(3));
    }
}
