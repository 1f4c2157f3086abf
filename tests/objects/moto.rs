//! The S3 of a test: moto, in the Python of the lab, on a port of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// Ends with the test, because its standard input does.
pub struct Moto {
    pub port: u16,
    _child: Child,
}

impl Moto {
    /// # Panics
    /// There is no moto: these tests run in `lab/lab run`, whose Python has it.
    pub fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects/serve_s3.py");
        let child = Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("python3");
        let mut line = String::new();
        let said = BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line);
        said.expect("a line");
        let port = line.trim().parse().expect("moto in python3: run this with `lab/lab run cargo test --test objects`");
        Self { port, _child: child }
    }
}
