//! What tools print, under fuzzing.

use std::collections::BTreeMap;

use crate::artifact::Kind;
use crate::event::Events;
use crate::failure::Exit;
use crate::fuzz::Target;
use crate::process::Stream;
use crate::tools::ansible::Report;
use crate::tools::{environment, memory, packer, plugins, refusals, tofu, tool};

const TOFU: &[&str] = &["tests/fixtures/tofu-1.12.6-*"];
const PACKER: &[&str] = &["tests/fixtures/packer-1.16.0-*"];

pub const TARGETS: &[Target] = &[
    Target { name: "tofu-stream", run: tofu_stream, seeds: TOFU },
    Target { name: "tofu-plan", run: tofu_plan, seeds: &[] },
    Target { name: "tofu-state", run: tofu_state, seeds: &[] },
    Target { name: "packer-output", run: packer_output, seeds: PACKER },
    Target { name: "packer-manifest", run: packer_manifest, seeds: &[] },
    Target { name: "ansible-events", run: ansible_events, seeds: &["tests/fixtures/ansible-2.21.5-events.jsonl"] },
    Target { name: "tool-version", run: tool_version, seeds: &[] },
    Target { name: "tool-variables", run: tool_variables, seeds: &[] },
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn tofu_stream(bytes: &[u8]) {
    let events = Events::channel().0;
    let mut stream = tofu::fuzz::Stream::new(Kind::Network, &events, 3);
    text(bytes).lines().for_each(|line| stream.line(line));
    stream.judged();
}

fn tofu_plan(bytes: &[u8]) {
    tofu::fuzz::plan(&text(bytes));
}

fn tofu_state(bytes: &[u8]) {
    tofu::fuzz::state(bytes);
}

fn packer_output(bytes: &[u8]) {
    let events = Events::channel().0;
    let mut output = packer::Output::new(Kind::BaseImage, &events);
    for line in text(bytes).lines() {
        output.line(Stream::Events, line);
        output.line(Stream::Stdout, line);
    }
    let causes = output.causes();
    let failure = refusals::refused("packer ended with exit code 1".to_owned(), &causes);
    assert!(failure.exit() != Exit::Bug, "what a tool says is no bug of ours");
}

fn packer_manifest(bytes: &[u8]) {
    if let Ok(artifact) = packer::artifact_in(bytes) {
        assert!(text(bytes).contains("builds"), "`{artifact}` was built by nothing");
    }
}

fn ansible_events(bytes: &[u8]) {
    let mut report = Report::default();
    text(bytes).lines().for_each(|line| drop(report.line(line)));
    report.latest();
    let broken = report.hosts().into_values().filter(|host| host.failed || host.unreachable);
    broken.for_each(|host| assert!(!host.message.contains('\n'), "a message is one line"));
}

fn tool_version(bytes: &[u8]) {
    for (version, is_accepted) in tool::versions_in(&text(bytes)) {
        assert!(!is_accepted || version.starts_with(['0', '1', '2', '+']), "`{version}` is accepted");
    }
    plugins::missing(&text(bytes));
    memory::Memory::parse(bytes);
}

/// Lines of `NAME=value`: none passes that would change what a tool does.
fn tool_variables(bytes: &[u8]) {
    let text = text(bytes);
    let pairs: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let variables = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
    let sorted = environment::ToolEnvironment::of(variables);
    for name in sorted.variables().keys() {
        let is_hostile = ["TF_CLI_ARGS", "TF_LOG", "TF_VAR_", "LD_", "ANSIBLE_", "BASH_ENV", "PYTHON"]
            .iter()
            .any(|hostile| name.starts_with(hostile));
        assert!(!is_hostile, "`{name}` reaches a tool");
        assert!(!sorted.refused().contains(name), "`{name}` is refused and passes");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fuzzing_kept_is_read() {
        crate::fuzz::replay(super::TARGETS);
    }
}
