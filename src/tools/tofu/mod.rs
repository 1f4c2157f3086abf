//! OpenTofu: a small root per stage in the state directory, where a person can run plain `tofu` too.
//!
//! An apply that was killed leaves resources that are in no state, and an interrupted one leaves healthy resources
//! marked as tainted. Both are mended before anything is applied: what exists is imported, what is whole is untainted.
//! The state is OpenTofu's own file; it is copied, durably, after each apply that may have changed it.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod intended;
mod mend;
mod plan;
mod root;
mod run;
mod state;
mod stream;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::failure::{Class, Exit, Failure};
use crate::process::{Output, quick};
use crate::stop::Level;
use crate::tools::ToolCx;
use crate::tools::tofu::intended::Intended;
use crate::tools::tofu::plan::Plan;
use crate::tools::tofu::run::{Run, Verb};

pub use root::{Backend, Root};

/// Looks at the platform for what OpenTofu made but did not record.
#[async_trait]
pub trait Finder: Send + Sync {
    /// The import id of the live resource that these planned values describe, if there is one.
    async fn find(&self, resource_type: &str, values: &Value) -> Result<Option<String>, Failure>;

    /// Whether a resource that is marked as tainted is whole after all.
    async fn is_healthy(&self, resource_type: &str, id: &str) -> Result<bool, Failure>;
}

/// The outputs of a root by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs(pub BTreeMap<String, Value>);

impl Outputs {
    /// # Errors
    /// A bug: the root has no such output, or one of another shape.
    pub fn get<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        let value = self.0.get(name).ok_or_else(|| Failure::bug(format!("the root has no output `{name}`")))?;
        serde_json::from_value(value.clone())
            .map_err(|error| Failure::bug(format!("output `{name}` has another shape")).because(error))
    }
}

/// How often what is planned is looked for anew: each import may make the children of what it imported findable.
const MOST_ROUNDS: usize = 6;

/// Brings the platform to what the root describes; a root that is already so changes nothing.
///
/// Safe to repeat after being stopped at any instruction: a child of an earlier run is followed to its end first, then
/// state and platform are brought together.
///
/// # Errors
/// Exit 9 when the plan would destroy what the root protects; else what the platform refused, in OpenTofu's words.
pub async fn apply(cx: &ToolCx<'_>, root: &Root, finder: &dyn Finder) -> Result<Outputs, Failure> {
    let run = prepare(cx, root).await?;
    let is_unsure = root.is_unsure();
    let (intended, _) = planned(&run, finder, is_unsure).await?;
    match carried_out(&run, &intended, is_unsure).await {
        // Somebody has the name. Where it was us, what has it is imported; nobody else's is ever found.
        Err(taken) if taken.kind() == Class::Conflict && taken.exit() == Exit::Platform => {
            let (intended, found) = planned(&run, finder, true).await?;
            if found == 0 {
                return Err(taken);
            }
            carried_out(&run, &intended, true).await?;
        }
        result => result?,
    }
    root.settle()?;
    outputs(cx, root)
}

/// A plan, and how much was mended before it: where we are unsure, what exists and is in no state is imported, and what
/// is marked as broken and whole is kept.
async fn planned(run: &Run<'_>, finder: &dyn Finder, is_unsure: bool) -> Result<(Intended, usize), Failure> {
    let (mut intended, mut mended) = (run.plan(Verb::Apply).await?, 0);
    for _ in 0..MOST_ROUNDS {
        if !(is_unsure || intended.has_tainted()) {
            break;
        }
        let mends = mend::look(&shown(run.cx, run.root).await?, finder).await?;
        if mends.is_empty() {
            break;
        }
        mended += mends.import.len() + mends.untaint.len();
        run.mend(&mends).await?;
        intended = run.plan(Verb::Apply).await?;
    }
    Ok((intended, mended))
}

async fn carried_out(run: &Run<'_>, intended: &Intended, is_unsure: bool) -> Result<(), Failure> {
    intended.refuse_to_destroy(&run.root.protected, run.root.living.as_ref())?;
    if intended.is_something() {
        run.carry_out(Verb::Apply, intended).await
    } else if is_unsure {
        // An apply of an earlier run came to its end unseen.
        run.keep_state("apply").await
    } else {
        Ok(())
    }
}

/// Destroys everything in the root's state. What is in no state is found by tag, by whoever calls.
pub async fn destroy(cx: &ToolCx<'_>, root: &Root) -> Result<(), Failure> {
    let run = prepare(cx, root).await?;
    let is_unsure = root.is_unsure();
    let intended = run.plan(Verb::Destroy).await?;
    if intended.is_something() {
        run.carry_out(Verb::Destroy, &intended).await?;
    } else if is_unsure {
        run.keep_state("destroy").await?;
    }
    root.settle()
}

/// Follows what an earlier run left running, writes the root and makes its state readable.
async fn prepare<'a>(cx: &'a ToolCx<'a>, root: &'a Root) -> Result<Run<'a>, Failure> {
    let run = Run::new(cx, root)?;
    run.follow_earlier().await?;
    root.write()?;
    if root.is_shared {
        run.init().await?;
        run.unlock_left().await?;
        if !run.push_errored().await? {
            run.pull().await?;
        }
        return Ok(run);
    }
    if let Some(notice) = state::recover(&root.dir)? {
        cx.events.notice(format!("{}: {notice}", cx.stage));
    }
    run.init().await?;
    Ok(run)
}

/// The outputs that are recorded in the root's state; none without a state.
pub fn outputs(cx: &ToolCx<'_>, root: &Root) -> Result<Outputs, Failure> {
    recorded(&root.state()).map_err(|failure| failure.of(cx.stage))
}

/// Reads the outputs of a state file (format 4).
fn recorded(file: &Path) -> Result<Outputs, Failure> {
    let Some(state) = state::read(file)? else { return Ok(Outputs::default()) };
    let outputs = state.get("outputs").and_then(Value::as_object);
    let values = outputs.into_iter().flatten();
    Ok(Outputs(
        values.map(|(name, output)| (name.clone(), output.get("value").cloned().unwrap_or(Value::Null))).collect(),
    ))
}

/// Reads the saved plan with its values. OpenTofu starts its providers for it, so it waits where it holds nobody up.
async fn shown(cx: &ToolCx<'_>, root: &Root) -> Result<Plan, Failure> {
    let output = asked(cx, root, (&["show", "-json", "-no-color", "plan.bin"], "its plan"), Level::Finish).await?;
    if output.code != Some(0) {
        let said = output.stderr.lines().find(|line| line.contains("Error")).unwrap_or("no plan").to_owned();
        return Err(Failure::new(Exit::Tool, "tofu cannot show its own plan").because(said).log(cx.log()));
    }
    Plan::parse(&output.stdout)
}

/// Asks OpenTofu something that changes nothing, unless we are told to stop at this level.
async fn asked(
    cx: &ToolCx<'_>,
    root: &Root,
    (question, what): (&[&'static str], &str),
    until: Level,
) -> Result<Output, Failure> {
    let (tofu, env) = (cx.tools.get("tofu")?.path.clone(), run::environment(cx));
    let mut args = vec![format!("-chdir={}", root.dir.display())];
    args.extend(question.iter().map(|word| (*word).to_owned()));
    let asked = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        quick(&tofu, &args, &env, Duration::from_secs(300))
    });
    tokio::select! {
        asked = asked => asked.map_err(|error| Failure::bug(format!("asking tofu for {what} ended early")).because(error))?,
        () = cx.children.stop().reached(until) => {
            Err(Failure::cancelled(format!("{}: stopped while tofu was asked for {what}", cx.stage)))
        }
    }
}
