//! Short calls that only read, such as asking a tool for its version.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{Exit, Failure};

/// What a short call gave.
#[derive(Clone, Debug)]
pub struct Output {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end and gives its output; blocks the thread. Nothing but `env` is inherited.
///
/// # Errors
/// The program cannot be started, or takes longer than `timeout` and was killed with its process group.
pub fn quick(
    program: &Path,
    args: &[&str],
    env: &BTreeMap<String, OsString>,
    timeout: Duration,
) -> Result<Output, Failure> {
    let name = program.display();
    let child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::new(Exit::Missing, format!("`{name}` cannot be started")).because(error))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(timeout) {
        Ok(Ok(output)) => Ok(Output {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
        Ok(Err(error)) => Err(Failure::new(Exit::Tool, format!("`{name}` cannot be read")).because(error)),
        Err(_) => {
            // Not waited for yet, so the id is still its own; a group that is already gone needs no signal.
            group.and_then(|group| kill_process_group(group, Signal::KILL).ok());
            Err(Failure::new(Exit::Tool, format!("`{name} {}` gave no answer within {timeout:?}", args.join(" "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> Result<Output, Failure> {
        let env = BTreeMap::from([("NAME".to_owned(), OsString::from("value"))]);
        quick(Path::new("/bin/sh"), &["-c", script], &env, timeout)
    }

    #[test]
    fn a_call_sees_the_given_environment_only_and_both_its_outputs_come_back() {
        let output = sh("echo $NAME $HOME; echo oops >&2; exit 3", Duration::from_secs(10)).expect("an output");

        assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.code), ("value\n", "oops\n", Some(3)));
    }

    #[test]
    fn a_call_that_does_not_end_is_killed_and_named() {
        let failure = sh("sleep 60", Duration::from_millis(50)).expect_err("a failure");

        assert_eq!(failure.what(), "`/bin/sh -c sleep 60` gave no answer within 50ms");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure =
            quick(Path::new("/nowhere/tool"), &[], &BTreeMap::new(), Duration::from_secs(1)).expect_err("a failure");

        assert_eq!(failure.what(), "`/nowhere/tool` cannot be started");
        assert_eq!(failure.exit(), Exit::Missing);
    }
}
