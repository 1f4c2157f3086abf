//! Packer, OpenTofu, Ansible, dnf and pip: how each is called and how its output is read.
//!
//! What came of a call is judged by the tool's machine-readable output, never by its exit code alone. A failure says
//! what the tool said, in its own words, with the log beside it.

pub mod ansible;
pub mod dnf;
mod environment;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod memory;
pub mod packer;
pub mod pip;
mod plugins;
mod refusals;
pub mod tofu;
mod tool;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::artifact::Kind;
use crate::event::Events;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::process::{Cancel, Children, Ended, Invocation};
use crate::secret::Secret;
use crate::workspace::StateDir;

pub use environment::ToolEnvironment;
pub use plugins::require_plugins;
pub use refusals::may_pass;
pub use tool::{Tool, Tools};

/// What a call of a tool needs to know of the run.
pub struct ToolCx<'a> {
    pub children: &'a Children,
    pub tools: &'a Tools,
    pub state: &'a StateDir,
    pub run: u32,
    pub stage: Kind,
    pub events: &'a Events,
    /// Taken out of every log and event.
    pub redact: Vec<Secret>,
}

/// One call, in the words of the tool.
struct Call {
    tool: &'static str,
    /// Such as `apply`; with the stage it names the slot.
    verb: String,
    fingerprint: Digest,
    args: Vec<OsString>,
    cwd: PathBuf,
    env: BTreeMap<String, OsString>,
    cancel: Cancel,
}

impl ToolCx<'_> {
    /// Where people read what the tools of this stage said.
    pub fn log(&self) -> PathBuf {
        self.state.run(self.run).join(format!("{}.log", self.stage))
    }

    fn slot(&self, verb: &str) -> String {
        format!("{}-{verb}", self.stage)
    }

    fn invocation(&self, call: Call) -> Result<Invocation, Failure> {
        let mut env = self.tools.environment().variables().clone();
        env.extend(call.env);
        Ok(Invocation {
            slot: self.slot(&call.verb),
            fingerprint: call.fingerprint,
            program: self.tools.get(call.tool)?.path.clone(),
            args: call.args,
            cwd: call.cwd,
            env,
            log: self.log(),
            redact: self.redact.clone(),
            cancel: call.cancel,
        })
    }

    /// A tool that did not do what it was asked to; a stop that we asked for is no fault of the tool.
    fn failure(&self, tool: &str, ended: &Ended) -> Failure {
        let what = format!("{tool} {}", ended.how());
        let failure =
            if self.children.stop().is_asked() { Failure::cancelled(what) } else { Failure::new(Exit::Tool, what) };
        ended.hint().into_iter().fold(failure.log(&ended.log), Failure::hint)
    }
}

/// Finds a text with one of these marks in a value, by its path: the tool would evaluate it instead of taking it.
fn evaluated(value: &serde_json::Value, marks: &[&'static str]) -> Option<(String, &'static str)> {
    match value {
        serde_json::Value::String(text) => {
            marks.iter().find(|mark| text.contains(**mark)).map(|mark| (String::new(), *mark))
        }
        serde_json::Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| below(&index.to_string(), item, marks))
        }
        serde_json::Value::Object(members) => members.iter().find_map(|(name, member)| below(name, member, marks)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => None,
    }
}

fn below(name: &str, value: &serde_json::Value, marks: &[&'static str]) -> Option<(String, &'static str)> {
    let (path, mark) = evaluated(value, marks)?;
    Some((if path.is_empty() { name.to_owned() } else { format!("{name}.{path}") }, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_a_tool_would_evaluate_is_found_by_its_path() {
        let value = serde_json::json!({ "a": 1, "tags": { "list": ["x", "a {{ lookup('pipe', 'id') }}"] } });

        assert_eq!(evaluated(&value, &["${", "{{"]), Some(("tags.list.1".to_owned(), "{{")));
        assert_eq!(evaluated(&value, &["${"]), None);
    }
}
