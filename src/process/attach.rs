//! A program that takes over the person's terminal, such as a shell on a node.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::failure::{Exit, Failure};

/// Becomes this program: it has our process, so that no signal and no end of ours can leave it behind. Returns only when
/// it cannot be started (exit 4); nothing that is still in use here is dropped otherwise.
pub fn attach(words: &[OsString]) -> Failure {
    let Some((program, args)) = words.split_first() else { return Failure::bug("no program was named") };
    let error = Command::new(program).args(args).exec();
    Failure::new(Exit::Missing, format!("`{}` cannot be started", program.to_string_lossy())).because(error)
}
