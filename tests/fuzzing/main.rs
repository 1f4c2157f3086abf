//! Feeds every reader of the program with changed inputs: `tests/fuzz`, see docs/reliability.md.
//!
//! An input that takes a branch as none did before is kept and changed further. A panic, a broken promise of a reader, an
//! input that takes long and one that ends the process are findings: each is told once, with its shortest input.
//!
//! # Why
//! A loop of our own instead of libFuzzer, whose licence deny.toml does not list, and of cargo-fuzz, which wants a
//! nightly compiler: SanitizerCoverage's counters are in stable Rust, and the rest is two hundred lines. (2026-11-30)
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "it runs itself once per reader, writes inputs down and prints what came of it"
)]

mod corpus;
mod course;
mod coverage;
mod mutate;

use std::process::{Command, ExitCode};
use std::time::Instant;

use sre_provision::fuzz::Target;
use sre_provision::{bundle, compliance, config, journal, node, process, rke2, secrets, tools};

use course::Course;

/// Where findings are written down, and the input that is just being read.
const NOTES: &str = env!("CARGO_TARGET_TMPDIR");
/// For how many inputs each reader is measured before the inputs are shared out.
const MEASURED: usize = 2_000;

fn targets() -> impl Iterator<Item = &'static Target> {
    [
        bundle::fuzz::TARGETS,
        journal::fuzz::TARGETS,
        config::fuzz::TARGETS,
        secrets::fuzz::TARGETS,
        process::fuzz::TARGETS,
        tools::fuzz::TARGETS,
        node::fuzz::TARGETS,
        rke2::fuzz::TARGETS,
        compliance::fuzz::TARGETS,
    ]
    .into_iter()
    .flatten()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => targets().for_each(|target| println!("{}", target.name)),
        ["all", inputs, seed] => return all(number(inputs), seed),
        ["keep", name] => corpus::keep(target(name)),
        [name, inputs, seed] => return Course::new(target(name), number(seed) as u64).run(number(inputs)),
        _ => {
            eprintln!("usage: list | all INPUTS SEED | keep TARGET | TARGET INPUTS SEED");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

fn target(name: &str) -> &'static Target {
    targets().find(|target| target.name == name).unwrap_or_else(|| panic!("`{name}` is no target; see `list`"))
}

/// Runs every reader in a process of its own, for about the same time: fast ones get more inputs.
fn all(inputs: usize, seed: &str) -> ExitCode {
    let begun = Instant::now();
    let measured: Vec<(&Target, f64)> = targets().map(|target| (target, speed(target, seed))).collect();
    let fastest: f64 = measured.iter().map(|(_, speed)| speed).sum();
    let mut failed = vec![];
    for (target, speed) in measured {
        let share = ((inputs as f64 * speed / fastest).ceil() as usize).max(inputs / 200);
        if !itself(target, share, seed).status().is_ok_and(|status| status.success()) {
            failed.push(target.name);
        }
    }
    let names = if failed.is_empty() { "none".to_owned() } else { failed.join(", ") };
    println!("{} targets in {:.0} s; with findings: {names}", targets().count(), begun.elapsed().as_secs_f64());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Inputs per second.
fn speed(target: &Target, seed: &str) -> f64 {
    let begun = Instant::now();
    drop(itself(target, MEASURED, seed).output());
    MEASURED as f64 / begun.elapsed().as_secs_f64()
}

fn itself(target: &Target, inputs: usize, seed: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([target.name, &inputs.to_string(), seed]);
    command
}
