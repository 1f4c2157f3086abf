//! Killed anywhere, it goes on: the whole pipeline with scripted tools and a small cloud, ended at every crash point.
//!
//! This one program is all of it. Started by cargo it drives: `sample`, `all`, `disk`, or `repeat ENVIRONMENT COMMAND
//! POINT…`; and `stages`, which kills nothing and shows in the same world what each stage does of itself (`stages/`).
//! Started again it is a lane (`lane.rs`), which is the first process of namespaces of its own and holds a world; the
//! program under test, as `main.rs` runs it but for the platform; its supervisors; each scripted tool; and what sshd runs
//! on a machine of the world. What this shows and what it does not: docs/reliability.md.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "the world of the test is made of files, programs and output"
)]

mod ansible;
mod beside;
mod cluster;
mod disk;
mod disturbance;
mod driver;
mod handle;
mod intents;
mod judge;
mod kept;
mod kube;
mod lane;
mod local;
mod matrix;
mod node;
mod packer;
mod platform;
mod setting;
mod stages;
mod tofu;
mod tree;
mod two;
mod verdict;
mod wire;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use sre_provision::cli;
use sre_provision::stop::Stop;

fn main() -> ExitCode {
    if let Some(code) = cli::supervisor() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let code = match args.first().map(String::as_str) {
        Some("program") => program(),
        Some("tool") => tool(rest),
        Some("node") => node::main(),
        Some("lane") => lane::main(&rest[0]),
        _ => driver::main(&args),
    };
    ExitCode::from(code)
}

/// The program under test; the word `program` stands where its name would.
fn program() -> u8 {
    let stop = Stop::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let code = runtime.block_on(cli::run_on(Arc::new(platform::Elsewhere), std::env::args_os().skip(1), &stop));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

fn tool(args: &[String]) -> u8 {
    let (name, rest) = args.split_first().expect("a tool's name");
    match name.as_str() {
        "tofu" => tofu::main(rest),
        "packer" => packer::main(rest),
        _ => ansible::main(rest),
    }
}
