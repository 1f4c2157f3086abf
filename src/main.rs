//! The program: what a supervisor of a child does, until the commands are here.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match (args.next(), args.next()) {
        (Some(word), Some(dir)) if word == "__supervise" => sre_provision::process::supervise(Path::new(&dir)),
        _ => ExitCode::from(2),
    }
}
