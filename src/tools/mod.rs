//! Packer, OpenTofu and Ansible: how each is called and how its output is read.
//!
//! What came of a call is judged by the tool's machine-readable output, never by its exit code alone. A failure says
//! what the tool said, in its own words, with the log beside it.

mod environment;

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
    verb: &'static str,
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
            slot: self.slot(call.verb),
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
        failure.log(&ended.log)
    }
}
