//! Traps signals, calls `cli`, turns a failure into an exit code.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use sre_provision::cli;
use sre_provision::failure::Exit;
use sre_provision::stop::{Level, Stop};

fn main() -> ExitCode {
    without_cores();
    guarded(|| cli::supervisor().unwrap_or_else(work))
}

/// Nothing of what is in memory goes to the disk when the program, or a tool that it becomes, is ended by a signal.
fn without_cores() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // Where that is not allowed the limit is lower already.
    rustix::process::setrlimit(rustix::process::Resource::Core, none).ok();
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
        let Ok(terminated) = trap(&stop) else { return ExitCode::from(Exit::Bug as u8) };
        let code = cli::run(std::env::args_os(), &stop).await;
        if code == Exit::Interrupted as u8 && terminated.load(std::sync::atomic::Ordering::Relaxed) {
            return ExitCode::from(Exit::Terminated as u8);
        }
        ExitCode::from(code)
    });
    // A thread that only reads holds nobody up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

/// Raises the level with each Ctrl-C, SIGTERM or lost terminal; tells afterwards whether the first was a SIGTERM.
fn trap(stop: &Stop) -> std::io::Result<std::sync::Arc<std::sync::atomic::AtomicBool>> {
    let terminated = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        let (stop, terminated) = (stop.clone(), terminated.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if stop.raise() == Level::Finish && kind == SignalKind::terminate() {
                    terminated.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            }
        });
    }
    Ok(terminated)
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
