//! The calls of `tofu`: init, plan, untaint, apply.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::process::{Cancel, Ended, Stream as From};
use crate::stop::Level;
use crate::tools::refusals::refused;
use crate::tools::tofu::asked;
use crate::tools::tofu::intended::Intended;
use crate::tools::tofu::mend::Mends;
use crate::tools::tofu::root::{Root, write_json};
use crate::tools::tofu::state;
use crate::tools::tofu::stream::Stream;
use crate::tools::{Call, ToolCx};
use crate::workspace::{RealDisk, make_dir, put_aside, remove, tree_digest, write_atomic};

/// How long it is waited before a lock is looked for once more.
const AGAIN: Duration = Duration::from_secs(1);

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
const VERBS: [&str; 7] = ["init", "unlock", "push", "plan", "untaint", "apply", "destroy"];

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
            let working = stream.working();
            let followed = self.locking(&slot, working, async {
                let on_line = &mut |from, line: &str| read(&mut stream, from, line);
                self.cx.children.follow(&slot, &self.cx.redact, on_line).await
            });
            let followed = followed.await?;
            if let Some(ended) = followed {
                // A shared one is read once the directory is initialised, which an `init` that was killed has not seen to.
                if !self.root.is_shared {
                    self.keep_state(verb).await?;
                }
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
        // The state is where it is; OpenTofu is not to move it.
        let reconfigure = (self.root.is_shared || self.root.was_shared()).then_some("-reconfigure");
        let args = ["init", "-input=false", "-no-color", "-json-into=@here@/events"].into_iter();
        let args = args.chain(readonly).chain(reconfigure);
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

    /// Plans into `plan.bin`. What is looked up and no longer there keeps nothing from going: then the state alone says
    /// what goes.
    pub(super) async fn plan(&self, verb: Verb) -> Result<Intended, Failure> {
        let destroy = (verb == Verb::Destroy).then_some("-destroy");
        let args =
            ["plan", "-input=false", "-no-color", "-lock-timeout=60s", "-out=plan.bin", "-json-into=@here@/events"];
        let args = args.into_iter().chain(destroy);
        let (mut ended, mut stream) = self.call("plan", args.clone(), Cancel::Group, 0).await?;
        if verb == Verb::Destroy && stream.lacks_data() {
            let lacking = stream.errors.join("; ");
            self.cx.events.notice(format!("{}: planned from the state alone, without {lacking}", self.cx.stage));
            (ended, stream) = self.call("plan", args.chain(["-refresh=false"]), Cancel::Group, 0).await?;
        }
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

    /// Reads a shared state into a file, as it is now; also after a first stop, since what an apply that was let finish has
    /// made is wanted.
    pub(super) async fn pull(&self) -> Result<(), Failure> {
        let output = asked(self.cx, self.root, (&["state", "pull"], "its state"), Level::Interrupt).await?;
        if output.code != Some(0) {
            let said = output.stderr.lines().find(|line| line.contains("Error")).unwrap_or("no state").to_owned();
            let failure = Failure::new(Exit::Platform, "tofu cannot read its state in S3").because(said);
            return Err(failure.log(self.cx.log()));
        }
        // Where there is none it tells of one without a lineage.
        let lineage = serde_json::from_str::<Value>(&output.stdout)
            .ok()
            .and_then(|mut state| Some(state.get_mut("lineage")?.take()));
        match lineage.as_ref().and_then(Value::as_str) {
            None | Some("") => remove(&RealDisk, &self.root.state()),
            Some(_) => write_atomic(&self.root.state(), output.stdout.as_bytes(), 0o600),
        }
    }

    /// Gives a state to S3 that an earlier run could not write there, if it is newer than the one there and of the same
    /// lineage; any other is put aside, and what it knows is looked for. Whether the state was read here and is as it was.
    ///
    /// # Errors
    /// It could not be given, as before; it stays where it is.
    pub(super) async fn push_errored(&self) -> Result<bool, Failure> {
        let errored = self.root.dir.join("errored.tfstate");
        if !errored.exists() {
            return Ok(false);
        }
        self.pull().await?;
        let there = state::read(&self.root.state())?;
        // What cannot be read is nothing that could be given.
        let ours = state::read(&errored).unwrap_or_default();
        let is_newer = ours.is_some_and(|ours| {
            there.is_none_or(|there| state::is_kin(&ours, &there) && state::serial(&ours) > state::serial(&there))
        });
        let notice = if is_newer {
            let args = ["state", "push", "-lock-timeout=60s", "errored.tfstate"];
            let (ended, stream) = self.call("push", args, Cancel::Finish, 0).await?;
            self.judge(&ended, &stream, None)?;
            remove(&RealDisk, &errored)?;
            "took over the state that tofu could not write last time"
        } else {
            put_aside(&RealDisk, &errored, &self.root.dir.join("errored.tfstate.refused"))?;
            "a state that tofu could not write last time is no newer than the one in S3; it was put aside"
        };
        self.cx.events.notice(format!("{}: {notice}", self.cx.stage));
        Ok(!is_newer)
    }

    /// Makes a copy of the state durable and has it written down.
    ///
    /// # Errors
    /// A shared state is out of reach, or one of the two could not be written; the root stays unsettled, so that the next
    /// run does both. A broken state is none: it is told, and put right before the next plan.
    pub(super) async fn keep_state(&self, verb: &str) -> Result<(), Failure> {
        if self.root.is_shared {
            self.pull().await?;
        }
        let state = match state::whole(&self.root.dir, &self.root.state()) {
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
        let (slot, working) = (invocation.slot.clone(), stream.working());
        let ended = self.locking(&slot, working, async {
            self.cx.children.run(invocation, &mut |from, line| read(&mut stream, from, line)).await
        });
        let ended = ended.await?;
        self.cx.children.discard(&ended)?;
        Ok((ended, stream))
    }

    /// Has the lock of a shared state written down as soon as the child says what it does only under it.
    async fn locking<T>(&self, slot: &str, working: Arc<Notify>, child: impl Future<Output = T>) -> T {
        let note = async {
            working.notified().await;
            // What hinders it hinders the run too, or not at all: then a lock that stays is named to a person.
            while matches!(self.cx.children.witness().state_locked(self.cx.stage, slot).await, Ok(false)) {
                tokio::time::sleep(AGAIN).await;
            }
            std::future::pending::<T>().await
        };
        if !self.root.is_shared {
            return child.await;
        }
        tokio::select! {
            ended = child => ended,
            never = note => never,
        }
    }

    /// Releases the lock that a child of ours has left whose end is proven, and no other.
    pub(super) async fn unlock_left(&self) -> Result<(), Failure> {
        while let Some(id) = self.cx.children.witness().lock_left(self.cx.stage).await? {
            let args = ["force-unlock", "-force", "-no-color", "-json-into=@here@/events", id.as_str()];
            let (ended, stream) = self.call("unlock", args, Cancel::Finish, 0).await?;
            self.judge(&ended, &stream, None)?;
            self.cx
                .events
                .notice(format!("{}: released the lock {id} that a tofu which was killed has left", self.cx.stage));
        }
        Ok(())
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
        if let Some(lock) = stream.errors.iter().find_map(|error| lock_of(error)) {
            return Err(Failure::new(Exit::Held, "another tofu holds its state")
                .because(&lock.1)
                .hint(format!(
                    "wait until it ends; where it was killed: tofu -chdir={} force-unlock {}",
                    self.root.dir.display(),
                    lock.0
                ))
                .log(&ended.log));
        }
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

/// The id and the owner of a lock that could not be had.
fn lock_of(error: &str) -> Option<(String, String)> {
    let info = error.contains("Error acquiring the state lock").then(|| error.split_once("Lock Info:"))??.1;
    let field = |name: &str| info.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
    let when =
        info.split_once("Created:").map(|(_, rest)| rest.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    let since = when.map(|when| format!(" since {} UTC", when.split('.').next().unwrap_or_default()));
    let who = field("Who:").unwrap_or("somebody");
    Some((field("ID:")?.to_owned(), format!("{who} holds it{}", since.unwrap_or_default())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_another_tofu_holds_is_told_with_its_id_and_owner() {
        // As OpenTofu 1.12.6 says it.
        let error = "Error acquiring the state lock: Error message: operation error S3: PutObject, api error \
                     PreconditionFailed: At least one of the pre-conditions you specified did not hold Lock Info: \
                     ID: 11111111-2222-3333-4444-555555555555 Path: x Operation: OperationTypeApply Who: root@far \
                     Version: 1.12.6 Created: 2026-11-30 07:58:15.818908782 +0000 UTC Info:";

        let told = lock_of(error);

        let id = "11111111-2222-3333-4444-555555555555".to_owned();
        assert_eq!(told, Some((id, "root@far holds it since 2026-11-30 07:58:15 UTC".to_owned())));
        assert_eq!(lock_of("no such bucket"), None);
    }
}
