//! A program that takes over the person's terminal, such as a shell on a node.

use std::ffi::OsString;
use std::process::Command;

use crate::failure::{Exit, Failure};

/// Runs a program on our own terminal and gives its exit code; 128 and the number of the signal that ended it.
///
/// # Errors
/// Exit 4 when the program cannot be started.
pub fn attach(words: &[OsString]) -> Result<i32, Failure> {
    use std::os::unix::process::ExitStatusExt;
    let Some((program, args)) = words.split_first() else { return Err(Failure::bug("no program was named")) };
    let status = Command::new(program).args(args).status().map_err(|error| {
        Failure::new(Exit::Missing, format!("`{}` cannot be started", program.to_string_lossy())).because(error)
    })?;
    Ok(status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1))
}
