//! The calls of `tofu`: init, plan, untaint, apply.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::process::{Cancel, Ended, Stream as From};
use crate::tools::refusals::refused;
use crate::tools::tofu::intended::Intended;
use crate::tools::tofu::mend::Mends;
use crate::tools::tofu::root::{Root, write_json};
use crate::tools::tofu::state;
use crate::tools::tofu::stream::Stream;
use crate::tools::{Call, ToolCx};
use crate::workspace::{RealDisk, make_dir, tree_digest, write_atomic};

/// What is planned and carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Apply,
    Destroy,
}

/// OpenTofu in one root.
pub(super) struct Run<'a> {
    pub(super) cx: &'a ToolCx<'a>,
    pub(super) root: &'a Root,
}

/// The slots, in the order in which an earlier run may have left a child in one.
const VERBS: [&str; 5] = ["init", "plan", "untaint", "apply", "destroy"];

impl<'a> Run<'a> {
    pub(super) fn new(cx: &'a ToolCx<'a>, root: &'a Root) -> Result<Self, Failure> {
        cx.tools.get("tofu")?;
        make_dir(&RealDisk, &root.dir, 0o700)?;
        Ok(Self { cx, root })
    }

    /// Follows to its end what an earlier run left running here; what it did is in the state then.
    pub(super) async fn follow_earlier(&self) -> Result<(), Failure> {
        for verb in VERBS {
            let mut stream = Stream::new(self.cx.stage, self.cx.events, 0);
            let slot = self.cx.slot(verb);
            let followed = self
                .cx
                .children
                .follow(&slot, &self.cx.redact, &mut |from, line| read(&mut stream, from, line))
                .await?;
            if let Some(ended) = followed {
                self.keep_state(verb).await?;
                self.cx.children.discard(&ended)?;
            }
        }
        Ok(())
    }

    /// Fetches providers and modules, unless that was done for the same root with the same tofu.
    pub(super) async fn init(&self) -> Result<(), Failure> {
        let stamp = self.stamp()?;
        if std::fs::read_to_string(self.root.initialised()).is_ok_and(|seen| seen == stamp.as_str()) {
            return Ok(());
        }
        let readonly = self.root.lock.is_some().then_some("-lockfile=readonly");
        let args = ["init", "-input=false", "-no-color", "-json-into=@here@/events"].into_iter().chain(readonly);
        let (ended, stream) = self.call("init", args, Cancel::Group, 0).await?;
        self.judge(&ended, &stream, None)?;
        // Without any provider `init` makes no directory.
        make_dir(&RealDisk, &self.root.dir.join(".terraform"), 0o700)?;
        write_atomic(&self.root.initialised(), stamp.as_str().as_bytes(), 0o600)
    }

    /// What a directory was initialised for: the root, its modules' files, and the program.
    fn stamp(&self) -> Result<Digest, Failure> {
        let modules = self.root.config.get("module").and_then(Value::as_object).into_iter().flatten();
        let sources = modules.filter_map(|(_, module)| module.get("source").and_then(Value::as_str));
        let trees = sources.filter(|source| source.starts_with('/')).map(|source| tree_digest(source.as_ref()));
        let trees = trees.collect::<Result<Vec<_>, _>>()?;
        Ok(Digest::of_value(&(&self.root.config, &self.root.lock, trees, &self.cx.tools.get("tofu")?.digest)))
    }

    /// Plans into `plan.bin`.
    pub(super) async fn plan(&self, verb: Verb) -> Result<Intended, Failure> {
        let destroy = (verb == Verb::Destroy).then_some("-destroy");
        let args =
            ["plan", "-input=false", "-no-color", "-lock-timeout=60s", "-out=plan.bin", "-json-into=@here@/events"];
        let (ended, stream) = self.call("plan", args.into_iter().chain(destroy), Cancel::Group, 0).await?;
        self.judge(&ended, &stream, Some("plan"))?;
        if let Some(summary) = &stream.summary {
            stream.intended.is_all_of(summary).map_err(|failure| failure.log(&ended.log))?;
        }
        Ok(stream.intended)
    }

    /// Takes marks off and plans imports; the next apply carries the imports out.
    pub(super) async fn mend(&self, mends: &Mends) -> Result<(), Failure> {
        let (imports, marks) = (mends.import.len(), mends.untaint.len());
        self.cx.events.progress(
            self.cx.stage,
            format!("found {imports} resources that were not recorded, {marks} whole ones marked as broken"),
        );
        for address in &mends.untaint {
            let args = ["untaint", "-no-color", "-lock-timeout=60s", address.as_str()];
            let (ended, stream) = self.call("untaint", args, Cancel::Finish, 0).await?;
            self.judge(&ended, &stream, None)?;
        }
        if !mends.import.is_empty() {
            let mut blocks = mends.blocks();
            // Blocks of the round before are still needed: nothing has been applied yet.
            if let Some(earlier) = state::read(&self.root.imports())? {
                let before = earlier.get("import").and_then(Value::as_array).cloned().unwrap_or_default();
                if let Some(all) = blocks.get_mut("import").and_then(Value::as_array_mut) {
                    all.extend(before);
                }
            }
            write_json(&self.root.imports(), &blocks)?;
        }
        Ok(())
    }

    /// Applies the saved plan and keeps a copy of the state, whatever came of it.
    pub(super) async fn carry_out(&self, verb: Verb, intended: &Intended) -> Result<(), Failure> {
        let name = match verb {
            Verb::Apply => "apply",
            Verb::Destroy => "destroy",
        };
        self.root.unsettle()?;
        let args = ["apply", "-input=false", "-no-color", "-lock-timeout=60s", "-json-into=@here@/events", "plan.bin"];
        let (ended, stream) = self.call(name, args, Cancel::Finish, intended.count()).await?;
        let kept = self.keep_state(name).await;
        // Of a saved plan that destroys everything tofu says `destroy` or `apply`, by version.
        self.judge(&ended, &stream, Some("apply"))?;
        kept
    }

    /// Makes a copy of the state durable and has it written down.
    ///
    /// # Errors
    /// One of the two could not be written; the root stays unsettled, so that the next run does both. A broken state is
    /// none: it is told, and put right before the next plan.
    pub(super) async fn keep_state(&self, verb: &str) -> Result<(), Failure> {
        let state = match state::whole(&self.root.dir) {
            Ok(Some(state)) => state,
            Ok(None) => return Ok(()),
            Err(failure) => {
                self.cx.events.notice(format!("{}: {failure}", self.cx.stage));
                return Ok(());
            }
        };
        let (copy, digest) = state.keep()?;
        self.cx.children.witness().state_kept(&self.cx.slot(verb), &copy, &digest).await
    }

    async fn call<'b>(
        &self,
        verb: &'static str,
        args: impl IntoIterator<Item = &'b str>,
        cancel: Cancel,
        total: usize,
    ) -> Result<(Ended, Stream<'a>), Failure> {
        let call = Call {
            tool: "tofu",
            verb: verb.to_owned(),
            // Never taken over from an earlier run: what that one did is in the state.
            fingerprint: Digest::of(uuid::Uuid::new_v4().as_bytes()),
            args: args.into_iter().map(OsString::from).collect(),
            cwd: self.root.dir.clone(),
            env: own_variables(),
            cancel,
        };
        let mut stream = Stream::new(self.cx.stage, self.cx.events, total);
        let invocation = self.cx.invocation(call)?;
        let ended = self.cx.children.run(invocation, &mut |from, line| read(&mut stream, from, line)).await?;
        self.cx.children.discard(&ended)?;
        Ok((ended, stream))
    }

    /// Succeeds when the stream says so: no error, the summary that belongs to the call, and exit code 0.
    fn judge(&self, ended: &Ended, stream: &Stream<'_>, operation: Option<&str>) -> Result<(), Failure> {
        let is_summed_up = operation.is_none_or(|_| stream.summary.is_some());
        if stream.errors.is_empty() && ended.code == Some(0) && is_summed_up {
            return Ok(());
        }
        let progress = stream.progress().map(|text| format!(", {text}")).unwrap_or_default();
        if ended.code == Some(0) && stream.errors.is_empty() {
            return Err(Failure::new(Exit::Tool, "tofu ended without saying what it did").log(&ended.log));
        }
        if self.cx.children.stop().is_asked() {
            return Err(self.cx.failure("tofu", ended));
        }
        let what = format!("tofu {}{progress}", ended.how());
        let failure = refused(what, &stream.errors).log(&ended.log);
        Err(ended.hint().into_iter().fold(failure, Failure::hint))
    }
}

fn read(stream: &mut Stream<'_>, from: From, line: &str) {
    match from {
        From::Events => stream.line(line),
        From::Stdout | From::Stderr => {}
    }
}

fn own_variables() -> BTreeMap<String, OsString> {
    [("TF_IN_AUTOMATION", "1"), ("TF_INPUT", "0"), ("CHECKPOINT_DISABLE", "1")]
        .map(|(name, value)| (name.to_owned(), OsString::from(value)))
        .into()
}

/// The whole environment of a call that does not go through a supervisor.
pub(super) fn environment(cx: &ToolCx<'_>) -> BTreeMap<String, OsString> {
    let mut env = cx.tools.environment().variables().clone();
    env.extend(own_variables());
    env
}
