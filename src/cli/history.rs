//! `sre-provision history`: what was run, by whom, and what came of it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{Common, homes};
use crate::config;
use crate::event::Outcome;
use crate::failure::{Exit, Failure};
use crate::fingerprint::Digest;
use crate::identity::Identity;
use crate::journal::{Anchor, Deed, Home, PastRun, Verdict, history, told, told_s3, verify};
use crate::report::{Screen, table, took};
use crate::state::StatePlace;
use crate::units::Span;
use crate::workspace::{Workspace, check_name};

/// How runs end.
const OUTCOMES: [&str; 5] = [
    Outcome::Succeeded.name(),
    Outcome::Failed.name(),
    Outcome::Partial.name(),
    Outcome::Interrupted.name(),
    Outcome::Indeterminate.name(),
];

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct History {
    #[command(subcommand)]
    what: Option<What>,
    /// The environment
    #[arg(required = true)]
    environment: Option<String>,
    /// Every stage of one run
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["since", "outcome", "command"])]
    run: Option<u32>,
    /// Only runs that began within this time, such as `7d`
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
    /// Only runs that ended so
    #[arg(long, value_name = "OUTCOME", value_parser = OUTCOMES)]
    outcome: Option<String>,
    /// Only runs of this command, such as `down`
    #[arg(long, value_name = "WORD")]
    command: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check that the journal is what was written
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The environment
    environment: String,
    /// An entry that is known from elsewhere, as syslog was told it
    #[arg(long, value_name = "NUMBER:DIGEST", value_parser = anchor)]
    anchor: Vec<Anchor>,
    /// A file with such entries, instead of the one that the environment file names
    #[arg(long, value_name = "FILE")]
    anchor_file: Option<PathBuf>,
}

fn anchor(text: &str) -> Result<Anchor, String> {
    let read = || {
        let (number, digest) = text.split_once(':')?;
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some(Anchor { number, digest: Digest::parse(digest)? })
    };
    read().ok_or_else(|| format!("`{text}` is not the number of an entry, a colon and its digest"))
}

/// Where the last environment of a name is kept, and which one it is; one that was reaped by its tags has its id as name.
async fn last(workspace: &Workspace, name: &str) -> Result<Last, Failure> {
    if Uuid::parse_str(name).is_err() {
        check_name(name)?;
    }
    let home = homes::named(workspace, name).await?;
    if let Some(identity) = home.identity().await? {
        return Ok(Last { home, identity, is_gone: false });
    }
    let none = || Failure::new(Exit::NotDone, format!("`{name}` has no history here"));
    let (home, identity) = homes::retired(workspace, &home).await?.ok_or_else(none)?;
    Ok(Last { home, identity, is_gone: true })
}

/// The last environment of a name.
struct Last {
    home: Home,
    identity: Identity,
    is_gone: bool,
}

impl Last {
    /// Where its journal is, for people.
    fn place(&self, workspace: &Workspace) -> String {
        match self.home.shared() {
            Some(shared) => shared.objects.place(&self.identity.id.to_string()),
            None => workspace.shown(self.home.state().path()).display().to_string(),
        }
    }
}

impl History {
    pub async fn run(self, common: &Common, screen: Screen) -> Result<(), Failure> {
        let workspace = common.open()?;
        if let Some(What::Verify(command)) = self.what {
            return command.run(&workspace, screen).await;
        }
        let name = self.environment.as_deref().unwrap_or_default();
        let last = last(&workspace, name).await?;
        // Opening verifies the whole chain: what is shown is what was written.
        let journal = last.home.journal(&last.identity).await?;
        let runs = history(journal.entries());
        let (text, shown): (String, Vec<&PastRun>) = match self.run {
            None => {
                let wanted: Vec<&PastRun> = runs.iter().filter(|run| self.wants(run, Timestamp::now())).collect();
                (all(&wanted), wanted)
            }
            Some(number) => {
                let run = runs
                    .iter()
                    .find(|run| run.number == number)
                    .ok_or_else(|| Failure::new(Exit::NotDone, format!("`{name}` has no run {number}")))?;
                (one(run), vec![run])
            }
        };
        if last.is_gone {
            screen.remark(&format!("{name} is gone; this is kept in {}", last.place(&workspace)));
        }
        screen.result(&text, &json!({ "environment": name, "id": last.identity.id, "runs": shown }));
        Ok(())
    }

    fn wants(&self, run: &PastRun, now: Timestamp) -> bool {
        let young = self.since.is_none_or(|span| now.duration_since(run.started).unsigned_abs() <= span.0);
        let ended = self.outcome.as_ref().is_none_or(|outcome| outcome == run.outcome.name());
        let word = self.command.as_ref().is_none_or(|word| run.command.split(' ').next() == Some(word));
        young && ended && word
    }
}

impl Verify {
    async fn run(self, workspace: &Workspace, screen: Screen) -> Result<(), Failure> {
        let name = &self.environment;
        let Last { home, identity, .. } = last(workspace, name).await?;
        let mut anchors = self.anchor;
        let configured = if self.anchor_file.is_none() { anchor_file(workspace, name)? } else { None };
        if let Some(file) = self.anchor_file.as_ref().or(configured.as_ref()) {
            anchors.extend(told(file, identity.id)?);
        }
        if let (None, Some(place)) = (&self.anchor_file, anchor_place(workspace, name)?) {
            anchors.extend(told_s3(&*homes::connect(&place).await?, identity.id).await?);
        }
        let store = home.entries(identity.id);
        let verdict = verify(&*store, identity.id, &anchors).await?;
        tell(&verdict, &identity, screen);
        let Some(exit) = verdict.exit() else { return Ok(()) };
        let failure = Failure::new(exit, format!("the journal of `{name}` is not proven to be what was written"));
        Err(match &verdict.damage {
            Some((number, damage)) => failure.because(damage.describe(*number)).because(store.place(*number)),
            None => failure
                .because("each entry follows the one before, and no entry is known from elsewhere")
                .hint("set `audit: {anchor: {file: …}}` in its file, or give `--anchor NUMBER:DIGEST`"),
        })
    }
}

/// The file that the environment file names. One that is named and not there was removed, or no run has ended since.
fn anchor_file(workspace: &Workspace, name: &str) -> Result<Option<PathBuf>, Failure> {
    // Of an environment that is gone the history stays, and its file need not.
    if !workspace.environment_file(name).exists() {
        return Ok(None);
    }
    let Some(file) = config::load(workspace, name)?.audit.anchor.file else { return Ok(None) };
    let file = workspace.root().join(file);
    if file.exists() {
        return Ok(Some(file));
    }
    let what = format!("the anchors of `{name}` are not there: {}", file.display());
    Err(Failure::new(Exit::Unanchored, what)
        .because("`audit.anchor.file` names this file, and every run of its that ends adds a line to it")
        .hint("if it was set after the last run: `sre-provision history verify --anchor NUMBER:DIGEST`"))
}

/// The bucket that the environment file names.
fn anchor_place(workspace: &Workspace, name: &str) -> Result<Option<StatePlace>, Failure> {
    if !workspace.environment_file(name).exists() {
        return Ok(None);
    }
    let env = config::load(workspace, name)?;
    Ok(env.audit.anchor.s3.as_ref().map(|s3| s3.place(&env.name, env.aws.as_ref())))
}

fn tell(verdict: &Verdict, identity: &Identity, screen: Screen) {
    let head = verdict.head.as_ref().map(|head| format!(", the last is {}:{}", head.number, head.digest));
    let anchored = match verdict.anchored {
        Some(number) => format!("anchored up to entry {number}"),
        None => "not anchored".to_owned(),
    };
    let text =
        format!("{}: {} entries in order{}; {anchored}", identity.name, verdict.entries, head.unwrap_or_default());
    screen.result(
        &text,
        &json!({
            "event": "history-verify",
            "environment": identity.name,
            "id": identity.id,
            "entries": verdict.entries,
            "head": verdict.head,
            "anchored": verdict.anchored,
            "damage": verdict.damage.as_ref().map(|(number, damage)| damage.describe(*number)),
        }),
    );
}

fn all(runs: &[&PastRun]) -> String {
    let mut rows = vec![["RUN", "STARTED", "COMMAND", "BY", "OUTCOME", "WHY"].map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(|run| {
        vec![
            format!("{:04}", run.number),
            run.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            run.command.clone(),
            run.actor.to_string(),
            run.outcome.name().to_owned(),
            run.why.clone().unwrap_or_default(),
        ]
    }));
    table(&rows)
}

fn one(run: &PastRun) -> String {
    let mut rows = vec![["STAGE", "DEED", "OUTCOME", "TRIES", "STEPS", "TOOK", "MADE"].map(str::to_owned).to_vec()];
    rows.extend(run.stages.iter().map(|stage| {
        vec![
            stage.stage.to_string(),
            match stage.deed {
                Deed::Make => "make".to_owned(),
                Deed::Remove => "remove".to_owned(),
            },
            stage.outcome.name().to_owned(),
            stage.attempts.to_string(),
            stage.steps.to_string(),
            stage.took.map(took).unwrap_or_default(),
            stage.made.clone().or_else(|| stage.why.clone()).unwrap_or_default(),
        ]
    }));
    table(&rows)
}
